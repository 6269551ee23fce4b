"""Where disks and DVDs go, for both generations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.hypervisor.drive_layout import (
    DiskRequest,
    ImpossibleLayout,
    disk_address,
    dvd_address,
    free_sequence,
    lay_out,
    sequence_of,
)
from cloudstack_hyperv.hypervisor.wish import Bus, DriveAddress, DriveKind

ROOT = DiskRequest(DriveKind.DISK, root=True, sequence=0, file=r"D:\VMs\root.vhdx")
EMPTY_DVD = DiskRequest(DriveKind.DVD, root=False, sequence=3, file=None)
CONFIG_DRIVE = DiskRequest(DriveKind.DVD, root=False, sequence=4, file=r"D:\iso\config.iso")


def data_disk(sequence: int | None) -> DiskRequest:
    return DiskRequest(DriveKind.DISK, root=False, sequence=sequence, file=f"data{sequence}.vhdx")


def places(generation: int, *requests: DiskRequest) -> dict[str, str | None]:
    return {str(drive.address): drive.file for drive in lay_out(generation, requests)}


def test_generation_1_boots_from_ide_and_has_its_data_on_scsi() -> None:
    assert places(1, ROOT, data_disk(1), data_disk(4), EMPTY_DVD, CONFIG_DRIVE) == {
        "IDE 0:0": ROOT.file,
        "SCSI 0:1": "data1.vhdx",
        "SCSI 0:4": "data4.vhdx",
        "IDE 1:0": None,
        "IDE 1:1": CONFIG_DRIVE.file,
    }


def test_generation_2_has_everything_on_scsi_and_no_collision_at_4() -> None:
    assert places(2, ROOT, data_disk(1), data_disk(4), EMPTY_DVD, CONFIG_DRIVE) == {
        "SCSI 0:0": ROOT.file,
        "SCSI 0:1": "data1.vhdx",
        "SCSI 0:4": "data4.vhdx",
        "SCSI 0:3": None,
        "SCSI 0:63": CONFIG_DRIVE.file,
    }


def test_the_order_is_that_of_booting() -> None:
    drives = lay_out(2, [data_disk(1), ROOT, EMPTY_DVD])
    assert [str(drive.address) for drive in drives] == ["SCSI 0:3", "SCSI 0:0", "SCSI 0:1"]


def test_a_disk_without_a_number_gets_the_lowest_free_one() -> None:
    assert "SCSI 0:2" in places(1, ROOT, data_disk(1), data_disk(None))
    assert free_sequence(2, [disk_address(1), disk_address(2)]) == 4


@pytest.mark.parametrize(
    "requests",
    [
        [ROOT, ROOT],
        [ROOT, data_disk(1), data_disk(1)],
        [data_disk(256)],
        [data_disk(-1)],
        [EMPTY_DVD] * 4,
        [ROOT, DiskRequest(DriveKind.DISK, root=False, sequence=1, file=ROOT.file)],
    ],
)
def test_what_does_not_fit(requests: list[DiskRequest]) -> None:
    with pytest.raises(ImpossibleLayout):
        lay_out(1, requests)


def test_generation_2_keeps_the_dvds_place_free() -> None:
    with pytest.raises(ImpossibleLayout, match="SCSI 0:3"):
        lay_out(2, [ROOT, data_disk(3), EMPTY_DVD])


@given(st.integers(0, 255))
def test_a_sequence_and_its_address_are_one_to_one(sequence: int) -> None:
    address = disk_address(sequence)
    assert sequence_of(address) == sequence
    assert 0 <= address.slot < 64
    assert 0 <= address.controller < 4


def test_the_sequence_of_ide_drives_is_cloudstacks() -> None:
    assert sequence_of(DriveAddress(Bus.IDE, 0, 0)) == 0
    assert sequence_of(dvd_address(1, 0)) == 3
    assert sequence_of(dvd_address(1, 1)) == 4


@given(
    st.sampled_from([1, 2]),
    st.sets(st.integers(1, 62).filter(lambda n: n != 3), max_size=20),
    st.booleans(),
    st.integers(0, 2),
)
def test_no_two_drives_share_a_place(
    generation: int, sequences: set[int], with_root: bool, dvds: int
) -> None:
    requests = [data_disk(sequence) for sequence in sequences]
    requests += [ROOT] * with_root + [EMPTY_DVD, CONFIG_DRIVE][:dvds]
    drives = lay_out(generation, requests)
    assert len({drive.address for drive in drives}) == len(drives) == len(requests)
    if generation == 1:
        assert all(d.address.bus is Bus.IDE for d in drives if d.kind is DriveKind.DVD)
    else:
        assert all(d.address.bus is Bus.SCSI for d in drives)
