r"""Features of a NIC's switch port: VLAN, bandwidth, guards.

A feature hangs on the NIC's connection; a port takes one instance of each kind, and its InstanceID
is `<connection>\<UUID of the kind>\<GUID>`.  Two things make it more than one call:

* AddFeatureSettings takes an array but is not atomic: when it fails, some may have been set.  So
  after a failure the port is read and what is missing is set one by one.
* os-win's authors saw VLANs that did not stick.  A VLAN is what keeps tenants apart, so before a
  VM starts its VLANs are read back and set again once; then the start fails.

Bandwidth is different: a switch without the mode for it refuses it, and a VM without a limit is
better than none, so it only warns.

Source: Microsoft, "AddFeatureSettings method of the Msvm_VirtualSystemManagementService class";
os-win `networkutils` (read back, remove and add instead of modify).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import structlog

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import VlanMode
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import row_path
from cloudstack_hyperv.hypervisor.errors import (
    HypervisorError,
    JobFailed,
    MethodFailed,
    translated,
)
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.network import PortVlan, PrivateRole, PrivateVlan
from cloudstack_hyperv.wsman.api import CimClient, EmbeddedInstance, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, starts_with

log = structlog.get_logger(__name__)


class VlanNotSet(HypervisorError):
    """A NIC's VLAN is not what it should be although the host said it was set."""


async def set_features(
    client: CimClient,
    connection: ObjectPath,
    *,
    required: Sequence[EmbeddedInstance],
    optional: Sequence[EmbeddedInstance],
    what: str,
) -> None:
    """Add features to a port that has none: one round trip.

    A failure of `optional` ones is logged; one of `required` ones is raised.
    """
    try:
        await _add(client, connection, (*required, *optional), what)
        return
    except (MethodFailed, JobFailed) as error:
        if not optional:
            raise
        log.info("port features refused together, tried one by one", reason=str(error))
    # Windows Server 2012 does not know the class of rules, so it is read only where one is wanted.
    kinds: tuple[str, ...] = (data.VLAN, data.SECURITY, data.BANDWIDTH)
    if any(_is_rule(feature) for feature in required):
        kinds = (*kinds, data.RULE)
    rows = await _features(client, connection, kinds, what)
    present = {row.class_name for row in rows}
    rules = {(row.uint("Weight"), row.uint("Direction")) for row in rows if _is_rule(row)}
    missing = [
        feature
        for feature in required
        if (feature.class_name not in present)
        or (
            _is_rule(feature)
            and (feature.properties["Weight"], feature.properties["Direction"]) not in rules
        )
    ]
    if missing:
        await _add(client, connection, missing, what)
    for feature in optional:
        if feature.class_name in present:
            continue
        try:
            await _add(client, connection, (feature,), what)
        except (MethodFailed, JobFailed) as error:
            log.warning("bandwidth limit not set; the VM has none", reason=str(error))


async def change_vlan(
    client: CimClient,
    connection: ObjectPath,
    present: Instance | None,
    vlan: PortVlan | None,
    what: str,
) -> None:
    """Give a port its VLAN, or take it away; `present` is the VLAN setting that it has.

    A VLAN is modified in place, so that a running VM is never untagged in between; hosts that
    refuse that get the old one removed and the new one added, and the old one back if that fails.
    """
    if vlan is None:
        if present is not None:
            await _remove(client, present, what)
        return
    if present is None:
        await _add(client, connection, (data.port_vlan(vlan),), what)
        return
    old = port_vlan_of_row(present)
    if old == vlan:
        return
    changed = data.port_vlan(vlan)
    changed = EmbeddedInstance(
        changed.class_name, {"InstanceID": present.require("InstanceID"), **changed.properties}
    )
    try:
        await call(
            client,
            MANAGEMENT_SERVICE,
            "ModifyFeatureSettings",
            {"FeatureSettings": [changed]},
            what=what,
        )
        return
    except (MethodFailed, JobFailed) as error:
        log.info("the host does not modify a VLAN; removed and added", reason=str(error))
    async with UndoStack() as undo:
        await _remove(client, present, what)
        if old is not None:
            undo.push(
                f"put VLAN {old} back",
                lambda: _add(client, connection, (data.port_vlan(old),), what),
            )
        await _add(client, connection, (data.port_vlan(vlan),), what)
        undo.commit()


