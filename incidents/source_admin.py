"""Sources of alerts in the admin: a token that is shown once, replaced or revoked, and never read again."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods

from audit.log import record
from audit.modeladmin import AuditedModelAdmin
from incidents.models import AlertSource

FIELDS = ("name", "kind", "alertmanager_url", "prometheus_url")
TOKEN_FIELDS = ("token_hash", "token_hint")


@admin.register(AlertSource)
class SourceAdmin(AuditedModelAdmin):
    recorded_values = (*FIELDS, "enabled")
    list_display = ("name", "kind", "enabled", "token", "last_received_at", "last_heartbeat_at")
    list_filter = ("enabled", "kind")
    search_fields = ("name",)
    change_form_template = "admin/source_form.html"
    state_fields = ("token", "last_received_at", "last_heartbeat_at", "left_out", "created_at")

    @admin.display(description="Token")
    def token(self, source: AlertSource) -> str:
        return f"ends in {source.token_hint}" if source.token_hash else "none: nothing can be sent"

    @admin.display(description="Alerts left out by the sender")
    def left_out(self, source: AlertSource) -> str:
        if not source.last_truncated_at:
            return "none"
        when = f"{source.last_truncated_at:%Y-%m-%d %H:%M} UTC"
        return f"{source.last_truncated} of one notification at {when}: raise its max_alerts, or group by more labels."

    def get_fields(self, request: HttpRequest, obj: AlertSource | None = None) -> Any:
        return (*FIELDS, "enabled", *self.state_fields) if obj else FIELDS

    def get_readonly_fields(self, request: HttpRequest, obj: AlertSource | None = None) -> Any:
        return self.state_fields if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: AlertSource | None = None) -> bool:
        return False  # its alerts point to it; it can be disabled

    def save_model(self, request: HttpRequest, obj: AlertSource, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
            return
        request.new_token = obj.new_token()  # type: ignore[attr-defined] # for response_add, and no further
        obj.save(force_insert=True)

    def response_add(
        self, request: HttpRequest, obj: AlertSource, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._hand_out(request, obj, request.new_token)  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        confirmed = require_http_methods(["GET", "POST"])
        rotate = self.admin_site.admin_view(confirmed(self.rotate_token))
        revoke = self.admin_site.admin_view(confirmed(self.revoke_token))
        return [
            path("<uuid:pk>/token/", rotate, name="incidents_alertsource_rotate"),
            path("<uuid:pk>/revoke/", revoke, name="incidents_alertsource_revoke"),
            *super().get_urls(),
        ]

    def rotate_token(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        if request.method == "GET":
            return self._page(request, get_object_or_404(AlertSource, pk=pk), "admin/source_token_change.html")
        with transaction.atomic():
            source = get_object_or_404(AlertSource.objects.select_for_update(), pk=pk)
            token = source.new_token()
            source.save(update_fields=TOKEN_FIELDS)
            record("rotate_source_token", source, name=source.name)
        return self._hand_out(request, source, token)

    def revoke_token(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        if request.method == "GET":
            source = get_object_or_404(AlertSource, pk=pk)
            return self._page(request, source, "admin/source_token_change.html", revoke=True)
        with transaction.atomic():
            source = get_object_or_404(AlertSource.objects.select_for_update(), pk=pk)
            source.revoke()
            source.save(update_fields=TOKEN_FIELDS)
            record("revoke_source_token", source, name=source.name)
        self.message_user(request, f"The token of {source.name} was revoked: whoever sends it is refused.")
        return redirect(reverse("admin:incidents_alertsource_change", args=[pk]))

    def _hand_out(self, request: HttpRequest, source: AlertSource, token: str) -> HttpResponse:
        """The page with the token, straight from the POST: only its hash is stored, so it cannot be shown again."""
        url = f"{settings.SITE_URL}/webhook/alerts"
        response = self._page(request, source, "admin/source_token.html", token=token, url=url)
        response["Cache-Control"] = "no-store"
        return response

    def _page(self, request: HttpRequest, source: AlertSource, template: str, **values: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Token of {source}",
            "source": source,
        }
        return TemplateResponse(request, template, {**context, **values})

    def _noun(self) -> str:
        return "source"
