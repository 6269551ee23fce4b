"""Windows paths in a folder of the gateway: found without letter case, never left by a link.

Each name of a path is opened in turn relative to the folder before it and never followed if it is
a symbolic link, so neither `..` nor a link that somebody puts there, even at the wrong moment,
leads out of the configured folder.  Everything here blocks; `folder_files` runs it in threads.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.storage.host_files import (
    HostFileError,
    HostFileExists,
    HostFileNotFound,
    NoSpaceLeft,
    PathNotReachable,
)
from cloudstack_hyperv.storage.windows_paths import (
    checked_component,
    checked_path,
    folded,
    relative_to,
)

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Mount:
    """A Windows folder and the gateway's folder that is its content."""

    host_path: str
    folder: Path

    @classmethod
    def from_settings(cls, settings: MountSettings) -> Mount:
        """Check a configured mount; raises BadWindowsPath."""
        return cls(checked_path(settings.host_path), Path(settings.folder))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path ends: a name in an open folder.  `name` is "." for the mount itself."""

    path: str
    folder: int
    """Descriptor of the folder; valid while the `FolderTree.place` block lasts."""
    name: str
    """The name as the folder spells it, or as asked for if it is not there."""
    exists: bool


class FolderTree:
    """The mounts of one host (or the root of one store)."""

    def __init__(self, mounts: Iterable[Mount]) -> None:
        self._mounts = tuple(mounts)

    def mount_of(self, path: str) -> tuple[Mount, tuple[str, ...]]:
        """Return the deepest mount that holds `path` and the names below it.

        Raises PathNotReachable when none does, BadWindowsPath when it is no path.
        """
        candidates = [
            (mount, names)
            for mount in self._mounts
            if (names := relative_to(path, mount.host_path)) is not None
        ]
        if not candidates:
            known = ", ".join(mount.host_path for mount in self._mounts) or "none"
            raise PathNotReachable(
                f"no configured way leads to {checked_path(path)} on the host (mounted: {known})"
            )
        return min(candidates, key=lambda candidate: len(candidate[1]))

    @contextmanager
    def place(self, path: str, *, make_parents: bool = False) -> Iterator[Place]:
        """Open the folder that holds `path` for the block; raises HostFileNotFound.

        OSErrors of the block become `HostFileError`s that name `path`.
        """
        mount, names = self.mount_of(path)
        with translated(checked_path(path)):
            folder = _open_root(mount)
            try:
                for name in names[:-1]:
                    inner = _enter(folder, name, make=make_parents)
                    os.close(folder)
                    folder = inner
                if not names:
                    yield Place(checked_path(path), folder, ".", exists=True)
                    return
                found = find_name(folder, names[-1])
                yield Place(checked_path(path), folder, found or names[-1], exists=bool(found))
            finally:
                os.close(folder)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn the OSErrors of the block into HostFileErrors that name `path`."""
    try:
        yield
    except FileNotFoundError as error:
        raise HostFileNotFound(f"{path} does not exist") from error
    except FileExistsError as error:
        raise HostFileExists(f"{path} exists; it was not touched") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceLeft(f"{path}: no space left on the volume") from error
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise PathNotReachable(
                f"{path}: a name on the way is no folder, or a symbolic link, which is not followed"
            ) from error
        raise HostFileError(f"{path}: {error.strerror}") from error


def find_name(folder: int, name: str) -> str | None:
    """Return how an open folder spells `name`, None if it has no such entry.

    Raises HostFileError when several entries differ in letter case only: Windows has one.
    """
    checked_component(name)
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        pass
    else:
        return name
    wanted = folded(name)
    with os.scandir(folder) as entries:
        found = [entry.name for entry in entries if folded(entry.name) == wanted]
    if len(found) > 1:
        raise HostFileError(f"{' and '.join(sorted(found))} differ in letter case only")
    return found[0] if found else None


def open_entry(place: Place, flags: int = os.O_RDONLY) -> int:
    """Open what is at a place; a symbolic link is refused with ELOOP, a pipe never waits."""
    if not place.exists:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place.path)
    return os.open(
        place.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place.folder
    )


def entry_status(place: Place) -> os.stat_result | None:
    """Return the status of what is at a place, None if nothing is; refuses a symbolic link."""
    if not place.exists:
        return None
    status = os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), place.path)
    return status


def move_without_overwriting(source: Place, target: Place) -> None:
    """Give a file another name; raises FileExistsError if that exists.

    A hard link is the one step that never overwrites on every file system we may meet: NFS and
    CIFS do not know renameat2(RENAME_NOREPLACE).  Between its two steps the file has both names.
    """
    if target.exists:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target.path)
    os.link(
        source.name,
        target.name,
        src_dir_fd=source.folder,
        dst_dir_fd=target.folder,
        follow_symlinks=False,
    )
    os.unlink(source.name, dir_fd=source.folder)


def _open_root(mount: Mount) -> int:
    try:
        # The configured folder itself may be a link: that is the operator's own.
        return os.open(mount.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise PathNotReachable(
            f"the folder {mount.folder} that stands for {mount.host_path}: {error.strerror}"
        ) from error


def _enter(folder: int, name: str, *, make: bool) -> int:
    found = find_name(folder, name)
    if found is None and make:
        os.mkdir(name, dir_fd=folder)
    return os.open(found or name, _FOLDER_FLAGS, dir_fd=folder)
