"""The admin's base class: every addition, change and deletion is an entry of the audit log, in the same transaction."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from audit.log import record
from audit.models import AuditEntry

HISTORY_LENGTH = 200


class AuditedModelAdmin(admin.ModelAdmin):
    """Writes the audit log where Django would write its own admin log, and shows it as an object's history.

    An entry names the fields that changed; their values only where `recorded_values` allows it. `group` is where the model
    stands on the admin's index.
    """

    group = "Configuration"
    recorded_values: tuple[str, ...] = ()  # never a secret's field
    object_history_template = "admin/audit_history.html"

    def construct_change_message(  # type: ignore[override]
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> dict[str, Any]:
        inlines = [str(formset.model._meta.verbose_name) for formset in formsets or () if formset.has_changed()]
        values = {
            name: [form.initial.get(name), form.cleaned_data.get(name)]
            for name in form.changed_data
            if name in self.recorded_values
        }
        return {"fields": [*form.changed_data, *inlines], **({"values": values} if values and not add else {})}

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> None:  # type: ignore[override]
        record(f"create_{self._noun()}", obj, name=str(obj))

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> None:  # type: ignore[override]
        if message["fields"]:
            record(f"change_{self._noun()}", obj, name=str(obj), **message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:  # type: ignore[override]
        """Nothing yet: Django calls this before it deletes, and the log's lock comes after the locks of rows."""

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        self.delete_queryset(request, self.model._default_manager.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        gone = list(queryset)
        queryset.delete()
        for obj in gone:
            record(f"delete_{self._noun()}", obj, name=str(obj))

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> Any:
        with transaction.atomic():  # Django runs a list's actions outside of any
            return super().response_action(request, queryset, *args)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404(f"There is no such {self.opts.verbose_name}.")
        if not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        entries = AuditEntry.objects.about(obj)[:HISTORY_LENGTH]
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {obj}",
            "opts": self.opts,
            "object": obj,
            "entries": entries,
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.object_history_template, context)

    def _noun(self) -> str:
        return str(self.opts.verbose_name).lower().replace(" ", "_")
