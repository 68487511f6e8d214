"""The webhook's door: who may send, what is refused, and that nothing is redirected."""

from __future__ import annotations

import base64

import pytest
from django.test import Client

from incidents.models import Alert, QuarantinedAlert
from tests.webhook_client import Sender, alert, notification

pytestmark = pytest.mark.django_db


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize("path", ["/webhook/alerts", "/webhook/alerts/"])
def test_it_takes_alerts_with_and_without_a_slash(sender: Sender, path: str) -> None:
    response = sender.post(notification(alert()), path=path)
    assert (response.status, response.json()) == (200, {"received": 1, "quarantined": 0})
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_it_answers_405_to_all_but_post_even_without_a_token(sender: Sender, method: str) -> None:
    response = sender.request(method, headers={"authorization": ""})
    assert (response.status, response.headers["allow"]) == (405, "POST")


def test_it_takes_the_token_as_the_password_of_basic_auth(sender: Sender) -> None:
    assert sender.post(notification(alert()), headers=basic("anybody", sender.token)).status == 200
    assert sender.post(notification(alert()), headers=basic("", sender.token)).status == 200


@pytest.mark.parametrize(
    ("authorization", "said"),
    [
        ("", "header is missing"),
        ("Bearer", "holds no token"),
        ("Bearer wrong", "not that of an enabled source"),
        ("Bearer \xff\xfe", "not that of an enabled source"),
        ("Bearer " + "x" * 5000, "holds no token"),
        ("Digest abc", "must be Bearer or Basic"),
        ("Basic !!!", "not valid basic auth"),
        ("Basic " + base64.b64encode(b"user-only").decode(), "holds no token"),
    ],
)
def test_it_refuses_whoever_has_no_token_with_401_in_plain_words(sender: Sender, authorization: str, said: str) -> None:
    response = sender.post(notification(alert()), headers={"authorization": authorization})
    assert response.status == 401
    assert said in response.json()["error"]
    assert "Bearer" in response.headers["www-authenticate"]
    assert not Alert.objects.exists()


def test_it_refuses_a_revoked_token_from_the_next_post_on(sender: Sender) -> None:
    sender.send(alert())
    sender.source.revoke()
    sender.source.save()
    assert sender.post(notification(alert())).status == 401
    assert Alert.objects.get().occurrences == 1


def test_it_refuses_a_replaced_token_and_takes_the_new_one(sender: Sender) -> None:
    sender.send(alert())
    new = sender.source.new_token()
    sender.source.save()
    assert sender.post(notification(alert())).status == 401
    assert Sender(sender.source, new).post(notification(alert())).status == 200


def test_it_refuses_a_disabled_source(sender: Sender) -> None:
    sender.send(alert())
    sender.source.enabled = False
    sender.source.save()
    assert sender.post(notification(alert())).status == 401


def test_it_keeps_nothing_of_a_body_sent_with_a_revoked_token(sender: Sender) -> None:
    sender.send(alert())
    sender.source.revoke()
    sender.source.save()
    assert sender.post(b"not even JSON").status == 401
    assert not QuarantinedAlert.objects.exists()


def test_it_never_logs_or_echoes_the_token(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    good = sender.post(b"{")
    bad = sender.post(notification(alert()), headers={"authorization": f"Bearer x{sender.token}"})
    said = "".join(str(vars(record)) for record in caplog.records) + good.body.decode() + bad.body.decode()
    assert sender.token not in said
    assert caplog.records, "the refused body is in the log"


def test_it_refuses_a_compressed_body_with_415(sender: Sender) -> None:
    response = sender.post(b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert (response.status, "Content-Encoding" in response.json()["error"]) == (415, True)


def test_it_refuses_a_declared_length_beyond_the_limit_before_reading(sender: Sender) -> None:
    response = sender.post(b"{}", headers={"content-length": str(33 * 2**20)})
    assert response.status == 413
    assert sender.post(b"{}", headers={"content-length": "9" * 5000}).status == 413


def test_it_asks_for_the_token_before_it_reads_the_body(sender: Sender) -> None:
    big = b" " * (32 * 2**20 + 1)
    assert sender.post(big, headers={"authorization": "Bearer wrong"}, chunk=2**20).status == 401


def test_it_takes_a_body_in_many_pieces_and_whatever_content_type(sender: Sender) -> None:
    body = notification(alert(annotations={"summary": "ünïcode"}))
    response = sender.post(body, headers={"content-type": "text/plain"}, chunk=7)
    assert response.status == 200
    assert Alert.objects.get().annotations_json == {"summary": "ünïcode"}


def test_it_takes_a_notification_without_alerts(sender: Sender) -> None:
    assert sender.post(notification()).json() == {"received": 0, "quarantined": 0}


def test_it_tells_that_the_source_was_heard_of(sender: Sender) -> None:
    sender.send(alert())
    sender.source.refresh_from_db()
    assert sender.source.last_received_at == Alert.objects.get().timestamp


def test_a_flood_of_bad_bodies_does_not_fill_the_quarantine(sender: Sender) -> None:
    for _ in range(80):
        assert sender.post(b"{").status == 400
    assert 40 <= QuarantinedAlert.objects.count() <= 55


def test_a_body_full_of_bad_alerts_is_kept_as_a_sample_with_the_count(sender: Sender) -> None:
    assert sender.send(*range(500)).json() == {"received": 500, "quarantined": 500}
    assert QuarantinedAlert.objects.count() == 20
    assert QuarantinedAlert.objects.filter(reason__startswith="481 more alerts").exists()


def test_django_itself_has_no_webhook_that_could_redirect(client: Client) -> None:
    assert client.post("/webhook/alerts").status_code == 404
