"""The rows that a decision leads to, as `ingest_sql` takes them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from accounts.system_config import Config
from aiops.lib.text import clamp
from incidents.episodes import Decision, Stored, flaps_after
from incidents.matching import Facts, RuleSet, severity_label
from incidents.models import Rule
from incidents.payload import IncomingAlert
from incidents.severity import RANKS, UNKNOWN, canonical

Row = dict[str, Any]


def group_hash(group_key: str, alert_name: str, fingerprint: str) -> str:
    """What names an alert's group: SHA-256 in hex of its key, or of the fingerprint where the sender knows no groups.

    A route without `group_by` puts everything into one group that says nothing of what belongs together; there the name does.
    """
    if group_key.endswith(":{}"):
        group_key = f"{group_key}\n{alert_name}"
    return hashlib.sha256((group_key or fingerprint).encode()).hexdigest()


def facts_of(alert: IncomingAlert, config: Config) -> Facts:
    labels = alert.label_set
    word = severity_label(labels)
    return Facts(
        alert_name=clamp(labels.get("alertname") or UNKNOWN, 255),
        severity=canonical(word, config.severity_map),
        severity_label=word,
        instance=clamp(labels.get("instance", ""), 255),
        job=clamp(labels.get("job", ""), 100),
        labels=labels,
    )


# -- what happens to a stored episode ----------------------------------------------------------------------------------


def change(decision: Decision, stored: Stored | None, alert: IncomingAlert, at: datetime) -> Row | None:
    """The change of the stored episode that `decision` asks for, None where it asks for none."""
    make = _CHANGES.get(decision)
    if make is None or stored is None:
        return None
    return {"id": stored.id, "superseded": False, "sighting": False, "reopened": 0, "kind": "", **make(alert, at)}


def _told(alert: IncomingAlert) -> Row:
    """What every sighting of an episode brings up to date."""
    row: Row = {"raw": alert.raw, "starts_at": alert.starts_at, "generator_url": alert.generator_url}
    if alert.labels is not None:
        row["labels"] = alert.labels
    if alert.annotations is not None:
        row["annotations"] = alert.annotations
    return row


def _repeat(alert: IncomingAlert, at: datetime) -> Row:
    return {**_told(alert), "sighting": True}


def _resolve(alert: IncomingAlert, at: datetime) -> Row:
    return {**_told(alert), "status": "resolved", "ends_at": alert.ends_at or at, "kind": "resolved"}


def _end_again(alert: IncomingAlert, at: datetime) -> Row:
    return {**_told(alert), **({"status": "resolved", "ends_at": alert.ends_at} if alert.ends_at else {})}


def _reopen(alert: IncomingAlert, at: datetime) -> Row:
    return {**_told(alert), "status": "firing", "reopened": 1, "sighting": True, "kind": "reopened"}


def _supersede(alert: IncomingAlert, at: datetime) -> Row:
    start = alert.starts_at or at
    details = {"next_starts_at": str(start)}
    return {"status": "resolved", "ends_at": start, "superseded": True, "kind": "superseded", "details": details}


def _late(alert: IncomingAlert, at: datetime) -> Row:
    status = "firing" if alert.firing else "resolved"
    return {"kind": "seen_late", "details": {"status": status, "starts_at": str(alert.starts_at)}}


_CHANGES: dict[Decision, Callable[[IncomingAlert, datetime], Row]] = {
    Decision.REPEAT: _repeat,
    Decision.RESOLVE: _resolve,
    Decision.END_AGAIN: _end_again,
    Decision.REOPEN: _reopen,
    Decision.SUPERSEDE: _supersede,
    Decision.SUPERSEDE_BY_HISTORY: _supersede,
    Decision.LATE: _late,
}


# -- new episodes ------------------------------------------------------------------------------------------------------

_OPENS = (Decision.OPEN, Decision.SUPERSEDE)
_ADDS = (*_OPENS, Decision.HISTORY, Decision.SUPERSEDE_BY_HISTORY)


class Additions:
    """Makes the rows of new episodes for one batch, by the rules and the configuration of its moment."""

    def __init__(self, rules: RuleSet, config: Config, group_key: str, at: datetime) -> None:
        self.rules, self.config, self.at, self.group_key = rules, config, at, group_key

    def row(self, decision: Decision, stored: Stored | None, alert: IncomingAlert) -> Row | None:
        """The new episode that `decision` asks for, None where it asks for none."""
        if decision not in _ADDS:
            return None
        facts = facts_of(alert, self.config)
        starts_at = alert.starts_at or (self.at if alert.firing else alert.ends_at or self.at)
        row: Row = {
            "id": uuid.uuid4(),
            "fingerprint": alert.fingerprint,
            "alert_name": facts.alert_name,
            "severity": facts.severity,
            "severity_rank": RANKS[facts.severity],
            "instance": facts.instance,
            "job": facts.job,
            "group_hash": group_hash(self.group_key, facts.alert_name, alert.fingerprint),
            **_told(alert),
            "starts_at": starts_at,
            "heartbeat": facts.alert_name in self.config.watchdog_names,
            "previous": stored.id if stored else None,
        }
        if decision in _OPENS:
            self._open(row, facts, flaps_after(stored, starts_at))
        else:
            self._history(row, max(starts_at, alert.ends_at or self.at))
        return row

    def _open(self, row: Row, facts: Facts, flaps: int) -> None:
        rule = None if row["heartbeat"] else self.rules.first(facts)
        action = rule.action if rule else Rule.Action.MANUAL.value
        row["status"], row["kind"], row["flaps"] = "firing", "fired", flaps
        row["rule"], row["action"] = rule and rule.id, action
        row["analysis_state"] = "queued" if action == Rule.Action.AUTO_ANALYZE else "none"
        row["details"] = {"rule": rule.name, "action": action} if rule else {}

    def _history(self, row: Row, ends_at: datetime) -> None:
        """An episode that is over already: nobody is told of it, and no rule decides about it."""
        row["status"], row["kind"], row["flaps"], row["ends_at"] = "resolved", "resolved", 0, ends_at
        row["action"], row["analysis_state"] = Rule.Action.MANUAL.value, "none"
        row["details"] = {"never_seen_firing": True}
