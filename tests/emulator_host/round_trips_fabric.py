"""Flip, read back and restore: switches, port features, metrics and the services' own settings."""

from __future__ import annotations

from datetime import timedelta

from tests.emulator_host.driver import (
    VSMS,
    connection_row,
    nic_row,
    resource_path,
    system_path,
)
from tests.emulator_host.round_trip import Bench, Trip, path_of, writes

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, Value

SWITCHES = "Msvm_VirtualEthernetSwitchManagementService"
MIGRATION = "Msvm_VirtualSystemMigrationService"
METRICS = "Msvm_MetricService"
SETTINGS = "Msvm_VirtualEthernetSwitchSettingData"
CONNECTION = "Msvm_EthernetPortAllocationSettingData"
VLAN = "Msvm_EthernetSwitchPortVlanSettingData"
NETWORK = "Msvm_VirtualSystemMigrationNetworkSettingData"


async def switch_names(bench: Bench) -> list[Value]:
    rows = await bench.host.rows("Msvm_VirtualEthernetSwitch")
    return [row.values["ElementName"] for row in rows]


async def make_switch(bench: Bench) -> ObjectPath:
    reply = await bench.host.done(
        SWITCHES, "DefineSystem", SystemSettings=Row(SETTINGS, {"ElementName": "third"})
    )
    return bench.created(reply, "ResultingSystem")


async def drop_switch(bench: Bench) -> None:
    (row,) = [
        r
        for r in await bench.host.rows("Msvm_VirtualEthernetSwitch")
        if r.values["ElementName"] == "third"
    ]
    keys = {name: str(row.values[name]) for name in ("CreationClassName", "Name")}
    path = ObjectPath.of(row.class_name, **keys)
    await bench.host.done(SWITCHES, "DestroySystem", AffectedSystem=path)


@writes(SWITCHES, "DefineSystem")
async def define_switch(bench: Bench) -> Trip:
    return Trip(lambda: switch_names(bench), lambda: make_switch(bench), lambda: drop_switch(bench))


@writes(SWITCHES, "DestroySystem")
async def destroy_switch(bench: Bench) -> Trip:
    await make_switch(bench)
    return Trip(lambda: switch_names(bench), lambda: drop_switch(bench), lambda: make_switch(bench))


@writes(SWITCHES, "ModifySystemSettings")
async def modify_switch(bench: Bench) -> Trip:
    key = f"Microsoft:{(await make_switch(bench)).key('Name')}"

    async def rename(name: str) -> None:
        change = Row(SETTINGS, {"InstanceID": key, "ElementName": name})
        await bench.host.done(SWITCHES, "ModifySystemSettings", SystemSettings=change)

    return Trip(
        lambda: bench.value(SETTINGS, key, "ElementName"),
        lambda: rename("fourth"),
        lambda: rename("third"),
    )


class HostPort:
    """A switch that the host has a port on, or not."""

    def __init__(self, bench: Bench, guid: str) -> None:
        self.bench = bench
        self.guid = guid
        self.port: ObjectPath | None = None

    async def kind(self) -> str:
        """Return the switch's kind, as its connections make it."""
        switch = self.bench.host.host.switches.get(self.guid)
        assert switch is not None
        return switch.kind

    async def connect(self) -> None:
        """Give the host a port."""
        wish = Row(CONNECTION, {"HostResource": [self.bench.host.host.switches.host_path]})
        reply = await self.bench.host.done(
            SWITCHES,
            "AddResourceSettings",
            AffectedConfiguration=ObjectPath.of(SETTINGS, InstanceID=f"Microsoft:{self.guid}"),
            ResourceSettings=[wish],
        )
        self.port = self.bench.created(reply, "ResultingResourceSettings")

    async def disconnect(self) -> None:
        """Take the host's port away."""
        assert self.port is not None
        await self.bench.host.done(SWITCHES, "RemoveResourceSettings", ResourceSettings=[self.port])


async def host_port(bench: Bench) -> HostPort:
    return HostPort(bench, (await make_switch(bench)).key("Name") or "")


@writes(SWITCHES, "AddResourceSettings")
async def add_port(bench: Bench) -> Trip:
    port = await host_port(bench)
    return Trip(port.kind, port.connect, port.disconnect)


@writes(SWITCHES, "RemoveResourceSettings")
async def remove_port(bench: Bench) -> Trip:
    port = await host_port(bench)
    await port.connect()
    return Trip(port.kind, port.disconnect, port.connect)


@writes(SWITCHES, "ModifyResourceSettings")
async def modify_port(bench: Bench) -> Trip:
    port = await host_port(bench)
    await port.connect()
    assert port.port is not None
    key = port.port.key("InstanceID") or ""

    async def rename(name: str) -> None:
        change = Row(CONNECTION, {"InstanceID": key, "ElementName": name})
        await bench.host.done(SWITCHES, "ModifyResourceSettings", ResourceSettings=[change])

    before = str(await bench.value(CONNECTION, key, "ElementName"))
    return Trip(
        lambda: bench.value(CONNECTION, key, "ElementName"),
        lambda: rename("management"),
        lambda: rename(before),
    )


