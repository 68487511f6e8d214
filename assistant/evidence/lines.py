"""How alerts read in a list of evidence."""

from __future__ import annotations

from aiops.lib.text import clamp
from incidents.models import Alert


def alert_line(alert: Alert) -> str:
    """One alert on one line, whatever its labels contain."""
    summary = alert.annotations_json.get("summary") or alert.annotations_json.get("description") or ""
    where = f" on {alert.instance}" if alert.instance else ""
    line = f"{alert.starts_at:%Y-%m-%d %H:%M:%S} {alert.severity} {alert.alert_name}{where}: {summary}"
    return "- " + clamp(" ".join(line.split()), 300)


def how_many(count: int, shown: int) -> str:
    return f"{count} in all" + (f", the first {shown} of them:" if count > shown else ":")
