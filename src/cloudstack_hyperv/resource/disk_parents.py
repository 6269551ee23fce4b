r"""Which disks stand on which: the parents that disk files name in their own metadata.

A deletion has to know whether anybody in the pool stands on the disk, so every disk of its folder
is asked.  What was read is kept with the file's size and time and read again only where those
changed; a file that changed a moment ago is not kept, because it could change once more within
one tick of the server's clock.

A file that cannot be opened from here (the host writes to it, or no way leads there) is asked of
the host, which can tell the parent of a running VM's disk too.  A parent may be named by a path
that nobody but its host can follow (`\\?\Volume{...}\`); where the rest of it fits, it counts.

Source: [MS-VHDX] 2.6.2.6.3 for the order and form of parent paths.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Final

import structlog

from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.storage.host_files import (
    FileStatus,
    HostFileError,
    HostFileNotFound,
)
from cloudstack_hyperv.storage.windows_paths import (
    file_name,
    folded,
    parent_folder,
    path_key,
    same_path,
    split_extension,
    split_path,
)
from cloudstack_hyperv.vhd import VhdError

log = structlog.get_logger(__name__)

SETTLED_SECONDS: Final = 5.0
"""Age of a change after which what was read of the file is kept."""

_MEMORY: Final = "disk parents"
_DISKS: Final = frozenset({".vhdx", ".vhd", ".avhdx", ".avhd", ".vhds"})
_VOLUME_PATH: Final = re.compile(r"\\\\\?\\Volume\{[0-9A-Fa-f-]+\}\\(?P<rest>.+)", re.DOTALL)
_LONG_PATH: Final = re.compile(r"\\\\\?\\(?P<unc>UNC\\)?(?P<rest>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of a file while it had this size and time."""

    size: int
    modified: float
    parents: tuple[str, ...]


@dataclass(slots=True)
class _Memory:
    """In `HostMemory` under "disk parents": by folder, then by file name."""

    folders: dict[str, dict[str, _Known]] = field(default_factory=dict)


async def children_in_folder(context: HostContext, path: str) -> list[str]:
    """Return the disks in a disk's own folder that have it as their parent.

    Opens only files that are new or changed since the last look.  Raises HostFileNotFound.
    """
    folder = parent_folder(path)
    memory = _memory(context)
    before = memory.folders.get(path_key(folder), {})
    seen: dict[str, _Known] = {}
    found = []
    for file in await context.files.list_folder(folder):
        name = folded(file_name(file.path))
        if file.is_folder or split_extension(name.lower())[1] not in _DISKS:
            continue
        known = before.get(name)
        if known is None or (known.size, known.modified) != (file.size, file.modified):
            known = _Known(file.size, file.modified, await parents_of(context, file.path))
        if _is_settled(file):
            seen[name] = known
        if any(names(parent, path) for parent in known.parents) and not same_path(file.path, path):
            found.append(file.path)
    memory.folders[path_key(folder)] = seen
    return found


async def parents_of(context: HostContext, child: str) -> tuple[str, ...]:
    """Return the paths under which a disk looks for its parent, () for one without."""
    try:
        info = await context.files.disk_info(child)
    except HostFileNotFound:
        return ()
    except VhdError as error:
        # What is no disk can be nobody's child; it is somebody's file all the same.
        log.debug("not a disk", path=child, reason=str(error))
        return ()
    except HostFileError as error:
        return await _parents_by_host(context, child, error)
    if info.parent is None:
        return ()
    return tuple(_plain(parent) for parent in info.parent.candidate_paths(child))


async def stands_on(context: HostContext, disk: str, path: str) -> bool:
    """Tell whether a disk has `path` among its ancestors; reads one file per generation."""
    seen: set[str] = set()
    current = disk
    while folded(current) not in seen:
        seen.add(folded(current))
        parents = await parents_of(context, current)
        if any(names(parent, path) for parent in parents):
            return True
        following = [parent for parent in parents if not parent.startswith("\\\\?\\")]
        if not following:
            return False
        current = following[0]
    return False


async def occupied(context: HostContext, path: str) -> int:
    """Return the bytes of a disk's file and of those that it stands on: what a flat copy needs."""
    total = 0
    seen: set[str] = set()
    following: str | None = path
    while following is not None and folded(following) not in seen:
        seen.add(folded(following))
        status = await context.files.status(following)
        total += status.size if status is not None else 0
        parents = await parents_of(context, following)
        following = next((each for each in parents if not each.startswith("\\\\?\\")), None)
    return total


def names(parent: str, path: str) -> bool:
    """Tell whether a parent's path, as a child names it, means `path`."""
    if same_path(parent, path):
        return True
    volume = _VOLUME_PATH.match(parent)
    if volume is None:
        return False
    wanted = [folded(name) for name in volume["rest"].split("\\") if name]
    have = [folded(name) for name in split_path(path).components]
    return bool(wanted) and have[-len(wanted) :] == wanted


async def _parents_by_host(
    context: HostContext, child: str, reason: HostFileError
) -> tuple[str, ...]:
    try:
        disk = await images.read_disk(context.cim, child)
    except HypervisorError as error:
        raise HostFileError(
            f"nobody can tell what {child} stands on: {reason}; the host says: {error}"
        ) from error
    return (_plain(disk.parent),) if disk.parent else ()


def _is_settled(file: FileStatus) -> bool:
    return time.time() - file.modified > SETTLED_SECONDS


def _memory(context: HostContext) -> _Memory:
    memory = context.memory.values.get(_MEMORY)
    if not isinstance(memory, _Memory):
        memory = _Memory()
        context.memory.values[_MEMORY] = memory
    return memory


def _plain(path: str) -> str:
    r"""Return `\\?\C:\x` as `C:\x` and `\\?\UNC\s\h` as `\\s\h`."""
    if _VOLUME_PATH.match(path):
        return path
    match = _LONG_PATH.fullmatch(path)
    if match is None:
        return path
    return f"\\\\{match['rest']}" if match["unc"] else match["rest"]
