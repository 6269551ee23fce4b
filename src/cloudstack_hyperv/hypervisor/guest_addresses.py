r"""The IP addresses that a guest has, as its own integration services tell them.

The host shows one Msvm_GuestNetworkAdapterConfiguration a NIC, `Microsoft:GuestNetwork\<VM>\<NIC>`,
empty without integration services.  Guests that do not fill it still exchange key-value pairs, of
which `NetworkAddressIPv4` is a list over all NICs.

Source: Microsoft, "Msvm_GuestNetworkAdapterConfiguration", "Msvm_KvpExchangeComponent"
(GuestIntrinsicExchangeItems).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import structlog

from cloudstack_hyperv.hypervisor.errors import translated
from cloudstack_hyperv.wsman.api import CimClient
from cloudstack_hyperv.wsman.protocol.embedded import parse_embedded
from cloudstack_hyperv.wsman.protocol.wql import Select, equals, starts_with

log = structlog.get_logger(__name__)

_ADDRESSES = ("NetworkAddressIPv4", "NetworkAddressIPv6")


async def read_guest_addresses(client: CimClient, guid: str) -> Mapping[str, tuple[str, ...]]:
    """Return the addresses of a VM's NICs by the NIC's own GUID, upper case: one round trip."""
    with translated("read a guest's addresses"):
        rows = await client.query(
            Select(
                "Msvm_GuestNetworkAdapterConfiguration",
                where=starts_with("InstanceID", f"Microsoft:GuestNetwork\\{guid}\\"),
                properties=("InstanceID", "IPAddresses"),
            )
        )
    return {
        row.require("InstanceID").rpartition("\\")[2].strip("{}").upper(): _valid(
            row.strings("IPAddresses")
        )
        for row in rows
    }


async def read_exchanged_addresses(client: CimClient, guid: str) -> tuple[str, ...]:
    """Return the addresses that a guest tells by key-value pairs: one round trip."""
    with translated("read a guest's key-value pairs"):
        rows = await client.query(
            Select("Msvm_KvpExchangeComponent", where=equals("SystemName", guid))
        )
    found: list[str] = []
    for row in rows:
        for text in row.strings("GuestIntrinsicExchangeItems"):
            try:
                item = parse_embedded(text)
            except ValueError as error:
                log.warning("a guest's key-value pair cannot be read", reason=str(error))
                continue
            if item.string("Name") in _ADDRESSES:
                found += _valid((item.string("Data") or "").split(";"))
    return tuple(found)


def _valid(texts: Iterable[str]) -> tuple[str, ...]:
    """Return what is an address: the guest may say anything."""
    return tuple(text.strip() for text in texts if _is_address(text.strip()))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
