#!/usr/bin/env python3
"""docs/support.md: every command of CloudStack 4.22's KVM and C# agents, and what we do with it.

What is supported is read from the registry of handlers; what the two other agents do, which line of
the 2012 design page asks for a command, and why one is unsupported stands in `COMMANDS` below.
`support_table.py --write` writes the file, without argument it is printed;
tests/docs/test_support_table.py fails when the file is not what would be written.

Sources: CloudStack 4.22's `plugins/hypervisors/kvm` (wrappers), `plugins/hypervisors/hyperv`
(`HypervResourceController.cs`, `HypervDirectConnectResource`), and the page "CloudStack Hyper-V
integration" of 2012.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloudstack_hyperv.resource.handlers import supported_commands

TARGET = Path(__file__).parents[1] / "docs" / "support.md"

NOT_SENT = "the management server sends it to other hypervisors only"
KVM_ONLY = "has no meaning outside KVM"
SYSTEM_VMS = "later work: system VMs"
VOLUME_SNAPSHOTS = "later work: volume snapshots and backup"
MIGRATION = "later work: migration"
CONNECTED = "later work: the connected agent's own commands"
OLD = "not sent since CloudStack 4.2"
IN_JAVA = "answered inside the management server (HypervDirectConnectResource, by SSH)"
HEARTBEAT = "later work: host high availability"

P1, P2 = "Phase 1", "Phase 2"


@dataclass(frozen=True, slots=True)
class Row:
    """A command of the other agents."""

    name: str
    kvm: str
    """"yes", "part" or "" for no."""
    csharp: str
    page: str = ""
    reason: str = ""
    """Why it is unsupported, where it is."""


def rows(names: str, kvm: str, csharp: str, page: str = "", reason: str = "") -> list[Row]:
    """Return rows of several commands that have all in common."""
    return [Row(name, kvm, csharp, page, reason) for name in names.split()]


COMMANDS: dict[str, list[Row]] = {
    "Connection, host, cluster": [
        Row("StartupRoutingCommand", "yes", "part", f"{P1}: host monitoring; Road map: service"),
        *rows("ReadyCommand PingRoutingCommand", "yes", "yes", P1),
        Row("HostVmStateReportCommand", "yes", "part", f"{P1}: VM life cycle"),
        *rows("SetupCommand PingCommand", "", "part"),
        Row("CheckNetworkCommand", "yes", "part", f"{P1}: isolation by VLAN"),
        *rows("CheckHealthCommand MaintainCommand CheckOnHostCommand", "yes", "part"),
        Row("CleanupNetworkRulesCmd", "yes", "part", f"{P2}: security groups"),
        Row("FenceCommand", "yes", "", "", HEARTBEAT),
        *rows(
            "SetupPersistentNetworkCommand CleanupPersistentNetworkResourceCommand",
            "yes",
            "",
            "",
        ),
        *rows(
            "UpdateHostPasswordCommand ModifySshKeysCommand SetHostParamsCommand "
            "SetupMSListCommand MigrateAgentConnectionCommand RollingMaintenanceCommand "
            "ShutdownCommand PostCertificateRenewalCommand SetupKeyStoreCommand "
            "SetupCertificateCommand",
            "yes",
            "",
            "Road map: connected agent",
            CONNECTED,
        ),
        *rows(
            "ClusterVMMetaDataSyncCommand GetGPUStatsCommand CheckGuestOsMappingCommand "
            "GetHypervisorGuestOsNamesCommand",
            "part",
            "",
            "",
            NOT_SENT,
        ),
    ],
    "VMs": [
        Row("StartCommand", "yes", "part", f"{P1}: VM creation, start"),
        Row("StopCommand", "yes", "part", f"{P1}: VM stop, destruction"),
        Row("RebootCommand", "yes", "part", f"{P1}: VM life cycle"),
        Row("CheckVirtualMachineCommand", "yes", "part", f"{P2}: migration"),
        Row("ScaleVmCommand", "yes", "", f"{P2}: expand VM management"),
        Row("GetVncPortCommand", "yes", "part", f"{P2}: console, RDP"),
        *rows(
            "CreateVMSnapshotCommand DeleteVMSnapshotCommand RevertToVMSnapshotCommand",
            "yes",
            "",
            f"{P2}: snapshots",
        ),
        Row(
            "RestoreVMSnapshotCommand",
            "yes",
            "",
            f"{P2}: snapshots",
            "not needed: a VM with snapshots keeps its definition",
        ),
        Row("GetVmIpAddressCommand", "yes", "", P1),
        *rows(
            "GetUnmanagedInstancesCommand UnmanageInstanceCommand "
            "PrepareUnmanageVMInstanceCommand GetRemoteVmsCommand CheckVolumeCommand",
            "yes",
            "",
            f"{P2}: expand VM management",
        ),
        *rows(
            "ConvertInstanceCommand ImportConvertedInstanceCommand CheckConvertInstanceCommand "
            "CopyRemoteVolumeCommand",
            "yes",
            "",
            "",
            "needs virt-v2v or SSH between KVM hosts",
        ),
        Row("GetVolumesOnStorageCommand", "yes", "", P2, "later work: import of volumes"),
        Row("HandleConfigDriveIsoCommand", "yes", "", "", SYSTEM_VMS),
        Row("FreezeThawVMCommand", "yes", "", "", VOLUME_SNAPSHOTS),
        *rows(
            "PrepareExternalProvisioningCommand GetExternalConsoleCommand RunCustomActionCommand",
            "",
            "",
            "",
            "for hypervisor type External only",
        ),
    ],
    "Migration": [
        *rows(
            "PrepareForMigrationCommand MigrateCommand",
            "yes",
            "part",
            f"{P2}: migration",
            MIGRATION,
        ),
        Row("MigrateWithStorageCommand", "", "part", f"{P2}: migration, shared storage", MIGRATION),
        Row("MigrateVolumeCommand", "yes", "part", f"{P2}: volume service", MIGRATION),
        *rows(
            "MigrateWithStorageReceiveCommand MigrateWithStorageSendCommand "
            "MigrateWithStorageCompleteCommand MigrateVmToPoolCommand",
            "",
            "",
            "",
            "steps of XenServer and VMware",
        ),
    ],
    "Storage": [
        *rows(
            "CreateStoragePoolCommand ModifyStoragePoolCommand DeleteStoragePoolCommand",
            "yes",
            "part",
            f"{P1}: local storage; {P2}: shared storage",
        ),
        Row("GetStorageStatsCommand", "yes", "part", f"{P1}: storage statistics"),
        Row("GetVolumeStatsCommand", "yes", "", f"{P1}: storage statistics"),
        Row("CopyCommand", "yes", "part", f"{P1}: templates, disks from templates; Javelin"),
        Row("CreateObjectCommand", "yes", "part", f"{P2}: volume service, snapshots"),
        Row("DeleteCommand", "yes", "part", f"{P2}: volume service"),
        *rows("AttachCommand DettachCommand", "yes", "part", f"{P2}: volume service"),
        Row("ResizeVolumeCommand", "yes", "", f"{P2}: volume service", VOLUME_SNAPSHOTS),
        Row("DestroyCommand", "yes", "part", f"{P1}: templates"),
        *rows("GetVolumeStatCommand", "yes", "", "", "asked of PowerFlex pools only"),
        Row("RevertSnapshotCommand", "yes", "", f"{P2}: snapshots", VOLUME_SNAPSHOTS),
        *rows(
            "SnapshotAndCopyCommand ResignatureCommand IntroduceObjectCmd ForgetObjectCmd "
            "ModifyTargetsCommand PrepareStorageClientCommand UnprepareStorageClientCommand",
            "part",
            "",
            "",
            "managed storage",
        ),
        Row("ListDataStoreObjectsCommand", "yes", "", "", "later work: storage browser"),
        *rows(
            "CreateCommand PrimaryStorageDownloadCommand BackupSnapshotCommand "
            "ManageSnapshotCommand CreatePrivateTemplateFromVolumeCommand "
            "CreatePrivateTemplateFromSnapshotCommand CreateVolumeFromSnapshotCommand "
            "CopyVolumeCommand AttachIsoCommand UpgradeSnapshotCommand",
            "yes",
            "",
            f"{P1} and {P2}",
            OLD,
        ),
        *rows(
            "NfsDirectDownloadCommand HttpDirectDownloadCommand HttpsDirectDownloadCommand "
            "MetalinkDirectDownloadCommand CheckUrlCommand SetupDirectDownloadCertificateCommand "
            "RevokeDirectDownloadCertificateCommand CheckAndRepairVolumeCommand "
            "CreateDiskOnlyVmSnapshotCommand DeleteDiskOnlyVmSnapshotCommand "
            "MergeDiskOnlyVmSnapshotCommand RevertDiskOnlyVmSnapshotCommand "
            "TakeBackupCommand RestoreBackupCommand DeleteBackupCommand "
            "GetBackupStorageStatsCommand ConvertSnapshotCommand RemoveBitmapCommand "
            "RecreateCheckpointsCommand ReconcileCopyCommand ReconcileMigrateCommand "
            "ReconcileMigrateVolumeCommand CheckStorageAvailabilityCommand "
            "CheckVMActivityOnStoragePoolCommand",
            "yes",
            "",
            "",
            KVM_ONLY,
        ),
        *rows(
            "GetStoragePoolCapabilitiesCommand SyncVolumePathCommand "
            "CheckDataStoreStoragePolicyComplianceCommand",
            "",
            "",
            "",
            "VMware",
        ),
    ],
    "Network": [
        *rows("PlugNicCommand UnPlugNicCommand", "yes", "part", f"{P1}: isolation by VLAN"),
        Row("ReplugNicCommand", "yes", ""),
        *rows(
            "GetVmConfigCommand ModifyVmNicConfigCommand", "", "part", f"{P1}: isolation by VLAN"
        ),
        *rows(
            "SecurityGroupRulesCmd NetworkRulesSystemVmCommand NetworkRulesVmSecondaryIpCommand",
            "yes",
            "",
            f"{P2}: flat networking with security groups",
        ),
        Row("PvlanSetupCommand", "yes", ""),
        Row("GetVmNetworkStatsCommand", "yes", "", f"{P1}: statistics"),
        *rows(
            "OvsSetupBridgeCommand OvsFetchInterfaceCommand OvsCreateTunnelCommand "
            "OvsDestroyTunnelCommand OvsDestroyBridgeCommand "
            "OvsVpcPhysicalTopologyConfigCommand OvsVpcRoutingPolicyConfigCommand "
            "SetupTungstenVRouterCommand SetupTfRouteCommand "
            "UpdateTungstenLoadbalancerStatsCommand UpdateTungstenLoadbalancerSslCommand",
            "yes",
            "",
            "",
            "network providers that Hyper-V has no part of",
        ),
    ],
    "Monitoring": [
        *rows("GetHostStatsCommand GetVmStatsCommand", "yes", "part", f"{P1}: statistics"),
        Row("GetVmDiskStatsCommand", "yes", "", f"{P1}: storage statistics"),
    ],
    "System VMs": [
        *rows(
            "NetworkElementCommand CheckSshCommand NetworkUsageCommand PingTestCommand",
            "yes",
            "",
            f"{P2}: native system VMs",
            IN_JAVA,
        ),
        *rows(
            "PatchSystemVmCommand CopyToSecondaryStorageCommand GetAutoScaleMetricsCommand "
            "RebootRouterCommand CheckConsoleProxyLoadCommand WatchConsoleProxyLoadCommand",
            "yes",
            "",
            f"{P2}: native system VMs; Road map: system VMs",
            SYSTEM_VMS,
        ),
    ],
}

_BESIDE_THE_REGISTRY = frozenset({"StartupRoutingCommand", "HostVmStateReportCommand"})
"""Answered by `Resource.startup` and `Resource.vm_state_report`, which are no handlers."""


def supported_names() -> frozenset[str]:
    """Return the simple class names of all commands that are carried out."""
    return frozenset(row.command.__name__ for row in supported_commands()) | _BESIDE_THE_REGISTRY


def table() -> str:
    """Return docs/support.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    supported = supported_names()
    every = [row for group in COMMANDS.values() for row in group]
    done = sum(row.name in supported for row in every)
    yield "# Which commands are carried out"
    yield ""
    yield "Generated by `scripts/support_table.py --write` from the registry of handlers; a test"
    yield "compares. The columns KVM and C# say what the agents of CloudStack 4.22 do with a"
    yield "command; 2012 is the line of the design page that asks for it. A command that is not"
    yield "carried out is answered with `UnsupportedAnswer`, which the server takes for a plain no."
    yield ""
    yield f"{done} of {len(every)} commands."
    for title, group in COMMANDS.items():
        yield from ("", f"## {title}", "")
        yield "| Command | KVM | C# | here | why not, or who will | 2012 |"
        yield "|---|---|---|---|---|---|"
        for row in group:
            here = "yes" if row.name in supported else "no"
            why = "" if row.name in supported else row.reason
            yield f"| {row.name} | {row.kvm} | {row.csharp} | {here} | {why} | {row.page} |"


def main(arguments: list[str]) -> int:
    """Write or print the table."""
    if arguments == ["--write"]:
        TARGET.write_text(table(), encoding="utf-8")
        return 0
    if arguments:
        sys.stderr.write(__doc__ or "")
        return 2
    sys.stdout.write(table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
