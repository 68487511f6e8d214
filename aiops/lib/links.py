"""Links out of texts from outside: only http and https, and always with the host that they really lead to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_UNSAFE = re.compile("[\\s\x00-\x20\x7f-\xa0\\\\]")
MAX_LENGTH = 4_000


@dataclass(frozen=True)
class Link:
    """An address that may be clicked. `host` is in ASCII, so that a look-alike of another alphabet shows as `xn--…`."""

    url: str
    host: str


def safe_link(url: object) -> Link | None:
    """The link, or None for anything but an absolute http(s) address as a browser would read it too."""
    if not isinstance(url, str) or len(url) > MAX_LENGTH or _UNSAFE.search(url):
        return None
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port
    except ValueError:  # no port, no IPv6 address, no IDNA name
        return None
    if parts.scheme.lower() not in ("http", "https") or not host:
        return None
    return Link(url, f"{host}:{port}" if port else host)
