r"""Live migration: a running VM, its disks, or both, to another host or another folder.

All is one call on the source, which runs until the host is done.  When it fails the VM is where it
was, and runs: that is the host's own promise.  The end is not always seen: the job may go with the
VM, the answer may be lost.  So what counts is where the VM is.

The source logs in to the destination by itself, and needs credentials for that which it does not
have from our session: a login by NTLM or Basic cannot be passed on.  `DELEGATION` says what an
operator has to set up; the host's own code for it is 0x8009030E.  A destination is named by its DNS
name, because Kerberos has no tickets for addresses.

Switches are found by name on the destination; where a NIC's switch is called otherwise there, its
connection is sent along with that one's path.

Source: Microsoft, "MigrateVirtualSystemToHost method of the Msvm_VirtualSystemMigrationService
class", "Msvm_VirtualSystemMigrationSettingData", "Set up hosts for live migration without Failover
Clustering".
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from cloudstack_hyperv.cim import ObjectPath, Uint16
from cloudstack_hyperv.cim.constants import (
    NAMESPACE_CIMV2,
    EnabledState,
    ResourceSubType,
    ResourceType,
)
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import Adapter, Devices, Drive
from cloudstack_hyperv.hypervisor.errors import (
    HypervisorError,
    JobFailed,
    MethodFailed,
    WrongState,
    translated,
)
from cloudstack_hyperv.hypervisor.jobs import JobVanished, call
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.storage.windows_paths import split_extension
from cloudstack_hyperv.wsman.api import Argument, CimClient, EmbeddedInstance
from cloudstack_hyperv.wsman.protocol.wql import Select

log = structlog.get_logger(__name__)

_SERVICE: Final = "Msvm_VirtualSystemMigrationService"
MIGRATION_SERVICE: Final = ObjectPath.of(_SERVICE, CreationClassName=_SERVICE)
NO_CREDENTIALS: Final = "8009030E"
DELEGATION: Final = (
    "the source host could not log in to the destination in our name: let the source's computer "
    "account delegate to the destination's services 'cifs' and 'Microsoft Virtual System Migration "
    "Service' with any authentication protocol (and set live migration to Kerberos), or let this "
    "agent log in with CredSSP"
)
SETTLING: Final = 15.0
"""Seconds in which a migration whose end was not seen may still show where the VM is."""


class MigrationRefused(HypervisorError):
    """The host did not migrate the VM, which runs on the source as before; the text says why."""


class Kind(enum.IntEnum):
    """MigrationType."""

    VIRTUAL_MACHINE = 32768
    STORAGE = 32769
    VIRTUAL_MACHINE_AND_STORAGE = 32771


async def read_dns_name(client: CimClient) -> str:
    """Return the name by which other hosts reach this one: with its domain, if it has one."""
    with translated("read the host's name"):
        rows = await client.query(
            Select(
                "Win32_ComputerSystem",
                properties=("Name", "DNSHostName", "Domain", "PartOfDomain"),
            ),
            namespace=NAMESPACE_CIMV2,
        )
    if not rows:
        raise HypervisorError("the host does not tell its name")
    name = rows[0].string("DNSHostName") or rows[0].require("Name")
    domain = rows[0].string("Domain") if rows[0].boolean("PartOfDomain") else None
    return f"{name}.{domain}" if domain else name


async def migrate(
    client: CimClient,
    machine: Machine,
    destination: str,
    resources: Sequence[EmbeddedInstance],
    *,
    kind: Kind,
    timeout: float,
) -> None:
    """Move a running VM to another host; `resources` say what is otherwise there.

    On success the VM is gone from here.  Raises HypervisorError; the VM then runs here, or the text
    says that nobody knows.
    """
    name = machine.cloudstack_name
    what = f"migrate VM {name} to {destination}"
    loop = asyncio.get_running_loop()
    # A little more than the host gets: time to see where the VM is after its deadline.
    end = loop.time() + timeout * 1.05
    try:
        await _call(client, machine, what, resources, kind, timeout, destination)
    except (MethodFailed, JobFailed) as error:
        text = str(error)
        if isinstance(error, MethodFailed):
            text += await _reasons(client, machine, resources, kind, destination)
        if NO_CREDENTIALS in text.upper():
            text += f"; {DELEGATION}"
        raise MigrationRefused(text) from error
    except HypervisorError as error:
        # Whether it went is not known: the VM's being here says so.
        log.warning("the end of a migration was not seen", vm=name, reason=str(error))
        seconds = max(0.0, min(SETTLING, end - loop.time()))
        if not await _leaves(client, machine.guid, seconds):
            raise HypervisorError(f"{error}; VM {name} is still on the source") from error


async def move_storage(
    client: CimClient, machine: Machine, drive: Drive, target: str, timeout: float
) -> None:
    """Move one disk of a VM to another file while the VM goes on; success if it is there."""
    if drive.medium is None:
        raise WrongState(f"the drive at {drive.address} is empty")
    what = f"move {drive.medium.file} of VM {machine.cloudstack_name} to {target}"
    resources = [moved_disk(drive, target)]
    await _call(client, machine, what, resources, Kind.STORAGE, timeout, None)


def moved_disk(drive: Drive, target: str) -> EmbeddedInstance:
    """Return a disk's settings with another file; its pool of the source is not named."""
    if drive.medium is None:
        raise WrongState(f"the drive at {drive.address} is empty")
    return EmbeddedInstance(
        data.SASD,
        {
            "InstanceID": drive.medium.path.key("InstanceID") or "",
            "ResourceType": Uint16(ResourceType.LOGICAL_DISK),
            "ResourceSubType": str(ResourceSubType.VIRTUAL_HARD_DISK),
            "Parent": str(drive.path),
            "HostResource": [target],
            "PoolID": "",
        },
    )


