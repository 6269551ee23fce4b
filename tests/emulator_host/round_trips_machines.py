"""Flip, read back and restore: machines, their resources, power, checkpoints, guests."""

from __future__ import annotations

from tests.emulator_host.driver import (
    CONTROLLER,
    V2,
    VSMS,
    resource_path,
    system_path,
)
from tests.emulator_host.round_trip import VSSD, Bench, Trip, system_settings, writes

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, Value

SNAPSHOTS = "Msvm_VirtualSystemSnapshotService"
SYSTEM = "Msvm_ComputerSystem"
PROCESSOR = "Msvm_ProcessorSettingData"
FACE = "Msvm_GuestServiceInterfaceComponentSettingData"


@writes(VSMS, "DefineSystem")
async def define_system(bench: Bench) -> Trip:
    host = bench.host

    async def restore() -> None:
        (guid,) = await host.names()
        await host.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid))

    return Trip(host.names, lambda: host.define("web"), restore)


@writes(VSMS, "DestroySystem")
async def destroy_system(bench: Bench) -> Trip:
    host = bench.host
    guid = await host.define("web")

    async def names() -> list[Value]:
        return [row.values["ElementName"] for row in await host.rows(SYSTEM)]

    return Trip(
        names,
        lambda: host.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid)),
        lambda: host.define("web"),
    )


@writes(VSMS, "ModifySystemSettings")
async def modify_system(bench: Bench) -> Trip:
    guid = await bench.host.define("web")

    async def rename(name: str) -> None:
        settings = system_settings(guid, ElementName=name)
        await bench.host.done(VSMS, "ModifySystemSettings", SystemSettings=settings)

    return Trip(
        lambda: bench.value(VSSD, f"Microsoft:{guid}", "ElementName"),
        lambda: rename("mail"),
        lambda: rename("web"),
    )


@writes(VSMS, "UpgradeSystemVersion")
async def upgrade_version(bench: Bench) -> Trip:
    host = bench.host
    guid = await host.define("web", 2, Version="8.0")

    async def versions() -> list[Value]:
        rows = await host.rows(VSSD)
        return [row.values["Version"] for row in rows]

    async def restore() -> None:
        await host.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid))
        await host.define("web", 2, Version="8.0")

    return Trip(
        versions,
        lambda: host.done(VSMS, "UpgradeSystemVersion", ComputerSystem=system_path(guid)),
        restore,
    )


async def controllers(bench: Bench) -> int:
    rows = await bench.host.rows("Msvm_ResourceAllocationSettingData")
    return sum(row.values["ResourceType"] == 6 for row in rows)


@writes(VSMS, "AddResourceSettings")
async def add_resource(bench: Bench) -> Trip:
    guid = await bench.host.define("web")
    made: list[str] = []

    async def flip() -> None:
        made.extend(await bench.host.add(guid, CONTROLLER))

    return Trip(lambda: controllers(bench), flip, lambda: bench.host.remove(*made))


@writes(VSMS, "RemoveResourceSettings")
async def remove_resource(bench: Bench) -> Trip:
    guid = await bench.host.define("web")
    made = await bench.host.add(guid, CONTROLLER)
    return Trip(
        lambda: controllers(bench),
        lambda: bench.host.done(
            VSMS, "RemoveResourceSettings", ResourceSettings=[resource_path(made[0])]
        ),
        lambda: bench.host.add(guid, CONTROLLER),
    )


@writes(VSMS, "ModifyResourceSettings")
async def modify_resource(bench: Bench) -> Trip:
    guid = await bench.host.define("web")
    rows = await bench.host.rows(PROCESSOR)
    (key,) = [str(r.values["InstanceID"]) for r in rows if guid in str(r.values["InstanceID"])]

    async def set_count(count: int) -> None:
        change = Row(PROCESSOR, {"InstanceID": key, "VirtualQuantity": count})
        await bench.host.done(VSMS, "ModifyResourceSettings", ResourceSettings=[change])

    return Trip(
        lambda: bench.value(PROCESSOR, key, "VirtualQuantity"),
        lambda: set_count(2),
        lambda: set_count(1),
    )


@writes(VSMS, "ModifyGuestServiceSettings")
async def modify_guest_service(bench: Bench) -> Trip:
    await bench.host.define("web")
    (row,) = await bench.host.rows(FACE)
    key = str(row.values["InstanceID"])

    async def enable(state: int) -> None:
        change = Row(FACE, {"InstanceID": key, "EnabledState": state})
        await bench.host.done(VSMS, "ModifyGuestServiceSettings", GuestServiceSettings=[change])

    return Trip(
        lambda: bench.value(FACE, key, "EnabledState"), lambda: enable(2), lambda: enable(3)
    )


