"""Asking a model over real HTTP, through real litellm: what it says, and every way in which it can fail."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import models

from aiops.lib.secrets import seal
from assistant import llm
from assistant.llm import LLMError, ModelCall, complete
from assistant.models import LLMProvider
from tests.llm_server import ANSWER, Asked, LLMServer, Reply, completion, error, hang, html, redirect, serving

pytestmark = pytest.mark.xdist_group("litellm")

KEY = "sk-CANARY7f3a9b2c4d5e6f"
MESSAGES = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Why?"}]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"verdict": {"type": "string"}}, "required": ["verdict"]}


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with serving() as running:
        yield running


def provider(api_base: str, provider_type: str = "openai", key: str = KEY, **config: Any) -> LLMProvider:
    row = LLMProvider(
        name="scripted", provider_type=provider_type, model_id="gpt-test", config_json={"api_base": api_base, **config}
    )
    seal(row, "api_key_encrypted", key)
    return row


async def ask(row: LLMProvider, *, deadline: float = 20, schema: dict[str, Any] | None = None) -> llm.Completion:
    return await complete(ModelCall.to(row), MESSAGES, schema=schema, deadline=deadline)


async def failure(row: LLMProvider, *, deadline: float = 20) -> LLMError:
    with pytest.raises(LLMError) as caught:
        await ask(row, deadline=deadline)
    assert "litellm" not in str(caught.value).lower()
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))
    return caught.value


async def test_it_asks_with_the_key_and_parameters_and_returns_what_was_said(server: LLMServer) -> None:
    said = await ask(provider(server.api_base, temperature=0.3, max_tokens=700, organization="org-1"))
    assert '"verdict": "problem"' in said.text
    assert (said.tokens_in, said.tokens_out, said.finish_reason) == (120, 45, "stop")
    assert said.cost_usd is None, "no price is known for gpt-test"
    assert said.model == "gpt-test-2026"
    assert said.seconds > 0
    [asked] = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["OpenAI-Organization"] == "org-1"
    assert asked.json == {
        "model": "gpt-test",
        "messages": MESSAGES,
        "temperature": 0.3,
        "max_tokens": 700,
    }


async def test_it_knows_what_a_priced_model_cost(server: LLMServer) -> None:
    row = provider(server.api_base)
    row.model_id = "gpt-4o"
    said = await ask(row)
    assert said.cost_usd is not None and Decimal("0") < said.cost_usd < Decimal("0.01")


async def test_it_sends_no_key_of_the_environment_to_an_address_of_ones_own(
    server: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    await ask(provider(server.api_base, key=""))
    assert server.asked[0].headers["Authorization"] == "Bearer none"


async def test_it_asks_for_json_of_the_schema(server: LLMServer) -> None:
    await ask(provider(server.api_base, seed=1), schema=SCHEMA)
    form = server.asked[0].json["response_format"]
    assert form["type"] == "json_schema"
    asked = form["json_schema"]["schema"]
    assert asked == {**SCHEMA, "properties": asked["properties"]}
    assert asked["properties"]["verdict"] == {"type": "string", "maxLength": 600}


async def test_it_asks_without_bounds_where_the_server_knows_none(server: LLMServer) -> None:
    def strict_server(asked: Asked) -> Reply:
        return error(400, "maxLength is not permitted") if b"maxLength" in asked.body else completion(ANSWER)

    server.answer(strict_server)
    await ask(provider(server.api_base), schema=SCHEMA)
    assert server.asked[-1].json["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_it_asks_less_strictly_where_the_server_knows_no_schemas_and_remembers(server: LLMServer) -> None:
    def old_server(asked: Asked) -> Reply:
        return error(400, "unknown response_format") if "response_format" in asked.json else completion(ANSWER)

    server.answer(old_server)
    row = provider(server.api_base)
    await ask(row, schema=SCHEMA)
    await ask(row, schema=SCHEMA)
    forms = [asked.json.get("response_format", {}).get("type") for asked in server.asked]
    assert forms == ["json_schema", "json_schema", "json_object", None, None]


@pytest.mark.parametrize(
    "provider_type", ["openai", "azure", "anthropic", "ollama_chat", "gemini", "mistral", "hosted_vllm"]
)
@pytest.mark.parametrize("status", [302, 307])
async def test_it_follows_no_redirect_of_any_type_of_provider(
    server: LLMServer, provider_type: str, status: int
) -> None:
    with serving() as elsewhere:
        server.answer(redirect(status, f"{elsewhere.origin}/steal"))
        config = {"api_version": "2024-10-21"} if provider_type == "azure" else {}
        failed = await failure(provider(server.api_base, provider_type, **config))
        assert f"redirect ({status})" in str(failed)
        assert not failed.retryable
        assert len(server.asked) >= 1
        assert elsewhere.asked == []


async def test_it_does_not_ask_an_internal_address(server: LLMServer) -> None:
    row = provider("http://2852039166/latest/meta-data")
    failed = await failure(row)
    assert "metadata" in str(failed)
    assert (failed.retryable, failed.called) == (False, False)


async def test_it_does_not_ask_a_name_that_leads_to_an_internal_address(
    server: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The resolver is the outside world here; no test can have a name that leads to 169.254.169.254.
    def resolve(host: str, port: int, **kwargs: Any) -> list[Any]:
        if kwargs.get("flags"):
            raise OSError("not a number")
        return [(2, 1, 6, "", ("169.254.169.254", port))]

    monkeypatch.setattr("aiops.lib.addresses.socket.getaddrinfo", resolve)
    failed = await failure(provider("http://innocent.example/v1"))
    assert "169.254.169.254" in str(failed)
    assert failed.called is False


async def test_it_says_that_nobody_listens() -> None:
    with serving() as gone:
        address = gone.api_base
    failed = await failure(provider(address))
    assert "No connection to http://127.0.0.1" in str(failed)
    assert "Is the model's server running?" in str(failed)
    assert (failed.retryable, failed.called) == (True, False)


@pytest.mark.parametrize(
    "reply",
    [hang(), Reply(b"x" * 2000, drip=0.05), Reply(b" " * 2000, drip=0.05), Reply(b"{}" * 100, 500, drip=0.05)],
    ids=["hangs", "drips", "drips spaces", "drips an error"],
)
async def test_it_gives_up_at_its_own_deadline(server: LLMServer, reply: Reply) -> None:
    server.answer(reply)
    started = time.monotonic()
    failed = await failure(provider(server.api_base), deadline=0.7)
    assert str(failed) == "The model did not answer within 0.7 s."
    assert failed.retryable
    assert time.monotonic() - started < 15, "the server would have gone on for 30 s and more"
    assert len(server.asked) == 1


async def test_it_lets_a_provider_shorten_the_deadline(server: LLMServer) -> None:
    server.answer(hang())
    assert str(await failure(provider(server.api_base, timeout=1))) == "The model did not answer within 1 s."


@pytest.mark.parametrize(
    ("reply", "retryable", "words"),
    [
        (error(429, "slow down"), True, "answered 429, too many requests: slow down"),
        (error(500, "boom"), True, "answered 500: boom"),
        (error(503), True, "answered 503"),
        (html(502), True, "answered 502."),
        (error(400, "max_tokens is too large"), False, "answered 400: max_tokens is too large"),
        (error(404, "The model gpt-test does not exist"), False, "no such model or path (404): The model gpt-test does not"),
        (error(401, "bad key"), False, "refused the API key (401)"),
        (error(403), False, "refused the API key (403)"),
        (html(), False, "not in the form of a model's answer"),
        (Reply(b"{}"), False, "not in the form of a model's answer"),
        (Reply(b"[]"), False, "not in the form of a model's answer"),
        (Reply(b""), False, "not in the form of a model's answer"),
        (Reply(b"null"), False, "not in the form of a model's answer"),
        (Reply(b'{"choices": []}'), False, "not in the form of a model's answer"),
        (Reply(b'{"choices": [{}]}'), False, "not in the form of a model's answer"),
        (Reply(b"\xff\xfe\x00garbage"), False, "not in the form of a model's answer"),
        (Reply(b"[" * 100_000), False, "not in the form of a model's answer"),
        (Reply(completion(ANSWER).body, cut=40), True, "closed the connection before the answer was complete"),
        (Reply(b"{}", cut=0), True, "closed the connection before the answer was complete"),
        (Reply(b"x" * 10_000_000), False, "more than a model's answer can be"),
        (Reply(b"zip", headers={"Content-Encoding": "gzip"}), False, "compressed"),
        (completion(""), False, "answer was empty."),
        (completion(None, finish_reason="length"), False, "cut off: raise max_tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
async def test_it_puts_every_failure_into_words(server: LLMServer, reply: Reply, retryable: bool, words: str) -> None:
    server.answer(reply)
    failed = await failure(provider(server.api_base))
    assert words in str(failed)
    assert failed.retryable is retryable
    assert len(server.asked) == 1, "the job queue retries, nobody else"


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("-3", None), ("1e99", None), ("", None)]
)
async def test_it_passes_on_when_to_ask_again(server: LLMServer, header: str, seconds: float | None) -> None:
    server.answer(error(429, **{"Retry-After": header}))
    assert (await failure(provider(server.api_base))).retry_after == seconds


async def test_it_tells_where_an_answer_was_cut_off(server: LLMServer) -> None:
    server.answer(completion('{"verdict": "pro', finish_reason="length"))
    assert (await ask(provider(server.api_base))).finish_reason == "length"


async def test_it_replaces_what_the_database_cannot_store(server: LLMServer) -> None:
    server.answer(completion("a\x00b\ud800c"))
    assert (await ask(provider(server.api_base))).text == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
@pytest.mark.parametrize("provider_type", ["openai", "anthropic"])
async def test_it_repeats_the_key_nowhere_when_the_server_does(
    server: LLMServer,
    provider_type: str,
    status: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.answer(error(status, f"Incorrect API key provided: {KEY}. In parts: {KEY[:9]}…{KEY[-8:]}"))
    with caplog.at_level(logging.DEBUG):
        failed = await failure(provider(server.api_base, provider_type))
        logging.getLogger("aiops.test").error("a model failed", exc_info=failed)
    printed = "".join(capfd.readouterr())
    for told in (str(failed), repr(failed), caplog.text, printed):
        assert "CANARY" not in told and KEY[-8:] not in told


async def test_it_refuses_stored_parameters_that_are_not_allowed(server: LLMServer) -> None:
    row = provider(server.api_base, extra_headers={"Authorization": "x"})
    failed = await failure(row)
    assert "extra_headers" in str(failed)
    assert server.asked == []


async def test_it_says_that_a_key_cannot_be_read(server: LLMServer) -> None:
    row, other = provider(server.api_base), provider(server.api_base)
    row.api_key_encrypted = other.api_key_encrypted
    failed = await failure(row)
    assert "belongs to another row" in str(failed)
    assert (failed.retryable, failed.called) == (False, False)


async def test_it_says_that_a_provider_type_is_unknown(server: LLMServer) -> None:
    row = provider(server.api_base, "nosuchprovider")
    with pytest.raises(LLMError, match="could not be called") as caught:
        await ask(row)
    assert (caught.value.retryable, caught.value.called) == (False, False)


def test_it_keeps_the_key_out_of_what_is_printed() -> None:
    call = ModelCall.to(provider("http://127.0.0.1:1/v1"))
    assert isinstance(call.provider, models.Model)
    assert "gAAAA" not in repr(call) and "CANARY" not in repr(call)
