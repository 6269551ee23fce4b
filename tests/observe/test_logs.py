"""Log lines carry the command's context and never a secret."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.observe import (
    CommandScope,
    command_scope,
    configure_logs,
    count_round_trip,
    current_scope,
    redact,
    redact_text,
)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_have_context_and_no_secret(stream: io.StringIO) -> None:
    configure_logs("debug", "json", stream)
    with structlog.contextvars.bound_contextvars(logid="1b6c0f3e"):
        structlog.get_logger("t").info(
            "copy",
            url="cifs://10.1.1.5/secondary?user=cloud&password=s3cr3t&domain=EXAMPLE",
            vnc_password="s3cr3t",
            inner={"bootArgs": "keystore_password=s3cr3t"},
        )
        logging.getLogger("library").error("at https://admin:s3cr3t@host/ failed")
    text = stream.getvalue()
    assert "s3cr3t" not in text
    first, second = (json.loads(line) for line in text.splitlines())
    assert first["logid"] == second["logid"] == "1b6c0f3e"
    assert first["level"] == "info"
    assert "user=cloud" in first["url"]


def test_level_and_format_are_checked(stream: io.StringIO) -> None:
    with pytest.raises(ValueError, match="loud"):
        configure_logs("loud", "text", stream)
    with pytest.raises(ValueError, match="xml"):
        configure_logs("info", "xml", stream)


@given(secret=st.from_regex(r"[A-Za-z0-9%+/_.!*-]{6,20}", fullmatch=True))
def test_passwords_in_urls_are_masked(secret: str) -> None:
    for text in (
        f"cifs://h/s?user=u&password={secret}&domain=d",
        f"cifs://h/s?user\\u003du\\u0026password\\u003d{secret}\\u0026domain\\u003dd",
        f"https://u:{secret}@h/p",
        f"{{'path': '/p?user=u&password={secret}'}}",
    ):
        assert secret not in redact_text(text), text
    assert secret not in str(redact({"vncPassword": secret, "list": [{"password": secret}]}))


def test_round_trips_count_into_the_running_command_only() -> None:
    count_round_trip()
    assert current_scope() is None
    with command_scope(CommandScope("StartCommand", "hv1")) as scope:
        count_round_trip()
        count_round_trip(job_poll=True)
    assert (scope.round_trips, scope.job_polls) == (1, 1)
