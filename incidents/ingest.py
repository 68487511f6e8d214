"""From one notification to rows: one transaction, a handful of statements whatever the number of alerts."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, DataError, InterfaceError, connection, transaction
from psycopg import errors

from accounts.system_config import Config
from aiops.lib import jobs
from aiops.lib.versioned import Versioned
from incidents import ingest_rows, ingest_sql, matching, quarantine
from incidents.episodes import Decision, decide
from incidents.ingest_rows import Additions
from incidents.payload import Batch, IncomingAlert, PayloadError, rejected

ANALYZE = "assistant.analyze_group"
ATTEMPTS = 3
PATIENCE = 1.8  # seconds for a small batch, from the first byte read to the commit
PATIENCE_PER_MIB = 1.0
MOST_KEY_LOCKS = 256  # of one transaction; more alerts than that lock their whole source
MOST_ROUNDS = 10  # episodes of one series in one body
MOST_GROUPS = 20  # group keys that one episode remembers
DUPLICATE = 60  # seconds: two sends closer than that are HA peers or retries, and say nothing of the repeat interval
TOUCH_EVERY = timedelta(seconds=5)

# After these the connection is as good as before.
_HARMLESS = (
    errors.DeadlockDetected, errors.SerializationFailure, errors.IntegrityError, errors.QueryCanceled, errors.LockNotAvailable,
)  # fmt: skip

logger = structlog.stdlib.get_logger(__name__)
config = Versioned(Config.load)


class Unavailable(Exception):
    """The database could not take it in time; nothing is stored. The sender should try again."""


class Refused(Exception):
    """The sender's token was revoked, or its source disabled or deleted, since it was looked up."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A source as it was authenticated. Without `token_hash` (commands of ours) none is compared."""

    id: uuid.UUID
    name: str
    token_hash: str | None = None


@dataclass(slots=True)
class Outcome:
    """What became of a batch. `decisions` counts alerts by what was decided; `ids` are the new episodes, in body order."""

    received: int = 0
    quarantined: int = 0
    decisions: Counter[Decision] = field(default_factory=Counter)
    ids: list[uuid.UUID] = field(default_factory=list)


