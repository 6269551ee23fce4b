"""RebootCommand, CheckVirtualMachineCommand, GetVncPortCommand and the state report."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.resource_vm.commands import NAME, Stage, staged, start_command, stop_command, volume

from cloudstack_hyperv.emulator.door.calls import AnswerCode, Call, DropConnection, Verdict
from cloudstack_hyperv.emulator.host import GuestScript
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages.answers.vm import CheckVirtualMachineAnswer, GetVncPortAnswer
from cloudstack_hyperv.messages.commands.vm import (
    CheckVirtualMachineCommand,
    GetVncPortCommand,
    RebootCommand,
)
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.resource.vm_state import vm_state_report

CHECK = CheckVirtualMachineCommand(vm_name=NAME)
REBOOT = RebootCommand(vm_name=NAME)
CONSOLE = GetVncPortCommand(id=17, name=NAME)


async def test_check_virtual_machine_command_tells_the_state(stage: Stage) -> None:
    assert "no VM" in await stage.refused(CHECK)
    await stage.done(start_command())
    answer = await stage.done(CHECK)
    assert isinstance(answer, CheckVirtualMachineAnswer)
    assert answer.state == "PowerOn"
    assert stage.round_trips == 1
    await stage.request_state(9, 9)
    paused = await stage.done(CHECK)
    assert isinstance(paused, CheckVirtualMachineAnswer)
    assert paused.state == "PowerUnknown"
    stage.resource.context.memory.values.clear()
    await stage.done(CHECK)
    assert stage.round_trips == 2


async def test_check_virtual_machine_command_sees_that_a_vm_was_removed(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.request_state(3, 3)
    other = Resource(
        stage.resource.context.__class__(
            stage.resource.context.settings,
            stage.resource.context.host,
            stage.directory.client,
            stage.resource.context.files,
        )
    )
    assert (await other.execute(stop_command())).result
    assert "no VM" in await stage.refused(CHECK)


async def test_reboot_command_resets_a_vm_whose_guest_does_not_answer(tmp_path: Path) -> None:
    async with staged(tmp_path, guest=GuestScript(integration_services=False)) as stage:
        await stage.done(start_command())
        answer = await stage.done(REBOOT)
        assert "was reset" in (answer.details or "")
        await stage.settle(NAME, 2)


async def test_reboot_command_lets_the_guest_reboot(tmp_path: Path) -> None:
    guest = GuestScript(boot=0.0, shutdown=0.02)
    async with staged(tmp_path, guest=guest) as stage:
        await stage.done(start_command())
        await asyncio.sleep(0.05)
        answer = await stage.done(REBOOT)
        assert "reboots" in (answer.details or "")
        methods = [record.call.method for record in stage.emulation.server.calls.records]
        assert "InitiateReboot" in methods
        await stage.settle(NAME, 2)


async def test_reboot_command_fails_for_a_vm_that_does_not_run(stage: Stage) -> None:
    assert "no VM" in await stage.refused(REBOOT)
    await stage.done(start_command())
    await stage.request_state(3, 3)
    assert "disabled" in await stage.refused(REBOOT)
    await stage.done(stop_command())
    await stage.foreign_vm()
    assert "not made by CloudStack" in await stage.refused(REBOOT)


async def test_get_vnc_port_command_names_the_vm_for_rdp(stage: Stage) -> None:
    assert "no VM" in await stage.refused(CONSOLE)
    await stage.done(start_command())
    machine = await stage.running()
    answer = await stage.done(CONSOLE)
    assert isinstance(answer, GetVncPortAnswer)
    assert answer.address == f"instanceId={machine.guid}"
    assert answer.port == -9


async def test_host_vm_state_report_command_tells_every_vm_in_one_round_trip(
    stage: Stage,
) -> None:
    context = stage.resource.context
    assert await vm_state_report(context) == {}
    await stage.done(start_command())
    stage.emulation.make_disk("other-root")
    other = start_command(name="i-2-18-VM", uuid="u-18", disks=[volume("other-root", "ROOT", 0)])
    await stage.done(other)
    await stage.foreign_vm("somebody's own")
    await stage.request_state(9, 9)
    before = stage.emulation.server.calls.count
    report = await stage.resource.vm_state_report()
    assert stage.emulation.server.calls.count - before == 1
    assert report == {
        NAME: "PowerUnknown",
        "i-2-18-VM": "PowerOn",
        "somebody's own": "PowerOff",
    }


@pytest.mark.parametrize("verdict", [AnswerCode(32768), DropConnection()], ids=["code", "reset"])
async def test_host_vm_state_report_command_fails_whole(stage: Stage, verdict: Verdict) -> None:
    await stage.done(start_command())

    def fail(call: Call) -> Verdict | None:
        return verdict if call.method == "GetSummaryInformation" else None

    stage.emulation.server.calls.intercept(fail)
    with pytest.raises(HypervisorError):
        await vm_state_report(stage.resource.context)


async def test_host_vm_state_report_command_takes_slices_when_the_answer_is_too_large(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path, max_envelope_kb=150) as stage:
        names = [f"vm-{number:03}" for number in range(240)]
        for name in names:
            await stage.foreign_vm(name)
        report = await vm_state_report(stage.resource.context)
        assert report == dict.fromkeys(names, "PowerOff")
