"""AttachCommand and DettachCommand: volumes by diskSeq, ISOs in the DVD drive, ours only."""

from __future__ import annotations

import pytest
from tests.emulation import POOL
from tests.resource_vm.commands import (
    DATA,
    ISO,
    NAME,
    ROOT,
    SPARE,
    Stage,
    attach_command,
    detach_command,
    iso,
    start_command,
    volume,
)

from cloudstack_hyperv.emulator.door.calls import AnswerCode, Call, Verdict
from cloudstack_hyperv.messages.answers.storage import AttachAnswer

SPARE_FILE = f"{POOL}\\{SPARE}.vhdx"
ISO_FILE = f"\\\\10.1.1.5\\secondary\\{ISO.replace('/', chr(92))}"
OTHER_ISO = ISO.replace("210", "211")


async def attached(stage: Stage, sequence: int | None) -> int:
    answer = await stage.done(attach_command(volume(SPARE, "DATADISK", sequence)))
    assert isinstance(answer, AttachAnswer)
    assert answer.disk is not None
    assert answer.disk.disk_seq is not None
    return answer.disk.disk_seq


async def test_attach_command_puts_a_volume_where_its_sequence_says(stage: Stage) -> None:
    await stage.done(start_command())
    assert await attached(stage, 5) == 5
    assert stage.round_trips <= 5
    assert (await stage.drives())["SCSI 0:5"] == SPARE_FILE


async def test_attach_command_without_a_sequence_takes_the_lowest_free_one(stage: Stage) -> None:
    await stage.done(start_command())
    assert await attached(stage, None) == 2


async def test_attach_command_of_what_is_attached_succeeds_and_says_where(stage: Stage) -> None:
    await stage.done(start_command())
    await attached(stage, 5)
    before = await stage.drives()
    assert await attached(stage, 5) == 5
    assert await attached(stage, 9) == 5
    assert await stage.drives() == before


async def test_attach_command_refuses_a_place_that_is_taken(stage: Stage) -> None:
    await stage.done(start_command())
    details = await stage.refused(attach_command(volume(SPARE, "DATADISK", 1)))
    assert f"{DATA}.vhdx is there" in details


async def test_attach_command_refuses_a_controller_that_is_not_there(stage: Stage) -> None:
    await stage.done(start_command())
    details = await stage.refused(attach_command(volume(SPARE, "DATADISK", 64)))
    assert "no SCSI controller 1" in details


async def test_attach_command_of_a_file_that_is_missing_changes_nothing(stage: Stage) -> None:
    await stage.done(start_command())
    before = await stage.drives()
    assert "does not exist" in await stage.refused(attach_command(volume("nope", "DATADISK", 5)))
    assert await stage.drives() == before


async def test_attach_command_is_undone_when_the_medium_is_refused(stage: Stage) -> None:
    await stage.done(start_command())
    before = await stage.drives()
    seen = 0

    def fail(call: Call) -> Verdict | None:
        nonlocal seen
        seen += call.method == "AddResourceSettings"
        return AnswerCode(32768) if call.method == "AddResourceSettings" and seen == 2 else None

    stage.emulation.server.calls.intercept(fail)
    await stage.refused(attach_command(volume(SPARE, "DATADISK", 5)))
    assert await stage.drives() == before


async def test_attach_command_needs_a_vm_of_ours(stage: Stage) -> None:
    assert "no VM" in await stage.refused(attach_command(volume(SPARE, "DATADISK", 5)))
    await stage.foreign_vm()
    details = await stage.refused(attach_command(volume(SPARE, "DATADISK", 5)))
    assert "not made by CloudStack" in details
    assert await stage.drives() == {}


async def test_dettach_command_removes_volume_and_drive(stage: Stage) -> None:
    await stage.done(start_command())
    before = await stage.drives()
    await attached(stage, 5)
    await stage.done(detach_command(volume(SPARE, "DATADISK", 5)))
    assert await stage.drives() == before
    assert stage.has_disks()


