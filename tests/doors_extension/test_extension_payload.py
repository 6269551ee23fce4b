"""The payload reader alone: the recorded files, every shape of a value, and noise."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doors_extension.extension_stage import recorded

from cloudstack_hyperv.doors.extension.payload import (
    BadPayload,
    read_host,
    read_payload,
    size_parameter,
    text_parameter,
    truth_parameter,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


def test_a_recorded_payload() -> None:
    payload = read_payload(json.dumps(recorded("custom-createsnapshot")).encode())
    assert payload.host.address == "10.1.1.20"
    assert payload.host.https
    assert payload.host.port is None
    assert payload.host.verify_certificate is False
    assert payload.host.password is not None
    assert payload.host.password.reveal() == "s3cr3t"
    assert "s3cr3t" not in repr(payload)
    assert payload.details.generation == 1
    assert payload.vm.name == "i-2-17-VM"
    assert text_parameter(payload.parameters, "size") == "5"
    assert truth_parameter(payload.parameters, "snapshot_save_memory") is True


@pytest.mark.parametrize(
    ("url", "address", "https", "port"),
    [
        ("10.1.1.20", "10.1.1.20", True, None),
        ("hv1.example:5987", "hv1.example", True, 5987),
        ("http://10.1.1.20", "10.1.1.20", False, None),
        ("https://[2001:db8::1]:5986", "2001:db8::1", True, 5986),
    ],
)
def test_urls(url: str, address: str, https: bool, port: int | None) -> None:
    host = read_host({"url": url})
    assert (host.address, host.https, host.port) == (address, https, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h",
        "https://",
        "https://u:secret@h",
        "ftp://u:secret@h",
        "h:99999",
        "h:x",
        "http://[::1",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(BadPayload) as refused:
        read_host({"url": url})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "verify"),
    [("true", True), ("false", False), ("FALSE", False), ("", True), ("?", True)],
)
def test_a_certificate_is_checked_unless_it_is_said_clearly_not_to(text: str, verify: bool) -> None:
    assert read_host({"url": "h", "verify_tls_certificate": text}).verify_certificate is verify


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "1e9", "much"])
def test_sizes_that_are_none(size: str) -> None:
    with pytest.raises(BadPayload):
        size_parameter({"size_gb": size}, "size_gb")


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_any_value_in_any_place_is_read_or_refused(value: Any) -> None:
    for place in (
        ("externaldetails",), ("externaldetails", "host"), ("externaldetails", "host", "url"),
        ("externaldetails", "virtualmachine"), ("externaldetails", "virtualmachine", "generation"),
        ("cloudstack.vm.details",), ("cloudstack.vm.details", "name"),
        ("cloudstack.vm.details", "nics"), ("parameters",),
    ):  # fmt: skip
        document = recorded("create")
        inner = document
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        with contextlib.suppress(BadPayload):
            read_payload(json.dumps(document).encode())


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(BadPayload):
        read_payload(noise)