# Power and guests --------------------------------------------------------------------------


@writes(SYSTEM, "RequestStateChange")
async def request_state(bench: Bench) -> Trip:
    guid = await bench.host.define("web")
    return Trip(
        lambda: bench.host.enabled_state(guid),
        lambda: bench.host.state(guid, 2),
        lambda: bench.host.state(guid, 3),
    )


async def shutdown_keys(bench: Bench) -> dict[str, str]:
    (row,) = await bench.host.rows("Msvm_ShutdownComponent")
    return dict(bench.host.engine.path_of(V2, row).keys)


@writes("Msvm_ShutdownComponent", "InitiateShutdown")
async def initiate_shutdown(bench: Bench) -> Trip:
    guid = await bench.running()
    keys = await shutdown_keys(bench)

    async def flip() -> None:
        await bench.host.done(
            "Msvm_ShutdownComponent", "InitiateShutdown", keys, Force=False, Reason="test"
        )
        bench.host.clock.advance(60)

    return Trip(lambda: bench.host.enabled_state(guid), flip, lambda: bench.host.start(guid))


@writes("Msvm_ShutdownComponent", "InitiateReboot")
async def initiate_reboot(bench: Bench) -> Trip:
    """A guest that boots again has no heartbeat until its services are up."""
    await bench.running()
    keys = await shutdown_keys(bench)

    async def heartbeat() -> int:
        (row,) = await bench.host.rows("Msvm_HeartbeatComponent")
        status = row.values["OperationalStatus"]
        assert isinstance(status, list)
        return int(status[0])

    async def flip() -> None:
        await bench.host.done(
            "Msvm_ShutdownComponent", "InitiateReboot", keys, Force=False, Reason="test"
        )
        for _ in range(600):
            bench.host.clock.advance(0.1)
            if await heartbeat() != 2:
                return

    async def restore() -> None:
        bench.host.clock.advance(60)

    return Trip(heartbeat, flip, restore)


def keyboard_scene(method: str, **args: Value) -> None:
    """A key that was typed is not untyped: the guest's console is empty after a power cycle."""

    async def scene(bench: Bench) -> Trip:
        guid = await bench.running()

        async def read() -> object:
            machine = bench.host.host.machines.get(guid)
            assert machine is not None
            assert machine.guest is not None
            return tuple(machine.guest.typed), frozenset(machine.guest.pressed)

        async def flip() -> None:
            (row,) = await bench.host.rows("Msvm_Keyboard")
            keys = dict(bench.host.engine.path_of(V2, row).keys)
            await bench.host.done("Msvm_Keyboard", method, keys, **args)

        return Trip(read, flip, lambda: bench.power_cycle(guid))

    writes("Msvm_Keyboard", method)(scene)


keyboard_scene("TypeKey", keyCode=0x41)
keyboard_scene("TypeText", asciiText="ls -l")
keyboard_scene("TypeCtrlAltDel")
keyboard_scene("TypeScancodes", Scancodes=[0x1E, 0x9E])


def pressing_scene(method: str, opposite: str) -> None:
    """A key is up or down, and the keyboard says which."""

    async def scene(bench: Bench) -> Trip:
        await bench.running()
        (row,) = await bench.host.rows("Msvm_Keyboard")
        keys = dict(bench.host.engine.path_of(V2, row).keys)

        async def press(name: str) -> Value:
            reply = await bench.host.done("Msvm_Keyboard", name, keys, keyCode=0x41)
            return reply.out.get("keyState")

        if method == "ReleaseKey":
            await press("PressKey")
        return Trip(lambda: press("IsKeyPressed"), lambda: press(method), lambda: press(opposite))

    writes("Msvm_Keyboard", method)(scene)


pressing_scene("PressKey", "ReleaseKey")
pressing_scene("ReleaseKey", "PressKey")


async def host_items(bench: Bench) -> dict[Value, Value]:
    (row,) = await bench.host.rows("Msvm_KvpExchangeComponentSettingData")
    items = row.values.get("HostExchangeItems") or []
    assert isinstance(items, list)
    return {item.values["Name"]: item.values["Data"] for item in items}


def exchange_scene(method: str, opposite: str, *, already: bool) -> None:
    """A key-value item goes to the guest, changes and goes away."""

    async def scene(bench: Bench) -> Trip:
        guid = await bench.host.define("web")

        async def call(name: str, data: str) -> None:
            item = Row(
                "Msvm_KvpExchangeDataItem", {"Name": "cloudstack-vm", "Data": data, "Source": 0}
            )
            await bench.host.done(VSMS, name, TargetSystem=system_path(guid), DataItems=[item])

        if already:
            await call("AddKvpItems", "old")
        return Trip(
            lambda: host_items(bench), lambda: call(method, "new"), lambda: call(opposite, "old")
        )

    writes(VSMS, method)(scene)


