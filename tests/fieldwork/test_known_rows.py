"""`compare` reads the rows of public recordings: the emulated client has their shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.emulation import Emulation, running_emulation
from tests.fieldwork.recorded import LOGIN, endpoint_of

from cloudstack_hyperv.fieldwork.comparison.differences import Kind
from cloudstack_hyperv.fieldwork.comparison.known_rows import (
    compare_known_row,
    is_known_row,
    read_known_row,
)
from cloudstack_hyperv.fieldwork.comparison.replay import Comparison
from cloudstack_hyperv.fieldwork.comparison.wire import open_wire
from cloudstack_hyperv.fieldwork.recording.file import RecordingError
from cloudstack_hyperv.wsman import WsmanClient

SHAPES = sorted((Path(__file__).parents[1] / "conformance" / "recorded_shapes").glob("*.json"))


async def compared(file: Path, host: Emulation) -> Comparison:
    client = WsmanClient(endpoint_of(host), LOGIN)
    try:
        async with open_wire(endpoint_of(host), LOGIN) as wire:
            return await compare_known_row(read_known_row(file), wire, client)
    finally:
        await client.close()


@pytest.mark.parametrize("file", SHAPES, ids=lambda file: file.stem)
async def test_no_difference_to_the_emulated_client(file: Path, tmp_path: Path) -> None:
    assert is_known_row(file)
    async with running_emulation(tmp_path, release="client-11", language="ja-JP") as host:
        result = await compared(file, host)
    assert (result.requests, result.differences) == (1, [])


def test_the_public_recordings_are_there() -> None:
    assert len(SHAPES) >= 7


async def test_alterations_show(tmp_path: Path) -> None:
    (off,) = (file for file in SHAPES if file.stem == "computersystem_off")
    shape = json.loads(off.read_text(encoding="utf-8"))
    elements = {each["name"]: each for each in shape["elements"]}
    elements["Name"]["content"] = "nil"
    elements["InstallDate"]["content"] = "value"
    shape["known_values"]["Caption"] = "a VM"
    shape["known_values"]["EnabledState"] = "32769"
    shape["elements"] = [each for each in shape["elements"] if each["name"] != "Status"]
    file = tmp_path / "altered.json"
    file.write_text(json.dumps(shape), encoding="utf-8")
    async with running_emulation(tmp_path, release="client-11", language="ja-JP") as host:
        result = await compared(file, host)
    found = [
        (each.kind, each.where.rpartition("/")[2], each.recorded, each.replayed)
        for each in result.differences
    ]
    assert found == [
        (Kind.ELEMENT, "Status", "absent", "there"),
        (Kind.CODE, "EnabledState", "32769", "3"),
        (Kind.TYPE, "InstallDate", "text", "datetime"),
        (Kind.NIL, "Name", "nil", "text"),
        (Kind.VALUE, "EnabledState", "32769", "3"),
        (Kind.VALUE, "Caption", "a VM", "仮想マシン"),
    ]


async def test_a_row_that_nobody_can_make(tmp_path: Path) -> None:
    shape = json.loads(SHAPES[0].read_text(encoding="utf-8"))
    shape["row"] = "a machine on the moon"
    file = tmp_path / "moon.json"
    file.write_text(json.dumps(shape), encoding="utf-8")
    async with running_emulation(tmp_path) as host:
        with pytest.raises(RecordingError, match="on the moon"):
            await compared(file, host)
    file.write_text("{}", encoding="utf-8")
    assert not is_known_row(file)
    with pytest.raises(RecordingError):
        read_known_row(file)
