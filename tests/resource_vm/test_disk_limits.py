"""CloudStack's rates of a disk as Hyper-V's one limit."""

from __future__ import annotations

from typing import Any

import pytest

from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.resource.disk_limits import iops_limit


@pytest.mark.parametrize(
    ("rates", "limit"),
    [
        ({}, None),
        ({"iops_read_rate": 100}, None),
        ({"iops_read_rate": 100, "iops_write_rate": 0}, None),
        ({"iops_read_rate": 100, "iops_write_rate": 50}, 150),
        ({"bytes_read_rate": 8192 * 70, "bytes_write_rate": 8192 * 30}, 100),
        ({"bytes_read_rate": 1, "bytes_write_rate": 1}, 1),
        (
            {
                "iops_read_rate": 100,
                "iops_write_rate": 50,
                "bytes_read_rate": 8192,
                "bytes_write_rate": 8192,
            },
            2,
        ),
    ],
)
def test_both_directions_count_together(rates: dict[str, Any], limit: int | None) -> None:
    assert iops_limit(VolumeObjectTO(**rates)) == limit
