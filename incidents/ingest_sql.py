"""The SQL of ingest: each step one statement for the whole batch, its rows passed as one JSON document.

The ORM needs a statement a row, or arrays that cost more than the insert itself. The statements are prepared once a connection.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from django.db import connection

from incidents.episodes import Stored

# Locks first, and everything else in later statements: each sees what was committed before it began. Few keys are locked one by
# one, in order; a batch of many locks the whole source, since PostgreSQL's table of locks has room for a few thousand.
ENTER = """
SELECT source.name, source.enabled, source.token_hash, source.last_received_at,
    (SELECT count(*) || ' ' || coalesce(sum(extract(epoch FROM updated_at)), 0) FROM auto_analyze_rules),
    (SELECT count(*) || ' ' || coalesce(sum(extract(epoch FROM updated_at)), 0) FROM system_config),
    set_config('statement_timeout', %(milliseconds)s, true),
    CASE WHEN %(alone)s THEN pg_advisory_xact_lock(%(source_lock)s)
        ELSE pg_advisory_xact_lock_shared(%(source_lock)s) END,
    (SELECT count(pg_advisory_xact_lock(key)) FROM unnest(%(key_locks)s::bigint[]) AS key)
FROM alert_sources AS source WHERE source.id = %(source)s
"""

# The open episode, wherever its start lies: a sender whose clock was ahead may have left a later one. Two look-ups by index a series.
NEWEST = """
SELECT newest.fingerprint, newest.id, newest.status = 'firing', newest.starts_at, newest.ends_at, newest.flaps, previous.ends_at
FROM unnest(%(fingerprints)s::text[]) AS wanted (fingerprint)
CROSS JOIN LATERAL (
    SELECT * FROM (
        (SELECT fingerprint, id, status, starts_at, ends_at, flaps, previous_id FROM alerts
        WHERE source_id = %(source)s AND fingerprint = wanted.fingerprint AND status = 'firing')
        UNION ALL
        (SELECT fingerprint, id, status, starts_at, ends_at, flaps, previous_id FROM alerts
        WHERE source_id = %(source)s AND fingerprint = wanted.fingerprint ORDER BY starts_at DESC LIMIT 1)
    ) AS both_of_them ORDER BY status = 'firing' DESC LIMIT 1
) AS newest
LEFT JOIN alerts AS previous ON previous.id = newest.previous_id
"""

CHANGE = """
WITH rows AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (
        id uuid, status text, starts_at timestamptz, ends_at timestamptz, superseded boolean, sighting boolean, reopened integer,
        raw jsonb, labels jsonb, annotations jsonb, generator_url text, kind text, details jsonb
    )
), changed AS (
    UPDATE alerts SET
        status = coalesce(rows.status, alerts.status),
        starts_at = least(rows.starts_at, alerts.starts_at),
        ends_at = CASE rows.status
            WHEN 'resolved' THEN greatest(rows.ends_at, least(rows.starts_at, alerts.starts_at))
            WHEN 'firing' THEN NULL ELSE alerts.ends_at END,
        superseded = alerts.superseded OR rows.superseded,
        raw_alert_json = coalesce(%(envelope)s::jsonb || rows.raw, alerts.raw_alert_json),
        labels_json = coalesce(rows.labels, rows.raw -> 'labels', alerts.labels_json),
        annotations_json = coalesce(rows.annotations, rows.raw -> 'annotations', alerts.annotations_json),
        generator_url = coalesce(rows.generator_url, alerts.generator_url),
        occurrences = alerts.occurrences + rows.sighting::integer,
        reopened = alerts.reopened + rows.reopened,
        unconfirmed = alerts.unconfirmed AND rows.raw IS NULL,
        truncated = CASE WHEN rows.raw IS NULL THEN alerts.truncated ELSE %(truncated)s END,
        last_seen_at = CASE WHEN rows.raw IS NULL THEN alerts.last_seen_at ELSE greatest(alerts.last_seen_at, %(at)s) END,
        repeat_seconds = CASE
            WHEN rows.sighting AND %(at)s - alerts.last_seen_at >= make_interval(secs => %(duplicate)s)
            THEN greatest(alerts.repeat_seconds, extract(epoch FROM %(at)s - alerts.last_seen_at)::integer)
            ELSE alerts.repeat_seconds END,
        group_keys = CASE
            WHEN rows.raw IS NULL OR alerts.group_keys @> %(group)s::jsonb OR jsonb_array_length(alerts.group_keys) >= %(groups)s
            THEN alerts.group_keys ELSE alerts.group_keys || %(group)s::jsonb END
    FROM rows WHERE alerts.id = rows.id AND rows.kind <> 'seen_late'
)
INSERT INTO alert_events (id, alert_id, kind, at, text, details_json)
SELECT gen_random_uuid(), rows.id, rows.kind, %(at)s, '', coalesce(rows.details, '{}') FROM rows WHERE rows.kind <> ''
"""

ADD = """
WITH rows AS (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS row (
        id uuid, fingerprint text, alert_name text, severity text, severity_rank smallint, instance text, job text, status text,
        raw jsonb, labels jsonb, annotations jsonb, generator_url text, starts_at timestamptz, ends_at timestamptz,
        rule uuid, action text, analysis_state text, group_hash text, heartbeat boolean, flaps integer, previous uuid,
        kind text, details jsonb
    )
), added AS (
    INSERT INTO alerts (
        id, fingerprint, "timestamp", alert_name, severity, severity_rank, instance, job, status,
        raw_alert_json, labels_json, annotations_json,
        generator_url, starts_at, ends_at, last_seen_at,
        matched_rule_id, action_taken, analysis_state, group_hash, heartbeat, flaps, previous_id,
        source_id, group_key, group_keys, receiver, external_url, truncated,
        analyzed, occurrences, reopened, superseded, unconfirmed, analysis_reason
    )
    SELECT id, fingerprint, %(at)s, alert_name, severity, severity_rank, instance, job, status,
        %(envelope)s::jsonb || raw, coalesce(labels, raw -> 'labels'), coalesce(annotations, raw -> 'annotations'),
        generator_url, starts_at, ends_at, %(at)s,
        rule, action, analysis_state, group_hash, heartbeat, flaps, previous,
        %(source)s, %(group_key)s, %(group)s::jsonb, %(receiver)s, %(external_url)s, %(truncated)s,
        false, 1, 0, false, false, ''
    FROM rows
)
INSERT INTO alert_events (id, alert_id, kind, at, text, details_json)
SELECT gen_random_uuid(), rows.id, rows.kind, %(at)s, '', coalesce(rows.details, '{}') FROM rows WHERE rows.kind <> ''
"""

# Last in the transaction, so that senders of one source wait for each other as shortly as can be.
TOUCH = """
UPDATE alert_sources SET last_received_at = %(at)s,
    last_heartbeat_at = CASE WHEN %(heartbeat)s THEN %(at)s ELSE last_heartbeat_at END,
    last_truncated_at = CASE WHEN %(truncated)s > 0 THEN %(at)s ELSE last_truncated_at END,
    last_truncated = CASE WHEN %(truncated)s > 0 THEN %(truncated)s ELSE last_truncated END
