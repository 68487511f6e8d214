"""A table of a million alerts, a fifth of them open, as years of use would leave it."""

from __future__ import annotations

import psycopg

ALERTS = """
INSERT INTO alerts (id, fingerprint, "timestamp", alert_name, severity, instance, job, status, labels_json, annotations_json,
    raw_alert_json, action_taken, analyzed, source_id, starts_at, ends_at, last_seen_at, group_key, group_keys, group_hash, receiver,
    generator_url, external_url, severity_rank, truncated, heartbeat, occurrences, reopened, flaps, superseded, unconfirmed,
    analysis_state, analysis_reason)
SELECT gen_random_uuid(), to_hex(n), at, name, severity, instance, job, CASE WHEN open THEN 'firing' ELSE 'resolved' END,
    jsonb_build_object('alertname', name, 'severity', severity, 'instance', instance, 'job', job, 'cluster', 'prod-' || n %% 5),
    jsonb_build_object('summary', name || ' on ' || instance || ' is above its threshold'),
    '{}', CASE WHEN n %% 20 = 0 THEN 'ignore' ELSE 'manual' END, false, %(source)s, at,
    CASE WHEN open THEN NULL ELSE at + interval '20 minutes' END, at + interval '10 minutes', 'group ' || n / 8, '[]',
    md5((n / 8)::text), 'aiops', '', '', rank, 0, false, 1 + n %% 40, 0, 0, false, false, 'none', ''
FROM (
    SELECT n, now() - n * interval '20 seconds' AS at, n %% 5 = 0 AS open,
        (ARRAY['HighCPU','LowMemory','DiskFull','TargetDown','HighLatency','CertExpiring','PodCrashLooping',
            'QueueGrowing'])[1 + n %% 8] AS name,
        (ARRAY['critical','error','warning','info'])[1 + n %% 4] AS severity, n %% 4 AS rank,
        'host-' || n %% 3000 || ':9100' AS instance, (ARRAY['node','kubelet','blackbox','postgres'])[1 + n %% 4] AS job
    FROM generate_series(1, %(rows)s) AS n
) AS made
"""


def seed(connection: psycopg.Connection, rows: int) -> None:
    """Fill the alerts table up to `rows`; a table that has them already is left as it is."""
    have = connection.execute("SELECT count(*) FROM alerts").fetchone()[0]  # type: ignore[index]
    if have >= rows:
        return
    source = connection.execute("SELECT id FROM alert_sources LIMIT 1").fetchone()[0]  # type: ignore[index]
    connection.execute("TRUNCATE alerts CASCADE")
    connection.execute(ALERTS, {"source": source, "rows": rows})
    connection.execute("VACUUM ANALYZE alerts")
