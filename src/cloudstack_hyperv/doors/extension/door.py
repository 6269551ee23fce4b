"""The extension door: a local socket at which the executable hands over its calls.

One connection is one call (see `executable` for the exchange).  Who may open the socket may command
every host of the agent, so its mode and group are the access rule; its place is a folder that only
the agent writes to.  When a connection ends before its call does, the management server has killed
the executable at its time limit and told the user so: the action is cancelled and undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

import structlog

from cloudstack_hyperv.config import ExtensionDoorSettings
from cloudstack_hyperv.doors.extension.dispatch import run_action
from cloudstack_hyperv.doors.extension.hosts import ExtensionHosts
from cloudstack_hyperv.doors.extension.outcome import Outcome, failed

log = structlog.get_logger(__name__)

MARK: Final = b"CSHV1"
MOST_PAYLOAD: Final = 16 * 1024 * 1024
LONGEST_ACTION: Final = 256
LONGEST_HEAD: Final = 128
READ_TIMEOUT: Final = 15.0
"""Seconds for the whole request: it is written in one go by a process on this machine."""
WRITE_TIMEOUT: Final = 15.0
_UNDO_PATIENCE: Final = 130.0


class ExtensionDoorCannotOpen(Exception):
    """The door cannot listen as configured; the text says what to change."""


class _BadRequest(Exception):
    """What came is not the executable's request."""


class ExtensionDoor:
    """Serves calls of the extension's executable until stopped."""

    def __init__(self, hosts: ExtensionHosts, settings: ExtensionDoorSettings) -> None:
        self._hosts = hosts
        self._settings = settings
        self._path = Path(settings.socket)
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def start(self) -> Path:
        """Open the socket and return its path; raises ExtensionDoorCannotOpen."""
        listener = _listener(self._path, self._settings.group)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener)
        return self._path

    async def stop(self, drain: float | None = None) -> None:
        """Take no new calls, let running ones end within `drain` seconds, close."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            self._server = None
        limit = self._settings.drain_timeout if drain is None else drain
        if self._calls and limit > 0:
            log.info("waiting for running actions", count=len(self._calls), seconds=limit)
            await asyncio.wait(self._calls, timeout=limit)
        for task in tuple(self._calls):
            task.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=_UNDO_PATIENCE)
        await self._hosts.close()

    def __repr__(self) -> str:
        return f"ExtensionDoor({self._path}, {len(self._calls)} actions running)"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="extension call")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._stopping or len(self._calls) > self._settings.connections:
                log.warning("call refused: too many, or stopping", running=len(self._calls))
                busy = "the agent is stopping, or has too many calls; try again"
                await _answer(writer, failed(busy))
                return
            await self._call(reader, writer)
        except (_BadRequest, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            log.warning("not a call", reason=str(error) or "it did not arrive in time")
        except asyncio.LimitOverrunError:
            log.warning("not a call", reason="the first line does not end")
        except Exception:
            log.exception("a call failed in a way nobody declares")
        finally:
            writer.close()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(READ_TIMEOUT):
            action, payload, seconds = await _read_request(reader)
        work = asyncio.create_task(run_action(action, payload, seconds, self._hosts))
        gone = asyncio.create_task(_wait_for_end(reader))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await _answer(writer, work.result())
                await self._hosts.trim()
            else:
                log.warning("the executable was killed: its action is undone", action=action)
        except asyncio.CancelledError:
            await _undone(work)
            await _answer(writer, failed("the agent was stopped; the action is undone"))
            raise
        finally:
            gone.cancel()
            await _undone(work)


async def _undone(work: asyncio.Task[Outcome]) -> None:
    """Cancel an action that still runs and wait until it is taken back."""
    work.cancel()
    await asyncio.wait((work,))


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, bytes, float]:
    head = await reader.readuntil(b"\n")
    fields = head.split()
    if len(head) > LONGEST_HEAD or len(fields) != 4 or fields[0] != MARK:
        raise _BadRequest("the first line is not that of the extension's executable")
    if not all(field.isdigit() and len(field) < 12 for field in fields[1:]):
        raise _BadRequest("the first line has something else than numbers")
    action_length, payload_length, seconds = (int(field) for field in fields[1:])
    if action_length > LONGEST_ACTION or payload_length > MOST_PAYLOAD:
        raise _BadRequest("the action or the payload is too long")
    action = (await reader.readexactly(action_length)).decode("utf-8", "replace")
    return action, await reader.readexactly(payload_length), float(seconds)


async def _wait_for_end(reader: asyncio.StreamReader) -> None:
    """Return when the peer has closed; what it sends besides its one request is dropped."""
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass


async def _answer(writer: asyncio.StreamWriter, outcome: Outcome) -> None:
    try:
        async with asyncio.timeout(WRITE_TIMEOUT):
            writer.write(f"{outcome.status}\n{outcome.text}".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        log.warning("nobody takes the answer", reason=str(error) or "timed out")
        writer.transport.abort()


def _listener(path: Path, group: str | None) -> socket.socket:
    """Bind the socket with its mode and group already right when the first peer can see it."""
    number = _group_number(group)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(OSError):  # what is wrong with the folder shows when binding
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
        if number >= 0:
            os.chown(path, -1, number)
        path.chmod(0o660)
    except OSError as error:
        listener.close()
        raise ExtensionDoorCannotOpen(
            f"cannot listen at {path}: {error.strerror or error}; see extension.socket and "
            "extension.group"
        ) from error
    finally:
        os.umask(previous)
    return listener


def _group_number(group: str | None) -> int:
    """Return the group's number, -1 for none."""
    if group is None:
        return -1
    import grp  # not on Windows, where there is no such door

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ExtensionDoorCannotOpen(
            f"extension.group: this machine has no group {group}"
        ) from None


def _remove_stale(path: Path) -> None:
    """Remove the socket of an agent that ended without doing so; raises if one listens there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ExtensionDoorCannotOpen(f"{path} exists and is not a socket; it was not touched")
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                path.unlink(missing_ok=True)
                return
            raise ExtensionDoorCannotOpen(f"{path}: {error.strerror}") from error
    raise ExtensionDoorCannotOpen(f"another agent listens at {path} already")
