"""Models: the only module that knows litellm, which is imported when a model is first called and never in the web process."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any

from aiops.lib.logs import redact_text
from aiops.lib.secrets import SecretError, reveal
from aiops.lib.text import clean
from assistant.models import LLMProvider
from assistant.outbound import Exchange, Failure, GuardedSyncTransport, GuardedTransport, recorded, told
from assistant.parameters import ParameterError, checked

Message = Mapping[str, str]  # role, content

# How an answer's form is asked for, best first. A server that refuses one with 400 or 422 is asked by the next.
# The bounded schema ends lists and texts that a small model would go on with for ever; not every server takes it.
_FORMS = ("bounded_schema", "json_schema", "json_object", "plain")
LONGEST_LIST, LONGEST_TEXT = 8, 600
_form_of: dict[tuple[Any, ...], int] = {}  # what worked with a model before, for as long as this process lives
_UNAVAILABLE = {408, 409, 425, 429}


class LLMError(Exception):
    """A model gave no answer. The message is for people and free of secrets; `retryable` where asking later may help.

    `retry_after` is what the server asked for, in seconds. `called` is False where nothing was sent.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, retry_after: float | None = None, called: bool = True
    ) -> None:
        super().__init__(message)
        self.retryable, self.retry_after, self.called = retryable, retry_after, called


@dataclass(frozen=True)
class ModelCall:
    """Whom to ask, and how: a provider as it stood when the call was decided. The key is read at the last moment."""

    provider: LLMProvider = field(repr=False)
    provider_type: str
    model_id: str
    parameters: Mapping[str, Any]

    @classmethod
    def to(cls, provider: LLMProvider) -> ModelCall:
        return cls(provider, provider.provider_type, provider.model_id, dict(provider.config_json or {}))

    @property
    def model(self) -> str:
        return f"{self.provider_type}/{self.model_id}"


@dataclass(frozen=True)
class Completion:
    """What a model said. `cost_usd` is None where the model's price is unknown; `seconds` is the time it took."""

    text: str
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal | None
    model: str
    seconds: float
    finish_reason: str


async def complete(
    call: ModelCall, messages: Sequence[Message], *, schema: Mapping[str, Any] | None, deadline: float
) -> Completion:
    """Ask a model once and return its whole answer, within `deadline` seconds in all. Raises LLMError, nothing else.

    `schema` asks for JSON of that shape as strictly as the model's server can be asked; whether it came is the caller's to check.
    """
    arguments, key = _arguments(call)
    litellm = await asyncio.to_thread(_litellm)  # the first import takes seconds, which are not the model's
    started = time.monotonic()
    deadline = min(deadline, float(call.parameters.get("timeout", deadline)))
    memory = (call.model, str(call.parameters.get("api_base", "")))
    form = _form_of.get(memory, 0) if schema else len(_FORMS) - 1
    while True:
        left = deadline - (time.monotonic() - started)
        with recorded() as exchange:
            try:
                async with asyncio.timeout(max(left, 0.01)):
                    asked = _request(messages, _FORMS[form], schema, left)
                    response = await litellm.acompletion(**asked, **arguments)
                answer = _read(response, time.monotonic() - started, call)
            except TimeoutError:
                raise LLMError(f"The model did not answer within {deadline:g} s.", retryable=True) from None
            except Exception as exc:  # noqa: BLE001 (litellm raises what its providers raise, and wraps the rest at will)
                if exchange.status in (400, 422) and form + 1 < len(_FORMS) and not _too_long(exc):
                    form += 1
                    continue
                # Without the cause: litellm's exceptions hold the request, its headers and what the server made of them.
                raise _explained(exc, exchange, deadline, key) from None
        if not exchange.requests:  # else redirects and addresses of the inside would go unchecked
            raise LLMError(f"The type “{call.provider_type}” is called in a way that cannot be guarded. Use another.")
        _form_of[memory] = form
        if not answer.text.strip():
            cut = " It was cut off: raise max_tokens." if answer.finish_reason == "length" else ""
            raise LLMError(f"The model's answer was empty.{cut}")
        return answer


def _arguments(call: ModelCall) -> tuple[dict[str, Any], str]:
    """What litellm is called with, and the key in clear. Raises LLMError where the provider cannot be used as it is stored."""
    try:
        parameters = dict(checked(call.parameters))
        key = reveal(call.provider, "api_key_encrypted")
    except (ParameterError, SecretError) as exc:
        raise LLMError(f"The provider “{call.provider}” cannot be used: {exc}", called=False) from exc
    parameters.pop("timeout", None)
    if not key and "api_base" in parameters:
        key = (
            "none"  # else litellm would send the key that the environment holds for this type, wherever api_base leads
        )
    return {"model": call.model, **parameters, **({"api_key": key} if key else {})}, key


def _request(messages: Sequence[Message], form: str, schema: Mapping[str, Any] | None, left: float) -> dict[str, Any]:
    formats: dict[str, Any] = {
        "bounded_schema": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": _bounded(schema), "strict": True},
        },
        "json_schema": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}},
        "json_object": {"type": "json_object"},
    }
    return {
        "messages": [dict(message) for message in messages],
        "timeout": left,  # litellm's is per read; the deadline is our own
        "num_retries": 0,
        "max_retries": 0,
        "drop_params": True,
        **({"response_format": formats[form]} if form in formats else {}),
    }


