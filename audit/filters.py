"""The filters beside the audit log's list. None of them reads more of the log than an index shows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date

from audit.models import AuditEntry


class _ValueFilter(admin.SimpleListFilter):
    """The values that one indexed column holds, found by hopping through its index from one to the next."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, value.replace("_", " ")) for value in self._values()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset

    def _values(self) -> Iterator[str]:
        column = str(self.parameter_name)
        values = AuditEntry.objects.order_by(column).values_list(column, flat=True)
        value = ""
        while value := values.filter(**{f"{column}__gt": value}).first() or "":
            yield value


class ActionFilter(_ValueFilter):
    title = "action"
    parameter_name = "action"


class ResourceTypeFilter(_ValueFilter):
    title = "kind of resource"
    parameter_name = "resource_type"


class PeriodFilter(admin.ListFilter):
    """From one day to another, both whole and in UTC."""

    title = "period"
    template = "admin/period_filter.html"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.expected_parameters():
            if name in params:
                self.used_parameters[name] = params.pop(name)[-1]
        self.others = [
            (name, value)
            for name, values in request.GET.lists()
            if name not in (*self.expected_parameters(), "p")
            for value in values
        ]

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return ["since", "until"]

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        chosen = self.used_parameters
        yield {"others": self.others, "since": chosen.get("since", ""), "until": chosen.get("until", "")}

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        if since := self._midnight("since"):
            queryset = queryset.filter(created_at__gte=since)
        if until := self._midnight("until"):
            queryset = queryset.filter(created_at__lt=until + dt.timedelta(days=1))
        return queryset

    def _midnight(self, name: str) -> dt.datetime | None:
        """What is no date filters nothing, and stands in the field as it was entered."""
        try:
            day = parse_date(str(self.used_parameters.get(name, "")))
        except ValueError:
            return None
        return dt.datetime(day.year, day.month, day.day, tzinfo=timezone.get_default_timezone()) if day else None
