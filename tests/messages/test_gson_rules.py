"""What Gson accepts is accepted here, as recorded from the real reader."""

import json
from typing import Any

import pytest

from cloudstack_hyperv.messages import MalformedMessage, decode_answers, from_json, to_json
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.monitoring import (
    GetHostStatsAnswer,
    GetStorageStatsAnswer,
    HostStatsEntry,
)
from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.answers.vm import CheckVirtualMachineAnswer, GetVncPortAnswer
from cloudstack_hyperv.messages.commands.startup import StartupRoutingCommand
from cloudstack_hyperv.messages.commands.storage import ResizeVolumeCommand
from cloudstack_hyperv.messages.enums import PowerState
from cloudstack_hyperv.messages.objects.vm import VirtualMachineTO
from cloudstack_hyperv.messages.wire import WireObject


@pytest.mark.parametrize(
    ("cls", "attribute", "json_value", "read"),
    [
        (Answer, "result", "true", True),
        (Answer, "result", "FALSE", False),
        (GetVncPortAnswer, "port", "-9", -9),
        (GetVncPortAnswer, "port", 5.0, 5),
        (GetVncPortAnswer, "port", 5.5, 5),
        (GetVncPortAnswer, "port", -5.5, -5),
        (GetVncPortAnswer, "port", None, 0),
        (GetStorageStatsAnswer, "usedBytes", 1e10, 10_000_000_000),
        (GetStorageStatsAnswer, "usedBytes", 2**63 - 1, 2**63 - 1),
        (GetStorageStatsAnswer, "capacityIops", None, None),
        (Answer, "details", 5, "5"),
        (Answer, "details", True, "true"),
        (Answer, "details", None, None),
        (CheckVirtualMachineAnswer, "state", "PowerOn", PowerState.ON),
        (CheckVirtualMachineAnswer, "state", "Flying", None),
        (CheckVirtualMachineAnswer, "state", "poweron", None),
        (
            StartupRoutingCommand,
            "hostDetails",
            {"rdp.server.port": 2179},
            {"rdp.server.port": "2179"},
        ),
        (StartupRoutingCommand, "hostDetails", [], {}),
        (StartupRoutingCommand, "hostDetails", [["a", 1]], {"a": "1"}),
        (StartupRoutingCommand, "hostDetails", {"a": None}, {}),
        (StartupRoutingCommand, "hostTags", ["a", None], ["a", None]),
        (VirtualMachineTO, "networkIdToNetworkNameMap", {"204": "n"}, {"204": "n"}),
        (VirtualMachineTO, "cpuQuotaPercentage", "12.5", 12.5),
        (VirtualMachineTO, "cpuQuotaPercentage", 12, 12.0),
        (ResizeVolumeCommand, "passphrase", [1, 2, -3, 200], bytes([1, 2, 253, 200])),
    ],
)
def test_read(cls: type[WireObject], attribute: str, json_value: Any, read: Any) -> None:
    required = {"result": True, "name": "i-2-3-VM", "path": "p", "newSize": 1}
    item = from_json(cls, {**required, attribute: json_value})
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in attribute)
    value = getattr(item, snake)
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("cls", "key", "json_value", "problem"),
    [
        (Answer, "result", 1, "expected a boolean, got a number"),
        (Answer, "result", "yes", "expected a boolean, got a text"),
        (Answer, "details", {"a": 1}, "expected a text, got an object"),
        (Answer, "contextMap", "x", "expected an object, got a text"),
        (Answer, "contextMap", [1], "expected an object, got an array"),
        (GetVncPortAnswer, "port", "5.0", "expected an integer, got a text"),
        (GetVncPortAnswer, "port", "", "expected an integer, got a text"),
        (
            GetVncPortAnswer,
            "port",
            "\N{ARABIC-INDIC DIGIT FIVE}",
            "expected an integer, got a text",
        ),
        (GetVncPortAnswer, "port", True, "expected an integer, got a boolean"),
        (GetVncPortAnswer, "port", 2**63, "expected an integer of at most 64 bits"),
        (GetVncPortAnswer, "port", 1e300, "expected an integer of at most 64 bits"),
        (HostStatsEntry, "averageLoad", "NaN", "expected a number, got a text"),
        (HostStatsEntry, "averageLoad", "1e999", "expected a finite number"),
        (HostStatsEntry, "averageLoad", 10**400, "expected a finite number"),
        (HostStatsEntry, "averageLoad", True, "expected a number, got a boolean"),
        (CheckVirtualMachineAnswer, "state", 1, "expected a text, got a number"),
        (StartupRoutingCommand, "hostTags", {}, "expected an array, got an object"),
        (CopyCmdAnswer, "newData", {"path": "p"}, "'path' is none of SnapshotObjectTO"),
        (CopyCmdAnswer, "newData", {}, "expected an object with a class name"),
    ],
)
def test_refuse(cls: type[WireObject], key: str, json_value: Any, problem: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        from_json(cls, {"result": True, key: json_value})
    assert str(caught.value).startswith(f"$.{key}: {problem}")


def test_of_duplicate_names_the_last_counts() -> None:
    (answer,) = decode_answers(b'[{"com.cloud.agent.api.Answer":{"result":false,"result":true}}]')
    assert answer.result


def test_nulls_are_left_out_but_not_from_arrays() -> None:
    item = StartupRoutingCommand(host_tags=["a", None], pool=None)  # type: ignore[list-item]
    written = to_json(item)
    assert written["hostTags"] == ["a", None]
    assert "pool" not in written


def test_bytes_are_signed_numbers() -> None:
    command = ResizeVolumeCommand(path="p", new_size=1, passphrase=bytes([0, 127, 128, 255]))
    assert to_json(command)["passphrase"] == [0, 127, -128, -1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_gson_would_refuse_is_not_written(value: float) -> None:
    answer = GetHostStatsAnswer(result=True, host_stats=HostStatsEntry(cpu_utilization=value))
    with pytest.raises(ValueError, match="NaN and infinities"):
        to_json(answer)


def test_an_integer_that_java_cannot_hold_is_not_written() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        to_json(GetStorageStatsAnswer(result=True, used_bytes=2**63))


def test_members_declared_as_a_class_are_not_wrapped(vectors: Any) -> None:
    text = (vectors / "commands/CreateObjectCommand.snapshot.json").read_text()
    (snapshot,) = json.loads(text)["data"].values()
    assert "uuid" in snapshot["volume"]
    wrapped = {**snapshot, "volume": {"org.apache.cloudstack.storage.to.VolumeObjectTO": {}}}
    item = from_json(CopyCmdAnswer, {
        "result": True,
        "newData": {"org.apache.cloudstack.storage.to.SnapshotObjectTO": wrapped},
    })  # fmt: skip
    assert item.new_data is not None
    assert item.new_data.volume is not None  # type: ignore[union-attr]
    assert item.new_data.volume.uuid is None  # type: ignore[union-attr]
