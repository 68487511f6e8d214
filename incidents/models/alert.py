from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from accounts.system_config import SEVERITIES
from aiops.lib.text import clean
from audit.log import record
from incidents.models.rule import Rule
from incidents.models.source import AlertSource

if TYPE_CHECKING:
    from accounts.models import User

NOTE_LENGTH = 10_000
# What a list shows unless it is asked for more. The same condition stands in the indexes, or PostgreSQL would not use them.
SHOWN = ~models.Q(action_taken="ignore") & models.Q(heartbeat=False)


class AlertQuerySet(models.QuerySet["Alert"]):
    def shown(self) -> AlertQuerySet:
        """Without noise (rules that say ignore) and without heartbeats."""
        return self.filter(SHOWN)

    def firing(self) -> AlertQuerySet:
        return self.filter(status=Alert.Status.FIRING)

    def same_series(self, alert: Alert) -> AlertQuerySet:
        """The other episodes of the alert's series, newest first."""
        return (
            self.filter(source=alert.source_id, fingerprint=alert.fingerprint)
            .exclude(pk=alert.pk)
            .order_by("-starts_at", "-id")
        )

    def same_group(self, alert: Alert) -> AlertQuerySet:
        """The other alerts of the alert's group that fire now, worst first."""
        return (
            self.firing()
            .shown()
            .filter(source=alert.source_id, group_hash=alert.group_hash)
            .exclude(pk=alert.pk)
            .order_by("severity_rank", "-timestamp", "-id")
        )


