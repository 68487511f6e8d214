"""LLM providers: storing one with its key, the one default, and asking whether its model answers."""

from __future__ import annotations

import uuid

from django.db import transaction
from django.utils import timezone

from aiops.lib import jobs
from aiops.lib.jobs import in_thread
from aiops.lib.secrets import seal
from assistant import llm
from assistant.models import LLMProvider
from audit.log import record

STORED = (
    "name", "provider_type", "model_id", "api_key_encrypted", "config_json", "is_default", "enabled",
    "test_state", "test_message", "tested_at",
)  # fmt: skip
TEST_DEADLINE = 60.0  # seconds: a local model may have to be loaded first
TEST_MESSAGES = ({"role": "user", "content": "This is a test of the connection. Answer with the single word OK."},)


class KeyProblem(ValueError):
    """An API key that no header can carry; the message does not repeat it."""


def checked_key(key: str) -> str:
    """The key without the white space around it that copying brings. Raises KeyProblem."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise KeyProblem("The key has spaces, line breaks or letters in it that no API key has. Copy it again.")
    if len(key) > 4096:
        raise KeyProblem("The key is longer than 4,096 characters.")
    return key


def store(provider: LLMProvider, *, key: str = "", clear_key: bool = False) -> None:
    """Save the provider, with a new `key` where one is given. A default one replaces the default; the first one is the default."""
    if key or clear_key:
        seal(provider, "api_key_encrypted", key)
    with transaction.atomic():
        others = LLMProvider.objects.select_for_update().exclude(pk=provider.pk).order_by("pk")
        defaults = [other.pk for other in others if other.is_default]
        provider.is_default = provider.is_default or not defaults
        if provider.is_default:
            LLMProvider.objects.filter(pk__in=defaults).update(is_default=False)
        # What a test said before is about a provider that it was.
        provider.test_state, provider.test_message, provider.tested_at = "", "", None
        provider.save(update_fields=None if provider._state.adding else STORED)


def request_test(provider: LLMProvider) -> None:
    """Ask the worker whether the provider's model answers. What comes of it is read on the provider: `test_state`, `test_message`."""
    with transaction.atomic():
        LLMProvider.objects.filter(pk=provider.pk).update(test_state="queued", test_message="", tested_at=None)
        jobs.defer("assistant.test_provider", provider_id=str(provider.pk))
        record("test_provider", provider, name=provider.name)


async def run_test(provider_id: uuid.UUID) -> None:
    """Ask the provider's model for one word, and note on the provider whether it came, and how fast."""
    provider = await in_thread(LLMProvider.objects.filter(pk=provider_id, test_state="queued").first)
    if provider is None:
        return
    try:
        said = await llm.complete(llm.ModelCall.to(provider), TEST_MESSAGES, schema=None, deadline=TEST_DEADLINE)
    except llm.LLMError as exc:
        state, message = "failed", str(exc)
    else:
        tokens = f"{said.tokens_in} tokens in, {said.tokens_out} out"
        state, message = "ok", f"{said.model} answered in {said.seconds:.1f} s ({tokens})."
    await in_thread(_note, provider_id, state, message)


def _note(provider_id: uuid.UUID, state: str, message: str) -> None:
    waiting = LLMProvider.objects.filter(pk=provider_id, test_state="queued")
    waiting.update(test_state=state, test_message=message[:1000], tested_at=timezone.now())
