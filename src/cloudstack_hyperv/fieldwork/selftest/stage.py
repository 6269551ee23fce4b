"""Where the scenarios of a self-test play: one host, one scratch folder, one scratch switch.

The rule: whatever makes something pushes its removal on the undo stack first, and every removal
looks at the name of what it removes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2, EnabledState
from cloudstack_hyperv.fieldwork.scratch_names import ScratchNames, is_scratch, is_scratch_folder
from cloudstack_hyperv.fieldwork.selftest.tiny_iso import empty_iso
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor.errors import HypervisorError, NotOurs, translated
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import Machine, MachineDirectory
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.switches import VirtualSwitch
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.storage.host_files import HostFileError, HostFiles, PathNotReachable
from cloudstack_hyperv.storage.windows_paths import join_path
from cloudstack_hyperv.wsman import CimClient, NotFound

_SWITCH_SERVICE_CLASS = "Msvm_VirtualEthernetSwitchManagementService"
SWITCH_SERVICE = ObjectPath.of(_SWITCH_SERVICE_CLASS, CreationClassName=_SWITCH_SERVICE_CLASS)
COMMAND_PATIENCE = 10.0
"""Seconds until a folder must be there that a command on the host makes."""
_PROCESSES = ObjectPath.of("Win32_Process", namespace=NAMESPACE_CIMV2)


class Diary(Protocol):
    """Who writes down what happens beside WS-Man, so that it can be played again."""

    def folder_made(self, path: str) -> None:
        """A folder was made on the host."""
        ...

    def iso_made(self, path: str) -> None:
        """An empty ISO was laid on the host."""
        ...


@dataclass(slots=True)
class Stage:
    """What scenarios share."""

    client: CimClient
    files: HostFiles
    names: ScratchNames
    base: str
    """Windows path of the folder in which the scratch folder is made."""
    release: Release
    undo: UndoStack
    diary: Diary | None = None
    switch: VirtualSwitch | None = None
    directory: MachineDirectory = field(init=False)

    def __post_init__(self) -> None:
        self.directory = MachineDirectory(self.client)

    @property
    def folder(self) -> str:
        """The scratch folder."""
        return self.names.folder(self.base)

    def path(self, name: str) -> str:
        """Return the path of a file in the scratch folder."""
        return join_path(self.folder, name)

    async def make_folder(self) -> None:
        """Make the scratch folder: over the way to the host's files, else by a command there."""
        self.undo.push(
            f"remove folder {self.folder}", lambda: remove_folder(self.client, self.folder)
        )
        with host_files(f"make folder {self.folder}"):
            try:
                await self.files.make_folder(self.folder)
            except PathNotReachable:
                await self._make_folder_by_command()
        if self.diary is not None:
            self.diary.folder_made(self.folder)

    async def lay_iso(self, name: str) -> str | None:
        """Lay an empty ISO into the scratch folder; None where no way leads to the host's files."""
        path = self.path(name)
        content = empty_iso()
        with host_files(f"write {path}"):
            try:
                writer = await self.files.create(f"{path}.part", len(content))
            except PathNotReachable:
                return None
            try:
                await writer.write(0, content)
                await writer.commit(path)
            except BaseException:
                await writer.abort()
                raise
        if self.diary is not None:
            self.diary.iso_made(path)
        return path

    async def machine(self, purpose: str) -> Machine:
        """Return a machine of this run as it is now; raises HypervisorError when it is gone."""
        name = self.names.machine(purpose)
        machine = await self.directory.find(name, search=True)
        if machine is None:
            raise HypervisorError(f"VM {name} is gone")
        return machine

    async def _make_folder_by_command(self) -> None:
        """WMI cannot make a folder; a process on the host can, and does so in a moment."""
        what = f"make folder {self.folder}"
        with translated(what):
            result = await self.client.invoke(
                _PROCESSES, "Create", {"CommandLine": f'cmd /c mkdir "{self.folder}"'}
            )
        if result.return_value != 0:
            raise HypervisorError(f"{what}: Win32_Process.Create answered {result.return_value}")
        pace = power.Pace.for_seconds(COMMAND_PATIENCE)
        while not await has_folder(self.client, self.folder):
            if not await pace.next():
                raise HypervisorError(f"{what}: it is not there; see the account's rights")


def folder_path(path: str) -> ObjectPath:
    """Return the Win32_Directory of a folder."""
    return ObjectPath.of("Win32_Directory", namespace=NAMESPACE_CIMV2, Name=path)


async def has_folder(client: CimClient, path: str) -> bool:
    """Whether the host has a folder."""
    with translated(f"look for folder {path}"):
        try:
            await client.get(folder_path(path))
        except NotFound:
            return False
    return True


async def remove_folder(client: CimClient, path: str) -> None:
    """Remove a scratch folder with all in it, as soon as the host lets go of its files."""
    if not is_scratch_folder(path):
        raise NotOurs(f"{path} is not a self-test's folder; it is left alone")
    what = f"remove folder {path}"
    pace = power.Pace.for_seconds(30)
    while await has_folder(client, path):
        with translated(what):
            try:
                code = (await client.invoke(folder_path(path), "Delete")).return_value
            except NotFound:
                return
        if not await pace.next():
            raise HypervisorError(f"{what}: the host answered {code}, a file in it is in use")


async def remove_machine(directory: MachineDirectory, name: str) -> None:
    """Turn off a scratch machine and remove its definition; success if it is gone."""
    if not is_scratch(name):
        raise NotOurs(f"VM {name} is not a self-test's; it is left alone")
    machine = await directory.find(name, search=True)
    if machine is None:
        return
    if machine.state not in (EnabledState.DISABLED, EnabledState.SAVED):
        await power.turn_off(directory.client, machine.guid, name)
    await power.destroy(directory.client, machine.guid, name)


async def remove_switch(client: CimClient, switch: VirtualSwitch) -> None:
    """Remove a scratch switch."""
    if not is_scratch(switch.name):
        raise NotOurs(f"switch {switch.name} is not a self-test's; it is left alone")
    await call(
        client,
        SWITCH_SERVICE,
        "DestroySystem",
        {"AffectedSystem": switch.path},
        what=f"remove switch {switch.name}",
    )


@contextmanager
def host_files(what: str) -> Iterator[None]:
    """Turn failures of the way to the host's files into HypervisorErrors."""
    try:
        yield
    except HostFileError as error:
        raise HypervisorError(f"{what}: {error}") from error
