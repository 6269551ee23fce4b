"""The host itself: WinRM's identity, inventory, and what WS-Man requests it refuses.  Read-only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.fieldwork.releases import profile_of_build
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Source
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor.errors import translated
from cloudstack_hyperv.hypervisor.inventory import (
    check_management_service,
    read_inventory,
    read_migration_settings,
    volume_of,
)
from cloudstack_hyperv.hypervisor.switches import list_switches
from cloudstack_hyperv.wsman import NotFound, QueryRefused, UnknownClass, WsmanFault

_SERVICE = "Msvm_VirtualSystemManagementService"
_DESTINATION_UNREACHABLE = "DestinationUnreachable"


async def play_identity(stage: Stage, findings: Findings) -> None:
    """Ask WinRM who it is."""
    with translated("identify the host"):
        identity = await stage.client.identify()
    findings.expect("ProductVendor", Source.DOCUMENTED, "Microsoft Corporation", identity.vendor)
    findings.expect(
        "ProtocolVersion",
        Source.DOCUMENTED,
        "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd",
        identity.protocol_version,
    )
    findings.expect_that(
        "ProductVersion",
        Source.CLIENT_CODE,
        "OS: <version> SP: <n>.<n> Stack: 3.0",
        identity.product_version,
        holds=identity.product_version.startswith("OS: ")
        and identity.product_version.endswith(" Stack: 3.0"),
    )


async def play_inventory(stage: Stage, findings: Findings) -> None:
    """Read what the agent reads of a host at its connect."""
    client = stage.client
    await check_management_service(client)
    inventory = await read_inventory(client)
    findings.expect_that(
        "build of Windows",
        Source.DOCUMENTED,
        "that of a release with Hyper-V's v2 namespace",
        inventory.windows.build,
        holds=profile_of_build(stage.release.build) is not None,
    )
    findings.expect_that(
        "Version is 10.0.<build>, or 6.2 and 6.3 before 2016",
        Source.DOCUMENTED,
        f"...{stage.release.build}",
        inventory.windows.version,
        holds=inventory.windows.version.endswith(f".{stage.release.build}"),
    )
    findings.expect_that(
        "the volume of the scratch folder is in Win32_Volume",
        Source.DOCUMENTED,
        "found",
        "found" if volume_of(inventory.volumes, stage.base) else "not found",
        holds=volume_of(inventory.volumes, stage.base) is not None,
    )
    await list_switches(client)
    settings = await read_migration_settings(client)
    findings.expect_that(
        "migration service's settings",
        Source.DOCUMENTED,
        "one row on servers",
        "none" if settings is None else "one row",
        holds=settings is not None,
    )
    with translated("read the management service"):
        rows = await client.enumerate(_SERVICE)
    findings.expect("rows of the management service", Source.DOCUMENTED, 1, len(rows))


async def play_requests(stage: Stage, findings: Findings) -> None:
    """Ask in ways that sources disagree about, or that should be refused."""
    client = stage.client
    findings.expect(
        "WQL text in root/virtualization/v2",
        Source.CLIENT_CODE,
        "accepted",
        await _answer(lambda: client.query(f"SELECT * FROM {_SERVICE}")),  # noqa: S608  (WQL)
    )
    findings.expect(
        "Get of Win32_OperatingSystem without a key",
        Source.GUESS,
        "accepted",
        await _answer(lambda: client.get(ObjectPath("Win32_OperatingSystem", (), NAMESPACE_CIMV2))),
    )
    findings.expect(
        "Get of Msvm_ComputerSystem by Name alone",
        Source.RECORDED,
        _DESTINATION_UNREACHABLE,
        await _answer(
            lambda: client.get(ObjectPath.of("Msvm_ComputerSystem", Name=stage.names.name))
        ),
    )
    findings.expect(
        "Enumerate of a class that is not there",
        Source.GUESS,
        _DESTINATION_UNREACHABLE,
        await _answer(lambda: client.enumerate("Msvm_NoSuchClass")),
    )
    findings.expect(
        "a query that is no WQL",
        Source.DOCUMENTED,
        "CannotProcessFilter",
        await _answer(lambda: client.query("SELECT FROM WHERE", namespace=NAMESPACE_CIMV2)),
    )


async def _answer(ask: Callable[[], Awaitable[object]]) -> str:
    """Return "accepted", or the fault's subcode without its prefix."""
    with translated("try a request"):
        try:
            await ask()
        except (NotFound, UnknownClass, QueryRefused) as fault:
            return fault.detail.subcode.rpartition(":")[2]
        except WsmanFault as fault:
            return f"{fault.detail.subcode.rpartition(':')[2]} {fault.detail.code:#x}"
    return "accepted"
