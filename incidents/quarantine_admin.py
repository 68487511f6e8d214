"""Quarantined input in the admin: to be read, with the reason; the clean-up removes it by age."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from audit.modeladmin import AuditedModelAdmin
from incidents.models import QuarantinedAlert


@admin.register(QuarantinedAlert)
class QuarantineAdmin(AuditedModelAdmin):
    list_display = ("received_at", "source", "reason", "size", "ip_address")
    list_filter = ("source",)
    list_select_related = ("source",)
    search_fields = ("reason", "excerpt", "ip_address")
    show_full_result_count = False
    fields = ("received_at", "source", "reason", "size", "ip_address", "user_agent", "excerpt")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: QuarantinedAlert | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: QuarantinedAlert | None = None) -> bool:
        return False
