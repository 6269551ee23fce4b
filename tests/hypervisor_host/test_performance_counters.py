"""Arithmetic of counters and names: wraps, restarts, cut names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.hypervisor.performance import (
    UINT32,
    DiskUse,
    ProcessorSample,
    Traffic,
    performance_key,
    unknown_disks,
    use_of_disk,
)

SECOND = 10_000_000
LONG = "C:\\ClusterStorage\\Volume1\\CloudStack\\a folder with a long name\\" + "x" * 40 + ".vhdx"


@pytest.mark.parametrize(
    ("ran", "load"), [((0, 0), 0.0), ((SECOND, SECOND), 100.0), ((SECOND, 0), 50.0)]
)
def test_the_load_is_that_of_all_processors(ran: tuple[int, int], load: float) -> None:
    first = ProcessorSample({"Hv LP 0": 5, "Hv LP 1": 7}, 100)
    second = ProcessorSample({"Hv LP 0": 5 + ran[0], "Hv LP 1": 7 + ran[1]}, 100 + SECOND)
    assert second.load_since(first) == load


def test_samples_that_cannot_be_compared_give_no_load() -> None:
    sample = ProcessorSample({"Hv LP 0": 50}, 100)
    assert sample.load_since(sample) is None
    assert ProcessorSample({"Hv LP 0": 5}, 200).load_since(sample) is None
    assert ProcessorSample({"Hv LP 9": 90}, 200).load_since(sample) is None


@given(*[st.integers(0, 2**62)] * 4)
def test_traffic_never_goes_back(a: int, b: int, c: int, d: int) -> None:
    added = Traffic(a, b).since(Traffic(c, d))
    assert added.received >= 0
    assert added.sent >= 0
    assert added == Traffic(a - c if a >= c else a, b - d if b >= d else b)


def test_operations_wrap_at_32_bits() -> None:
    before = DiskUse(UINT32 - 10, 5, 1000, 1000)
    now = DiskUse(20, 6, 2000, 1000)
    assert now.since(before) == DiskUse(30, 1, 1000, 0)


def test_a_counter_that_began_anew_counts_from_zero() -> None:
    assert DiskUse(3, 1, 50, 10).since(DiskUse(9, 9, 900, 90)) == DiskUse(3, 1, 50, 10)


def test_a_disk_is_found_by_its_path_as_performance_names_write_it() -> None:
    counters = {performance_key("C:-VMs-Disk [1]_2.vhdx"): DiskUse(1)}
    assert use_of_disk(counters, "c:\\vms\\disk (1)#2.vhdx") == DiskUse(1)
    assert use_of_disk(counters, "c:\\vms\\disk.vhdx") is None


def test_a_name_that_the_host_cut_still_matches_if_it_is_the_only_one() -> None:
    cut = performance_key(LONG)[:64]
    assert use_of_disk({cut: DiskUse(1)}, LONG) == DiskUse(1)
    assert use_of_disk({cut: DiskUse(1), cut[:-1]: DiskUse(2)}, LONG) is None
    assert unknown_disks([cut, "_total"], [LONG]) == set()
    assert unknown_disks([cut, "c:-other.vhdx"], [LONG]) == {"c:-other.vhdx"}
