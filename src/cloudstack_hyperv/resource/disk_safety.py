"""Before a disk is deleted or taken for a copy: who uses it?

A disk attached to any VM, ours or not, or to a checkpoint, is never deleted, moved or resized
behind its back; a disk that others have as their parent never at all.  The host's own settings say
what is attached, each file's own metadata says what its parent is.  A parent may be named by a
path that we cannot follow (`\\\\?\\Volume{...}\\`); where the rest of it fits, it counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import structlog

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor.attachments import Attachment, list_attachments
from cloudstack_hyperv.hypervisor.errors import WrongState, translated
from cloudstack_hyperv.hypervisor.machines import machine_path
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.storage.host_files import HostFileNotFound
from cloudstack_hyperv.storage.windows_paths import (
    file_name,
    folded,
    parent_folder,
    same_path,
    split_extension,
    split_path,
)
from cloudstack_hyperv.vhd import VhdError
from cloudstack_hyperv.wsman import errors as wsman

log = structlog.get_logger(__name__)

_DISKS: Final = frozenset({".vhdx", ".vhd", ".avhdx", ".avhd", ".vhds"})
_CHECKPOINT_DISKS: Final = frozenset({".avhdx", ".avhd"})
_VOLUME_PATH: Final = re.compile(r"\\\\\?\\Volume\{[0-9A-Fa-f-]+\}\\(?P<rest>.+)", re.DOTALL)
_LONG_PATH: Final = re.compile(r"\\\\\?\\(?P<unc>UNC\\)?(?P<rest>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DiskUser:
    """A VM or checkpoint that has a disk, directly or as an ancestor of what it has."""

    attachment: Attachment
    name: str
    """ElementName of the VM; the GUID for a checkpoint."""
    state: int | None
    """EnabledState of the VM, None for a checkpoint."""

    @property
    def is_off(self) -> bool:
        """Whether it is a VM that is turned off."""
        return self.state == EnabledState.DISABLED

    def __str__(self) -> str:
        return f"VM {self.name}" if self.state is not None else f"checkpoint {self.name}"


async def users_of(context: HostContext, path: str) -> tuple[DiskUser, ...]:
    """Return who has a disk: one round trip, and one more for each that has it."""
    found = [
        attachment
        for attachment in await list_attachments(context.cim)
        if await _is_or_stands_on(context, attachment.path, path)
    ]
    return tuple([await _user(context, attachment) for attachment in found])


async def require_at_rest(context: HostContext, path: str, purpose: str) -> None:
    """Raise WrongState if a VM that is not off has the disk: it changes under the reader."""
    for user in await users_of(context, path):
        if user.state is not None and not user.is_off:
            raise WrongState(
                f"{purpose}: {path} is attached to {user}, which is not off; stop the VM or "
                "detach the volume first"
            )


async def require_unattached(context: HostContext, path: str, purpose: str) -> None:
    """Raise WrongState if any VM or checkpoint has the disk."""
    users = await users_of(context, path)
    if users:
        raise WrongState(f"{purpose}: {path} is attached to {users[0]}")


async def require_no_children(context: HostContext, path: str, purpose: str) -> None:
    """Raise WrongState if a disk in the same folder has this one as its parent."""
    own = file_name(path)
    for file in await context.files.list_folder(parent_folder(path)):
        name = file_name(file.path)
        if file.is_folder or folded(name) == folded(own):
            continue
        if split_extension(name)[1] in _DISKS and await _has_parent(context, file.path, path):
            raise WrongState(f"{purpose}: {path} is the parent of {file.path}, which needs it")


async def _is_or_stands_on(context: HostContext, attached: str, path: str) -> bool:
    if same_path(attached, path):
        return True
    if split_extension(attached)[1] not in _CHECKPOINT_DISKS:
        return False
    seen: set[str] = set()
    current = attached
    while folded(current) not in seen:
        seen.add(folded(current))
        parents = await _parents(context, current)
        if any(_names(parent, path) for parent in parents):
            return True
        following = [parent for parent in parents if not parent.startswith("\\\\?\\")]
        if not following:
            return False
        current = following[0]
    return False


async def _has_parent(context: HostContext, child: str, path: str) -> bool:
    return any(_names(parent, path) for parent in await _parents(context, child))


async def _parents(context: HostContext, child: str) -> list[str]:
    """Return the paths under which a disk looks for its parent, [] for one without."""
    try:
        info = await context.files.disk_info(child)
    except HostFileNotFound:
        return []
    except VhdError as error:
        # What is no disk can be nobody's child; it is somebody's file all the same.
        log.debug("not a disk", path=child, reason=str(error))
        return []
    if info.parent is None:
        return []
    return [_plain(parent) for parent in info.parent.candidate_paths(child)]


def _names(parent: str, path: str) -> bool:
    if same_path(parent, path):
        return True
    volume = _VOLUME_PATH.match(parent)
    if volume is None:
        return False
    wanted = [folded(name) for name in volume["rest"].split("\\") if name]
    have = [folded(name) for name in split_path(path).components]
    return bool(wanted) and have[-len(wanted) :] == wanted


def _plain(path: str) -> str:
    r"""Return `\\?\C:\x` as `C:\x` and `\\?\UNC\s\h` as `\\s\h`."""
    if _VOLUME_PATH.match(path):
        return path
    match = _LONG_PATH.fullmatch(path)
    if match is None:
        return path
    return f"\\\\{match['rest']}" if match["unc"] else match["rest"]


async def _user(context: HostContext, attachment: Attachment) -> DiskUser:
    guid = attachment.machine_guid
    with translated(f"see who has {attachment.path}"):
        try:
            row = await context.cim.get(machine_path(guid))
        except wsman.NotFound:
            return DiskUser(attachment, guid or "of unknown name", None)
    return DiskUser(attachment, row.string("ElementName") or guid, row.uint("EnabledState"))
