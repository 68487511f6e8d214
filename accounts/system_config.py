"""System configuration: every key with its type, default and help, and the one way to read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from accounts.models import SystemConfig

SEVERITIES = ("critical", "error", "warning", "info")


class ConfigError(ValueError):
    """A value that a key cannot take; the message is for the admin who typed it."""


def _whole(minimum: int, maximum: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise ConfigError(f"Enter a whole number from {minimum} to {maximum}.")
        return value

    return check


def _severity_map(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ConfigError('Enter an object such as {"page": "critical", "P2": "warning"}.')
    for name, severity in value.items():
        if severity not in SEVERITIES:
            raise ConfigError(f"“{name}” must map to one of {', '.join(SEVERITIES)}.")
    return {str(name).lower(): severity for name, severity in value.items()}


def key(default: Any, check: Callable[[Any], Any], unit: str, help_text: str) -> Any:
    make = {"default_factory": lambda: dict(default)} if isinstance(default, dict) else {"default": default}
    return field(**make, metadata={"check": check, "unit": unit, "help": help_text, "default": default})


@dataclass(frozen=True)
class Config:
    """The whole system configuration at one moment. A key not set in the database has its default."""

    analysis_daily_budget: int = key(
        200,
        _whole(0, 100_000),
        "analyses a day",
        "Automatic analyses a day (UTC). 0 switches them off; “analyse now” still works.",
    )
    analysis_cooldown: int = key(
        30,
        _whole(0, 10_080),
        "minutes",
        "An alert of a series or group analysed within this time is linked to that analysis.",
    )
    analysis_max_attempts: int = key(
        3, _whole(1, 10), "attempts", "How often one analysis is tried before it counts as failed."
    )
    analysis_timeout: int = key(120, _whole(5, 3600), "seconds", "How long one call to a model may take in all.")
    retention_alerts: int = key(
        365, _whole(0, 36_500), "days", "Resolved alerts older than this are deleted with their history. 0 keeps them."
    )
    retention_quarantine: int = key(
        30, _whole(0, 36_500), "days", "Quarantined input older than this is deleted. 0 keeps it."
    )
    retention_jobs: int = key(7, _whole(1, 365), "days", "Finished background jobs older than this are deleted.")
    watchdog_names: dict[str, str] = key(
        {"Watchdog": "always firing", "DeadMansSwitch": "always firing"},
        lambda value: _names(value),
        "",
        "Alert names that fire always by design: a heartbeat of their source, never an incident.",
    )
    watchdog_silence: int = key(
        15, _whole(1, 10_080), "minutes", "A source whose heartbeat was not heard for this long is reported as silent."
    )
    severity_map: dict[str, str] = key(
        {
            "page": "critical", "p1": "critical", "emergency": "critical", "fatal": "critical", "high": "error", "p2": "error",
            "major": "error", "warn": "warning", "p3": "warning", "minor": "warning", "medium": "warning", "low": "info",
            "p4": "info", "p5": "info", "information": "info", "none": "info", "notice": "info",
        },
        _severity_map,
        "",
        "What other names of severities mean here, in lower case.",
    )  # fmt: skip

    @classmethod
    def load(cls) -> Config:
        """Read the configuration from the database: one query. A stored value that no longer fits counts as its default."""
        return cls.from_rows(dict(SystemConfig.objects.values_list("key", "value_json")))

    @classmethod
    def from_rows(cls, rows: dict[str, Any]) -> Config:
        values = {}
        for item in fields(cls):
            if item.name in rows:
                try:
                    values[item.name] = item.metadata["check"](rows[item.name])
                except ConfigError:
                    continue
        return cls(**values)


def _names(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ConfigError('Enter an object of names, such as {"Watchdog": "always firing"}.')
    return {str(name): str(why) for name, why in value.items()}


KEYS = {item.name: item for item in fields(Config)}


def check(name: str, value: Any) -> Any:
    """The value as it will be stored, or ConfigError saying what the key takes."""
    if name not in KEYS:
        raise ConfigError(f"Unknown key “{name}”. Known keys: {', '.join(KEYS)}.")
    return KEYS[name].metadata["check"](value)
