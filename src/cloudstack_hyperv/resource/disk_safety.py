"""Before a disk is deleted, moved, resized or taken for a copy: who uses it?

A disk attached to any VM, ours or not, or to a checkpoint, is never deleted, moved or resized
behind its back; a disk that others have as their parent never at all.  The host's own settings say
what is attached (`hypervisor.attachments`), each file's own metadata what its parent is
(`resource.disk_parents`).

A disk on storage that hosts share (an SMB share, a cluster shared volume) may be attached to a VM
of another host: those that this agent serves are asked too.  One that does not answer is passed
over; what its VMs have open is then protected by the file's own lock only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor.attachments import Attachment, list_attachments
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState, translated
from cloudstack_hyperv.hypervisor.machines import machine_path
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_parents import children_in_folder, stands_on
from cloudstack_hyperv.storage.windows_paths import (
    BadWindowsPath,
    folded,
    parent_folder,
    same_path,
    split_extension,
    split_path,
)
from cloudstack_hyperv.wsman import errors as wsman

log = structlog.get_logger(__name__)

_CHECKPOINT_DISKS: Final = frozenset({".avhdx", ".avhd"})


@dataclass(frozen=True, slots=True)
class DiskUser:
    """A VM or checkpoint that has a disk, directly or as an ancestor of what it has."""

    context: HostContext
    """The host that has the VM."""
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


async def users_of(
    context: HostContext, path: str, attachments: Sequence[Attachment] | None = None
) -> tuple[DiskUser, ...]:
    """Return who has a disk: one round trip, and one more for each that has it.

    `attachments` of this host spare the first one, where they were read before.  On shared storage
    one more for each other host.
    """
    if attachments is None:
        attachments = await list_attachments(context.cim)
    candidates = [(context, attachment) for attachment in attachments]
    if is_shared(path):
        candidates += await _attachments_of_others(context)
    found = [
        (host, attachment)
        for host, attachment in candidates
        if await _is_or_stands_on(context, attachment.path, path)
    ]
    return tuple([await _user(host, attachment) for host, attachment in found])


def is_shared(path: str) -> bool:
    """Tell whether a file lies where several hosts reach it: on a share or a cluster's volume."""
    split = split_path(path)
    return split.root.startswith("\\\\") or (
        bool(split.components) and folded(split.components[0]) == "CLUSTERSTORAGE"
    )


async def _attachments_of_others(context: HostContext) -> list[tuple[HostContext, Attachment]]:
    others = [peer for peer in context.peers.values() if peer.cim is not context.cim]
    answers = await asyncio.gather(*(_attachments_of(peer) for peer in others))
    return [(peer, each) for peer, found in zip(others, answers, strict=True) for each in found]


async def _attachments_of(peer: HostContext) -> tuple[Attachment, ...]:
    try:
        return await list_attachments(peer.cim)
    except HypervisorError as error:
        log.warning("a host cannot be asked who has a disk", peer=peer.host.name, reason=str(error))
        return ()


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


async def require_no_children(
    context: HostContext,
    path: str,
    purpose: str,
    attachments: Sequence[Attachment] | None = None,
) -> None:
    """Raise WrongState if a disk has this one as its parent.

    Looked at are the disks of its folder, where clones and checkpoints' disks are made, and those
    that VMs have in other folders; checkpoints' disks there are the business of `users_of`.  One
    round trip where `attachments` are not given.
    """
    children = await children_in_folder(context, path)
    if not children:
        folder = parent_folder(path)
        if attachments is None:
            attachments = await list_attachments(context.cim)
        children = [
            attachment.path
            for attachment in attachments
            if split_extension(attachment.path)[1] not in _CHECKPOINT_DISKS
            and not _lies_in(attachment.path, folder)
            and await stands_on(context, attachment.path, path)
        ]
    if children:
        raise WrongState(f"{purpose}: {path} is the parent of {children[0]}, which needs it")


async def _is_or_stands_on(context: HostContext, attached: str, path: str) -> bool:
    if same_path(attached, path):
        return True
    if split_extension(attached)[1] not in _CHECKPOINT_DISKS:
        return False
    return await stands_on(context, attached, path)


def _lies_in(path: str, folder: str) -> bool:
    try:
        return same_path(parent_folder(path), folder)
    except BadWindowsPath:
        return False


async def _user(context: HostContext, attachment: Attachment) -> DiskUser:
    guid = attachment.machine_guid
    with translated(f"see who has {attachment.path}"):
        try:
            row = await context.cim.get(machine_path(guid))
        except wsman.NotFound:
            return DiskUser(context, attachment, guid or "of unknown name", None)
    return DiskUser(
        context, attachment, row.string("ElementName") or guid, row.uint("EnabledState")
    )
