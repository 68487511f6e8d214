from __future__ import annotations

import base64
import hashlib
import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from aiops.lib.secrets import SecretField
from incidents.models import Alert


class Server(models.Model):
    """A managed server and how to log in to it. Its secrets are written, never shown."""

    class AuthType(models.TextChoices):
        KEY = "key", "SSH key"
        PASSWORD = "password", "Password"  # noqa: S105 the name of a way to log in

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    hostname = models.CharField(max_length=255)
    port = models.IntegerField(default=22, validators=[MinValueValidator(1), MaxValueValidator(65_535)])
    username = models.CharField(max_length=100)
    auth_type = models.CharField(max_length=20, choices=AuthType.choices, default=AuthType.KEY)
    ssh_key_encrypted = SecretField(null=True, blank=True)
    password_encrypted = SecretField(null=True, blank=True)
    environment = models.CharField(max_length=50, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_column="created_by",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    host_key = models.TextField(blank=True, help_text="The pinned key, as in known_hosts: type and base64.")

    class Meta:
        db_table = "server_credentials"
        ordering = ["name"]
        verbose_name = "server"

    def __str__(self) -> str:
        return self.name

    @property
    def fingerprint(self) -> str:
        """The pinned host key as OpenSSH prints it, `SHA256:…` after its type; "" where none is pinned."""
        if not self.host_key:
            return ""
        kind, encoded = self.host_key.split()[:2]
        digest = hashlib.sha256(base64.b64decode(encoded)).digest()
        return f"{kind} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def forget_login(self) -> None:
        """Drop the secrets and the host key: they belong to the host they were given for. Does not save."""
        self.ssh_key_encrypted = self.password_encrypted = None
        self.host_key = ""


class TerminalSessionQuerySet(models.QuerySet["TerminalSession"]):
    def for_user(self, user: object) -> TerminalSessionQuerySet:
        """What a person may see: one's own sessions, and all of them as an admin."""
        return self if getattr(user, "is_admin", False) else self.filter(user=user)


class TerminalSession(models.Model):
    """One recorded SSH session. What was seen is in the file at `recording_path`, which the server alone sets."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="terminal_sessions")
    server_credential = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="terminal_sessions")
    alert = models.ForeignKey(Alert, null=True, blank=True, on_delete=models.SET_NULL, related_name="terminal_sessions")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    recording_path = models.CharField(max_length=255, blank=True)

    objects = TerminalSessionQuerySet.as_manager()

    class Meta:
        db_table = "terminal_sessions"
        ordering = ["-started_at"]
        verbose_name = "terminal session"

    def __str__(self) -> str:
        return f"{self.server_credential_id} {self.started_at:%Y-%m-%d %H:%M}"
