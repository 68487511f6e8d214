"""LLM providers: by an admin in the admin, and by scripts with `create_provider`."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.models import User
from aiops.lib.secrets import reveal, seal
from assistant.jobs import test_provider as run_test
from assistant.models import LLMProvider
from audit.models import AuditEntry
from tests import factories
from tests.llm_server import LLMServer, error, serving

run_test.__test__ = False  # a job, not a test
LIST = "/admin/assistant/llmprovider/"
KEY = "sk-CANARY7f3a9b2c4d5e6f"
pytestmark = pytest.mark.django_db


def form(**changed: Any) -> dict[str, Any]:
    """The form as the browser sends it; None leaves a field out, as an unticked box is."""
    values = {
        "name": "OpenAI", "provider_type": "openai", "model_id": "gpt-4o", "api_key": "", "config_json": "{}", "enabled": "on",
        **changed,
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


def add(client: Client, **changed: Any) -> Any:
    return client.post(f"{LIST}add/", form(**changed))


def change(client: Client, provider: LLMProvider, **changed: Any) -> Any:
    return client.post(f"{LIST}{provider.pk}/change/", form(**changed))


def errors(response: Any) -> str:
    assert response.status_code == 200, "the form again"
    return str(response.context["adminform"].form.errors)


@pytest.fixture
def stored(carol_client: Client) -> LLMProvider:
    add(carol_client, api_key=KEY, config_json='{"temperature": 0.2}')
    return LLMProvider.objects.get()


def test_it_stores_a_provider_with_its_key_encrypted(carol: User, stored: LLMProvider) -> None:
    assert (stored.provider_type, stored.model_id, stored.config_json) == ("openai", "gpt-4o", {"temperature": 0.2})
    assert "CANARY" not in stored.api_key_encrypted
    assert reveal(stored, "api_key_encrypted") == KEY
    entry = AuditEntry.objects.get(action="create_provider")
    assert (entry.user, entry.resource_id) == (carol, stored.pk)
    assert "CANARY" not in json.dumps(entry.details_json)


def test_the_key_is_never_shown(carol_client: Client, stored: LLMProvider) -> None:
    for url in (LIST, f"{LIST}{stored.pk}/change/", f"{LIST}{stored.pk}/history/"):
        page = carol_client.get(url).content.decode()
        assert "CANARY" not in page and stored.api_key_encrypted not in page
    assert "stored; leave empty to keep it" in carol_client.get(f"{LIST}{stored.pk}/change/").content.decode()


def test_an_empty_key_keeps_the_stored_one(carol_client: Client, stored: LLMProvider) -> None:
    change(carol_client, stored, model_id="gpt-4o-mini", is_default="on")
    stored.refresh_from_db()
    assert stored.model_id == "gpt-4o-mini"
    assert reveal(stored, "api_key_encrypted") == KEY
    entry = AuditEntry.objects.get(action="change_provider")
    assert entry.details_json["values"]["model_id"] == ["gpt-4o", "gpt-4o-mini"]


def test_a_new_key_replaces_it_and_the_box_removes_it(carol_client: Client, stored: LLMProvider) -> None:
    change(carol_client, stored, api_key="  sk-new \n", is_default="on")
    stored.refresh_from_db()
    assert reveal(stored, "api_key_encrypted") == "sk-new"
    assert "sk-new" not in json.dumps(list(AuditEntry.objects.values_list("details_json", flat=True)))
    change(carol_client, stored, clear_api_key="on", is_default="on")
    stored.refresh_from_db()
    assert stored.api_key_encrypted is None
    assert "api_key" in AuditEntry.objects.filter(action="change_provider").last().details_json["fields"]


def test_a_stored_key_is_not_sent_to_a_new_address_unseen(carol_client: Client, stored: LLMProvider) -> None:
    elsewhere = '{"api_base": "https://elsewhere.example/v1"}'
    assert "enter it again" in errors(change(carol_client, stored, config_json=elsewhere, is_default="on"))
    assert "enter it again" in errors(change(carol_client, stored, provider_type="groq", is_default="on"))
    change(carol_client, stored, config_json=elsewhere, api_key="sk-for-elsewhere", is_default="on")
    stored.refresh_from_db()
    assert reveal(stored, "api_key_encrypted") == "sk-for-elsewhere"


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-ä", "x" * 5_000, "a\x00b"])
def test_it_refuses_what_is_no_key_without_repeating_it(carol_client: Client, key: str) -> None:
    response = add(carol_client, api_key=key)
    assert "key" in errors(response)
    assert not LLMProvider.objects.exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[1]", "Enter an object"),
        ("{", "valid JSON"),
        ('{"temperature": 9}', "“temperature” takes a number from 0 to 2."),
        ('{"temperature": NaN}', "“temperature” takes a number"),
        ('{"temperature": true}', "“temperature” takes a number"),
        ('{"max_tokens": 1.5}', "“max_tokens” takes a whole number"),
        ('{"api_base": "169.254.169.254"}', "“api_base” cannot be this address"),
        ('{"api_base": "http://169.254.169.254/v1"}', "link-local"),
        ('{"api_base": "http://2852039166/"}', "link-local"),
        ('{"api_base": "http://[::ffff:169.254.169.254]/"}', "link-local"),
        ('{"api_base": "http://0.0.0.0:1234/"}', "unspecified"),
        ('{"api_base": "http://me:pw@host/"}', "Leave user and password out"),
        ('{"api_base": "http://host/?key=1"}', "without ? and #"),
        ('{"api_base": "http://host/\\u0000"}', "takes an address"),
        ('{"organization": "os.environ/SECRET_KEY"}', "takes a name"),
        ('{"api_key": "sk-1"}', "Secrets go into the field for the API key"),
        ('{"extra_headers": {}}', "Secrets go into the field for the API key"),
        ('{"mock_response": "x"}', "is not a known parameter"),
        ('{"api_base": 5}', "takes an address"),
    ],
)
def test_it_says_what_is_wrong_with_the_parameters(carol_client: Client, config: str, words: str) -> None:
    response = add(carol_client, config_json=config)
    assert words in errors(response).replace("&#x27;", "'")
    assert not LLMProvider.objects.exists()


@pytest.mark.parametrize("value", ["", "Open AI", "os.environ/X", "openai/../x", "aiohttp_openai"])
def test_it_refuses_what_is_no_type(carol_client: Client, value: str) -> None:
    assert errors(add(carol_client, provider_type=value))


def test_it_suggests_types_and_takes_any_other(carol_client: Client) -> None:
    page = carol_client.get(f"{LIST}add/").content.decode()
    assert '<datalist id="provider-types">' in page and '<option value="anthropic">' in page
    add(carol_client, provider_type="some_new_one")
    assert LLMProvider.objects.get().provider_type == "some_new_one"


def test_there_is_one_default_always(carol_client: Client) -> None:
    add(carol_client, name="first")
    assert LLMProvider.objects.get(is_default=True).name == "first", "somebody has to be"
    add(carol_client, name="second", is_default="on")
    assert LLMProvider.objects.get(is_default=True).name == "second"
    add(carol_client, name="third")
    assert LLMProvider.objects.get(is_default=True).name == "second"
    second = LLMProvider.objects.get(name="second")
    assert "tick this box there" in errors(change(carol_client, second, name="second"))
    first = LLMProvider.objects.get(name="first")
    change(carol_client, first, name="first", is_default="on")
    assert LLMProvider.objects.get(is_default=True).name == "first"


def test_a_name_is_taken_once(carol_client: Client, stored: LLMProvider) -> None:
    assert "already exists" in errors(add(carol_client))


def test_deleting_is_audited(carol_client: Client, stored: LLMProvider) -> None:
    carol_client.post(f"{LIST}{stored.pk}/delete/", {"post": "yes"})
    assert not LLMProvider.objects.exists()
    assert AuditEntry.objects.get(action="delete_provider").details_json["name"] == "OpenAI"


def test_only_admins_come_here(alice_client: Client, client: Client, stored: LLMProvider) -> None:
    for url in (LIST, f"{LIST}add/", f"{LIST}{stored.pk}/change/", f"{LIST}{stored.pk}/test/"):
        assert alice_client.post(url).status_code == 403
        assert client.post(url).status_code == 302
    assert not ProcrastinateJob.objects.filter(task_name="assistant.test_provider").exists()


# -- the test of the connection ----------------------------------------------------------------------------------------


def test_testing_asks_the_worker_and_is_audited(carol_client: Client, stored: LLMProvider) -> None:
    response = carol_client.post(f"{LIST}{stored.pk}/test/", follow=True)
    assert "Waiting for the worker" in response.content.decode()
    [job] = ProcrastinateJob.objects.filter(task_name="assistant.test_provider")
    assert job.args == {"provider_id": str(stored.pk)}
    assert AuditEntry.objects.get(action="test_provider").resource_id == stored.pk


def test_a_test_is_a_post_and_wants_a_token(carol: User, carol_client: Client, stored: LLMProvider) -> None:
    assert carol_client.get(f"{LIST}{stored.pk}/test/").status_code == 405
    assert carol_client.post(f"{LIST}{uuid.uuid4()}/test/").status_code == 404
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(carol, backend="accounts.backends.RoleBackend")
    assert strict.post(f"{LIST}{stored.pk}/test/").status_code == 403


@pytest.fixture
def model() -> Iterator[LLMServer]:
    with serving() as server:
        yield server


def waiting(server: LLMServer) -> LLMProvider:
    provider = factories.provider(config_json={"api_base": server.api_base}, test_state="queued")
    seal(provider, "api_key_encrypted", KEY)
    provider.save()
    return provider


@pytest.mark.xdist_group("litellm")
@pytest.mark.django_db(transaction=True)
def test_the_test_says_that_the_model_answers(model: LLMServer, carol_client: Client) -> None:
    provider = waiting(model)
    asyncio.run(run_test(str(provider.pk)))
    provider.refresh_from_db()
    assert provider.test_state == "ok"
    assert provider.test_message.startswith("gpt-test-2026 answered in ")
    assert provider.tested_at is not None
    page = carol_client.get(f"{LIST}{provider.pk}/change/").content.decode()
    assert "Works. gpt-test-2026 answered in" in page
    asyncio.run(run_test(str(provider.pk)))
    assert len(model.asked) == 1, "a job that is delivered twice asks once"


@pytest.mark.xdist_group("litellm")
@pytest.mark.django_db(transaction=True)
def test_the_test_says_why_the_model_does_not_answer(model: LLMServer, carol_client: Client) -> None:
    model.answer(error(401, f"Incorrect key {KEY}"))
    provider = waiting(model)
    asyncio.run(run_test(str(provider.pk)))
    provider.refresh_from_db()
    assert provider.test_state == "failed"
    assert "refused the API key (401)" in provider.test_message
    page = carol_client.get(f"{LIST}{provider.pk}/change/").content.decode()
    assert "Failed." in page and "CANARY" not in page


# -- the command -------------------------------------------------------------------------------------------------------


def create(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("create_provider", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_command_creates_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    out, err = create(
        "Local", "--type", "openai", "--model", "qwen", "--api-base", "http://127.0.0.1:8081/v1",
        "--api-key-env", "MY_KEY", "--config", '{"max_tokens": 500}',
    )  # fmt: skip
    provider = LLMProvider.objects.get()
    assert provider.config_json == {"max_tokens": 500, "api_base": "http://127.0.0.1:8081/v1"}
    assert reveal(provider, "api_key_encrypted") == KEY
    assert provider.is_default, "the first one is"
    assert out == "Created the provider “Local”. It is the default.\n"
    assert err == ""
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.username, entry.details_json["model"]) == ("create_provider", "system", "openai/qwen")
    assert "CANARY" not in out + json.dumps(entry.details_json)


def test_the_command_changes_nothing_the_second_time() -> None:
    create("Local", "--type", "openai", "--model", "qwen")
    out, err = create("Local", "--type", "openai", "--model", "other")
    assert out == ""
    assert "nothing was changed" in err
    assert LLMProvider.objects.get().model_id == "qwen"
    assert AuditEntry.objects.count() == 1


def test_the_command_replaces_the_default() -> None:
    create("First", "--type", "openai", "--model", "a")
    assert create("Second", "--type", "openai", "--model", "b")[0] == "Created the provider “Second”.\n"
    create("Third", "--type", "openai", "--model", "c", "--default")
    assert LLMProvider.objects.get(is_default=True).name == "Third"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--api-key-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE is not set"),
        (["--config", "{"], "--config is no JSON"),
        (["--config", "[]"], "--config takes an object"),
        (["--config", '{"temperature": 5}'], "“temperature” takes a number from 0 to 2."),
        (["--api-base", "http://169.254.169.254/"], "link-local"),
        (["--type", "Not A Type"], "Enter the type as litellm names it"),
        (["--model", "m" * 200], "at most 100 characters"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], words: str) -> None:
    defaults = ["--type", "openai", "--model", "m"]
    with pytest.raises(CommandError, match=".") as caught:
        create("New", *defaults, *arguments)
    assert words in str(caught.value)
    assert not LLMProvider.objects.exists()
