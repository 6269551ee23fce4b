"""From CloudStack's objects to Windows paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudstack_hyperv.config import MountSettings, StoreSettings
from cloudstack_hyperv.messages.objects.storage import (
    S3TO,
    NfsTO,
    PrimaryDataStoreTO,
    StorageFilerTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.host_files import PathNotReachable
from cloudstack_hyperv.storage.locations import (
    NoLocation,
    iso_path,
    pool_folder,
    template_path,
    volume_path,
)
from cloudstack_hyperv.storage.stores import Stores
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath

UUID = "3b9d0f52-7f0e-4a53-8d0d-4a7d5f5c1a11"
LOCAL = PrimaryDataStoreTO(pool_type="Filesystem", host="10.1.1.20", path="E:\\Disks")
SMB = PrimaryDataStoreTO(
    pool_type="SMB", host="10.1.1.6", path="/primary/vms?user=u&password=hunter2&domain=D"
)


@pytest.fixture
def files(tmp_path: Path) -> FolderFiles:
    return FolderFiles([MountSettings(host_path="E:\\Disks", folder=str(tmp_path))])


@pytest.mark.parametrize(
    ("kind", "path", "folder"),
    [
        ("Filesystem", "E:\\Disks\\", "E:\\Disks"),
        ("SharedMountPoint", "C:/ClusterStorage/Volume1", "C:\\ClusterStorage\\Volume1"),
        ("Filesystem", "\\\\fs\\vms", "\\\\fs\\vms"),
        ("SMB", "/primary/vms?user=u&password=p", "\\\\10.1.1.6\\primary\\vms"),
        ("SMB", "primary", "\\\\10.1.1.6\\primary"),
    ],
)
def test_a_pool_is_a_folder(kind: str, path: str, folder: str) -> None:
    assert pool_folder(PrimaryDataStoreTO(pool_type=kind, host="10.1.1.6", path=path)) == folder
    assert pool_folder(StorageFilerTO(type=kind, host="10.1.1.6", path=path)) == folder


@pytest.mark.parametrize(
    "pool",
    [
        StorageFilerTO(type="NetworkFilesystem", host="h", path="/export"),
        StorageFilerTO(type=None, host="h", path="E:\\x"),
        StorageFilerTO(type="SMB", host=None, path="/share"),
        StorageFilerTO(type="Filesystem", path=None),
        StorageFilerTO(type="SMB", host="h", path="/..?password=hunter2"),
        StorageFilerTO(type="SMB", host="h\\..\\x", path="/a"),
        StorageFilerTO(type="Filesystem", path="relative"),
    ],
)
def test_what_is_no_usable_pool_is_refused_without_its_secrets(pool: StorageFilerTO) -> None:
    with pytest.raises((NoLocation, BadWindowsPath)) as caught:
        pool_folder(pool)
    assert "hunter2" not in str(caught.value)


async def test_path_wins_over_uuid_and_the_format_gives_the_extension(files: FolderFiles) -> None:
    volume = VolumeObjectTO(data_store=LOCAL, uuid=UUID, path="ROOT-12", format="VHD")
    assert await volume_path(volume, files) == "E:\\Disks\\ROOT-12.vhd"
    fresh = VolumeObjectTO(data_store=SMB, uuid=UUID, format="VHDX")
    assert await volume_path(fresh, files) == f"\\\\10.1.1.6\\primary\\vms\\{UUID}.vhdx"


async def test_without_a_format_the_file_is_looked_for_and_never_guessed(
    files: FolderFiles, tmp_path: Path
) -> None:
    template = TemplateObjectTO(image_data_store=LOCAL, path="t")
    with pytest.raises(NoLocation, match=r"no disk t\.vhdx or t\.vhd"):
        await template_path(template, files)
    (tmp_path / "T.VHD").touch()
    assert await template_path(template, files) == "E:\\Disks\\t.vhd"
    (tmp_path / "t.vhdx").touch()
    with pytest.raises(NoLocation, match="both exist"):
        await template_path(template, files)


async def test_an_object_that_does_not_say_where_it_is_is_refused(files: FolderFiles) -> None:
    for volume in (
        VolumeObjectTO(data_store=LOCAL),
        VolumeObjectTO(uuid=UUID),
        VolumeObjectTO(uuid=UUID, data_store=NfsTO(url="cifs://h/s")),
        VolumeObjectTO(uuid=UUID, data_store=LOCAL, format="QCOW2"),
    ):
        with pytest.raises(NoLocation):
            await volume_path(volume, files)


def test_an_iso_is_attached_from_where_the_host_sees_it() -> None:
    stores = Stores(
        [
            StoreSettings(url="cifs://10.1.1.5/secondary", host_path="S:\\secondary"),
            StoreSettings(url="nfs://10.1.1.5/export"),
        ]
    )
    path = "template/tmpl/2/210/a.iso"

    def iso(url: str) -> TemplateObjectTO:
        return TemplateObjectTO(path=path, format="ISO", image_data_store=NfsTO(url=url))

    below = "template\\tmpl\\2\\210\\a.iso"
    assert iso_path(iso("cifs://10.1.1.5/secondary?user=u"), stores) == f"S:\\secondary\\{below}"
    assert iso_path(iso("cifs://10.9.9.9/other"), stores) == f"\\\\10.9.9.9\\other\\{below}"
    with pytest.raises(PathNotReachable, match="host_path"):
        iso_path(iso("nfs://10.1.1.5/export"), stores)
    with pytest.raises(PathNotReachable, match="S3TO"):
        iso_path(TemplateObjectTO(path=path, image_data_store=S3TO()), stores)
    on_primary = TemplateObjectTO(path="an-iso", format="ISO", image_data_store=LOCAL)
    assert iso_path(on_primary, stores) == "E:\\Disks\\an-iso.iso"
    with pytest.raises(NoLocation):
        iso_path(TemplateObjectTO(image_data_store=NfsTO(url="cifs://h/s")), stores)
    secondary = NfsTO(url="cifs://10.1.1.5/secondary")
    with pytest.raises(BadWindowsPath):
        iso_path(TemplateObjectTO(path="../../x.iso", image_data_store=secondary), stores)
