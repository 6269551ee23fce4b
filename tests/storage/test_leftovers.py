"""Only what a crashed copy left is recognised as such."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.host_files import FileStatus
from cloudstack_hyperv.storage.leftovers import TemporaryFiles, owner_in, owner_mark
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath, file_name, join_path

OURS, THEIRS = "0123abcd", "89efcdab"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=120))
def test_a_reserved_name_is_recognised_whatever_the_file_is_called(stem: str) -> None:
    try:
        final = join_path("C:\\pool", f"{stem}.vhdx")
    except BadWindowsPath:
        return
    with TemporaryFiles(OURS).beside(final) as path:
        assert owner_in(file_name(path)) == OURS
        assert path.endswith(".partial.vhdx")


@pytest.mark.parametrize(
    "name",
    [
        "19ae8e67-cb2c-4ab4-901e-e0b864272b59.vhdx",
        "a.tmp",
        "a.partial.vhdx",
        "a.cshv-0123abcd.partial.vhdx",
        "a.cshv-0123abcd-0123456789ab.vhdx",
        ".cshv-0123abcd-0123456789ab.partial.vhdx",
        "a.cshv-0123abcd-0123456789ab.partial.vhdx.bak.old",
        "a.cshv-0123ABCX-0123456789ab.partial",
    ],
)
def test_any_other_name_is_not(name: str) -> None:
    assert owner_in(name) is None


def status(path: str, modified: float, *, is_folder: bool = False) -> FileStatus:
    return FileStatus(path, 1, is_folder, modified)


def test_a_leftover_is_old_enough_and_not_in_work() -> None:
    temporary = TemporaryFiles(OURS)
    now = 1_000_000.0
    own = f"C:\\p\\a.cshv-{OURS}-0123456789ab.partial.vhdx"
    other = f"C:\\p\\a.cshv-{THEIRS}-0123456789ab.partial.vhdx"
    assert temporary.is_leftover(status(own, now - 61), now)
    assert not temporary.is_leftover(status(own, now - 59), now)
    assert not temporary.is_leftover(status(other, now - 3600), now)
    assert temporary.is_leftover(status(other, now - 90000), now)
    assert not temporary.is_leftover(status(own, now - 61, is_folder=True), now)
    with temporary.beside("C:\\p\\a.vhdx") as path:
        assert not temporary.is_leftover(status(path.upper(), now - 90000), now)
    assert temporary.is_leftover(status(path, now - 90000), now)


async def test_only_leftovers_are_removed_from_a_folder(tmp_path: Path) -> None:
    files = FolderFiles([MountSettings(host_path="C:\\", folder=str(tmp_path))])
    old = time.time() - 3600
    leftover = f"a.cshv-{OURS}-0123456789ab.partial.vhdx"
    for name in (leftover, "volume.vhdx", f"b.cshv-{THEIRS}-0123456789ab.partial.vhdx"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (old, old))
    removed = await TemporaryFiles(OURS).remove_leftovers(files, "C:\\", time.time())
    assert removed == (f"C:\\{leftover}",)
    assert [file_name(entry.path) for entry in await files.list_folder("C:\\")] == [
        f"b.cshv-{THEIRS}-0123456789ab.partial.vhdx",
        "volume.vhdx",
    ]


def test_the_owners_mark_is_stable_and_tells_hosts_apart() -> None:
    assert owner_mark("hv1") == owner_mark("hv1") != owner_mark("hv2")
