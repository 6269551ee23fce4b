r"""The rules of a NIC's switch port on the host: read, compare, change.

The port is the only place where they are kept: what is there is read, and the difference to what
is wanted is sent, additions before removals.  AddFeatureSettings and RemoveFeatureSettings take
arrays but are not atomic on every release; when one breaks down, the same command again reads what
there is now and sends the rest.  They go in batches, for a message to WinRM is limited to 500 KB
(MaxEnvelopeSize) and a rule takes up to 2 KB of it as escaped XML.

Source: Microsoft, "Msvm_EthernetSwitchPortExtendedAclSettingData",
"Msvm_EthernetSwitchPortAclSettingData", "Msvm_EthernetSwitchPortSecuritySettingData".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudstack_hyperv.cim import ObjectPath, Uint8
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import row_path
from cloudstack_hyperv.hypervisor.errors import translated
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE
from cloudstack_hyperv.hypervisor.rule_settings import address_text, rule_data, rule_of
from cloudstack_hyperv.hypervisor.settings_data import RULE
from cloudstack_hyperv.network import PortGuards
from cloudstack_hyperv.network.address_acls import AddressAcl
from cloudstack_hyperv.network.port_acls import (
    MARK,
    Action,
    Direction,
    PortRule,
    WeighedRule,
    changes,
    is_ours,
)
from cloudstack_hyperv.wsman.api import CimClient, EmbeddedInstance, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, starts_with

ADDRESS_ACL = "Msvm_EthernetSwitchPortAclSettingData"
BATCH = 100
"""Rules a call."""

PresentRules = Sequence[tuple[WeighedRule, Instance]]
"""Rules of a port with their rows."""


async def read_rules(client: CimClient, connection: ObjectPath, what: str) -> PresentRules:
    """Read the extended ACLs of a port: one round trip."""
    return [(rule_of(row), row) for row in await _rows(client, RULE, connection, what)]


async def change_rules(
    client: CimClient,
    connection: ObjectPath,
    present: PresentRules,
    wanted: Iterable[PortRule],
    what: str,
) -> int:
    """Give a port the wanted rules; returns how many were added or removed.

    Raises NoWeightLeft, and what a call raises.
    """
    difference = changes((rule for rule, _ in present), wanted)
    await _add(client, connection, [rule_data(rule) for rule in difference.add], what)
    await _remove(client, [present[index][1] for index in difference.remove], what)
    return len(difference.add) + len(difference.remove)


async def change_address_acls(
    client: CimClient, connection: ObjectPath, wanted: Iterable[AddressAcl], what: str
) -> int:
    """Give a port the wanted simple ACLs; others' are left alone."""
    rows = await _rows(client, ADDRESS_ACL, connection, what)
    missing = set(wanted)
    stale: list[Instance] = []
    for row in rows:
        if not (row.string("Name") or "").startswith(MARK):
            continue
        acl = _address_acl_of(row)
        if acl in missing:
            missing.discard(acl)
        else:
            stale.append(row)
    # Allowing ones first: the port lets everything through until the denying ones are there.
    await _add(client, connection, [_address_acl_data(acl) for acl in sorted(missing)], what)
    await _remove(client, stale, what)
    return len(missing) + len(stale)


async def change_guards(
    client: CimClient, connection: ObjectPath, guards: PortGuards, what: str
) -> None:
    """Set what a port lets through; one round trip when it is so already."""
    rows = await _rows(client, data.SECURITY, connection, what)
    wanted = data.security(guards)
    if not rows:
        await _add(client, connection, [wanted], what)
        return
    if all(rows[0].boolean(name) == value for name, value in wanted.properties.items()):
        return
    change = EmbeddedInstance(
        wanted.class_name, {"InstanceID": rows[0].require("InstanceID"), **wanted.properties}
    )
    await call(
        client,
        MANAGEMENT_SERVICE,
        "ModifyFeatureSettings",
        {"FeatureSettings": [change]},
        what=what,
    )


async def read_all_rules(client: CimClient) -> dict[str, list[PortRule]]:
    r"""Read our rules of all ports of the host, by the port's connection: one round trip."""
    with translated("read the rules of all switch ports"):
        rows = await client.query(Select(RULE, where=starts_with("Name", MARK)))
    found: dict[str, list[PortRule]] = {}
    for row in rows:
        connection = (row.string("InstanceID") or "").rsplit("\\", 2)[0].upper()
        rule = rule_of(row).rule
        if is_ours(rule):
            found.setdefault(connection, []).append(rule)
    return found


def _address_acl_data(acl: AddressAcl) -> EmbeddedInstance:
    address, _, length = acl.local.partition("/")
    return EmbeddedInstance(
        ADDRESS_ACL,
        {
            "Name": acl.name,
            "Direction": Uint8(acl.direction),
            "Action": Uint8(acl.action),
            "AclType": Uint8(2 if acl.version == 4 else 3),
            "Applicability": Uint8(1),
            "LocalAddress": address,
            "LocalAddressPrefixLength": Uint8(int(length)),
        },
    )


def _address_acl_of(row: Instance) -> AddressAcl:
    length = row.uint("LocalAddressPrefixLength") or 0
    return AddressAcl(
        Direction(row.uint("Direction") or Direction.INCOMING),
        Action(row.uint("Action") or Action.DENY),
        address_text(f"{row.string('LocalAddress')}/{length}", with_length=True),
    )


async def _rows(
    client: CimClient, class_name: str, connection: ObjectPath, what: str
) -> list[Instance]:
    prefix = f"{connection.key('InstanceID') or ''}\\"
    with translated(what):
        return await client.query(Select(class_name, where=starts_with("InstanceID", prefix)))


async def _add(
    client: CimClient, connection: ObjectPath, features: Sequence[EmbeddedInstance], what: str
) -> None:
    for start in range(0, len(features), BATCH):
        await call(
            client,
            MANAGEMENT_SERVICE,
            "AddFeatureSettings",
            {
                "AffectedConfiguration": connection,
                "FeatureSettings": list(features[start : start + BATCH]),
            },
            what=what,
        )


async def _remove(client: CimClient, rows: Sequence[Instance], what: str) -> None:
    for start in range(0, len(rows), BATCH):
        await call(
            client,
            MANAGEMENT_SERVICE,
            "RemoveFeatureSettings",
            {"FeatureSettings": [row_path(row) for row in rows[start : start + BATCH]]},
            what=what,
        )
