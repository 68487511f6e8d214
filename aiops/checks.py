"""System checks: settings that are missing, unsafe or at odds with each other, each with what to do about it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections
from django.http.request import validate_host

from aiops.lib.secrets import key_problem

OLDEST_POSTGRESQL = 15


@register(Tags.security)
def check_secrets(app_configs: Any, **kwargs: Any) -> Iterable[CheckMessage]:
    """E001: the key that signs sessions. E002: the keys that encrypt stored secrets."""
    if len(settings.SECRET_KEY) < 32 or len(set(settings.SECRET_KEY)) < 5:
        yield Error(
            "SECRET_KEY is too short or too simple: sessions could be forged.",
            hint='Set a random one: python3 -c "import secrets; print(secrets.token_urlsafe(50))".',
            id="aiops.E001",
        )
    hint = 'Each is 32 random bytes: python3 -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())".'
    if not settings.AIOPS_SECRET_KEYS:
        yield Error("AIOPS_SECRET_KEYS is empty: no secret can be stored.", hint=hint, id="aiops.E002")
    for number, key in enumerate(settings.AIOPS_SECRET_KEYS, start=1):
        if problem := key_problem(key):
            yield Error(f"Key {number} of AIOPS_SECRET_KEYS {problem}.", hint=hint, id="aiops.E002")


@register(Tags.security)
def check_site(app_configs: Any, **kwargs: Any) -> Iterable[CheckMessage]:
    """E003, E004: the address people open. E005: DEBUG on a public site. W001, W002: https."""
    scheme, host, is_plain = _parts(settings.SITE_URL)
    if scheme not in ("http", "https") or not host or not is_plain:
        yield Error(
            f"SITE_URL is “{settings.SITE_URL}”, which is no address of a site.",
            hint="Set it to what people open, without a path: https://aiops.example.org.",
            id="aiops.E003",
        )
        return
    if not validate_host(host, settings.ALLOWED_HOSTS):
        yield Error(
            f"The site is {host}, but ALLOWED_HOSTS does not name it: every page would be refused.",
            hint=f"Add {host} to ALLOWED_HOSTS.",
            id="aiops.E004",
        )
    yield from _check_exposure(scheme, _is_loopback(host))


def _check_exposure(scheme: str, loopback: bool) -> Iterable[CheckMessage]:
    if settings.DEBUG and not loopback:
        yield Error(
            "DEBUG is on, and the site is not on this machine alone: its error pages show settings and code.",
            hint="Unset DEBUG.",
            id="aiops.E005",
        )
    if scheme == "https" and settings.AIOPS_TRUSTED_PROXIES == 0:
        yield Warning(
            "SITE_URL is https, but no proxy is trusted: the console speaks http, and would redirect to https for ever.",
            hint="Set AIOPS_TRUSTED_PROXIES to the number of reverse proxies in front, usually 1.",
            id="aiops.W001",
        )
    if scheme == "http" and not loopback:
        yield Warning(
            "SITE_URL is http: passwords and sessions cross the network in clear.",
            hint="Put a reverse proxy with TLS in front (docs/production.md) and set SITE_URL to its https address.",
            id="aiops.W002",
        )


@register(Tags.security)
def check_trust(app_configs: Any, **kwargs: Any) -> Iterable[CheckMessage]:
    """E006: any host name accepted. E007: a number of proxies that cannot be."""
    if "*" in settings.ALLOWED_HOSTS:
        yield Error(
            "ALLOWED_HOSTS has “*”: links and redirects could be made to point to any site.",
            hint="List the names that the site has.",
            id="aiops.E006",
        )
    if settings.AIOPS_TRUSTED_PROXIES < 0:
        yield Error(
            f"AIOPS_TRUSTED_PROXIES is {settings.AIOPS_TRUSTED_PROXIES}.",
            hint="Set it to the number of reverse proxies in front of the console: 0, 1, 2 …",
            id="aiops.E007",
        )


@register(Tags.database)
def check_database(app_configs: Any, databases: Iterable[str] | None = None, **kwargs: Any) -> Iterable[CheckMessage]:
    """E008: a PostgreSQL that lacks what the queries use. Asked for by `migrate`, and by `check --database default`."""
    for alias in databases or ():
        version = connections[alias].pg_version // 10_000  # type: ignore[attr-defined]
        if version < OLDEST_POSTGRESQL:
            yield Error(
                f"The database is PostgreSQL {version}.",
                hint=f"PostgreSQL {OLDEST_POSTGRESQL} or later is needed.",
                id="aiops.E008",
            )


def _parts(url: str) -> tuple[str, str, bool]:
    """Scheme, host, and whether there is nothing else beside a port."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises on nonsense)
    except ValueError:
        return "", "", False
    host = parts.hostname or ""
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
    return parts.scheme, f"[{host}]" if ":" in host else host, not rest


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
