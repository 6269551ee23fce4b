"""From CloudStack's rates of a disk to Hyper-V's one limit.

CloudStack limits reading and writing apart, in operations and in bytes a second.  Hyper-V counts
both together, in operations of 8 KiB (a larger one counts as several), so:

* operations: the sum of both rates, and only where both are limited: a limit on one direction
  alone would hit the other;
* bytes: the sum of both rates, divided by 8 KiB, likewise;
* the lower of the two where both are given.

The tenant may spend the whole sum in one direction, which is more than CloudStack's figure for it
and never less.  Bursts (`*Max`, `*MaxLength`) have no counterpart and are not used.
Sources: CloudStack's `VolumeObjectTO`; Microsoft, "Storage Quality of Service for Hyper-V" and
"Msvm_StorageAllocationSettingData" (IOPSLimit).
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO

NORMAL_OPERATION: Final = 8192
"""Bytes of what Hyper-V counts as one operation."""


def iops_limit(volume: VolumeObjectTO) -> int | None:
    """Return operations of 8 KiB a second, None for no limit."""
    operations = _together(volume.iops_read_rate, volume.iops_write_rate)
    size = _together(volume.bytes_read_rate, volume.bytes_write_rate)
    limits = [] if operations is None else [operations]
    if size is not None:
        limits.append(max(1, size // NORMAL_OPERATION))
    return min(limits, default=None)


def _together(reading: int | None, writing: int | None) -> int | None:
    """Return the sum of two rates; None where either is unlimited (absent, 0 or negative)."""
    if reading is None or writing is None or reading <= 0 or writing <= 0:
        return None
    return reading + writing
