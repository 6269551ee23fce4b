"""Checkpoints of the running machine: taken, gone back to, deleted and merged."""

from __future__ import annotations

import re

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.fieldwork.selftest import scratch_machines
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Source
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor import checkpoints, power
from cloudstack_hyperv.hypervisor.checkpoints import Kind
from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.storage.windows_paths import file_name, same_path

_PATIENCE = 300.0
_FIRST, _SECOND = "first", "second"
_BRANCH = re.compile(r"root1_[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}\.avhdx", re.IGNORECASE)


async def play_take(stage: Stage, findings: Findings) -> None:
    """Take one with memory and one of the disks alone."""
    client = stage.client
    machine = await stage.machine(scratch_machines.FIRST)
    first = await checkpoints.take(
        client, machine, stage.names.machine(_FIRST), Kind.MEMORY, stage.release, (), _PATIENCE
    )
    present = await checkpoints.list_checkpoints(client, machine.guid, machine.element_name)
    findings.expect("checkpoints", Source.DOCUMENTED, 1, len(present))
    files = await _disks(stage, machine)
    findings.expect_that(
        "the disk goes on in",
        Source.DOCUMENTED,
        "root1_<GUID>.avhdx",
        file_name(files[0]),
        holds=_BRANCH.fullmatch(file_name(files[0])) is not None,
    )
    findings.expect_that(
        "in the folder of the disk",
        Source.DOCUMENTED,
        "the scratch folder",
        files[0].rpartition("\\")[0],
        holds=same_path(files[0].rpartition("\\")[0], stage.folder),
    )
    second = await checkpoints.take(
        client, machine, stage.names.machine(_SECOND), Kind.DISK, stage.release, present, _PATIENCE
    )
    findings.expect("the second's parent", Source.DOCUMENTED, first.guid, second.parent)
    findings.expect(
        "the machine runs on",
        Source.DOCUMENTED,
        int(EnabledState.ENABLED),
        await power.read_state(client, machine.guid),
    )


async def play_apply(stage: Stage, findings: Findings) -> None:
    """Go back to the first, then leave the machine off."""
    client = stage.client
    machine = await stage.machine(scratch_machines.FIRST)
    present = await checkpoints.list_checkpoints(client, machine.guid, machine.element_name)
    first = checkpoints.named(present, stage.names.machine(_FIRST))
    if first is None:
        findings.expect("the first checkpoint", Source.DOCUMENTED, "there", "gone")
        return
    await checkpoints.revert(
        client, machine, first, run=False, notes=machine.notes, timeout=_PATIENCE
    )
    machine = await stage.machine(scratch_machines.FIRST)
    findings.expect("EnabledState", Source.DOCUMENTED, EnabledState.DISABLED, machine.state)
    after = await checkpoints.list_checkpoints(client, machine.guid, machine.element_name)
    findings.expect("checkpoints that are left", Source.DOCUMENTED, len(present), len(after))


async def play_delete(stage: Stage, findings: Findings) -> None:
    """Delete both, and see the disks merged back."""
    client = stage.client
    machine = await stage.machine(scratch_machines.FIRST)
    present = await checkpoints.list_checkpoints(client, machine.guid, machine.element_name)
    for checkpoint in present:
        await checkpoints.delete(client, machine, checkpoint, _PATIENCE)
    findings.expect(
        "checkpoints",
        Source.DOCUMENTED,
        0,
        len(await checkpoints.list_checkpoints(client, machine.guid, machine.element_name)),
    )
    files = await _disks(stage, machine)
    findings.expect(
        "disks after the merge",
        Source.DOCUMENTED,
        ("root1.vhdx", "data1.vhdx"),
        tuple(file_name(file).lower() for file in files),
    )


async def _disks(stage: Stage, machine: Machine) -> tuple[str, ...]:
    devices = await read_devices(stage.client, machine.guid, machine.element_name)
    return tuple(drive.medium.file for drive in devices.drives if drive.medium is not None)
