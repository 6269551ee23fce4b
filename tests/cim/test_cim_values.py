"""CIM values and object paths: ranges, and paths as Hyper-V and its clients write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.cim import (
    INTEGER_TYPES,
    CimType,
    MalformedPath,
    ObjectPath,
    SizedInt,
    Uint8,
    Uint16,
    cim_type_of,
)


@pytest.mark.parametrize("kind", INTEGER_TYPES.values())
def test_integers_hold_their_range_and_nothing_more(kind: type[SizedInt]) -> None:
    assert kind(kind.lowest) == kind.lowest
    assert kind(str(kind.highest)) == kind.highest
    for outside in (kind.lowest - 1, kind.highest + 1):
        with pytest.raises(ValueError, match=kind.cim_type.value):
            kind(outside)


def test_a_plain_int_has_no_cim_type() -> None:
    assert cim_type_of(Uint16(3)) is CimType.UINT16
    assert cim_type_of(True) is CimType.BOOLEAN
    with pytest.raises(TypeError):
        cim_type_of(3)


def test_sized_int_prints_as_its_number() -> None:
    assert f"{Uint8(7)}" == "7"
    assert repr(Uint8(7)) == "Uint8(7)"


def test_path_of_a_drive_as_hyper_v_writes_it() -> None:
    text = (
        r"\\HV1\root\virtualization\v2:Msvm_ResourceAllocationSettingData"
        r'.InstanceID="Microsoft:B637\\83F8638B-8DCA\\0\\0\\D"'
    )
    path = ObjectPath.parse(text)
    assert path.host == "HV1"
    assert path.namespace == "root/virtualization/v2"
    assert path.key("instanceid") == r"Microsoft:B637\83F8638B-8DCA\0\0\D"
    assert str(path) == text


def test_spellings_of_other_clients_name_the_same_object() -> None:
    libvirt = ObjectPath.parse(r'\\hv1\Root\Virtualization\V2:Msvm_X.InstanceID="Microsoft:ab"')
    go_wsman = ObjectPath.parse('root/virtualization/v2:Msvm_X.InstanceID="Microsoft:AB"')
    assert libvirt.same_object(go_wsman)
    assert ObjectPath.parse('Msvm_X.InstanceID="Microsoft:AB"').same_object(libvirt)
    assert not libvirt.same_object(ObjectPath.parse('Msvm_X.InstanceID="Microsoft:AC"'))


@pytest.mark.parametrize(
    "text",
    ["", "  ", 'Msvm_X.A="1"B="2"', 'Msvm_X.A="1', "Msvm_X.", "Msvm_X.A=", r"\\H:X", "1a.B='c'"],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(MalformedPath):
        ObjectPath.parse(text)


@given(
    keys=st.dictionaries(
        st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True), st.text(), min_size=1
    )
)
def test_any_key_value_survives_the_text_form(keys: dict[str, str]) -> None:
    path = ObjectPath("Msvm_X", tuple(keys.items()), "root/cimv2", "HOST")
    again = ObjectPath.parse(str(path))
    assert again == path
    assert again.host == "HOST"
