from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class AuditEntryQuerySet(models.QuerySet["AuditEntry"]):
    def about(self, resource: models.Model) -> AuditEntryQuerySet:
        """The entries whose resource is this row, newest first."""
        entries = self.filter(resource_type=str(resource._meta.verbose_name)[:50])
        if isinstance(resource.pk, uuid.UUID):
            return entries.filter(resource_id=resource.pk)
        return entries.filter(resource_id=None, details_json__resource_key=str(resource.pk))


class AuditEntry(models.Model):
    """One line of the audit log. The table's triggers refuse UPDATE, DELETE and TRUNCATE; `hash` chains each to the one before."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    action = models.CharField(max_length=50)
    resource_type = models.CharField(max_length=50, blank=True)
    resource_id = models.UUIDField(null=True)
    details_json = models.JSONField(default=dict)
    ip_address = models.CharField(max_length=45, null=True)
    created_at = models.DateTimeField()

    username = models.CharField(max_length=255, blank=True)
    sequence = models.BigIntegerField(unique=True)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        db_table = "audit_log"
        ordering = ["-sequence"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes = [
            models.Index(fields=["-created_at"], name="audit_created"),
            models.Index(fields=["action", "-sequence"], name="audit_action"),
            models.Index(fields=["resource_type", "resource_id"], name="audit_resource"),
        ]

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M:%S} {self.username} {self.action}"
