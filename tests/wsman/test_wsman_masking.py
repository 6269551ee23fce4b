"""Traces and recordings without secrets."""

from __future__ import annotations

import pytest

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.wsman import EmbeddedInstance
from cloudstack_hyperv.wsman.protocol.envelope import Head, invoke_request
from cloudstack_hyperv.wsman.protocol.masking import mask
from cloudstack_hyperv.wsman.protocol.xmltext import parse

HEAD = Head("http://host:5985/wsman", "uuid:A", 60)
TARGET = ObjectPath.of("Msvm_VirtualSystemManagementService")
SECRET = "s3<cr>&et\"'\n!"


@pytest.mark.parametrize(
    "arguments",
    [
        {"Password": SECRET},
        {"UserPassword": SECRET, "Other": "kept"},
        {"CommandLine": "net use x: /user:a " + SECRET},
        {"Settings": EmbeddedInstance("Msvm_X", {"GuestPassword": SECRET, "B": "kept"})},
        {"Settings": EmbeddedInstance("Msvm_X", {"SecretKeys": [SECRET, "another"]})},
        {
            "DataItems": [
                EmbeddedInstance("Msvm_KvpExchangeDataItem", {"Name": "kept", "Data": SECRET}),
                EmbeddedInstance("Msvm_KvpExchangeDataItem", {"Data": "x" + SECRET}),
            ]
        },
    ],
)
def test_secrets_by_name_are_masked_and_the_envelope_stays_xml(
    arguments: dict[str, str | EmbeddedInstance | list[EmbeddedInstance]],
) -> None:
    request = invoke_request(HEAD, TARGET, "Call", arguments)
    masked = mask(request)
    assert "s3" not in masked
    assert "another" not in masked
    assert "***" in masked
    assert masked.count("kept") == request.count("kept")
    parse(masked)


def test_named_secrets_are_masked_wherever_they_stand() -> None:
    request = invoke_request(
        HEAD, TARGET, "Call", {"A": SECRET, "S": EmbeddedInstance("Msvm_X", {"Notes": [SECRET]})}
    )
    masked = mask(request, [SECRET])
    assert "s3" not in masked
    assert masked.count("***") == 2
    parse(masked)


@pytest.mark.parametrize("secret", ["a", "Selector", "uuid", "\x01"])
def test_a_short_secret_does_not_break_the_envelope(secret: str) -> None:
    request = invoke_request(HEAD, TARGET, "Call", {"Name": "a Selector"})
    root = parse(mask(request, [secret]))
    assert [element.tag for element in root.iter()] == [
        element.tag for element in parse(request).iter()
    ]


def test_what_is_no_secret_is_left_alone() -> None:
    request = invoke_request(
        HEAD,
        TARGET,
        "Call",
        {"Name": "x", "S": EmbeddedInstance("Msvm_Disk", {"Data": "y", "Path": "D:\\a"})},
    )
    assert mask(request) == request
