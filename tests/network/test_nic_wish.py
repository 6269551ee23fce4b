"""What a NIC of CloudStack's becomes, with the two special kinds of system VMs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.messages.objects.vm import NicTO
from cloudstack_hyperv.network import (
    NicWish,
    PortGuards,
    UnusableNetwork,
    nic_wish,
    nic_wishes,
    spelled_mac,
)


def guest_nic(device_id: int = 0, **changes: object) -> NicTO:
    fields: dict[str, object] = {
        "mac": f"02:00:51:2c:00:{device_id:02x}",
        "name": "cloudbr1",
        "type": "Guest",
        "ip": "10.1.1.67",
        "netmask": "255.255.255.0",
        "broadcast_uri": "vlan://261",
        "isolation_uri": "vlan://261",
        "network_rate_mbps": 200,
        "device_id": device_id,
        **changes,
    }
    return NicTO(**fields)  # type: ignore[arg-type]  # one dict for fields of several types


def test_a_guest_nic() -> None:
    assert nic_wish(guest_nic(), system_vm=False) == NicWish(
        device_id=0,
        mac="0200512C0000",
        switch_label="cloudbr1",
        needs_switch=True,
        connected=True,
        vlan=261,
        limit=200_000_000,
    )


def test_a_nic_without_an_address_is_a_nic() -> None:
    """L2 networks have none."""
    wish = nic_wish(guest_nic(ip=None, netmask=None), system_vm=False)
    assert wish.connected
    assert wish.vlan == 261


@pytest.mark.parametrize("rate", [None, 0, -1])
def test_no_rate_is_no_limit(rate: int | None) -> None:
    assert nic_wish(guest_nic(network_rate_mbps=rate), system_vm=False).limit is None


def test_a_routers_padding_nic_is_on_its_switch_with_the_cable_out() -> None:
    nic = guest_nic(4, ip="0.0.0.0", netmask="255.255.255.255")  # noqa: S104  (no socket)
    wish = nic_wish(nic, system_vm=True)
    assert (wish.switch_label, wish.needs_switch, wish.connected) == ("cloudbr1", True, False)
    assert (wish.vlan, wish.limit) == (None, None)


def test_a_link_local_control_nic_has_no_switch() -> None:
    nic = guest_nic(type="Control", ip="169.254.1.2", name="cloud0", broadcast_uri=None)
    wish = nic_wish(nic, system_vm=True)
    assert not wish.needs_switch
    assert not wish.connected


def test_a_routers_control_nic_with_a_management_address_is_connected() -> None:
    nic = guest_nic(type="Control", ip="10.1.1.31", name="mgmt", broadcast_uri=None)
    assert nic_wish(nic, system_vm=True).connected


@pytest.mark.parametrize("detail", ["MacAddressChanges", "ForgedTransmits", "MacLearning"])
def test_nic_details_allow_mac_spoofing(detail: str) -> None:
    wish = nic_wish(guest_nic(details={detail: "true"}), system_vm=False)
    assert wish.guards == PortGuards(allow_mac_spoofing=True)
    assert nic_wish(guest_nic(details={detail: "false"}), system_vm=False).guards.are_default


def test_user_vms_are_guarded_where_strangers_share_the_network() -> None:
    guarded = PortGuards(dhcp_guard=True, router_guard=True)
    shared = guest_nic(security_group_enabled=True)
    basic = guest_nic(broadcast_uri="vlan://untagged", isolation_uri="ec2://untagged")
    assert nic_wish(shared, system_vm=False).guards == guarded
    assert nic_wish(basic, system_vm=False).guards == guarded
    assert nic_wish(shared, system_vm=True).guards.are_default  # a router is the DHCP server


def test_nics_come_in_the_order_of_their_device_ids_whatever_the_gaps() -> None:
    nics = [guest_nic(7), guest_nic(0), guest_nic(3)]
    assert [wish.device_id for wish in nic_wishes(nics, system_vm=False)] == [0, 3, 7]


def test_two_nics_of_one_number_or_address_are_refused() -> None:
    with pytest.raises(UnusableNetwork, match="deviceId 1"):
        nic_wishes([guest_nic(1), guest_nic(1, mac="02:00:00:00:00:09")], system_vm=False)
    with pytest.raises(UnusableNetwork, match="NICs 1 and 2"):
        nic_wishes([guest_nic(1), guest_nic(2, mac="02:00:51:2c:00:01")], system_vm=False)


@pytest.mark.parametrize(
    "mac", [None, "", "02:00:51:2c:00", "02:00:51:2c:00:zz", "01:00:5e:00:00:01", "00" * 6]
)
def test_what_is_no_mac_address_is_refused_with_the_nics_number(mac: str | None) -> None:
    with pytest.raises(UnusableNetwork, match="NIC 3"):
        nic_wish(guest_nic(3, mac=mac), system_vm=False)


@given(st.integers(min_value=1, max_value=2**48 - 1), st.sampled_from([":", "-", "", "."]))
def test_any_spelling_of_a_mac_address_reads_alike(number: int, separator: str) -> None:
    digits = f"{number & ~(1 << 40) | (1 << 41):012X}"
    text = separator.join(digits[i : i + 2] for i in range(0, 12, 2))
    wish = nic_wish(guest_nic(mac=text.lower()), system_vm=False)
    assert wish.mac == digits
    assert spelled_mac(wish.mac).replace(":", "").upper() == digits
