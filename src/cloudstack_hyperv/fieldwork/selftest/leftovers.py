"""What earlier, interrupted self-tests left on a host: found by name, removed only when asked.

Machines and switches are found over WS-Man; folders where a way leads to the host's files, and
else those of the runs whose machines or switches were found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cloudstack_hyperv.cim.constants import SYSTEM_TYPE_REALIZED
from cloudstack_hyperv.fieldwork.scratch_names import PREFIX, ScratchNames, is_scratch
from cloudstack_hyperv.fieldwork.selftest.stage import (
    has_folder,
    host_files,
    remove_folder,
    remove_machine,
    remove_switch,
)
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.hypervisor.machines import MachineDirectory
from cloudstack_hyperv.hypervisor.switches import list_switch_names
from cloudstack_hyperv.storage.host_files import HostFileNotFound, HostFiles, PathNotReachable
from cloudstack_hyperv.storage.windows_paths import file_name, join_path
from cloudstack_hyperv.wsman import CimClient
from cloudstack_hyperv.wsman.protocol.wql import Select, all_of, equals, starts_with


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing of a self-test on a host."""

    kind: str
    """"VM", "switch" or "folder"."""
    name: str
    remove: Callable[[], Awaitable[None]]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


async def find_leftovers(
    client: CimClient, files: HostFiles, base: str, only: ScratchNames | None = None
) -> tuple[Leftover, ...]:
    """Return what is there, in the order in which it can be removed; `only` one run's things."""
    prefix = PREFIX if only is None else only.name
    machines = await _machine_names(client, prefix)
    directory = MachineDirectory(client)
    found = [
        Leftover("VM", name, lambda name=name: remove_machine(directory, name))  # type: ignore[misc]  # the default binds the loop's name
        for name in machines
    ]
    switches = [
        switch
        for switch in await list_switch_names(client)
        if switch.name.startswith(prefix) and is_scratch(switch.name)
    ]
    found += [
        Leftover("switch", switch.name, lambda switch=switch: remove_switch(client, switch))  # type: ignore[misc]  # as above
        for switch in switches
    ]
    runs = {_run_of(name) for name in (*machines, *(switch.name for switch in switches))}
    if only is not None:
        runs.add(only.run)
    for path in await _folders(client, files, base, prefix, runs):
        found.append(Leftover("folder", path, lambda path=path: remove_folder(client, path)))  # type: ignore[misc]  # as above
    return tuple(found)


async def remove_leftovers(leftovers: tuple[Leftover, ...]) -> list[str]:
    """Remove them one by one; returns what could not be removed, with reasons."""
    failures = []
    for leftover in leftovers:
        try:
            await leftover.remove()
        except HypervisorError as error:
            failures.append(f"{leftover}: {error}")
    return failures


async def _machine_names(client: CimClient, prefix: str) -> tuple[str, ...]:
    with translated("look for machines of earlier self-tests"):
        rows = await client.query(
            Select(
                "Msvm_VirtualSystemSettingData",
                where=all_of(
                    (
                        starts_with("ElementName", prefix),
                        equals("VirtualSystemType", SYSTEM_TYPE_REALIZED),
                    )
                ),
                properties=("InstanceID", "ElementName"),
            )
        )
    return tuple(sorted({name for row in rows if is_scratch(name := row.require("ElementName"))}))


async def _folders(
    client: CimClient, files: HostFiles, base: str, prefix: str, runs: set[str]
) -> list[str]:
    with host_files(f"look into {base}"):
        try:
            entries = await files.list_folder(base)
        except HostFileNotFound:
            return []
        except PathNotReachable:
            known = [ScratchNames(run).folder(base) for run in sorted(runs)]
            return [path for path in known if await has_folder(client, path)]
    names = (file_name(entry.path) for entry in entries if entry.is_folder)
    return sorted(
        join_path(base, name) for name in names if name.startswith(prefix) and is_scratch(name)
    )


def _run_of(name: str) -> str:
    return name.removeprefix(PREFIX).partition("-")[0]
