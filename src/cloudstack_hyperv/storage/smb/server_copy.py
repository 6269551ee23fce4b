"""Copies that an SMB server makes of its own files: FSCTL_SRV_COPYCHUNK_WRITE.

Source: [MS-SMB2] 3.3.5.15.6.

Only ranges that may hold data are copied, some MiB a request, so that progress shows, a cancelled
command stops it soon, and no request takes longer than its deadline.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final

from smbprotocol.ioctl import CtlCode

from cloudstack_hyperv.storage.host_files import HostFileError, HostFileNotFound
from cloudstack_hyperv.storage.smb.errors import SmbConnectionLost, SmbUnsupported
from cloudstack_hyperv.storage.smb.remote_file import Purpose, RemoteFile
from cloudstack_hyperv.storage.smb.routes import SmbPlace
from cloudstack_hyperv.storage.smb.session import SmbSession
from cloudstack_hyperv.storage.smb.writer import create_file

CHUNK: Final = 1 << 20
"""Bytes of one chunk: the most that Windows takes (ServerSideCopyMaxChunkSize, 3.3.3)."""
CHUNKS: Final = 16
"""Chunks of one request: 16 MiB are the most that Windows takes (ServerSideCopyMaxDataSize)."""

_KEY: Final = 24
_KEY_REPLY: Final = 32
_HEAD: Final = struct.Struct("<24sII")
_CHUNK: Final = struct.Struct("<QQII")
_REPLY: Final = struct.Struct("<III")


def copy_on_server(
    source: SmbPlace,
    target: SmbPlace,
    tell: Callable[[float], object],
    stop: threading.Event,
) -> int:
    """Copy `source` to the new file `target`, return its size.  Blocks; see `SmbFiles`."""
    if source.server != target.server:
        raise SmbUnsupported(
            f"{source.path} and {target.path} do not lie on one server: it cannot copy them itself"
        )
    session = SmbSession(target.server)
    try:
        size = _copy(session, source, target, tell, stop)
    except SmbConnectionLost:
        session.drop()
        raise
    except BaseException:
        session.close()
        raise
    session.close()
    return size


def _copy(
    session: SmbSession,
    source: SmbPlace,
    target: SmbPlace,
    tell: Callable[[float], object],
    stop: threading.Event,
) -> int:
    with RemoteFile(session, source.share, source.name, source.path, Purpose.READ) as read:
        key = _resume_key(read)
        written = create_file(session, target, read.size)
        with written:
            try:
                for chunks in _requests(read.allocated_ranges()):
                    if stop.is_set():
                        raise HostFileError(f"{target.path}: the copy was given up")
                    _copy_chunks(written, key, chunks)
                    end = chunks[-1][0] + chunks[-1][1]
                    tell(end / max(read.size, 1))
                written.flush()
            except SmbConnectionLost:
                raise
            except HostFileError:
                written.delete_at_close()
                raise
        tell(1.0)
        return read.size


def _resume_key(file: RemoteFile) -> bytes:
    reply = file.control(CtlCode.FSCTL_SRV_REQUEST_RESUME_KEY, b"", _KEY_REPLY)
    if len(reply) < _KEY:
        raise SmbUnsupported(f"{file.path}: the server gives no key to copy by")
    return reply[:_KEY]


def _copy_chunks(file: RemoteFile, key: bytes, chunks: list[tuple[int, int]]) -> None:
    wanted = sum(length for _, length in chunks)
    request = _HEAD.pack(key, len(chunks), 0) + b"".join(
        _CHUNK.pack(offset, offset, length, 0) for offset, length in chunks
    )
    try:
        reply = file.control(CtlCode.FSCTL_SRV_COPYCHUNK_WRITE, request, _REPLY.size)
    except HostFileNotFound as error:
        # The key is unknown on the target's share: this server copies within one share only.
        raise SmbUnsupported(f"{file.path}: the server does not copy between shares") from error
    done = _REPLY.unpack_from(reply)[2] if len(reply) >= _REPLY.size else 0
    if done != wanted:
        raise HostFileError(f"{file.path}: the server copied {done} of {wanted} bytes")


def _requests(ranges: Iterator[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Yield the chunks of each request."""
    chunks: list[tuple[int, int]] = []
    for offset, length in ranges:
        for start in range(offset, offset + length, CHUNK):
            chunks.append((start, min(CHUNK, offset + length - start)))
            if len(chunks) == CHUNKS:
                yield chunks
                chunks = []
    if chunks:
        yield chunks
