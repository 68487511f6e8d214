from __future__ import annotations

import hashlib
import secrets
import uuid

from django.db import models


class AlertSourceQuerySet(models.QuerySet["AlertSource"]):
    def silent(self) -> AlertSourceQuerySet:
        """Those whose watchdog was not heard for too long."""
        return self.filter(enabled=True, silent_since__isnull=False)


class AlertSource(models.Model):
    """One sender of alerts, known by its token. Only the token's hash is stored: it is shown once, when it is made."""

    class Kind(models.TextChoices):
        ALERTMANAGER = "alertmanager", "Alertmanager"
        GRAFANA = "grafana", "Grafana"
        OTHER = "other", "Other"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=Kind.choices, default=Kind.ALERTMANAGER)
    token_hash = models.CharField(max_length=64, unique=True, null=True, blank=True, editable=False)
    token_hint = models.CharField(max_length=8, blank=True, editable=False, help_text="The token's last characters.")
    enabled = models.BooleanField(default=True)
    alertmanager_url = models.URLField(max_length=500, blank=True, help_text="Where its own pages are, for links.")
    prometheus_url = models.URLField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_received_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_heartbeat_at = models.DateTimeField(null=True, blank=True, editable=False)
    silent_since = models.DateTimeField(null=True, blank=True, editable=False)  # its heartbeat is overdue
    last_truncated_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_truncated = models.PositiveIntegerField(default=0, editable=False)

    objects = AlertSourceQuerySet.as_manager()

    class Meta:
        db_table = "alert_sources"
        ordering = ["name"]
        verbose_name = "alert source"

    def __str__(self) -> str:
        return self.name

    def new_token(self) -> str:
        """Replace the token and return the new one, in clear for this once. Does not save."""
        token = secrets.token_urlsafe(32)
        self.token_hash, self.token_hint = hash_token(token), token[-4:]
        return token

    def revoke(self) -> None:
        """Forget the token: whoever still sends it gets 401. Does not save."""
        self.token_hash, self.token_hint = None, ""


def hash_token(token: str) -> str:
    """SHA-256 in hex. The tokens are 256 random bits, so neither salt nor stretching would add anything."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class QuarantinedAlert(models.Model):
    """Input that could not become an alert, kept with the reason so that nothing is lost silently."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.ForeignKey(AlertSource, null=True, on_delete=models.SET_NULL, related_name="quarantined")
    received_at = models.DateTimeField(db_index=True)
    reason = models.TextField()
    excerpt = models.TextField(help_text="The head of what was sent.")
    size = models.PositiveIntegerField(help_text="Bytes of what was sent.")
    ip_address = models.CharField(max_length=45, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "quarantined_alerts"
        ordering = ["-received_at"]
        verbose_name = "quarantined alert"

    def __str__(self) -> str:
        return self.reason