def _bounded(schema: Any) -> Any:
    """The schema with an end for each list and each free text in it."""
    if isinstance(schema, list):
        return [_bounded(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    bounded = {name: _bounded(value) for name, value in schema.items()}
    if schema.get("type") == "array":
        bounded["maxItems"] = LONGEST_LIST
    elif schema.get("type") == "string" and "enum" not in schema:
        bounded["maxLength"] = LONGEST_TEXT
    return bounded


@cache
def _litellm() -> Any:
    """litellm, imported once, quiet, offline, and with our transport under every client that it makes."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"  # it reads no .env
    import litellm
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler, HTTPHandler

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # its lines quote requests and answers
    for name in ("create_async_transport", "_create_async_transport"):
        setattr(AsyncHTTPHandler, name, staticmethod(lambda *args, **kwargs: GuardedTransport()))
    for name in ("_create_sync_transport",):
        setattr(HTTPHandler, name, lambda self: GuardedSyncTransport())
    return litellm


def _read(response: Any, seconds: float, call: ModelCall) -> Completion:
    choice = response.choices[0]
    usage = getattr(response, "usage", None)
    cost = (getattr(response, "_hidden_params", None) or {}).get("response_cost")
    return Completion(
        text=clean(choice.message.content or ""),
        tokens_in=int(getattr(usage, "prompt_tokens", 0) or 0),
        tokens_out=int(getattr(usage, "completion_tokens", 0) or 0),
        cost_usd=Decimal(str(cost)).quantize(Decimal("0.000001")) if cost else None,
        model=clean(str(getattr(response, "model", "") or call.model_id))[:200],
        seconds=seconds,
        finish_reason=str(choice.finish_reason or ""),
    )


def _too_long(exc: Exception) -> bool:
    return type(exc).__name__ == "ContextWindowExceededError"


def _explained(exc: Exception, exchange: Exchange, deadline: float, key: str) -> LLMError:
    """What happened, in words: from the wire where it was reached, from litellm where it never was."""
    if exchange.failure:
        return _wire_error(exchange, exchange.failure, deadline)
    if exchange.status is not None and exchange.status >= 400:
        return _status_error(exchange, exchange.status, key)
    if exchange.requests:
        return LLMError(
            f"{exchange.host} answered, but not in the form of a model's answer. Check api_base and the model."
        )
    said = _safe(str(getattr(exc, "message", "") or exc).split("\n")[0], key)
    return LLMError(f"The model could not be called: {said or type(exc).__name__}", called=False)


def _wire_error(exchange: Exchange, failure: Failure, deadline: float) -> LLMError:
    host, detail = exchange.host, clean(exchange.detail)[:200]
    messages = {
        Failure.ADDRESS: f"The model was not called. {detail}",
        Failure.CONNECT: f"No connection to {host} ({detail or 'refused'}). Is the model's server running?",
        Failure.TIMEOUT: f"The model did not answer within {deadline:g} s.",
        Failure.BROKEN: f"{host} closed the connection before the answer was complete.",
        Failure.REDIRECT: f"{host} answered with a redirect ({exchange.status}), and those are not followed. Correct api_base.",
        Failure.TOO_LARGE: f"{host} sent more than a model's answer can be; it was cut off. Check api_base.",
        Failure.ENCODED: f"{host} sent a compressed answer although none was asked for. Check api_base.",
    }
    return LLMError(
        messages[failure],
        retryable=failure in (Failure.CONNECT, Failure.TIMEOUT, Failure.BROKEN),
        called=failure not in (Failure.ADDRESS, Failure.CONNECT),
    )


def _status_error(exchange: Exchange, status: int, key: str) -> LLMError:
    host = exchange.host
    if status in (401, 403):
        # Its words are left out: they often repeat the key.
        return LLMError(f"{host} refused the API key ({status}). Enter a valid one under Admin → LLM providers.")
    said = _safe(told(exchange.body), key)
    because = f": {said}" if said else "."
    if status == 404:
        return LLMError(f"{host} knows no such model or path (404){because}")
    if status == 429:
        return LLMError(
            f"{host} answered 429, too many requests{because}", retryable=True, retry_after=exchange.retry_after
        )
    retryable = status >= 500 or status in _UNAVAILABLE
    return LLMError(f"{host} answered {status}{because}", retryable=retryable, retry_after=exchange.retry_after)


def _safe(text: str, key: str) -> str:
    """At most 300 characters of what a stranger said, on one line; "" where any part of it could be from the key."""
    line = " ".join("".join(char if char.isprintable() else " " for char in clean(text)).split())[:300]
    pieces = {key[start : start + 6] for start in range(max(len(key) - 5, 0))} if len(key) > 5 else {key} - {""}
    if key != "none" and any(piece in line for piece in pieces):
        return ""
    return redact_text(line)