exchange_scene("AddKvpItems", "RemoveKvpItems", already=False)
exchange_scene("ModifyKvpItems", "ModifyKvpItems", already=True)
exchange_scene("RemoveKvpItems", "AddKvpItems", already=True)


@writes(VSMS, "SetGuestNetworkAdapterConfiguration")
async def set_guest_network(bench: Bench) -> Trip:
    guid = await bench.host.build()
    network = "Msvm_GuestNetworkAdapterConfiguration"
    (row,) = await bench.host.rows(network)
    key = str(row.values["InstanceID"])

    async def change(**values: Value) -> None:
        await bench.host.done(
            VSMS,
            "SetGuestNetworkAdapterConfiguration",
            ComputerSystem=system_path(guid),
            NetworkConfiguration=[Row(network, {"InstanceID": key, **values})],
        )

    return Trip(
        lambda: bench.value(network, key, "IPAddresses"),
        lambda: change(DHCPEnabled=False, IPAddresses=["192.0.2.7"], Subnets=["255.255.255.0"]),
        lambda: change(DHCPEnabled=True),
    )


@writes("Msvm_GuestFileService", "CopyFilesToGuest")
async def copy_to_guest(bench: Bench) -> Trip:
    """The host cannot take a file out of a guest: the guest's first content is copied again."""
    guid = await bench.running()
    (face,) = await bench.host.rows(FACE)
    enable = Row(FACE, {"InstanceID": face.values["InstanceID"], "EnabledState": 2})
    await bench.host.done(VSMS, "ModifyGuestServiceSettings", GuestServiceSettings=[enable])
    (service,) = await bench.host.rows("Msvm_GuestFileService")
    keys = dict(bench.host.engine.path_of(V2, service).keys)

    async def copy(content: bytes) -> None:
        bench.host.file("C:\\seed").write_bytes(content)
        wish = Row(
            "Msvm_CopyFileToGuestSettingData",
            {"SourcePath": "C:\\seed", "DestinationPath": "/root/f", "OverwriteExisting": True},
        )
        await bench.host.done(
            "Msvm_GuestFileService", "CopyFilesToGuest", keys, CopyFileToGuestSettings=[wish]
        )

    async def read() -> bytes:
        machine = bench.host.host.machines.get(guid)
        assert machine is not None
        return machine.guest_files["/root/f"]

    await copy(b"old")
    return Trip(read, lambda: copy(b"new"), lambda: copy(b"old"))


# Checkpoints -------------------------------------------------------------------------------


async def checkpoints(bench: Bench) -> int:
    rows = await bench.host.rows(VSSD)
    return sum(":Snapshot:" in str(row.values["VirtualSystemType"]) for row in rows)


async def freeze(bench: Bench, guid: str) -> None:
    for _ in range(500):  # until the merge after a removal is over
        if (await bench.host.machine(guid))["OperationalStatus"] == [2]:
            break
        bench.host.clock.advance(0.1)
        await bench.host.finish_soon()
    await bench.host.done(
        SNAPSHOTS, "CreateSnapshot", AffectedSystem=system_path(guid), SnapshotType=2
    )


async def newest(bench: Bench) -> ObjectPath:
    rows = await bench.host.rows(VSSD)
    found = [row for row in rows if ":Snapshot:" in str(row.values["VirtualSystemType"])]
    return ObjectPath.of(VSSD, InstanceID=str(found[-1].values["InstanceID"]))


@writes(SNAPSHOTS, "CreateSnapshot")
async def create_snapshot(bench: Bench) -> Trip:
    guid = await bench.host.define("web")

    async def restore() -> None:
        await bench.host.done(SNAPSHOTS, "DestroySnapshot", AffectedSnapshot=await newest(bench))

    return Trip(lambda: checkpoints(bench), lambda: freeze(bench, guid), restore)


def destroying_scene(method: str, parameter: str) -> None:
    """A checkpoint goes away, alone or with what stands on it."""

    async def scene(bench: Bench) -> Trip:
        guid = await bench.host.define("web")
        await freeze(bench, guid)

        async def flip() -> None:
            await bench.host.done(SNAPSHOTS, method, None, **{parameter: await newest(bench)})

        return Trip(lambda: checkpoints(bench), flip, lambda: freeze(bench, guid))

    writes(SNAPSHOTS, method)(scene)