def moved_connections(
    adapters: Sequence[Adapter], switches: Mapping[str, ObjectPath]
) -> list[EmbeddedInstance]:
    """Return the connections of NICs to switches of the destination, by MAC address."""
    return [
        EmbeddedInstance(
            data.CONNECTION,
            {
                "InstanceID": adapter.connection.path.key("InstanceID") or "",
                "HostResource": [str(switches[adapter.mac])],
            },
        )
        for adapter in adapters
        if adapter.connection is not None
        and adapter.connection.switch is not None
        and adapter.mac in switches
    ]


def require_whole_disks(devices: Devices, what: str) -> None:
    """Raise WrongState for a VM with checkpoints, whose disks are chains of files."""
    for drive in devices.drives:
        if drive.medium and split_extension(drive.medium.file)[1] in (".avhdx", ".avhd"):
            raise WrongState(
                f"{what}: the VM has VM snapshots ({drive.medium.file} is in use), and its storage "
                "moves only without; delete them first"
            )


async def _call(
    client: CimClient,
    machine: Machine,
    what: str,
    resources: Sequence[EmbeddedInstance],
    kind: Kind,
    timeout: float,
    destination: str | None,
) -> None:
    told = -1

    def progress(share: float) -> None:
        nonlocal told
        if int(share * 10) > told:
            told = int(share * 10)
            log.info("migration under way", operation=what, percent=round(share * 100))

    try:
        await call(
            client,
            MIGRATION_SERVICE,
            "MigrateVirtualSystemToHost",
            _arguments(machine, resources, kind, destination),
            what=what,
            timeout=timeout,
            progress=progress,
        )
    except JobVanished:
        if destination is None or not await _leaves(client, machine.guid, SETTLING):
            raise


def _arguments(
    machine: Machine,
    resources: Sequence[EmbeddedInstance],
    kind: Kind,
    destination: str | None,
) -> dict[str, Argument]:
    settings = EmbeddedInstance(
        "Msvm_VirtualSystemMigrationSettingData", {"MigrationType": Uint16(kind)}
    )
    arguments: dict[str, Argument] = {
        "ComputerSystem": machine.path,
        "MigrationSettingData": settings,
    }
    if destination is not None:
        arguments["DestinationHost"] = destination
    if resources:
        arguments["NewResourceSettingData"] = list(resources)
    return arguments


async def _reasons(
    client: CimClient,
    machine: Machine,
    resources: Sequence[EmbeddedInstance],
    kind: Kind,
    destination: str,
) -> str:
    """Return what speaks against a migration that was refused by a bare number, "" for nothing."""
    what = "the host's own check"
    try:
        await call(
            client,
            MIGRATION_SERVICE,
            "CheckVirtualSystemIsMigratable",
            _arguments(machine, resources, kind, destination),
            what=what,
            timeout=60.0,
        )
    except HypervisorError as error:
        return f"; {error}"
    return ""


async def _leaves(client: CimClient, guid: str, seconds: float) -> bool:
    """Whether the VM is gone from the source, or goes while one looks."""
    return await power.wait_until(client, guid, lambda state: state is None, seconds)


def require_running(machine: Machine, what: str) -> None:
    """Raise WrongState for a VM that does not run."""
    if machine.state != EnabledState.ENABLED:
        raise WrongState(
            f"{what}: the VM is {power.state_name(machine.state)}, only a running one migrates live"
        )
