"""Keys of older releases are read, and written where a server of either kind may look."""

import json
from typing import Any

import msgspec
import pytest

from cloudstack_hyperv.messages import (
    COMMAND_CLASSES,
    decode_command,
    encode_answers,
    from_json,
    to_json,
)
from cloudstack_hyperv.messages.aliases import ALIASES, Alias
from cloudstack_hyperv.messages.answer import ANSWERS_BY_NAME
from cloudstack_hyperv.messages.answers.monitoring import (
    GetStorageStatsAnswer,
    GetVmStatsAnswer,
    VmStatsEntry,
)
from cloudstack_hyperv.messages.commands.migration import MigrateCommand
from cloudstack_hyperv.messages.objects.vm import DiskTO, NetworkTO, NicTO, VirtualMachineTO
from cloudstack_hyperv.messages.wire import WireObject

OBJECTS: list[type[WireObject]] = [DiskTO, NetworkTO, VirtualMachineTO, VmStatsEntry]
CLASSES: dict[str, type[WireObject]] = {
    **{cls.__name__: cls for cls in COMMAND_CLASSES.values()},
    **{cls.__name__: cls for cls in ANSWERS_BY_NAME.values()},
    **{cls.__name__: cls for cls in OBJECTS},
}


def sample(kind: Any) -> Any:
    """Return a JSON value for a field type, unlike every default."""
    for part, value in ((bool, True), (int, 7), (float, 7.5), (str, "sample")):
        if kind is part or kind == part | None:
            return value
    return {"name": "i-2-3-VM"} if "VirtualMachineTO" in str(kind) else {"key": "value"}


@pytest.mark.parametrize("row", ALIASES, ids=lambda row: f"{row.class_name}.{row.canonical}")
def test_each_row_is_about_a_real_field_and_reads_every_spelling(row: Alias) -> None:
    cls = CLASSES[row.class_name]
    fields = {info.encode_name: info for info in msgspec.structs.fields(cls)}
    field = fields[row.canonical]
    value = sample(field.type)
    needed = {"result": True, "name": "n", "vmName": "v", "destinationIp": "10.1.1.21"}
    needed.pop(row.canonical, None)
    canonical = from_json(cls, {**needed, row.canonical: value})
    assert getattr(canonical, field.name) != field.default
    for older in row.older:
        assert older not in fields
        assert from_json(cls, {**needed, older: value}) == canonical
        assert from_json(cls, {**needed, older: value, row.canonical: None}) == canonical
        assert (older in to_json(canonical)) is row.written


def test_live_migration_of_4_20_and_of_4_21() -> None:
    name = "com.cloud.agent.api.MigrateCommand"
    older = decode_command(
        name,
        '{"vmName":"i-2-3-VM","destIp":"10.1.1.21","isWindows":true,"vmTO":{"name":"i-2-3-VM"}}',
    )
    newer = decode_command(
        name,
        '{"vmName":"i-2-3-VM","destinationIp":"10.1.1.21","windows":true,'
        '"virtualMachine":{"name":"i-2-3-VM"}}',
    )
    assert older == newer
    assert isinstance(older, MigrateCommand)
    assert older.destination_ip == "10.1.1.21"


def test_where_both_spellings_stand_the_newer_one_counts() -> None:
    disk = from_json(DiskTO, {"details": {"a": "new"}, "_details": {"a": "old"}})
    assert disk.details == {"a": "new"}
    assert disk.unknown_fields == {}


def test_a_subclass_inherits_the_row_of_its_base() -> None:
    assert from_json(NicTO, {"isSecurityGroupEnabled": True}).security_group_enabled


def test_storage_statistics_have_the_keys_of_all_releases() -> None:
    answer = GetStorageStatsAnswer(result=True, used_bytes=5, capacity_bytes=9)
    (written,) = json.loads(encode_answers([answer]))[0].values()
    assert written["usedBytes"] == written["used"] == 5
    assert written["capacityBytes"] == written["capacity"] == 9


def test_vm_statistics_have_the_keys_of_all_releases() -> None:
    entry = VmStatsEntry(int_free_memory_kbs=5.0, target_memory_kbs=9.0)
    answer = GetVmStatsAnswer(result=True, vm_stats_map={"i-2-3-VM": entry})
    (written,) = json.loads(encode_answers([answer]))[0].values()
    statistics = written["vmStatsMap"]["i-2-3-VM"]
    assert statistics["intFreeMemoryKBs"] == statistics["intfreememoryKBs"] == 5.0
    assert statistics["targetMemoryKBs"] == statistics["targetmemoryKBs"] == 9.0
