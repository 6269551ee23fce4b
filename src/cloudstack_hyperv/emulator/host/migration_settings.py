"""Live migration as it is set up on one host: switched on or off, how many, over which networks.

The listener's addresses are those of the host's own cards that lie in a listed migration network.
A new domain member lists all networks (0.0.0.0/0 and ::/0, with the tag that Hyper-V's own
PowerShell module gives them); a host that lists none can be reached by nobody.

Sources: Microsoft's pages Msvm_VirtualSystemMigrationService, -ServiceSettingData,
-NetworkSettingData and -Capabilities; "Set up hosts for live migration" (a domain is needed, Server
2025 also allows workgroup clusters); that a default Msvm_VirtualSystemMigrationSettingData exists
for each MigrationType from os-win's livemigrationutils.py.  InstanceIDs are guesses.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterator

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host.arguments import instances, references
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import JobFailed, invalid_parameter
from cloudstack_hyperv.emulator.host.services import Services, changed_settings
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site, number, text

SERVICE = "Msvm_VirtualSystemMigrationService"
NETWORK = "Msvm_VirtualSystemMigrationNetworkSettingData"
CAPABILITIES = "Msvm_VirtualSystemMigrationCapabilities"
MIGRATION_SETTINGS = "Msvm_VirtualSystemMigrationSettingData"
CREDSSP, KERBEROS = 0, 1
ALL_NETWORKS = "Microsoft:UserManagedAllNetworks"
MIGRATION_TYPES = (32768, 32769, 32770, 32771, 32772)

_JOB = JobKind.concrete(4, "Modifying Migration Service Settings")
_SECONDS = 0.05
_NOT_IN_A_DOMAIN = 0x8007054B
"""ERROR_NO_SUCH_DOMAIN."""
_CHANGES = frozenset(
    {
        "EnableVirtualSystemMigration",
        "MaximumActiveVirtualSystemMigration",
        "MaximumActiveStorageMigration",
        "AuthenticationType",
        "EnableCompression",
        "EnableSmbTransport",
    }
)

Reply = MethodReply | Awaitable[MethodReply]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class MigrationSettings:
    """What administrators have set, and how many migrations are under way."""

    def __init__(self, site: Site, services: Services) -> None:
        self._site = site
        self._services = services
        self.active_machines = 0
        self.active_storage = 0
        self.in_workgroup_cluster = False
        self._networks: dict[str, Row] = {}
        if self.enabled:
            for subnet in ("0.0.0.0/0", "::/0"):
                self._put(ipaddress.ip_network(subnet), 0, [ALL_NETWORKS])
        services.live[SERVICE] = self._live

    def _get(self, name: str) -> Value:
        return self._services.migration.values.get(name)

    @property
    def enabled(self) -> bool:
        """Whether machines may come to and leave this host running."""
        return self._get("EnableVirtualSystemMigration") is True

    @property
    def authentication(self) -> int:
        """`CREDSSP` or `KERBEROS`."""
        return number(self._services.migration.values, "AuthenticationType")

    @property
    def most_machines(self) -> int:
        """How many machines may move at once."""
        return number(self._services.migration.values, "MaximumActiveVirtualSystemMigration")

    @property
    def most_storage(self) -> int:
        """How many machines' storage may move at once."""
        return number(self._services.migration.values, "MaximumActiveStorageMigration")

    @property
    def uses_smb(self) -> bool:
        """Whether memory goes through SMB instead of plain TCP."""
        return self._get("EnableSmbTransport") is True

    def change(self, **values: Value) -> None:
        """Set properties of the settings, as an administrator at the host would."""
        row = self._services.migration
        self._services.migration = Row(row.class_name, {**row.values, **values})
        for listener in self._services.changed:
            listener()

    def listener_addresses(self) -> list[str]:
        """Return the addresses on which machines are received, [] when migration is off."""
        if not self.enabled:
            return []
        networks = self._listed()
        return [
            nic.address
            for nic in self._site.config.nics
            if nic.address and any(ipaddress.ip_address(nic.address) in net for net in networks)
        ]

    def _listed(self) -> list[Network]:
        return [
            ipaddress.ip_network(f"{row.values['SubnetNumber']}/{row.values['PrefixLength']}")
            for row in self._networks.values()
        ]

    def _live(self) -> dict[str, Value]:
        return {
            "ActiveVirtualSystemMigrationCount": self.active_machines,
            "ActiveStorageMigrationCount": self.active_storage,
            "MigrationServiceListenerIPAddressList": self.listener_addresses() or None,
        }

    # Methods -------------------------------------------------------------------------------

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods of the migration service by name."""
        return {
            "ModifyServiceSettings": self.modify,
            "AddNetworkSettings": self.add_networks,
            "ModifyNetworkSettings": self.modify_networks,
            "RemoveNetworkSettings": self.remove_networks,
        }

    def modify(self, call: MethodCall) -> Reply:
        """Change the service's settings."""
        changed = changed_settings(call, "ServiceSettingData", self._services.migration, _CHANGES)
        if changed.get("AuthenticationType", CREDSSP) not in (CREDSSP, KERBEROS):
            raise invalid_parameter("AuthenticationType is 0 or 1")

        def apply(_: object) -> None:
            if changed.get("EnableVirtualSystemMigration"):
                self._require_domain()
            self.change(**changed)

        return self._site.conductor.run(call, Operation(_JOB, apply, _SECONDS))

    def _require_domain(self) -> None:
        if not self._site.config.domain and not self.in_workgroup_cluster:
            raise JobFailed(
                ReturnCode.FAILED,
                "Virtual machine migration can be enabled only on a computer that is joined to a "
                f"domain (0x{_NOT_IN_A_DOMAIN:08X}).",
                _NOT_IN_A_DOMAIN,
            )

    def add_networks(self, call: MethodCall) -> Reply:
        """List networks for migration."""
        wanted = [self._checked(row) for row in instances(call, "NetworkSettings")]
        if not wanted:
            raise invalid_parameter("NetworkSettings is empty")
        listed = self._listed()
        subnets = [network for network, _, _ in wanted]
        if any(net in listed for net in subnets) or len(set(subnets)) < len(subnets):
            raise invalid_parameter("a network is listed already")

        def apply(_: object) -> None:
            for network, metric, tags in wanted:
                self._put(network, metric, tags)

        return self._site.conductor.run(call, Operation(_JOB, apply, _SECONDS))

    def modify_networks(self, call: MethodCall) -> Reply:
        """Change listed networks."""
        wanted: list[tuple[str, Network, int, list[str]]] = []
        for row in instances(call, "NetworkSettings"):
            old = self._networks.get(text(row.values, "InstanceID").upper())
            if old is None:
                raise invalid_parameter("InstanceID names no migration network")
            given = {name: value for name, value in row.values.items() if value is not None}
            network, metric, tags = self._checked(Row(NETWORK, {**old.values, **given}))
            wanted.append((text(old.values, "InstanceID").upper(), network, metric, tags))
        if not wanted:
            raise invalid_parameter("NetworkSettings is empty")

        def apply(_: object) -> None:
            for key, network, metric, tags in wanted:
                old = self._networks[key]
                new = _network_values(network, metric, tags)
                self._networks[key] = Row(NETWORK, {**old.values, **new})

        return self._site.conductor.run(call, Operation(_JOB, apply, _SECONDS))

    def remove_networks(self, call: MethodCall) -> Reply:
        """Take networks off the list."""
        keys = [
            (path.key("InstanceID") or "").upper() for path in references(call, "NetworkSettings")
        ]
        if not keys or any(key not in self._networks for key in keys):
            raise invalid_parameter("NetworkSettings names no migration network")

        def apply(_: object) -> None:
            for key in keys:
                self._networks.pop(key, None)

        return self._site.conductor.run(call, Operation(_JOB, apply, _SECONDS))

    def _checked(self, row: Row) -> tuple[Network, int, list[str]]:
        if row.class_name != NETWORK:
            raise invalid_parameter(f"NetworkSettings holds {NETWORK} only")
        prefix = row.values.get("PrefixLength")
        subnet = text(row.values, "SubnetNumber")
        try:
            network = ipaddress.ip_network(f"{subnet}/{prefix}")
        except ValueError as problem:
            raise invalid_parameter(f"{subnet}/{prefix} is not a network: {problem}") from problem
        tags = row.values.get("Tags")
        names = [str(tag) for tag in tags] if isinstance(tags, list | tuple) else []
        return network, number(row.values, "Metric"), names

    def _put(self, network: Network, metric: int, tags: list[str]) -> None:
        instance_id = f"Microsoft:{self._site.name}\\MigrationNetwork\\{self._site.dice.guid()}"
        values: dict[str, Value] = {
            "InstanceID": instance_id,
            "Caption": "Migration Network Settings",
            "Description": "Network on which migrating virtual machines are received",
            "ElementName": "Migration Network Settings",
            **_network_values(network, metric, tags),
        }
        self._networks[instance_id.upper()] = Row(NETWORK, values)

    # Classes -------------------------------------------------------------------------------

    def register(self, table: ClassTable) -> None:
        """Serve networks, capabilities and the default settings of each kind of migration."""
        table.serve(NETWORK, lambda: list(self._networks.values()))
        table.serve(CAPABILITIES, self._capabilities)
        table.serve(MIGRATION_SETTINGS, self._defaults)
        table.serve("Msvm_VirtualSystemMigrationServiceSettingDataComponent", self._components)

    def _capabilities(self) -> Iterator[Row]:
        yield Row(
            CAPABILITIES,
            {
                "InstanceID": f"Microsoft:{self._site.name}\\MigrationCapabilities",
                "Caption": "Migration Capabilities",
                "Description": "Virtual System Migration Capabilities",
                "ElementName": "Migration Capabilities",
                "SynchronousMethodsSupported": [4],
                "AsynchronousMethodsSupported": [2, 32768],
                "DestinationHostFormatsSupported": [2, 3, 4],
            },
        )

    def _defaults(self) -> Iterator[Row]:
        for kind in MIGRATION_TYPES:
            values: dict[str, Value] = {
                "InstanceID": f"Microsoft:Definition\\MigrationSettingData\\{kind}",
                "Caption": "Migration Setting Data",
                "Description": "Virtual System Migration Setting Data",
                "ElementName": "Migration Setting Data",
                "MigrationType": kind,
                "Priority": 0,
                "Bandwidth": 0,
                "BandwidthUnit": "",
                "OtherTransportType": "",
                "TransportType": 5,
                "DestinationPlannedVirtualSystemId": "",
                "RetainVhdCopiesOnSource": False,
            }
            if self._site.profile.is_2012_r2_or_newer:
                values["EnableCompression"] = True
            if self._site.profile.is_2016_or_newer:
                values.update(RemoveSourceUnmanagedVhds=False, AvoidRemovingVHDs=False)
            if self._site.profile.order >= 2019:
                values.update(
                    CPUCappingMagnitude=0,
                    CancelIfBlackoutThresholdExceeded=False,
                    AllowOverwriteExistingFile=False,
                )
            yield Row(MIGRATION_SETTINGS, values)

    def _components(self) -> Iterator[Row]:
        settings: ObjectPath = self._site.reference(self._services.migration)
        for row in self._networks.values():
            yield Row(
                "Msvm_VirtualSystemMigrationServiceSettingDataComponent",
                {"GroupComponent": settings, "PartComponent": self._site.reference(row)},
            )


def _network_values(network: Network, metric: int, tags: list[str]) -> dict[str, Value]:
    return {
        "SubnetNumber": str(network.network_address),
        "PrefixLength": network.prefixlen,
        "Metric": metric,
        "Tags": tags,
    }
