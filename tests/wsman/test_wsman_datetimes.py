"""Times in CIM and ISO spelling, there and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.wsman.protocol.datetimes import (
    cim_datetime,
    cim_interval,
    iso_datetime,
    iso_duration,
    read_datetime,
    read_interval,
)

ZONES = st.integers(-720, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=ZONES))
def test_moments_come_back(moment: datetime) -> None:
    assert read_datetime(cim_datetime(moment)) == moment
    assert len(cim_datetime(moment)) == 25
    assert read_datetime(iso_datetime(moment)) == moment


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=99_999_999)))
def test_lengths_come_back(length: timedelta) -> None:
    assert read_interval(cim_interval(length)) == length
    assert len(cim_interval(length)) == 25
    assert read_interval(iso_duration(length)) == length


def test_known_texts() -> None:
    moment = datetime(2025, 1, 31, 12, 0, 0, 5, timezone(timedelta(hours=-5)))
    assert cim_datetime(moment) == "20250131120000.000005-300"
    assert iso_datetime(datetime(2025, 1, 31, 12, tzinfo=UTC)) == "2025-01-31T12:00:00Z"
    assert iso_duration(timedelta(minutes=5)) == "P0DT0H5M0S"
    assert cim_interval(timedelta(minutes=45)) == "00000000004500.000000:000"
    assert read_interval("PT1.5S") == timedelta(seconds=1.5)
    assert read_interval("-P1D") == timedelta(days=-1)
    assert read_datetime("2025-01-31T12:00:00").tzinfo is UTC


@pytest.mark.parametrize("text", ["", "P", "PT", "P1DT", "5M", "P1M", "00000000004500.000000:001"])
def test_texts_that_are_no_length(text: str) -> None:
    with pytest.raises(ValueError, match="not an interval"):
        read_interval(text)


@pytest.mark.parametrize("text", ["", "now", "20251331120000.000000+000", "20250131"[:5]])
def test_texts_that_are_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_datetime(text)


def test_what_cannot_be_written() -> None:
    naive = datetime(2025, 1, 1)  # noqa: DTZ001 - the point of the test
    for write in (cim_datetime, iso_datetime):
        with pytest.raises(ValueError, match="time zone"):
            write(naive)
    for spell in (cim_interval, iso_duration):
        with pytest.raises(ValueError, match="interval"):
            spell(timedelta(seconds=-1))
