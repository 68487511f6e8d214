"""Addresses: whose request this is, behind how many trusted proxies; and where our own requests may go."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds hand out credentials to whoever asks from inside.
_METADATA_NAMES = {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
_METADATA_ADDRESSES = {
    ipaddress.ip_address(text) for text in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


class AddressError(ValueError):
    """Requests must not go to this address; the message says why, for the person who entered it."""


def client_ip(peer: str | None, forwarded_for: str, trusted_proxies: int) -> str | None:
    """The client's address. With N trusted proxies it is the N-th from the right of X-Forwarded-For; the rest is anybody's claim.

    `peer` is the address of the socket's other end. Anything that is no address becomes None.
    """
    candidate = peer
    if trusted_proxies > 0 and forwarded_for:
        hops = [hop.strip() for hop in forwarded_for.split(",")]
        if len(hops) >= trusted_proxies:
            candidate = hops[-trusted_proxies]
    try:
        return str(ipaddress.ip_address((candidate or "").strip().removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def refuse_internal(url: str, *, resolve: bool = True) -> None:
    """Raise AddressError where `url` is no plain http(s) address, or leads to a cloud's metadata, a link-local, an unspecified or
    a multicast address, in whatever notation. Loopback and private addresses pass: local models live there.

    With `resolve` the name is looked up too (which may take seconds); one that does not resolve passes, as nothing can be sent to it.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as exc:
        raise AddressError("The address cannot be read: check its brackets and its port.") from exc
    if parts.scheme not in ("http", "https") or not host:
        raise AddressError("Enter a whole address that starts with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        raise AddressError("Leave user and password out of the address: it is shown in clear.")
    if host.lower() in _METADATA_NAMES:
        raise AddressError(f"{host} is a cloud's metadata service: requests to it are refused.")
    for address in _addresses(host, port, resolve):
        if reason := _internal(address):
            raise AddressError(f"{host} is {reason} ({address}): requests to it are refused.")


def _addresses(host: str, port: int | None, resolve: bool) -> list[IPAddress]:
    # The resolver reads every notation that a connection would: decimal, octal, hexadecimal, short and full-width.
    flags = 0 if resolve else socket.AI_NUMERICHOST
    try:
        found = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]


def _internal(address: IPAddress) -> str:
    """What is wrong with the address, "" where nothing is."""
    address = _inner(address)
    if address in _METADATA_ADDRESSES:
        return "a cloud's metadata service"
    if address.is_link_local:
        return "a link-local address, where clouds keep their metadata service"
    if address.is_unspecified or (address.version == 4 and address in ipaddress.ip_network("0.0.0.0/8")):
        return "an unspecified address"
    if address.is_multicast or address == ipaddress.ip_address("255.255.255.255"):
        return "a multicast or broadcast address"
    return ""


def _inner(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one stands for (mapped, compatible, NAT64, 6to4), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if inner := address.ipv4_mapped or address.sixtofour:
        return inner
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