async def test_dettach_command_of_what_is_not_attached_succeeds(stage: Stage) -> None:
    await stage.done(detach_command(volume(SPARE, "DATADISK", 5)))  # no VM at all
    await stage.done(start_command())
    answer = await stage.done(detach_command(volume(SPARE, "DATADISK", 5)))
    assert answer.details == "was not attached"


async def test_dettach_command_finishes_what_was_interrupted(stage: Stage) -> None:
    await stage.done(start_command())
    before = await stage.drives()
    await attached(stage, 5)
    seen = 0

    def fail(call: Call) -> Verdict | None:
        nonlocal seen
        seen += call.method == "RemoveResourceSettings"
        return AnswerCode(32768) if call.method == "RemoveResourceSettings" and seen == 2 else None

    stage.emulation.server.calls.intercept(fail)
    await stage.refused(detach_command(volume(SPARE, "DATADISK", 5)))
    assert (await stage.drives())["SCSI 0:5"] is None
    await stage.done(detach_command(volume(SPARE, "DATADISK", 5)))
    assert await stage.drives() == before


async def test_dettach_command_finds_a_file_in_any_letter_case(stage: Stage) -> None:
    await stage.done(start_command())
    await attached(stage, 5)
    await stage.done(detach_command(volume(SPARE.upper(), "DATADISK", 5)))
    assert "SCSI 0:5" not in await stage.drives()


async def test_dettach_command_cannot_take_the_root_disk_from_a_running_vm(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.refused(detach_command(volume(ROOT, "ROOT", 0)))
    assert (await stage.drives())["IDE 0:0"] == f"{POOL}\\{ROOT}.vhdx"


@pytest.mark.parametrize("boot_type", ["BIOS", "UEFI"])
async def test_attach_command_puts_an_iso_into_the_dvd_drive(stage: Stage, boot_type: str) -> None:
    await stage.done(start_command(boot_type=boot_type))
    place = "IDE 1:0" if boot_type == "BIOS" else "SCSI 0:3"
    answer = await stage.done(attach_command(iso()))
    assert isinstance(answer, AttachAnswer)
    assert answer.disk is not None
    assert answer.disk.disk_seq == 3
    assert stage.round_trips <= 3
    assert (await stage.drives())[place] == ISO_FILE
    await stage.done(attach_command(iso()))
    await stage.done(detach_command(iso()))
    assert (await stage.drives())[place] is None
    await stage.done(detach_command(iso()))


async def test_attach_command_of_another_iso_replaces_the_first(stage: Stage) -> None:
    stage.emulation.make_iso(OTHER_ISO)
    await stage.done(start_command())
    await stage.done(attach_command(iso()))
    await stage.done(attach_command(iso(OTHER_ISO)))
    assert (await stage.drives())["IDE 1:0"] == ISO_FILE.replace("210", "211")
    await stage.done(detach_command(iso()))  # not the one that is in
    assert (await stage.drives())["IDE 1:0"] is not None


async def test_dettach_command_of_an_iso_leaves_other_vms_alone(stage: Stage) -> None:
    stage.emulation.make_disk("other-root")
    other = start_command(
        name="i-2-18-VM", uuid="u-18", nics=[], disks=[volume("other-root", "ROOT", 0), iso()]
    )
    await stage.done(other)
    await stage.done(start_command())
    await stage.done(attach_command(iso()))
    await stage.done(detach_command(iso()))
    assert (await stage.drives("i-2-18-VM"))["IDE 1:0"] == ISO_FILE
    assert (await stage.drives(NAME))["IDE 1:0"] is None


async def test_attach_command_refuses_what_is_no_path(stage: Stage) -> None:
    await stage.done(start_command())
    for disk in (volume("..\\..\\x", "DATADISK", 5), iso("../../etc/x.iso"), volume("a:b", "X", 5)):
        await stage.refused(attach_command(disk))
    assert "SCSI 0:5" not in await stage.drives()