async def change_limit(
    client: CimClient, connection: ObjectPath, limit: int | None, what: str
) -> None:
    """Give a port another bandwidth limit (bits a second), or none; one or two round trips.

    As with a new port, a host that refuses a limit leaves the NIC without.
    """
    prefix = f"{connection.key('InstanceID') or ''}\\"
    with translated(what):
        rows = await client.query(Select(data.BANDWIDTH, where=starts_with("InstanceID", prefix)))
    present = rows[0] if rows else None
    if present is None and limit is not None:
        await set_features(
            client, connection, required=(), optional=(data.bandwidth(limit),), what=what
        )
    elif present is not None and limit is None:
        await _remove(client, present, what)
    elif present is not None and limit is not None and present.uint("Limit") != limit:
        change = data.bandwidth(limit)
        change = EmbeddedInstance(
            change.class_name, {"InstanceID": present.require("InstanceID"), **change.properties}
        )
        try:
            await call(
                client,
                MANAGEMENT_SERVICE,
                "ModifyFeatureSettings",
                {"FeatureSettings": [change]},
                what=what,
            )
        except (MethodFailed, JobFailed) as error:
            log.info("the host does not modify a limit; removed and added", reason=str(error))
            await _remove(client, present, what)
            await set_features(
                client, connection, required=(), optional=(data.bandwidth(limit),), what=what
            )


async def verify_vlans(
    client: CimClient, guid: str, wanted: Mapping[ObjectPath, PortVlan], name: str
) -> None:
    """Read VLANs back and set again once what did not stick; raises VlanNotSet."""
    rows = await read_vlans(client, guid, name)
    wrong = _wrong(rows, wanted)
    if not wrong:
        return
    log.warning("a VLAN did not stick, set again", vm=name)
    for connection in wrong:
        vlan = wanted[connection]
        await change_vlan(
            client,
            connection,
            vlan_row(rows, connection),
            vlan,
            f"set VLAN {vlan} of VM {name} again",
        )
    wrong = _wrong(await read_vlans(client, guid, name), wanted)
    if wrong:
        numbers = ", ".join(str(wanted[connection]) for connection in wrong)
        raise VlanNotSet(f"the host does not keep VLAN {numbers} on the NICs of VM {name}")


async def read_vlans(client: CimClient, guid: str, name: str) -> list[Instance]:
    """Read the VLAN settings of all NICs of a VM: one round trip."""
    with translated(f"read the VLANs of VM {name}"):
        return await client.query(
            Select(data.VLAN, where=starts_with("InstanceID", f"Microsoft:{guid}\\"))
        )


def vlan_row(rows: Iterable[Instance], connection: ObjectPath) -> Instance | None:
    """Return the VLAN setting of a connection."""
    prefix = f"{connection.key('InstanceID') or ''}\\".casefold()
    return next(
        (r for r in rows if (r.string("InstanceID") or "").casefold().startswith(prefix)), None
    )


def access_vlan_of(row: Instance | None) -> int | None:
    """Return the id of an access VLAN; None for no setting, untagged, trunk and private ports."""
    if row is None or row.uint("OperationMode") != VlanMode.ACCESS:
        return None
    return row.uint("AccessVlanId") or None


def port_vlan_of_row(row: Instance | None) -> PortVlan | None:
    """Return the VLAN of a port, access or private; None for no setting, untagged and trunk."""
    if row is None or row.uint("OperationMode") != VlanMode.PRIVATE:
        return access_vlan_of(row)
    try:
        role = PrivateRole(row.uint("PvlanMode") or 0)
    except ValueError:
        return None
    secondaries = frozenset(row.uints("SecondaryVlanIdArray"))
    if role is not PrivateRole.PROMISCUOUS:
        secondaries = frozenset({row.uint("SecondaryVlanId") or 0})
    return PrivateVlan(role, row.uint("PrimaryVlanId") or 0, secondaries)


def _wrong(rows: Iterable[Instance], wanted: Mapping[ObjectPath, PortVlan]) -> list[ObjectPath]:
    present = list(rows)
    return [
        connection
        for connection, vlan in wanted.items()
        if port_vlan_of_row(vlan_row(present, connection)) != vlan
    ]


async def _remove(client: CimClient, feature: Instance, what: str) -> None:
    await call(
        client,
        MANAGEMENT_SERVICE,
        "RemoveFeatureSettings",
        {"FeatureSettings": [row_path(feature)]},
        what=what,
    )


async def _add(
    client: CimClient, connection: ObjectPath, features: Sequence[EmbeddedInstance], what: str
) -> None:
    await call(
        client,
        MANAGEMENT_SERVICE,
        "AddFeatureSettings",
        {"AffectedConfiguration": connection, "FeatureSettings": list(features)},
        what=what,
    )


def _is_rule(feature: EmbeddedInstance | Instance) -> bool:
    return feature.class_name == data.RULE


async def _features(
    client: CimClient, connection: ObjectPath, kinds: Iterable[str], what: str
) -> list[Instance]:
    prefix = f"{connection.key('InstanceID') or ''}\\"
    rows: list[Instance] = []
    with translated(what):
        for class_name in kinds:
            rows += await client.query(Select(class_name, where=starts_with("InstanceID", prefix)))
    return rows
