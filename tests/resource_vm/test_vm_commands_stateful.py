"""Random commands from several tasks at once, against a host and a small model of it.

A batch of commands for two VMs is sent at the same time.  Commands for one VM run one after the
other in some order; there must be an order in which the model gives the answers that came and the
host that is there.  Between batches a guest writes to its disk and somebody cuts a VM's power.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from tests.emulation import POOL
from tests.resource_vm.commands import Stage, nic, staged, start_command, volume

from cloudstack_hyperv.cim import Uint16
from cloudstack_hyperv.hypervisor.checkpoints import list_checkpoints
from cloudstack_hyperv.messages import Answer, Command
from cloudstack_hyperv.messages.commands.snapshots import (
    CreateVMSnapshotCommand,
    DeleteVMSnapshotCommand,
    RevertToVMSnapshotCommand,
)
from cloudstack_hyperv.messages.commands.storage import AttachCommand, DettachCommand
from cloudstack_hyperv.messages.commands.vm import (
    CheckVirtualMachineCommand,
    RebootCommand,
    StopCommand,
)
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import VMSnapshotTO

VMS = (21, 22)
SNAPSHOTS = ("a", "b", "c")
OPERATIONS = (
    "start",
    "start with spare",
    "stop",
    "expunge",
    "attach",
    "detach",
    "check",
    "reboot",
    *(f"{verb} {name}" for verb in ("take", "revert", "delete") for name in SNAPSHOTS),
)
BATCHES = st.lists(
    st.tuples(st.sampled_from(VMS), st.sampled_from(OPERATIONS)), min_size=1, max_size=4
)


@dataclass(frozen=True)
class Vm:
    """What one VM should be."""

    power: str = "absent"
    """"running", "off" (somebody cut its power), "kept" (stopped, with snapshots) or "absent"."""
    spare: bool = False
    content: bytes = b""
    snapshots: dict[str, tuple[bytes, bool]] = field(default_factory=dict)
    """Content of the root disk and whether the spare disk was there, by name."""

    @property
    def visible(self) -> tuple[str, bool, bytes, frozenset[str]]:
        """What can be seen of it without going back to a snapshot."""
        return self.power, self.spare, self.content, frozenset(self.snapshots)

    def after(self, operation: str) -> tuple[bool, Vm]:
        """Return whether an operation succeeds, and what is then."""
        verb, _, name = operation.partition(" ")
        match verb:
            case "start":
                return self._started(bool(name))
            case "stop" | "expunge":
                return True, self._stopped(expunge=verb == "expunge")
            case "attach":
                if self.power == "absent" or (self.snapshots and not self.spare):
                    return False, self
                return True, replace(self, spare=True)
            case "detach":
                refused = self.spare and bool(self.snapshots)
                return not refused, self if refused else replace(self, spare=False)
            case "check" | "reboot":
                return self.power in (
                    "running",
                    *(("off", "kept") if verb == "check" else ()),
                ), self
        changes = {"take": self._taken, "revert": self._reverted, "delete": self._deleted}
        return changes[verb](name)

    def _stopped(self, *, expunge: bool) -> Vm:
        if self.snapshots and not expunge:
            return replace(self, power="kept")
        return Vm(content=self.content)

    def _started(self, spare: bool) -> tuple[bool, Vm]:
        if self.power == "running":
            return True, self
        if self.snapshots and spare != self.spare:
            return False, self
        return True, replace(self, power="running", spare=spare)

    def _taken(self, name: str) -> tuple[bool, Vm]:
        if name in self.snapshots:
            return True, self
        if self.power != "running":
            return False, self
        return True, replace(self, snapshots={**self.snapshots, name: (self.content, self.spare)})

    def _reverted(self, name: str) -> tuple[bool, Vm]:
        if name not in self.snapshots:
            return False, self
        content, spare = self.snapshots[name]
        return True, replace(self, power="running", content=content, spare=spare)

    def _deleted(self, name: str) -> tuple[bool, Vm]:
        left = {key: value for key, value in self.snapshots.items() if key != name}
        if self.power == "kept" and not left:
            return True, Vm(content=self.content)
        return True, replace(self, snapshots=left)


class Life(RuleBasedStateMachine):
    """Two VMs on one host."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.model: dict[int, list[Vm]] = {vm: [Vm()] for vm in VMS}
        """What each VM may be; what is not visible may leave several possibilities."""
        self.stage: Stage = self.runner.run(self._stage())

    async def _stage(self) -> Stage:
        stage = await self.stack.enter_async_context(staged(Path(self.folder)))
        for vm in VMS:
            stage.emulation.make_disk(f"root-{vm}", size=16 * 2**20)
            stage.emulation.make_disk(f"spare-{vm}", size=16 * 2**20)
        return stage

    def teardown(self) -> None:
        try:
            self.runner.run(self.stack.aclose())
        finally:
            self.runner.close()

    @rule(
        batch=st.lists(
            st.tuples(st.sampled_from(VMS), st.sampled_from(OPERATIONS)), min_size=1, max_size=4
        )
    )
    def several_at_once(self, batch: list[tuple[int, str]]) -> None:
        self.runner.run(self._several(batch))

    @rule(vm=st.sampled_from(VMS), content=st.sampled_from([b"red", b"green", b"blue"]))
    def the_guest_writes(self, vm: int, content: bytes) -> None:
        if self.model[vm][0].power == "running":
            self.runner.run(self.stage.write_guest(content, f"root-{vm}", name_of(vm)))
            self.model[vm] = [replace(state, content=content) for state in self.model[vm]]

    @rule(vm=st.sampled_from(VMS))
    def somebody_cuts_the_power(self, vm: int) -> None:
        if self.model[vm][0].power == "running":
            self.runner.run(self._cut(vm))
            self.model[vm] = [replace(state, power="off") for state in self.model[vm]]

    async def _cut(self, vm: int) -> None:
        machine = await self.stage.running(name_of(vm))
        await self.stage.directory.client.invoke(
            machine.path, "RequestStateChange", {"RequestedState": Uint16(3)}
        )
        await self.stage.settle(name_of(vm), 3)

    async def _several(self, batch: list[tuple[int, str]]) -> None:
        answers = await asyncio.gather(
            *(self.stage.resource.execute(command_for(vm, what)) for vm, what in batch)
        )
        for vm in VMS:
            seen = await self._observe(vm)
            mine = [
                (what, answer)
                for (who, what), answer in zip(batch, answers, strict=True)
                if who == vm
            ]
            possible = outcomes(self.model[vm], mine)
            explained = [state for state in possible if state.visible == seen]
            told = [(what, answer.result, answer.details) for what, answer in mine]
            assert explained, f"{name_of(vm)} {self.model[vm]}: {told} gave {seen}"
            self.model[vm] = explained
        report = await self.stage.resource.vm_state_report()
        expected = {
            name_of(vm): "PowerOn" if states[0].power == "running" else "PowerOff"
            for vm, states in self.model.items()
            if states[0].power in ("running", "off")
        }
        assert report == expected

    async def _observe(self, vm: int) -> tuple[str, bool, bytes, frozenset[str]]:
        """Read off the host what a VM is."""
        stage, name = self.stage, name_of(vm)
        machine = await stage.machine(name)
        branches = [file for file in stage.branches() if file.startswith(f"root-{vm}_")]
        if machine is None:
            assert not branches
            return Vm(content=stage.read_disk(f"{POOL}\\root-{vm}.vhdx")).visible
        assert machine.state in (2, 3)
        off = "kept" if machine.is_kept else "off"
        files = [file for file in (await stage.drives(name)).values() if file]
        found = await list_checkpoints(stage.directory.client, machine.guid, name)
        assert bool(found) == bool(branches)
        return (
            "running" if machine.state == 2 else off,
            any(f"spare-{vm}" in file for file in files),
            await stage.read_guest(f"root-{vm}", name),
            frozenset(checkpoint.name for checkpoint in found),
        )


