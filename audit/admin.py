"""The audit log in the admin: to be read, searched and exported, by nobody to be changed."""

from __future__ import annotations

import json
import uuid
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from audit.export import as_csv
from audit.filters import ActionFilter, PeriodFilter, ResourceTypeFilter
from audit.log import digest, record
from audit.models import AuditEntry

PAGE = 50
COUNTED = 10_000  # entries; narrow the list by its filters to see what lies beyond


class CappedPaginator(Paginator):
    """Counts no further than COUNTED: a log of millions opens as fast as one of hundreds."""

    @cached_property
    def count(self) -> int:
        entries: Any = self.object_list
        return entries.order_by()[:COUNTED].count()


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin):
    group = "Audit"
    list_display = ("created_at", "who", "action", "resource", "ip_address", "summary")
    list_filter = (ActionFilter, ResourceTypeFilter, PeriodFilter, "user")
    search_fields = ("username", "action", "resource_type", "ip_address", "details_json")
    search_help_text = "User, action, resource, address, id, or text in the details."
    list_per_page = PAGE
    list_max_show_all = 0
    list_select_related = ("user",)
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    fields = (
        "sequence", "created_at", "username", "user", "ip_address", "action", "resource_type", "resource_id", "details", "id",
        "previous_hash", "hash", "intact",
    )  # fmt: skip
    readonly_fields = fields
    change_list_template = "admin/audit_list.html"
    change_form_template = "admin/audit_entry.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        raise Http404("An entry of the audit log has no history: nothing ever changes it.")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        try:
            key = uuid.UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(Q(id=key) | Q(resource_id=key) | Q(user_id=key)), False

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(require_POST(self.export))
        return [path("export/", export, name="audit_auditentry_export"), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """What the list shows with the same query, as CSV. Taking the log away is itself an entry of it."""
        try:
            entries = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return redirect("admin:audit_auditentry_changelist")
        done = record("export_audit", resource_type="audit entry", filters=dict(request.GET.lists()))
        return as_csv(entries, below=done.sequence)

    @admin.display(description="who", ordering="username")
    def who(self, entry: AuditEntry) -> str:
        return entry.username or "nobody"

    @admin.display(description="resource")
    def resource(self, entry: AuditEntry) -> str:
        name = entry.details_json.get("name") or entry.details_json.get("resource_key") or entry.resource_id or ""
        return f"{entry.resource_type} {name}".strip()

    @admin.display(description="details")
    def summary(self, entry: AuditEntry) -> str:
        text = json.dumps({k: v for k, v in entry.details_json.items() if k != "name"}, ensure_ascii=False)
        return "" if text == "{}" else text[:120]

    @admin.display(description="details")
    def details(self, entry: AuditEntry) -> str:
        return format_html("<pre>{}</pre>", json.dumps(entry.details_json, indent=2, ensure_ascii=False))

    @admin.display(description="as it was written", boolean=True)
    def intact(self, entry: AuditEntry) -> bool:
        return digest(entry) == entry.hash