destroying_scene("DestroySnapshot", "AffectedSnapshot")
destroying_scene("DestroySnapshotTree", "SnapshotSettingData")


@writes(SNAPSHOTS, "ApplySnapshot")
async def apply_snapshot(bench: Bench) -> Trip:
    guid = await bench.host.define("web")
    (row,) = await bench.host.rows(PROCESSOR)
    key = str(row.values["InstanceID"])
    await freeze(bench, guid)
    made = await newest(bench)

    async def change() -> None:
        wish = Row(PROCESSOR, {"InstanceID": key, "VirtualQuantity": 2})
        await bench.host.done(VSMS, "ModifyResourceSettings", ResourceSettings=[wish])

    await change()

    return Trip(
        lambda: bench.value(PROCESSOR, key, "VirtualQuantity"),
        lambda: bench.host.done(SNAPSHOTS, "ApplySnapshot", Snapshot=made),
        change,
    )


@writes(SNAPSHOTS, "ClearSnapshotState")
async def clear_snapshot(bench: Bench) -> Trip:
    """Memory that is gone does not come back; a new checkpoint has some."""
    guid = await bench.running()
    standard = system_settings(guid, UserSnapshotType=5)
    await bench.host.done(VSMS, "ModifySystemSettings", SystemSettings=standard)
    await freeze(bench, guid)

    async def saved() -> Value:
        return await bench.value(VSSD, (await newest(bench)).key("InstanceID") or "", "IsSaved")

    async def flip() -> None:
        await bench.host.done(
            SNAPSHOTS, "ClearSnapshotState", SnapshotSettingData=await newest(bench)
        )

    async def restore() -> None:
        await freeze(bench, guid)

    return Trip(saved, flip, restore)


REFERENCES = "Msvm_VirtualSystemReferencePointService"
POINT = "Msvm_VirtualSystemReferencePoint"


def point_scene(method: str) -> None:
    """A reference point comes and goes."""

    async def scene(bench: Bench) -> Trip:
        system = system_path(await bench.host.define("web"))

        async def create() -> None:
            await bench.host.done(
                REFERENCES, "CreateReferencePoint", AffectedSystem=system, ReferencePointType=1
            )

        async def destroy() -> None:
            (row,) = await bench.host.rows(POINT)
            path = ObjectPath.of(POINT, InstanceID=str(row.values["InstanceID"]))
            await bench.host.done(REFERENCES, "DestroyReferencePoint", AffectedReferencePoint=path)

        if method.startswith("Create"):
            return Trip(lambda: bench.count(POINT), create, destroy)
        await create()
        return Trip(lambda: bench.count(POINT), destroy, create)

    writes(REFERENCES, method)(scene)


point_scene("CreateReferencePoint")
point_scene("DestroyReferencePoint")


# Console access and security ---------------------------------------------------------------


def trustee_scene(method: str, opposite: str) -> None:
    """An account may open the console, or no longer."""

    async def scene(bench: Bench) -> Trip:
        system = system_path(await bench.host.define("web"))
        service = "Msvm_TerminalService"

        async def call(name: str) -> None:
            names = ["DOM\\console"]
            await bench.host.done(service, name, ComputerSystem=system, Trustees=names)

        async def read() -> list[Value]:
            reply = await bench.host.call(
                service, "GetInteractiveSessionACL", ComputerSystem=system
            )
            entries = reply.out["AccessControlList"]
            assert isinstance(entries, list)
            return [entry.values["Trustee"] for entry in entries]

        if method.startswith("Revoke"):
            await call(opposite)
        return Trip(read, lambda: call(method), lambda: call(opposite))

    writes("Msvm_TerminalService", method)(scene)


trustee_scene("GrantInteractiveSessionAccess", "RevokeInteractiveSessionAccess")
trustee_scene("RevokeInteractiveSessionAccess", "GrantInteractiveSessionAccess")


@writes("Msvm_SecurityService", "ModifySecuritySettings")
async def modify_security(bench: Bench) -> Trip:
    await bench.host.define("web", 2)
    (row,) = await bench.host.rows("Msvm_SecuritySettingData")
    key = str(row.values["InstanceID"])

    async def set_tpm(*, wanted: bool) -> None:
        change = Row(row.class_name, {"InstanceID": key, "TpmEnabled": wanted})
        await bench.host.done(
            "Msvm_SecurityService", "ModifySecuritySettings", SecuritySettingData=change
        )

    return Trip(
        lambda: bench.value(row.class_name, key, "TpmEnabled"),
        lambda: set_tpm(wanted=True),
        lambda: set_tpm(wanted=False),
    )
