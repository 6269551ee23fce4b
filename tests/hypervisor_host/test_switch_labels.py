"""A traffic label finds exactly the switch that is meant, or says why not."""

import pytest

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.hypervisor.switches import (
    SwitchKind,
    SwitchNotFound,
    VirtualSwitch,
    resolve_label,
)


def switch(name: str, guid: str, kind: SwitchKind = SwitchKind.EXTERNAL) -> VirtualSwitch:
    path = ObjectPath.of(
        "Msvm_VirtualEthernetSwitch", CreationClassName="Msvm_VirtualEthernetSwitch", Name=guid
    )
    return VirtualSwitch(name, guid, path, kind)


A = switch("cloudbr0", "AAAAAAAA-0000-0000-0000-000000000001")
B = switch("cloudbr1", "BBBBBBBB-0000-0000-0000-000000000002", SwitchKind.PRIVATE)
TWIN = switch("cloudbr1", "CCCCCCCC-0000-0000-0000-000000000003", SwitchKind.INTERNAL)


def test_the_name_must_match_exactly() -> None:
    assert resolve_label([A, B], "cloudbr1") is B
    with pytest.raises(SwitchNotFound, match=r"'CloudBR1'.*'cloudbr0' \(external\)"):
        resolve_label([A, B], "CloudBR1")


def test_of_two_switches_with_one_name_the_guid_decides() -> None:
    with pytest.raises(SwitchNotFound, match="2 virtual switches are called 'cloudbr1'"):
        resolve_label([A, B, TWIN], "cloudbr1")
    assert resolve_label([A, B, TWIN], TWIN.guid.lower()) is TWIN


@pytest.mark.parametrize("label", [None, ""])
def test_without_a_label_the_only_external_switch_is_meant(label: str | None) -> None:
    assert resolve_label([A, B, TWIN], label) is A


def test_without_a_label_and_a_single_external_switch_nothing_is_guessed() -> None:
    with pytest.raises(SwitchNotFound, match="no external switch"):
        resolve_label([B], None)
    other = switch("dmz", "DDDDDDDD-0000-0000-0000-000000000004")
    with pytest.raises(SwitchNotFound, match="2 external switches"):
        resolve_label([A, other], None)
    with pytest.raises(SwitchNotFound, match="no virtual switch at all"):
        resolve_label([], None)