class Feature:
    """A VLAN on a connection, of a machine or of the host."""

    def __init__(self, bench: Bench, service: str, cable: ObjectPath) -> None:
        self.bench = bench
        self.service = service
        self.cable = cable

    async def read(self) -> list[Value]:
        """Return the VLANs that are set."""
        return [row.values["AccessVlanId"] for row in await self.bench.host.rows(VLAN)]

    async def add(self) -> None:
        """Put VLAN 9 on the connection."""
        vlan = Row(VLAN, {"OperationMode": 1, "AccessVlanId": 9})
        await self.bench.host.done(
            self.service,
            "AddFeatureSettings",
            AffectedConfiguration=self.cable,
            FeatureSettings=[vlan],
        )

    async def change(self, number: int) -> None:
        """Put another VLAN on the connection."""
        (row,) = await self.bench.host.rows(VLAN)
        change = Row(VLAN, {"InstanceID": row.values["InstanceID"], "AccessVlanId": number})
        await self.bench.host.done(self.service, "ModifyFeatureSettings", FeatureSettings=[change])

    async def remove(self) -> None:
        """Take it away."""
        (row,) = await self.bench.host.rows(VLAN)
        await self.bench.host.done(
            self.service, "RemoveFeatureSettings", FeatureSettings=[path_of(row)]
        )


async def feature_of(bench: Bench, service: str) -> Feature:
    if service == SWITCHES:
        port = await host_port(bench)
        await port.connect()
        assert port.port is not None
        return Feature(bench, service, port.port)
    guid = await bench.host.define("web")
    (nic,) = await bench.host.add(guid, nic_row())
    switch = next(iter(bench.host.host.switches))
    (cable,) = await bench.host.add(guid, connection_row(nic, switch.path_text))
    return Feature(bench, service, resource_path(cable))


def feature_scenes(service: str) -> None:
    async def adding(bench: Bench) -> Trip:
        feature = await feature_of(bench, service)
        return Trip(feature.read, feature.add, feature.remove)

    async def changing(bench: Bench) -> Trip:
        feature = await feature_of(bench, service)
        await feature.add()
        return Trip(feature.read, lambda: feature.change(10), lambda: feature.change(9))

    async def removing(bench: Bench) -> Trip:
        feature = await feature_of(bench, service)
        await feature.add()
        return Trip(feature.read, feature.remove, feature.add)

    writes(service, "AddFeatureSettings")(adding)
    writes(service, "ModifyFeatureSettings")(changing)
    writes(service, "RemoveFeatureSettings")(removing)


feature_scenes(VSMS)
feature_scenes(SWITCHES)


# Settings of services ----------------------------------------------------------------------


def settings_scene(service: str, class_name: str, parameter: str, name: str, value: Value) -> None:
    """A service's own settings change and change back."""

    async def scene(bench: Bench) -> Trip:
        async def read() -> Value:
            (row,) = await bench.host.rows(class_name)
            return row.values[name]

        before = await read()

        async def change(wanted: Value) -> None:
            request = Row(class_name, {name: wanted})
            await bench.host.done(service, "ModifyServiceSettings", None, **{parameter: request})

        return Trip(read, lambda: change(value), lambda: change(before))

    writes(service, "ModifyServiceSettings")(scene)


settings_scene(
    VSMS,
    "Msvm_VirtualSystemManagementServiceSettingData",
    "SettingData",
    "DefaultVirtualHardDiskPath",
    "C:\\elsewhere",
)
settings_scene(
    METRICS,
    "Msvm_MetricServiceSettingData",
    "SettingData",
    "MetricsFlushInterval",
    timedelta(minutes=5),
)
settings_scene(
    MIGRATION,
    "Msvm_VirtualSystemMigrationServiceSettingData",
    "ServiceSettingData",
    "MaximumActiveVirtualSystemMigration",
    7,
)


@writes(METRICS, "ControlMetrics")
async def control_metrics(bench: Bench) -> Trip:
    subject = system_path(await bench.running())

    async def control(wanted: int) -> None:
        await bench.host.done(
            METRICS, "ControlMetrics", Subject=subject, MetricCollectionEnabled=wanted
        )

    return Trip(lambda: bench.count("Msvm_MetricForME"), lambda: control(2), lambda: control(3))


class MigrationNetwork:
    """Networks over which machines may migrate."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    async def read(self) -> list[tuple[Value, Value]]:
        """Return subnets and their metrics."""
        rows = await self.bench.host.rows(NETWORK)
        return [(row.values["SubnetNumber"], row.values["Metric"]) for row in rows]

    async def add(self) -> None:
        """Allow one more."""
        wish = Row(NETWORK, {"SubnetNumber": "198.51.100.0", "PrefixLength": 24, "Metric": 5})
        await self.bench.host.done(MIGRATION, "AddNetworkSettings", NetworkSettings=[wish])

    async def _added(self) -> Row:
        rows = await self.bench.host.rows(NETWORK)
        (row,) = [r for r in rows if r.values["SubnetNumber"] == "198.51.100.0"]
        return row

    async def change(self, metric: int) -> None:
        """Give the added one another metric."""
        key = (await self._added()).values["InstanceID"]
        change = Row(NETWORK, {"InstanceID": key, "Metric": metric})
        await self.bench.host.done(MIGRATION, "ModifyNetworkSettings", NetworkSettings=[change])

    async def remove(self) -> None:
        """Take the added one away."""
        await self.bench.host.done(
            MIGRATION, "RemoveNetworkSettings", NetworkSettings=[path_of(await self._added())]
        )


@writes(MIGRATION, "AddNetworkSettings")
async def add_network(bench: Bench) -> Trip:
    network = MigrationNetwork(bench)
    return Trip(network.read, network.add, network.remove)


@writes(MIGRATION, "ModifyNetworkSettings")
async def modify_network(bench: Bench) -> Trip:
    network = MigrationNetwork(bench)
    await network.add()
    return Trip(network.read, lambda: network.change(7), lambda: network.change(5))


@writes(MIGRATION, "RemoveNetworkSettings")
async def remove_network(bench: Bench) -> Trip:
    network = MigrationNetwork(bench)
    await network.add()
    return Trip(network.read, network.remove, network.add)
