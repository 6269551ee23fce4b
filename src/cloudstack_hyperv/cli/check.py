"""`cloudstack-hyperv check`: is a configured host ready, and what to do where it is not.

Each examination is one line of the table: what was tried, what was found, what to do.  They go on
from the network up, and stop where nothing above can work.  Nothing on the host is changed, except
that a file is written to and removed from each folder that the agent will write to.
"""

from __future__ import annotations

import enum
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cloudstack_hyperv.cli.assembly import resources
from cloudstack_hyperv.config import ConfigurationError, load_settings
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.hypervisor.inventory import (
    HostInventory,
    check_management_service,
    interface_with,
    read_inventory,
    read_migration_settings,
)
from cloudstack_hyperv.hypervisor.switches import SwitchKind, described, list_switches
from cloudstack_hyperv.observe import configure_logs
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.storage.windows_paths import join_path
from cloudstack_hyperv.wsman import CimClient


class Verdict(enum.StrEnum):
    """How an examination ended."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


_STYLE = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""


async def check_hosts(config: Path, only: str | None) -> int:
    """Examine the configured hosts; 0 when nothing is bad, 1 when something is, 2 for bad input."""
    try:
        settings = load_settings(config)
        configure_logs("error", "text")
        known = [host.name for host in settings.hosts]
        if not known:
            raise ConfigurationError(f"{config}: no [[hosts]] are configured")
        if only is not None and only not in known:
            raise ConfigurationError(
                f"no host {only!r} is configured; there are {', '.join(known)}"
            )
        bad = False
        async with resources(settings) as hosts:
            for resource in hosts:
                if only is None or resource.context.host.name == only:
                    bad = await _report(resource.context) or bad
        return 1 if bad else 0
    except ConfigurationError as error:
        print(f"cloudstack-hyperv check: {error}", file=sys.stderr)
        return 2


async def _report(context: HostContext) -> bool:
    table = Table(title=f"Hyper-V host {context.host.name} ({context.host.winrm.address})")
    for heading in ("", "examined", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    bad = False
    async for finding in examine(context):
        bad = bad or finding.verdict is Verdict.BAD
        table.add_row(
            f"[{_STYLE[finding.verdict]}]{finding.verdict}[/]",
            finding.subject,
            finding.found,
            finding.remedy,
        )
    Console().print(table)
    return bad


async def examine(context: HostContext) -> AsyncIterator[Finding]:
    """Examine one host, from the network up."""
    client = context.cim
    try:
        with translated("WinRM"):
            identity = await client.identify(timeout=15)
        yield Finding("WinRM and login", Verdict.GOOD, identity.product_version)
    except HypervisorError as error:
        yield Finding(
            "WinRM and login",
            Verdict.BAD,
            str(error),
            "on the host: winrm quickconfig; open TCP 5985 or 5986; see winrm.user and "
            "winrm.password in the configuration",
        )
        return
    try:
        await check_management_service(client)
        yield Finding("Hyper-V (root/virtualization/v2)", Verdict.GOOD, "VMMS is running")
    except HypervisorError as error:
        yield Finding(
            "Hyper-V (root/virtualization/v2)",
            Verdict.BAD,
            str(error),
            "install the Hyper-V role; start the service vmms; put the account into "
            "Administrators, or Hyper-V Administrators and Remote Management Users",
        )
        return
    inventory: HostInventory | None = None
    try:
        inventory = await read_inventory(client)
    except HypervisorError as error:
        yield Finding("inventory (root/cimv2)", Verdict.BAD, str(error))
    if inventory is not None:
        for finding in _hardware(context, inventory):
            yield finding
        async for finding in _folders(context, inventory):
            yield finding
    yield await _switches(client)
    yield await _migration(client)


def _hardware(context: HostContext, inventory: HostInventory) -> list[Finding]:
    processors = inventory.processors
    findings = [
        Finding(
            "Windows", Verdict.GOOD, f"{inventory.windows.caption} {inventory.windows.version}"
        ),
        Finding(
            "processors and memory",
            Verdict.GOOD,
            f"{processors.sockets} sockets, {processors.logical} logical at {processors.mhz} MHz, "
            f"{inventory.memory // 2**20} MiB",
        ),
    ]
    try:
        interface = interface_with(inventory.nics, context.private_address)
        findings.append(
            Finding(
                "private address",
                Verdict.GOOD,
                f"{interface.address}/{interface.netmask} on {interface.mac}",
            )
        )
    except HypervisorError as error:
        findings.append(
            Finding(
                "private address",
                Verdict.BAD,
                str(error),
                "set private_address to an address of the host: CloudStack checks it against the "
                "pod's range",
            )
        )
    return findings


async def _folders(context: HostContext, inventory: HostInventory) -> AsyncIterator[Finding]:
    folder = context.host.local_pool or inventory.default_disk_folder
    if not context.host.offer_local_pool:
        return
    probe = join_path(folder, f"cloudstack-hyperv-check-{uuid.uuid4()}")
    try:
        writer = await context.files.create(probe, 4096)
        try:
            await writer.write(0, b"cloudstack-hyperv check\n")
        finally:
            await writer.abort()
        yield Finding("local pool", Verdict.GOOD, f"{folder}: written to and cleaned up")
    except HostFileError as error:
        yield Finding(
            "local pool",
            Verdict.BAD,
            str(error),
            "give a way to it under [[hosts.mounts]], or set offer_local_pool = false",
        )


async def _switches(client: CimClient) -> Finding:
    try:
        switches = await list_switches(client)
    except HypervisorError as error:
        return Finding("virtual switches", Verdict.BAD, str(error))
    if any(switch.kind is SwitchKind.EXTERNAL for switch in switches):
        return Finding(
            "virtual switches",
            Verdict.GOOD,
            described(switches),
            "use these names as traffic labels (hyperv_network_label)",
        )
    return Finding(
        "virtual switches",
        Verdict.WARNING,
        described(switches) or "none",
        "make an external switch; its name is the traffic label",
    )


async def _migration(client: CimClient) -> Finding:
    try:
        migration = await read_migration_settings(client)
    except HypervisorError as error:
        return Finding("live migration", Verdict.WARNING, str(error))
    if migration is None or not migration.enabled:
        return Finding(
            "live migration",
            Verdict.WARNING,
            "not enabled",
            "only if VMs shall move: Enable-VMMigration on each host of the cluster",
        )
    kind = "Kerberos" if migration.authentication == 1 else "CredSSP"
    return Finding("live migration", Verdict.GOOD, f"enabled, authentication {kind}")
