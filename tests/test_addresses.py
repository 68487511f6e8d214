"""Where our own requests may go."""

from __future__ import annotations

import pytest

from aiops.lib.addresses import AddressError, refuse_internal


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.1.1:8080",
        "2852039166",  # the same as one number
        "0xA9FEA9FE",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "0",
        "0.1.2.3",
        "[::]",
        "[::ffff:0.0.0.0]",
        "224.0.0.1",
        "[ff02::1]",
        "255.255.255.255",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "169.254.169.254.",
    ],
)
@pytest.mark.parametrize("resolve", [True, False])
def test_it_refuses_addresses_of_the_inside_in_every_notation(host: str, resolve: bool) -> None:
    with pytest.raises(AddressError, match="refused"):
        refuse_internal(f"http://{host}/v1", resolve=resolve)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434",
        "http://localhost:8080/v1",
        "http://[::1]:8000",
        "http://10.0.0.5/v1",
        "http://192.168.1.20:1234/v1",
        "https://93.184.216.34/",
        "http://no-such-name.invalid/v1",
        "http://[2606:4700::1111]/",
    ],
)
def test_it_lets_local_and_public_models_pass(url: str) -> None:
    refuse_internal(url)


@pytest.mark.parametrize(
    "url",
    ["", "10.0.0.5", "ftp://10.0.0.5", "file:///etc/passwd", "http://", "http://[::1", "http://h:99999", "gopher://h"],
)
def test_it_refuses_what_is_no_web_address(url: str) -> None:
    with pytest.raises(AddressError):
        refuse_internal(url)


def test_it_refuses_a_password_in_the_address_and_does_not_repeat_it() -> None:
    with pytest.raises(AddressError, match="Leave user and password out") as caught:
        refuse_internal("http://me:hunter2@10.0.0.5/")
    assert "hunter2" not in str(caught.value)
