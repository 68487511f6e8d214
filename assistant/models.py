from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Length

from aiops.lib.secrets import SecretField
from incidents.models import Alert


class LLMProvider(models.Model):
    """One model that can be asked: what litellm calls it, its key, its parameters."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    provider_type = models.CharField(max_length=50, help_text="As litellm names it: openai, anthropic, ollama, azure …")
    model_id = models.CharField(max_length=100, help_text="The model's name there, such as gpt-4o.")
    api_key_encrypted = SecretField(null=True, blank=True)
    is_default = models.BooleanField(default=False)
    config_json = models.JSONField(
        default=dict, blank=True, help_text="Parameters: api_base, temperature, max_tokens, timeout …"
    )
    enabled = models.BooleanField(default=True)
    test_state = models.CharField(max_length=10, blank=True, editable=False)  # queued, ok, failed
    test_message = models.TextField(blank=True, editable=False)
    tested_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "llm_providers"
        ordering = ["name"]
        verbose_name = "LLM provider"
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=models.Q(is_default=True), name="llm_providers_one_default"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Analysis(models.Model):
    """One run: the alerts it covers, who was asked, what it cost, what came out."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        SKIPPED = "skipped"

    class Trigger(models.TextChoices):
        RULE = "rule", "a rule"
        PERSON = "person", "a person"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    alerts = models.ManyToManyField(Alert, related_name="analyses", db_table="analyses_alerts")
    source_id = models.UUIDField()  # with group_hash, the group it was made for
    group_hash = models.CharField(max_length=64)
    provider = models.ForeignKey(LLMProvider, null=True, blank=True, on_delete=models.SET_NULL, related_name="analyses")
    model_name = models.CharField(max_length=200, blank=True)
    prompt_version = models.CharField(max_length=20, blank=True)
    trigger = models.CharField(max_length=10, choices=Trigger.choices, default=Trigger.RULE)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    job_id = models.BigIntegerField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    called_at = models.DateTimeField(null=True, blank=True)  # when a model was first asked: what the budget counts
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)  # null: price unknown
    error = models.TextField(blank=True)
    result_json = models.JSONField(null=True, blank=True)
    superseded = models.BooleanField(default=False)

    class Meta:
        db_table = "analyses"
        ordering = ["-created_at"]
        verbose_name_plural = "analyses"
        indexes = [
            models.Index(fields=["source_id", "group_hash", "-created_at"], name="analyses_group"),
            models.Index(fields=["-called_at"], name="analyses_budget"),
            models.Index(fields=["state"], name="analyses_open", condition=models.Q(state__in=["queued", "running"])),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.created_at:%Y-%m-%d %H:%M:%S}"


class Evidence(models.Model):
    """One stored fact that an analysis was given and may cite by its `number`: E1, E2 …"""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    analysis = models.ForeignKey(Analysis, on_delete=models.CASCADE, related_name="evidence")
    number = models.CharField(max_length=10)
    kind = models.CharField(max_length=30)
    title = models.CharField(max_length=200)
    query = models.TextField(blank=True)
    text = models.TextField()
    truncated = models.BooleanField(default=False)
    captured_at = models.DateTimeField()

    class Meta:
        db_table = "evidence"
        ordering = ["analysis", Length("number"), "number"]  # E2 before E10
        constraints = [models.UniqueConstraint(fields=["analysis", "number"], name="evidence_number")]
        verbose_name_plural = "evidence"

    def __str__(self) -> str:
        return f"{self.number} {self.title}"


class ChatSessionQuerySet(models.QuerySet["ChatSession"]):
    def for_user(self, user: object) -> ChatSessionQuerySet:
        """What a person may see: one's own conversations, and all of them as an admin."""
        return self if getattr(user, "is_admin", False) else self.filter(user=user)


class ChatSession(models.Model):
    """A conversation with the assistant, perhaps about one alert."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="chat_sessions")
    alert = models.ForeignKey(Alert, null=True, blank=True, on_delete=models.SET_NULL, related_name="chat_sessions")
    title = models.CharField(max_length=255, blank=True)
    llm_provider = models.ForeignKey(LLMProvider, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ChatSessionQuerySet.as_manager()

    class Meta:
        db_table = "chat_sessions"
        ordering = ["-updated_at"]

    def __str__(self) -> str:
        return self.title


class ChatMessage(models.Model):
    """One message of a conversation."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"
        SYSTEM = "system"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="messages")
    role = models.CharField(max_length=20, choices=Role.choices)
    content = models.TextField(blank=True)
    tokens_used = models.IntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "chat_messages"
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"{self.role}: {self.content[:40]}"