class Alert(models.Model):
    """One episode of one series: from its first firing to its end. (source, fingerprint) names the series."""

    class Status(models.TextChoices):
        FIRING = "firing"
        RESOLVED = "resolved"

    class AnalysisState(models.TextChoices):
        NONE = "none"
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        SKIPPED = "skipped"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    fingerprint = models.CharField(max_length=100)
    timestamp = models.DateTimeField()
    alert_name = models.CharField(max_length=255)
    severity = models.CharField(max_length=50)
    instance = models.CharField(max_length=255, blank=True)
    job = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=20, choices=Status.choices)
    labels_json = models.JSONField(default=dict)
    annotations_json = models.JSONField(default=dict)
    raw_alert_json = models.JSONField(default=dict)
    matched_rule = models.ForeignKey(Rule, null=True, blank=True, on_delete=models.SET_NULL, related_name="alerts")
    action_taken = models.CharField(max_length=20, choices=Rule.Action.choices, default=Rule.Action.MANUAL)
    analyzed = models.BooleanField(default=False)
    analyzed_at = models.DateTimeField(null=True, blank=True)
    ai_analysis = models.TextField(null=True, blank=True)
    recommendations_json = models.JSONField(null=True, blank=True)

    source = models.ForeignKey(AlertSource, on_delete=models.PROTECT, related_name="alerts")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField()
    group_key = models.TextField(blank=True)
    group_keys = models.JSONField(default=list)  # every group it was seen in: [{"group_key", "receiver"}]
    group_hash = models.CharField(max_length=64, blank=True)
    receiver = models.CharField(max_length=255, blank=True)
    generator_url = models.TextField(blank=True)
    external_url = models.TextField(blank=True)
    severity_rank = models.SmallIntegerField(default=4)
    truncated = models.PositiveIntegerField(default=0)  # alerts of its group that the sender left out
    heartbeat = models.BooleanField(default=False)
    occurrences = models.PositiveIntegerField(default=1)
    reopened = models.PositiveIntegerField(default=0)
    flaps = models.PositiveIntegerField(default=0)  # recurrences soon after the episode before
    superseded = models.BooleanField(default=False)  # closed by a newer start, its end was never seen
    unconfirmed = models.BooleanField(default=False)  # open, but not repeated for twice the usual interval
    repeat_seconds = models.PositiveIntegerField(null=True, blank=True)  # longest interval seen between two sends
    previous = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="next_episodes")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="assigned_alerts"
    )
    snoozed_until = models.DateTimeField(null=True, blank=True)
    analysis_state = models.CharField(max_length=10, choices=AnalysisState.choices, default=AnalysisState.NONE)
    analysis_reason = models.TextField(blank=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        db_table = "alerts"
        ordering = ["-timestamp", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["source", "fingerprint"], condition=models.Q(status="firing"), name="alerts_one_open_episode"
            ),
        ]
        indexes = [
            models.Index(fields=["source", "fingerprint", "-starts_at"], name="alerts_series"),
            models.Index(fields=["-timestamp", "-id"], name="alerts_recent"),
            # The list: each filter is one range of one index, newest first. A row stands in `shown` or in `hidden`.
            models.Index(fields=["status", "-timestamp", "-id"], name="alerts_shown", condition=SHOWN),
            models.Index(fields=["status", "-timestamp", "-id"], name="alerts_hidden", condition=~SHOWN),
            models.Index(
                fields=["severity_rank", "status", "-timestamp", "-id"], name="alerts_severity", condition=SHOWN
            ),
            models.Index(fields=["alert_name", "status", "-timestamp", "-id"], name="alerts_name", condition=SHOWN),
            models.Index(fields=["instance", "status", "-timestamp", "-id"], name="alerts_instance", condition=SHOWN),
            models.Index(fields=["job", "status", "-timestamp", "-id"], name="alerts_job", condition=SHOWN),
            models.Index(
                fields=["status", "-timestamp", "-id"],
                name="alerts_acknowledged",
                condition=models.Q(acknowledged_at__isnull=False),
            ),
            models.Index(fields=["source", "group_hash"], name="alerts_group"),
            models.Index(fields=["matched_rule", "-timestamp"], name="alerts_rule"),
            models.Index(
                fields=["analysis_state"],
                name="alerts_waiting",
                condition=models.Q(analysis_state__in=["queued", "running"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alert_name} {self.instance}".strip()

    @property
    def level(self) -> str:
        """The severity as the pages show it, by its rank: critical, error, warning, info or unknown."""
        return SEVERITIES[self.severity_rank] if 0 <= self.severity_rank < len(SEVERITIES) else "unknown"

    @property
    def is_firing(self) -> bool:
        return self.status == self.Status.FIRING

    @property
    def is_snoozed(self) -> bool:
        """Whether somebody asked not to be bothered with it for now. A snooze ends by itself."""
        return self.snoozed_until is not None and self.snoozed_until > timezone.now()

    @property
    def analysis_pending(self) -> bool:
        return self.analysis_state in (self.AnalysisState.QUEUED, self.AnalysisState.RUNNING)

    def acknowledge(self, user: User) -> bool:
        """Say that `user` has it. False, and nothing changes, where somebody already has."""
        with transaction.atomic():
            now = timezone.now()
            free = Alert.objects.filter(pk=self.pk, acknowledged_at=None)
            if not free.update(acknowledged_at=now, acknowledged_by=user):
                return False
            self._happened(AlertEvent.Kind.ACKNOWLEDGED, user)
            record("acknowledge_alert", self, alert=str(self))
        self.acknowledged_at, self.acknowledged_by = now, user
        return True

    def unacknowledge(self, user: User) -> bool:
        """Take the acknowledgement back, whoever gave it. False where there is none."""
        with transaction.atomic():
            taken = Alert.objects.filter(pk=self.pk, acknowledged_at__isnull=False)
            if not taken.update(acknowledged_at=None, acknowledged_by=None):
                return False
            self._happened(AlertEvent.Kind.UNACKNOWLEDGED, user)
            record("unacknowledge_alert", self, alert=str(self))
        self.acknowledged_at, self.acknowledged_by = None, None
        return True

    def assign(self, person: User | None, user: User) -> bool:
        """Give it to `person`, or to nobody. False, and nothing changes, where that is so already."""
        with transaction.atomic():
            if not Alert.objects.filter(pk=self.pk).exclude(assignee=person).update(assignee=person):
                return False
            kind = AlertEvent.Kind.ASSIGNED if person else AlertEvent.Kind.UNASSIGNED
            self._happened(kind, user, f"to {person.get_full_name()}" if person else "")
            record("assign_alert", self, alert=str(self), assignee=person.username if person else "")
        self.assignee = person
        return True

    def snooze(self, until: dt.datetime, user: User) -> None:
        """Put it aside until a moment in the future. It still resolves, and counts its repeats."""
        with transaction.atomic():
            Alert.objects.filter(pk=self.pk).update(snoozed_until=until)
            self._happened(AlertEvent.Kind.SNOOZED, user, f"until {until.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC")
            record("snooze_alert", self, alert=str(self), until=until.isoformat())
        self.snoozed_until = until

    def unsnooze(self, user: User) -> bool:
        """End a snooze early. False where there is none, or it is over already."""
        with transaction.atomic():
            if not Alert.objects.filter(pk=self.pk, snoozed_until__gt=timezone.now()).update(snoozed_until=None):
                return False
            self._happened(AlertEvent.Kind.UNSNOOZED, user)
            record("unsnooze_alert", self, alert=str(self))
        self.snoozed_until = None
        return True

    def add_note(self, user: User, text: str) -> AlertEvent:
        """Put a note of 1 to NOTE_LENGTH characters on the timeline. The audit log says that, not what, was noted."""
        with transaction.atomic():
            note = self._happened(AlertEvent.Kind.NOTE, user, clean(text)[:NOTE_LENGTH])
            record("note_alert", self, alert=str(self))
        return note

    def _happened(self, kind: str, user: User, text: str = "") -> AlertEvent:
        return AlertEvent.objects.create(alert=self, kind=kind, at=timezone.now(), user=user, text=text)


class AlertEvent(models.Model):
    """One thing that happened to an alert. Append-only; repeats are counted on the alert instead of listed."""

    class Kind(models.TextChoices):
        FIRED = "fired"
        RESOLVED = "resolved"
        REOPENED = "reopened"
        SUPERSEDED = "superseded"
        SEEN_LATE = "seen_late", "late delivery"
        ACKNOWLEDGED = "acknowledged"
        UNACKNOWLEDGED = "unacknowledged"
        ASSIGNED = "assigned"
        UNASSIGNED = "unassigned", "given to nobody"
        SNOOZED = "snoozed"
        UNSNOOZED = "unsnoozed", "snooze ended"
        NOTE = "note"
        ANALYSIS_QUEUED = "analysis_queued", "analysis asked for"
        ANALYSED = "analysed"
        ANALYSIS_FAILED = "analysis_failed"
        ANALYSIS_SKIPPED = "analysis_skipped"
        UNCONFIRMED = "unconfirmed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=30, choices=Kind.choices)
    at = models.DateTimeField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    text = models.TextField(blank=True)
    details_json = models.JSONField(default=dict)

    class Meta:
        db_table = "alert_events"
        ordering = ["at", "id"]
        verbose_name = "alert event"
        indexes = [models.Index(fields=["alert", "at"], name="alert_events_timeline")]

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d %H:%M:%S}"
