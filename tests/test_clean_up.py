"""The periodic clean-up: what it deletes, what it keeps, and that it says so."""

from __future__ import annotations

import datetime as dt

import pytest
from axes.models import AccessAttempt
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

from accounts.models import SystemConfig, User
from aiops.jobs import clean_up
from aiops.lib import batches, jobs
from assistant.models import Analysis, Evidence
from audit.models import AuditEntry
from incidents.models import Alert, AlertEvent, QuarantinedAlert
from tests import factories
from tests.live import Console, wait_until

NOW = timezone.now()
LONG_AGO = NOW - dt.timedelta(days=400)
LATELY = NOW - dt.timedelta(days=300)


def old_alert(**fields: object) -> Alert:
    return factories.alert(
        **{"status": "resolved", "timestamp": LONG_AGO, "starts_at": LONG_AGO, "last_seen_at": LONG_AGO, **fields}
    )


def quarantined(received_at: dt.datetime) -> QuarantinedAlert:
    return QuarantinedAlert.objects.create(received_at=received_at, reason="odd", excerpt="x", size=1)


@pytest.mark.django_db
def test_it_deletes_old_resolved_alerts_with_their_history_and_keeps_the_rest() -> None:
    gone = old_alert()
    kept = {
        "still firing": old_alert(status="firing"),
        "resolved lately": old_alert(last_seen_at=LATELY),
        "received lately": old_alert(timestamp=LATELY, last_seen_at=LATELY),
        "after it": old_alert(last_seen_at=LATELY, previous=gone),
    }
    clean_up()
    assert set(Alert.objects.all()) == set(kept.values())
    assert not AlertEvent.objects.filter(alert_id=gone.pk).exists()
    assert AlertEvent.objects.count() == len(kept)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.username, entry.details_json) == ("clean_up", "system", {"alerts": 1})


@pytest.mark.django_db
def test_it_deletes_an_analysis_only_when_all_its_alerts_are_gone() -> None:
    gone, kept = old_alert(), old_alert(last_seen_at=LATELY)
    alone = factories.analysis(gone, state="done", created_at=LONG_AGO)
    Evidence.objects.create(
        analysis=alone, number="E1", kind="alert", title="The alert", text="x", captured_at=LONG_AGO
    )
    shared = factories.analysis(gone, state="done", created_at=LONG_AGO)
    shared.alerts.add(kept)
    waiting = factories.analysis(gone, state="queued", created_at=LONG_AGO)
    clean_up()
    assert set(Analysis.objects.all()) == {shared, waiting}
    assert not Evidence.objects.exists()


@pytest.mark.django_db
def test_it_follows_the_system_configuration() -> None:
    SystemConfig.objects.create(key="retention_alerts", value_json=0)
    SystemConfig.objects.create(key="retention_quarantine", value_json=500)
    alert, odd = old_alert(), quarantined(LONG_AGO)
    clean_up()
    assert Alert.objects.filter(pk=alert.pk).exists()
    assert QuarantinedAlert.objects.filter(pk=odd.pk).exists()
    assert not AuditEntry.objects.exists()
    SystemConfig.objects.filter(key="retention_quarantine").update(value_json=30)
    recent = quarantined(NOW)
    clean_up()
    assert list(QuarantinedAlert.objects.all()) == [recent]


@pytest.mark.django_db
def test_it_deletes_sessions_that_are_over_and_old_login_attempts() -> None:
    for key, ends in (("over", NOW - dt.timedelta(hours=1)), ("open", NOW + dt.timedelta(hours=1))):
        Session.objects.create(session_key=key, session_data="x", expire_date=ends)
    for name, at in (("old", LONG_AGO), ("new", NOW)):
        attempt = AccessAttempt.objects.create(
            username=name, ip_address="127.0.0.1", user_agent="", failures_since_start=1
        )
        AccessAttempt.objects.filter(pk=attempt.pk).update(attempt_time=at)
    clean_up()
    assert [session.session_key for session in Session.objects.all()] == ["open"]
    assert [attempt.username for attempt in AccessAttempt.objects.all()] == ["new"]


@pytest.mark.django_db
def test_it_deletes_finished_jobs_only() -> None:
    waiting, done, fresh = (jobs.defer("test.write", name=name) for name in ("waiting", "done", "fresh"))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'failed' WHERE id IN (%s, %s)", [done, fresh])
        cursor.execute("UPDATE procrastinate_events SET at = %s WHERE job_id IN (%s, %s)", [LONG_AGO, waiting, done])
        clean_up()
        cursor.execute("SELECT id FROM procrastinate_jobs ORDER BY id")
        assert [row[0] for row in cursor.fetchall()] == [waiting, fresh]
    assert AuditEntry.objects.get().details_json == {"jobs": 1}


@pytest.mark.django_db
def test_it_goes_on_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SIZE", 2)
    for _ in range(5):
        quarantined(LONG_AGO)
    clean_up()
    assert not QuarantinedAlert.objects.exists()
    assert AuditEntry.objects.get().details_json == {"quarantined": 5}


@pytest.mark.django_db
def test_it_never_deletes_people_or_the_audit_log(carol: User) -> None:
    User.objects.filter(pk=carol.pk).update(is_active=False, created_at=LONG_AGO)
    old_alert()
    clean_up()
    clean_up()
    assert User.objects.filter(pk=carol.pk).exists()
    assert AuditEntry.objects.count() == 1


def test_the_worker_runs_it_by_name(live: Console) -> None:
    quarantined(LONG_AGO)
    live.start_worker()
    jobs.defer("aiops.clean_up")
    wait_until(lambda: AuditEntry.objects.filter(action="clean_up").exists(), "the clean-up", live.log)
    assert not QuarantinedAlert.objects.exists()


def test_it_is_registered_to_run_every_hour() -> None:
    assert jobs.schedules()["aiops.clean_up"] == "17 * * * *"
