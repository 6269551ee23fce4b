"""The agent's side of a bulk copy: starts a worker, follows it, ends it with the command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import structlog

from cloudstack_hyperv.storage import host_files
from cloudstack_hyperv.storage.bulk import sides
from cloudstack_hyperv.storage.bulk.ends import BulkEnd, BulkFiles, FolderEnd, end_to_json
from cloudstack_hyperv.storage.bulk.engine import PATIENCE, BulkResult
from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.storage.smb import errors

log = structlog.get_logger(__name__)

SILENCE: Final = 300.0
"""Seconds without a line from a worker, beyond its own patience, after which it is ended."""
_LAST_WORDS: Final = 2000


class BulkWorkerFailed(HostFileError):
    """A worker ended without an answer."""


async def bulk_copy(
    source_files: BulkFiles,
    source_path: str,
    target_files: BulkFiles,
    temporary_path: str,
    *,
    size: int,
    algorithm: str | None = None,
    rate: float = 0.0,
    patience: float = PATIENCE,
    progress: Callable[[float], None] = lambda _: None,
) -> BulkResult:
    """Copy a file of `size` bytes to the new file `temporary_path`, in a process of its own.

    `algorithm` (hashlib's name) asks for a checksum of the source; `rate` is in bytes a second, 0
    for no limit; `progress` is called with 0.0 to 1.0.  Connections that are lost are made again
    for `patience` seconds without progress.  Raises HostFileError of the kinds that either side
    raises.  After an error, or when it is cancelled, the unfinished file may be there: the caller
    deletes it, as it renames it after success.
    """
    source = await source_files.source_end(source_path)
    try:
        target = await target_files.target_end(temporary_path, size)
    except BaseException:
        _close(source)
        raise
    try:
        process = await _start(source, target)
    finally:
        _close(source)
        _close(target)
    job = {
        "source": end_to_json(source),
        "target": end_to_json(target),
        "size": size,
        "algorithm": algorithm,
        "rate": rate,
        "patience": patience,
    }
    try:
        return await _follow(process, job, progress, SILENCE + patience)
    finally:
        await asyncio.shield(_end(process))


async def _start(source: BulkEnd, target: BulkEnd) -> asyncio.subprocess.Process:
    descriptors = [end.descriptor for end in (source, target) if isinstance(end, FolderEnd)]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "cloudstack_hyperv.storage.bulk.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,  # A stop of the agent by Ctrl-C is for the agent to pass on.
    )


async def _follow(
    process: asyncio.subprocess.Process,
    job: dict[str, Any],
    progress: Callable[[float], None],
    silence: float,
) -> BulkResult:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise BulkWorkerFailed("a copy's process was started without its pipes")
    last_words = asyncio.create_task(_tail(process.stderr))
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        while True:
            try:
                line = await asyncio.wait_for(process.stdout.readline(), silence)
            except TimeoutError:
                raise BulkWorkerFailed(f"a copy did not move for {silence:.0f} s") from None
            if not line:
                code = await process.wait()
                log.error("a copy's process died", code=code, stderr=await last_words)
                raise BulkWorkerFailed(f"a copy's process ended with code {code}; see the log")
            message = json.loads(line)
            if "at" in message:
                progress(message["at"])
            elif "done" in message:
                progress(1.0)
                return BulkResult(**message["done"])
            else:
                raise _error(message["error"]["kind"], message["error"]["text"])
    finally:
        last_words.cancel()


async def _tail(stream: asyncio.StreamReader) -> str:
    kept = b""
    while data := await stream.read(4096):
        kept = (kept + data)[-_LAST_WORDS:]
    return kept.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the worker if it still runs; it holds nothing that needs an orderly end."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _error(kind: str, text: str) -> HostFileError:
    for module in (host_files, errors, sides):
        found = getattr(module, kind, None)
        if isinstance(found, type) and issubclass(found, HostFileError):
            return found(text)
    return HostFileError(text)


def _close(end: BulkEnd) -> None:
    if isinstance(end, FolderEnd):
        os.close(end.descriptor)