def outcomes(before: list[Vm], mine: list[tuple[str, Answer]]) -> list[Vm]:
    """Return what can be after these commands gave these answers, in any order."""
    found: list[Vm] = []
    for start, order in itertools.product(before, itertools.permutations(mine)):
        state, agrees = start, True
        for what, answer in order:
            result, state = state.after(what)
            agrees = agrees and result == answer.result
        if agrees and state not in found:
            found.append(state)
    return found


def name_of(vm: int) -> str:
    return f"i-2-{vm}-VM"


def command_for(vm: int, what: str) -> Command:
    """Return the command that an operation is."""
    verb, _, name = what.partition(" ")
    root, spare = volume(f"root-{vm}", "ROOT", 0), volume(f"spare-{vm}", "DATADISK", 1)
    match verb:
        case "start":
            return start_command(
                name=name_of(vm),
                uuid=f"uuid-{vm}",
                id=vm,
                disks=[root, spare] if name else [root],
                nics=[nic(0, f"vlan://{vm}", mac=f"02:00:51:2c:{vm}:00")],
            )
        case "stop" | "expunge":
            return StopCommand(vm_name=name_of(vm), force_stop=True, expunge_vm=verb == "expunge")
        case "attach":
            return AttachCommand(vm_name=name_of(vm), disk=spare)
        case "detach":
            return DettachCommand(vm_name=name_of(vm), disk=spare)
        case "check":
            return CheckVirtualMachineCommand(vm_name=name_of(vm))
        case "reboot":
            return RebootCommand(vm_name=name_of(vm))
        case _:
            return snapshot_command(verb, vm, name)


def snapshot_command(verb: str, vm: int, name: str) -> Command:
    data = volume(f"root-{vm}", "ROOT", 0).data
    assert isinstance(data, VolumeObjectTO)
    fields: dict[str, Any] = {
        "vm_name": name_of(vm),
        "target": VMSnapshotTO(snapshot_name=name, type="DiskAndMemory"),
        "volume_tos": [data],
    }
    classes: dict[str, type[Command]] = {
        "take": CreateVMSnapshotCommand,
        "revert": RevertToVMSnapshotCommand,
        "delete": DeleteVMSnapshotCommand,
    }
    return classes[verb](**fields)


def play(examples: int, steps: int) -> None:
    """Run the machine; every example is a host of its own."""
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=examples < 10,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_vm_commands_at_once_leave_a_host_that_some_order_explains() -> None:
    play(examples=3, steps=8)


@pytest.mark.slow
def test_vm_commands_at_once_leave_a_host_that_some_order_explains_for_long() -> None:
    play(examples=25, steps=25)