WHERE id = %(source)s
"""

UNCONFIRMED = """
WITH silent AS (
    SELECT id FROM alerts
    WHERE status = 'firing' AND NOT unconfirmed AND NOT heartbeat
        AND last_seen_at < %(at)s - 2 * make_interval(secs => coalesce(repeat_seconds, %(unknown)s))
    ORDER BY id LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE alerts SET unconfirmed = true FROM silent WHERE alerts.id = silent.id
    RETURNING alerts.id, alerts.last_seen_at, alerts.repeat_seconds
)
INSERT INTO alert_events (id, alert_id, kind, at, text, details_json)
SELECT gen_random_uuid(), id, 'unconfirmed', %(at)s, '',
    jsonb_build_object('last_seen_at', last_seen_at, 'repeat_seconds', repeat_seconds)
FROM marked
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the first statement of a transaction learns. The versions change with any row of the rules, or of the configuration."""

    source_name: str
    enabled: bool
    token_hash: str | None
    last_received_at: datetime | None
    rules_version: str
    config_version: str


def enter(
    source: uuid.UUID, source_lock: int, key_locks: Sequence[int], *, alone: bool, seconds: float
) -> Entry | None:
    """Take the locks and limit each later statement to `seconds`. None where the source is gone."""
    row = _execute(
        ENTER,
        {
            "source": source,
            "source_lock": source_lock,
            "key_locks": list(key_locks),
            "alone": alone,
            "milliseconds": str(max(1, int(seconds * 1000))),
        },
    ).fetchone()
    return Entry(*row[:6]) if row else None


def newest(source: uuid.UUID, fingerprints: Iterable[str]) -> dict[str, Stored]:
    """The open episode of each series, else its newest, of those that have one."""
    rows = _execute(NEWEST, {"source": source, "fingerprints": list(fingerprints)})
    return {row[0]: Stored(*row[1:]) for row in rows}


def change(rows: Sequence[Mapping[str, Any]], constants: Mapping[str, Any]) -> None:
    _execute(CHANGE, {**constants, "rows": _JSON.encode(rows)})


def add(rows: Sequence[Mapping[str, Any]], constants: Mapping[str, Any]) -> None:
    _execute(ADD, {**constants, "rows": _JSON.encode(rows)})


def touch(source: uuid.UUID, at: datetime, *, heartbeat: bool, truncated: int) -> None:
    _execute(TOUCH, {"source": source, "at": at, "heartbeat": heartbeat, "truncated": truncated})


def mark_unconfirmed(at: datetime, unknown: int, most: int) -> int:
    """Mark what was not repeated for twice its interval, `unknown` seconds where that was never seen. Returns how many."""
    return _execute(UNCONFIRMED, {"at": at, "unknown": unknown, "most": most}).rowcount


_JSON = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"), default=str)


def _execute(query: str, parameters: Mapping[str, Any]) -> psycopg.Cursor[Any]:
    """Run one statement on Django's connection, inside its transaction; its errors are Django's."""
    connection.ensure_connection()
    with connection.wrap_database_errors:
        return psycopg.Cursor(connection.connection).execute(query, parameters, prepare=True)
