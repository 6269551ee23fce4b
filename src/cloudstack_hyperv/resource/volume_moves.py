"""A volume at rest moves from pool to pool: copied by the host, then the original is deleted.

At every moment at least one whole copy is there under a name that CloudStack can know:

    1. the copy is written under a temporary name, checked, renamed
    2. the original is deleted; if that fails and it is still there, the copy is deleted and the
       command fails: CloudStack goes on with the original
    3. a crash between leaves both.  The next try cannot know whether the volume was used since, so
       it never takes a file of that name for a good copy: it renames it to
       `<stem>.superseded-<token>`, which loses nothing, and copies again

A volume that any VM has, or that others stand on, is not moved: it would be gone from under them.
"""

from __future__ import annotations

import secrets

import structlog

from cloudstack_hyperv.hypervisor.attachments import list_attachments
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_safety import require_no_children, users_of
from cloudstack_hyperv.storage.host_files import HostFileError, HostFileNotFound
from cloudstack_hyperv.storage.locations import disk_path, find_disk
from cloudstack_hyperv.storage.windows_paths import (
    file_name,
    join_path,
    parent_folder,
    same_path,
    split_extension,
)

log = structlog.get_logger(__name__)


async def move_at_rest(context: HostContext, stem: str, source: str, destination: str) -> None:
    """Move a volume between two pools' folders; it keeps its name.

    Success if an earlier command moved it.  Raises WrongState for a volume that a VM or another
    disk needs, HostFileNotFound if it is in neither pool.
    """
    what = f"move volume {stem} from {source} to {destination}"
    path = await find_disk(source, stem, None, context.files)
    present = await find_disk(destination, stem, None, context.files)
    if path is None:
        if present is None:
            raise HostFileNotFound(f"{what}: it is in neither pool")
        log.info("the volume was moved before", path=present)
        return
    if present is not None and same_path(path, present):
        return
    await _require_free(context, path, what)
    if present is not None:
        await _put_aside(context, present, what)
    final = disk_path(destination, stem, split_extension(file_name(path))[1].removeprefix("."))
    async with UndoStack() as undo:
        info = await context.files.disk_info(path)
        await host_copies.convert(context, path, final, what=what, fixed=host_copies.is_fixed(info))
        undo.push(f"remove {final}", lambda: host_copies.remove_temporary(context, final))
        # Looked at once more: the copy may have taken hours.
        await _require_free(context, path, what)
        try:
            await host_copies.delete_on_host(context, path)
        except (HypervisorError, HostFileError) as error:
            if await _is_there(context, path, undo):
                raise WrongState(f"{what}: the original cannot be deleted: {error}") from error
        undo.commit()
    log.info("volume moved", volume=stem, source=path, destination=final)


async def _put_aside(context: HostContext, path: str, what: str) -> None:
    """Rename what an earlier try left, or somebody put, where the volume is going to be."""
    await _require_free(context, path, what)
    stem, extension = split_extension(file_name(path))
    aside = join_path(parent_folder(path), f"{stem}.superseded-{secrets.token_hex(4)}{extension}")
    await context.files.rename(path, aside)
    log.warning("a file of the volume's name was in the other pool: renamed", path=aside)


async def _require_free(context: HostContext, path: str, what: str) -> None:
    attachments = await list_attachments(context.cim)
    await require_no_children(context, path, what, attachments)
    users = await users_of(context, path, attachments)
    if users:
        raise WrongState(
            f"{what}: {path} is attached to {users[0]}; detach the volume or let the VM be stopped "
            "by CloudStack first"
        )


async def _is_there(context: HostContext, path: str, undo: UndoStack) -> bool:
    """Tell whether the original is there; where nobody can tell, the copy stays as well."""
    try:
        return await context.files.status(path) is not None
    except HostFileError:
        undo.commit()
        raise
