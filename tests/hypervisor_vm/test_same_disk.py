"""Which file in a drive is the disk that is meant."""

from __future__ import annotations

import pytest

from cloudstack_hyperv.hypervisor.drives import same_disk

DISK = r"D:\VMs\19ae8e67-cb2c-4ab4-901e-e0b864272b59.vhdx"
CHECKPOINT = (
    r"d:\vms\19AE8E67-cb2c-4ab4-901e-e0b864272b59_0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0.avhdx"
)


@pytest.mark.parametrize("attached", [DISK, DISK.upper(), DISK.replace("\\", "/"), CHECKPOINT])
def test_the_disk(attached: str) -> None:
    assert same_disk(attached, DISK)


@pytest.mark.parametrize(
    "attached",
    [
        r"D:\VMs\19ae8e67-cb2c-4ab4-901e-e0b864272b59.vhd",
        r"E:\VMs\19ae8e67-cb2c-4ab4-901e-e0b864272b59.vhdx",
        CHECKPOINT.replace("vms", "other"),
        CHECKPOINT.replace(".avhdx", ".avhd"),
        CHECKPOINT.replace("_0F1E", "_copy-0F1E"),
        r"D:\VMs\19ae8e67-cb2c-4ab4-901e-e0b864272b59.avhdx",
        "",
        "not a path",
    ],
)
def test_another(attached: str) -> None:
    assert not same_disk(attached, DISK)
