"""`template.properties` in the form of java.util.Properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.storage.template_properties import (
    TemplateProperties,
    disk_named_in,
    parse_properties,
    render_properties,
)

WRITTEN_BY_CLOUDSTACK = b"""#
#Fri Nov 28 10:43:12 UTC 2025
filename=7d5a6a8e-2f42-3c3a-8c4e-1b1e5b7c9a01.vhdx
description=Debian 12 \\u2013 \\
   minimal
checksum=
hvm=true
size=912261120
vhdx=true
id=202
public=true
vhdx.filename=7d5a6a8e-2f42-3c3a-8c4e-1b1e5b7c9a01.vhdx
uniquename=debian12-hyperv
vhdx.virtualsize=5368709120
virtualsize=5368709120
vhdx.size=912261120
"""


def test_a_file_of_the_secondary_storage_vm_is_read() -> None:
    values = parse_properties(WRITTEN_BY_CLOUDSTACK)
    assert values["description"] == "Debian 12 \u2013 minimal"
    assert values["checksum"] == ""
    assert disk_named_in(values) == "7d5a6a8e-2f42-3c3a-8c4e-1b1e5b7c9a01.vhdx"


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_what_is_written_reads_back(values: dict[str, str]) -> None:
    assert parse_properties(render_properties(values)) == values


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(data: bytes) -> None:
    parse_properties(data)


@pytest.mark.parametrize("name", ["..\\..\\secret.vhdx", "/etc/passwd", "C:\\x.vhdx", "NUL"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(HostFileError):
        disk_named_in({"vhdx.filename": name})


def test_a_file_that_does_not_say_names_nothing() -> None:
    assert disk_named_in({"filename": " "}) is None


def test_a_template_of_ours_says_what_the_secondary_storage_vm_looks_for() -> None:
    written = TemplateProperties(205, "a1b2.vhdx", "a1b2", "VHDX", 5 << 30, 1 << 20).render()
    values = parse_properties(written)
    assert values["vhdx"] == "true"
    assert values["vhdx.filename"] == values["filename"] == "a1b2.vhdx"
    assert values["vhdx.virtualsize"] == values["virtualsize"] == str(5 << 30)
    assert values["vhdx.size"] == values["size"] == str(1 << 20)
    assert (values["id"], values["uniquename"]) == ("205", "a1b2")
