"""`manage.py send_test_alert`: a sample alert, to see the road from the webhook to the page."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.log import record
from incidents.ingest import PATIENCE, Refused, Sender, Unavailable, ingest
from incidents.models import AlertSource
from incidents.payload import parse
from incidents.quarantine import Origin

SENT = 10.0  # seconds to wait for the console's answer


class Command(BaseCommand):
    help = "Send a sample alert: over HTTP with --token, else straight through the same code as the webhook's."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", default="TestAlert", help="The alert's name (%(default)s).")
        parser.add_argument("--severity", default="critical", help="Its severity (%(default)s).")
        parser.add_argument("--instance", default="test-1.example:9100", help="Its instance (%(default)s).")
        parser.add_argument("--job", default="node", help="Its job (%(default)s).")
        parser.add_argument("--resolve", action="store_true", help="Resolve it instead.")
        parser.add_argument("--token", default="", help="Post it to the running console as the source of this token.")
        parser.add_argument("--url", default="", help=f"Where the console runs ({settings.SITE_URL}).")

    def handle(self, *args: Any, **options: Any) -> None:
        body = json.dumps(_notification(options)).encode()
        site = (options["url"] or settings.SITE_URL).rstrip("/")
        if options["token"]:
            _post(f"{site}/webhook/alerts", options["token"], body)
            page = f"{site}/alerts/"
        elif options["url"]:
            raise CommandError("--url needs --token, the token of an alert source.")
        else:
            page = f"{site}/alerts/" + _store(body)
        done = "Resolved" if options["resolve"] else "Sent"
        self.stdout.write(f"{done} “{options['name']}”. See {page}")


def _notification(options: dict[str, Any]) -> dict[str, Any]:
    labels = {
        "alertname": options["name"],
        "cluster": "test",
        "instance": options["instance"],
        "job": options["job"],
        "severity": options["severity"],
    }
    now = timezone.now()
    group = {"alertname": options["name"], "cluster": "test"}
    alert = {
        "status": "resolved" if options["resolve"] else "firing",
        "labels": labels,
        "annotations": {
            "summary": f"{options['name']} on {options['instance']}: a test",
            "description": "Sent by send_test_alert. CPU usage has been above 95% for 5 minutes; load average 18.2 on 4 cores.",
        },
        # Without a start the end is that of the episode which is open.
        "startsAt": "0001-01-01T00:00:00Z" if options["resolve"] else (now - timedelta(minutes=5)).isoformat(),
        "endsAt": now.isoformat() if options["resolve"] else "0001-01-01T00:00:00Z",
        "generatorURL": "",
    }
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{options["name"]}", cluster="test"}}',
        "truncatedAlerts": 0,
        "status": alert["status"],
        "receiver": "aiops",
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": alert["annotations"],
        "externalURL": "",
        "alerts": [alert],
    }


def _store(body: bytes) -> str:
    """Store it as sent by the oldest enabled source. Returns the new alert's path, or nothing."""
    source = AlertSource.objects.filter(enabled=True).order_by("created_at").first()
    if source is None:
        raise CommandError("There is no enabled alert source. Make one with: manage.py create_source NAME")
    batch, sender = parse(body), Sender(source.pk, source.name)
    try:
        with transaction.atomic():
            outcome = ingest(sender, batch, timezone.now(), time.monotonic() + PATIENCE * 5, Origin())
            record("send_test_alert", source, name=batch.alerts[0].label_set["alertname"])
    except (Refused, Unavailable) as exc:
        raise CommandError(str(exc)) from exc
    return f"{outcome.ids[0]}/" if outcome.ids else ""


def _post(url: str, token: str, body: bytes) -> None:
    if not url.startswith(("http://", "https://")):
        raise CommandError("--url must start with http:// or https://.")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "User-Agent": "send_test_alert"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 (http and https only, see above)
    try:
        with urllib.request.urlopen(request, timeout=SENT):  # noqa: S310
            return
    except urllib.error.HTTPError as exc:
        raise CommandError(f"{url} answered {exc.code}: {_error_in(exc.read(4000))}") from exc
    except OSError as exc:
        raise CommandError(f"{url} cannot be reached: {exc}. Is the console running?") from exc


def _error_in(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer[:500].decode(errors="replace")
