r"""Names of unfinished files: what a crash leaves is recognised by them, and nothing else is.

A file is made as `<stem>.cshv-<owner>-<token>.partial.<ext>` beside its final name and renamed when
it is whole.  `owner` stands for the gateway and host that work on it, `token` is random.  A file
with such a name is a leftover if this process does not work on it and nobody has written to it for
a while: for a minute if the name is our own, for a day if it is another gateway's (a shared pool
is used by several).  The final extension stays last because Hyper-V goes by it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from cloudstack_hyperv.storage.host_files import FileStatus, HostFileError, HostFiles
from cloudstack_hyperv.storage.windows_paths import (
    file_name,
    folded,
    join_path,
    parent_folder,
    path_key,
    split_extension,
)

log = structlog.get_logger(__name__)

OWN_QUIET_SECONDS: Final = 60.0
OTHERS_QUIET_SECONDS: Final = 86400.0

_LONGEST_STEM: Final = 100
_NAME: Final = re.compile(
    r".{1,100}\.cshv-(?P<owner>[0-9a-f]{8})-[0-9a-f]{12}\.partial(?:\.[a-z0-9]{1,10})?", re.DOTALL
)


def owner_mark(host_name: str) -> str:
    """Return the mark of this gateway's work for one Hyper-V host: stable across restarts."""
    identity = f"{socket.gethostname()}|{host_name}"
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


class TemporaryFiles:
    """The unfinished files that this process works on for one host."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._in_work: set[str] = set()

    @contextmanager
    def beside(self, final_path: str) -> Iterator[str]:
        """Reserve a temporary path in the folder of `final_path` for the block."""
        stem, extension = split_extension(file_name(final_path))
        name = (
            f"{stem[:_LONGEST_STEM]}.cshv-{self._owner}-{secrets.token_hex(6)}.partial{extension}"
        )
        path = join_path(parent_folder(final_path), name)
        key = path_key(path)
        self._in_work.add(key)
        try:
            yield path
        finally:
            self._in_work.discard(key)

    def is_leftover(self, file: FileStatus, now: float) -> bool:
        """Tell whether a file is what a crashed copy left.  `now` is in seconds since 1970."""
        owner = owner_in(file_name(file.path))
        if file.is_folder or owner is None or path_key(file.path) in self._in_work:
            return False
        quiet = OWN_QUIET_SECONDS if owner == self._owner else OTHERS_QUIET_SECONDS
        return now - file.modified >= quiet

    async def remove_leftovers(self, files: HostFiles, folder: str, now: float) -> tuple[str, ...]:
        """Delete the leftovers in a folder and return their paths.

        What cannot be deleted (the host still has it open) is logged and stays for the next time.
        """
        removed = []
        for file in await files.list_folder(folder):
            if not self.is_leftover(file, now):
                continue
            try:
                await files.delete(file.path)
            except HostFileError as error:
                log.warning("a leftover cannot be removed", path=file.path, reason=str(error))
                continue
            log.info("removed what an earlier copy left", path=file.path, bytes=file.size)
            removed.append(file.path)
        return tuple(removed)


def owner_in(name: str) -> str | None:
    """Return the owner's mark in a temporary name, None if the name is not one of those."""
    match = _NAME.fullmatch(folded(name).lower())
    return match["owner"] if match else None