def ingest(sender: Sender, batch: Batch, received_at: datetime, deadline: float, origin: quarantine.Origin) -> Outcome:
    """Store the batch, in one transaction that is tried again after a deadlock or a lost connection.

    `deadline` is of `time.monotonic()`; nothing is committed after it. Raises Unavailable or Refused, and stores nothing then.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                outcome = _Ingest(sender, batch, received_at, origin).run(deadline)
                if time.monotonic() >= deadline:
                    raise Unavailable("It took too long.")
            return outcome
        except DataError as exc:  # no known input gets here: the parser cleans and bounds what PostgreSQL refuses
            reason = str(exc).strip().split("\n")[0]
            raise PayloadError(f"The database cannot hold what this body says: {reason}") from exc
        except (DatabaseError, InterfaceError) as exc:
            _recover(exc, last=attempt == ATTEMPTS, deadline=deadline)
    raise AssertionError  # the last attempt returns or raises


def patience(size: int) -> float:
    """Seconds that a body of `size` bytes may take."""
    return PATIENCE + PATIENCE_PER_MIB * size / 2**20


class _Ingest:
    """One attempt to store a batch, inside a transaction of its caller's."""

    def __init__(self, sender: Sender, batch: Batch, at: datetime, origin: quarantine.Origin) -> None:
        self.sender, self.batch, self.at, self.origin = sender, batch, at, origin
        self.rejected = list(batch.rejected)
        self.outcome = Outcome(received=batch.received)
        self.queued: dict[str, str] = {}  # the groups to analyse, each with its first alert
        self.heartbeat = False
        self.constants = {
            "source": sender.id,
            "at": at,
            "group_key": batch.group_key,
            "group": json.dumps([{"group_key": batch.group_key, "receiver": batch.receiver}]),
            "groups": MOST_GROUPS,
            "receiver": batch.receiver,
            "external_url": batch.external_url,
            "truncated": batch.truncated,
            "envelope": json.dumps({"notification": batch.envelope}),
            "duplicate": DUPLICATE,
        }

    def run(self, deadline: float) -> Outcome:
        rounds = list(self._rounds())
        entry = self._enter(deadline)
        additions = Additions(
            matching.rules.at(entry.rules_version), config.at(entry.config_version), self.batch.group_key, self.at
        )
        for number, alerts in enumerate(rounds):
            self.constants["at"] = self.at + timedelta(microseconds=number)  # keeps a series' events in their order
            self._store(alerts, additions)
        if self.queued:
            self._defer()
        if self.rejected:
            quarantine.keep(self.sender.id, self.rejected, self.at, self.origin)
            self.outcome.quarantined = len(self.rejected)
        last = entry.last_received_at
        if self.heartbeat or self.batch.truncated or last is None or self.at - last >= TOUCH_EVERY:
            ingest_sql.touch(self.sender.id, self.at, heartbeat=self.heartbeat, truncated=self.batch.truncated)
        return self.outcome

    def _enter(self, deadline: float) -> ingest_sql.Entry:
        fingerprints = {alert.fingerprint for alert in self.batch.alerts}
        alone = len(fingerprints) > MOST_KEY_LOCKS
        keys = [] if alone else sorted(_lock(self.sender.id.bytes, each) for each in fingerprints)
        seconds = max(deadline - time.monotonic(), 0.1)
        entry = ingest_sql.enter(self.sender.id, _lock(self.sender.id.bytes, ""), keys, alone=alone, seconds=seconds)
        if entry is None or not entry.enabled:
            raise Refused("The source is disabled or deleted.")
        if self.sender.token_hash and not hmac.compare_digest(self.sender.token_hash, entry.token_hash or ""):
            raise Refused("The token was revoked.")
        return entry

    def _rounds(self) -> Iterator[list[IncomingAlert]]:
        """The alerts, no series twice in one round. What says the same thing twice in one body counts once."""
        by_series: dict[str, dict[tuple[bool, datetime | None], IncomingAlert]] = {}
        for alert in self.batch.alerts:
            by_series.setdefault(alert.fingerprint, {})[alert.firing, alert.starts_at] = alert
        if all(len(told) == 1 for told in by_series.values()):
            yield [alert for told in by_series.values() for alert in told.values()]
            return
        ordered = [sorted(told.values(), key=_order) for told in by_series.values()]
        for number in range(min(MOST_ROUNDS, max(map(len, ordered)))):
            yield [told[number] for told in ordered if len(told) > number]
        reason = f"This body has more than {MOST_ROUNDS} episodes of the same series."
        for alert in (alert for told in ordered for alert in told[MOST_ROUNDS:]):
            self.rejected.append(rejected(alert.raw, reason))

    def _store(self, alerts: list[IncomingAlert], additions: Additions) -> None:
        stored = ingest_sql.newest(self.sender.id, [alert.fingerprint for alert in alerts])
        changed, added = [], []
        for alert in alerts:
            before = stored.get(alert.fingerprint)
            decision = decide(before, alert)
            self.outcome.decisions[decision] += 1
            if row := ingest_rows.change(decision, before, alert, self.at):
                changed.append(row)
            if row := additions.row(decision, before, alert):
                added.append(row)
                self._note(row)
            if alert.firing and alert.label_set.get("alertname") in additions.config.watchdog_names:
                self.heartbeat = True
        if changed:  # first: it closes the episodes that new ones take the place of
            ingest_sql.change(changed, self.constants)
        if added:
            ingest_sql.add(added, self.constants)

    def _note(self, row: ingest_rows.Row) -> None:
        self.outcome.ids.append(row["id"])
        if row["analysis_state"] == "queued":
            self.queued.setdefault(row["group_hash"], str(row["id"]))

    def _defer(self) -> None:
        source = str(self.sender.id)
        each = [
            {"source_id": source, "group_hash": group, "alert_id": first, "trigger": "rule", "user_id": None}
            for group, first in self.queued.items()
        ]
        jobs.defer_many(ANALYZE, each)


def _lock(source: bytes, fingerprint: str) -> int:
    """The advisory lock of a series, or of the whole source: PostgreSQL's take 64 signed bits."""
    digest = hashlib.blake2b(source + fingerprint.encode(), digest_size=8, person=b"aiops.ingest").digest()
    return int.from_bytes(digest, "big", signed=True)


def _order(alert: IncomingAlert) -> tuple[bool, datetime, bool]:
    """The oldest episode first, its end after its beginning; what has no start belongs to the newest."""
    return alert.starts_at is None, alert.starts_at or datetime.max, not alert.firing


def _recover(exc: Exception, *, last: bool, deadline: float) -> None:
    """Make the connection good for another attempt, or raise Unavailable."""
    cause = exc.__cause__
    if not isinstance(cause, _HARMLESS) and not connection.in_atomic_block:
        connection.close()
        if pool := getattr(connection, "pool", None):
            pool.check()  # after a restart of PostgreSQL every idle connection is as dead as this one was
    late = isinstance(cause, errors.QueryCanceled) or time.monotonic() >= deadline
    if last or late or connection.in_atomic_block:
        logger.warning("batch not stored", reason=str(cause or exc).strip().split("\n")[0])
        raise Unavailable("The database could not take it in time.") from exc
    time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 (spreads out retries, guards nothing)
