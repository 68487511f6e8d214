"""The log: one line an event, no secret, nothing from outside that could trick a terminal."""

from __future__ import annotations

import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
import structlog

from aiops.lib.logs import logging_config
from tests.live import Console

Written = Callable[[], str]


@contextmanager
def logging_to(stream: StringIO, style: str) -> Iterator[None]:
    """The product's own set-up of logging, writing to `stream` instead of standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    config = logging_config("INFO", style)
    config["handlers"]["stderr"]["stream"] = stream
    logging.config.dictConfig(config)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture(params=["console", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[Written]:
    """What was logged so far, in each of the two styles."""
    stream = StringIO()
    with logging_to(stream, request.param):
        yield stream.getvalue


CREDENTIALS = [
    "Authorization: Bearer abcdefghijklmnop",
    "basic YWxhZGRpbjpvcGVuc2VzYW1l",
    "api_key='abcdefghijklmnop'",
    '{"password": "abcdefghijklmnop"}',
    "postgres://aiops:abcdefghijklmnop@db/aiops",
    "Incorrect API key provided: sk-abcdefghijklmnop.",
    "Cookie: aiops_session=abcdefghijklmnop",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nabcdefghijklmnop\n-----END OPENSSH PRIVATE KEY-----",
]


@pytest.mark.parametrize("text", CREDENTIALS)
def test_it_masks_credentials_wherever_they_stand(written: Written, text: str) -> None:
    logger = structlog.stdlib.get_logger("aiops.test")
    logging.getLogger("aiops.other").warning("a library says %s", text)
    logger.warning(text, answer=text, nested={"inner": [text]})
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("failed")
    log = written()
    assert len(log.splitlines()) == 3
    assert "abcdefghijklmnop" not in log
    assert "YWxhZGRpbjpvcGVuc2VzYW1l" not in log
    assert "[hidden]" in log


@pytest.mark.parametrize("name", ["password", "api_key", "Authorization", "session_cookie", "webhook_token"])
def test_it_masks_what_is_named_like_a_secret(written: Written, name: str) -> None:
    structlog.stdlib.get_logger("aiops.test").warning("said", **{name: "open sesame"}, count=3)
    log = written()
    assert "sesame" not in log
    assert "3" in log


def test_it_writes_one_line_without_escape_sequences(written: Written) -> None:
    hostile = "x\x1b[31mred\x9b2J\r\nlevel=info event=forged\u2028\u202etxt\x00\udcff"
    structlog.stdlib.get_logger("aiops.test").warning("odd", label=hostile, **{"k\x1b": 1})
    logging.getLogger("aiops.other").warning(hostile)
    log = written()
    assert len(log.splitlines()) == 2
    assert not [sign for sign in log if sign != "\n" and not sign.isprintable()]


def test_it_cuts_what_is_too_long(written: Written) -> None:
    structlog.stdlib.get_logger("aiops.test").warning("long", label="x" * 1_000_000)
    assert len(written()) < 3000


def test_json_lines_are_json() -> None:
    stream = StringIO()
    with logging_to(stream, "json"):
        structlog.stdlib.get_logger("aiops.test").info("said", path="/alerts/", milliseconds=1.5)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["path"], line["milliseconds"], line["level"]) == ("said", "/alerts/", 1.5, "info")


def test_a_request_is_one_line_without_its_query_and_its_credentials(shared_web: Console) -> None:
    answer = shared_web.get(
        "/login/?next=/alerts/&token=abcdefghijklmnop",
        headers={"Authorization": "Bearer abcdefghijklmnop", "X-Request-ID": "a\tforged"},
    )
    assert answer.status == 200
    shared_web.get("/nowhere/")
    lines = [line for line in shared_web.log("serve").splitlines() if "event=" in line]
    assert [line for line in lines if "path=/login/ " in line and "status=200" in line]
    assert [line for line in lines if "path=/nowhere/ " in line]
    assert len(lines) == 2
    assert "abcdefghijklmnop" not in shared_web.log()
