"""Failed sign-ins in the admin: who has to wait, and letting them in at once."""

from __future__ import annotations

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.throttle import ANY_ACCOUNT, wait_of
from audit.log import record
from audit.modeladmin import AuditedModelAdmin


@admin.register(AccessAttempt)
class AttemptAdmin(AuditedModelAdmin):
    group = "People"
    list_display = ("account", "ip_address", "failures_since_start", "attempt_time", "waits")
    list_display_links = None
    search_fields = ("username", "ip_address")
    actions = ("let_in",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False

    @admin.display(description="account")
    def account(self, attempt: AccessAttempt) -> str:
        return "any account from this address" if attempt.username == ANY_ACCOUNT else str(attempt.username)

    @admin.display(description="must wait")
    def waits(self, attempt: AccessAttempt) -> str:
        left = attempt.attempt_time + wait_of(attempt) - timezone.now()
        return f"{int(left.total_seconds()) + 1} s" if left.total_seconds() > 0 else "no"

    @admin.action(description="Let them try again at once")
    def let_in(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        chosen = list(queryset)
        queryset.delete()
        for attempt in chosen:
            record("reset_throttle", resource_type="sign-in", name=attempt.username, address=attempt.ip_address)
        self.message_user(request, f"{len(chosen)} counters were reset.")
