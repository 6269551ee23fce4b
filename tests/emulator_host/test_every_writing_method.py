"""Every method that is carried out changes something that can be read back and restored.

The table is in the modules round_trips_*; a method that gets a handler without a row here, or a
row whose method is no longer carried out, fails the second test.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulator_host import (  # noqa: F401 - importing them fills the table
    round_trips_disks,
    round_trips_fabric,
    round_trips_machines,
    round_trips_moves,
    round_trips_windows,
)
from tests.emulator_host.round_trip import SCENES, Bench

READING = {
    "CheckSystemCompatibilityInfo",
    "CheckVirtualSystemIsMigratable",
    "CheckVirtualSystemIsMigratableToHost",
    "FindMountedStorageImageInstance",
    "FormatError",
    "GetDefinitionFileSummaryInformation",
    "GetError",
    "GetErrorEx",
    "GetGroupType",
    "GetInteractiveSessionACL",
    "GetNodeClusterState",
    "GetOwner",
    "GetPossibleOwners",
    "GetPreferredOwners",
    "GetSizeOfSystemFiles",
    "GetSummaryInformation",
    "GetSystemCompatibilityInfo",
    "GetVirtualDiskChanges",
    "GetVirtualHardDiskSettingData",
    "GetVirtualHardDiskState",
    "GetVirtualSystemThumbnailImage",
    "IsKeyPressed",
    "ShowMetrics",
    "ValidatePlannedSystem",
    "ValidateVirtualHardDisk",
    "VerifyPath",
}
"""Methods that answer a question; whatever their class."""

NEVER_DONE = {
    ("Msvm_ConcreteJob", "RequestStateChange"),
    ("MSCluster_ResourceGroup", "DeleteGroup"),
}
"""Carried out only as far as refusing goes: no VMMS job of this class can be cancelled, and a
group that has resources cannot be deleted (DestroyGroup can)."""


@pytest.mark.parametrize(
    ("class_name", "method"), sorted(SCENES), ids=[".".join(row) for row in sorted(SCENES)]
)
async def test_a_value_is_flipped_read_back_and_restored(
    class_name: str, method: str, tmp_path: Path
) -> None:
    bench = Bench(tmp_path)
    trip = await SCENES[class_name, method](bench)
    before = await trip.read()
    bench.answers.clear()
    await trip.flip()
    answers = [code for found, name, code in bench.answers if (found, name) == (class_name, method)]
    assert len(answers) == 1, "the scene plays another method"
    assert answers[0] in (0, 4096, None), answers
    assert await trip.read() != before, "nothing changed"
    await trip.restore()
    assert await trip.read() == before, "the value did not come back"
    bench.fleet.fleet.close()


def test_every_modelled_method_has_its_row(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    host = bench.host.host
    refused = {(served, method) for _, served, method in host.unmodelled_methods()}
    modelled = {
        (served.class_name, method)
        for served in host.table
        for method in host.site.schema.methods(served.class_name, served.namespace)
    } - refused
    bench.fleet.fleet.close()
    writing = {row for row in modelled if row[1] not in READING} - NEVER_DONE
    assert writing - set(SCENES) == set(), "modelled, and no scene shows what they change"
    assert set(SCENES) - writing == set(), "scenes of methods that are not carried out"
    assert {method for _, method in modelled} >= READING
    assert modelled >= NEVER_DONE
