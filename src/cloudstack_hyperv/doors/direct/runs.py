"""Commands under way on the direct door: each runs once, and nobody waits longer than it may.

The management server sets no timeout on its connection, so a command that does not end would hold
one of its threads for ever.  Two limits stand against that, both made of the command's own `wait`:
a little before it the operation is cancelled and undone, and at it the caller is answered in any
case.  What is still being undone then goes on; the answer says so.

A command that comes again while it runs (after a fail-over, or because its first caller gave up)
joins the one that runs: the same host, class and body, but for `contextMap`, which has the log ids
of the moment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Final

import structlog

from cloudstack_hyperv.messages import Answer, Command, copy_with, failure_answer
from cloudstack_hyperv.resource.resource import Resource

log = structlog.get_logger(__name__)

LONGEST_UNDO: Final = 15.0
"""Seconds of a command's `wait` that are kept for undoing it."""
UNDO_SHARE: Final = 0.1
_CONTEXT: Final = "contextMap"

Key = tuple[str, str, bytes]


class CommandRuns:
    """What runs now, by host, class and body."""

    def __init__(self, default_wait: float) -> None:
        self.default_wait = default_wait
        self._runs: dict[Key, asyncio.Task[Answer]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    async def answer(
        self, resource: Resource, command: Command, class_name: str, body: bytes
    ) -> Answer:
        """Run a command, or join it, and answer at its `wait` at the latest."""
        key = (resource.context.host.name, class_name, digest(body))
        wait = float(command.wait) if command.wait > 0 else self.default_wait
        run = self._runs.get(key)
        if run is None:
            run = asyncio.create_task(self._run(resource, command, wait))
            self._runs[key] = run
            run.add_done_callback(lambda _: self._runs.pop(key, None))
        else:
            log.info(
                "joined the same command, which runs already",
                host=key[0],
                command=type(command).__name__,
                logid=command.context_map.get("logid"),
            )
        done, _ = await asyncio.wait((run,), timeout=wait)
        if not done:
            name = type(command).__name__
            log.warning("answered before its end", host=key[0], command=name, seconds=wait)
            return failure_answer(
                command,
                f"{name} did not end within {wait:g} s; it is cancelled, but the host still works "
                "on it: the same command sent again waits for its end",
            )
        if run.cancelled():
            return failure_answer(command, "the agent was stopped; the command is undone")
        return run.result()

    async def stop(self, drain: float, undo: float) -> None:
        """Let what runs end within `drain` seconds, cancel the rest and let it undo."""
        running = tuple(self._runs.values())
        if running and drain > 0:
            log.info("waiting for running commands", count=len(running), seconds=drain)
            await asyncio.wait(running, timeout=drain)
        rest = [run for run in running if not run.done()]
        for run in rest:
            run.cancel()
        if rest:
            await asyncio.wait(rest, timeout=undo)

    async def drained(self, host: str, limit: float) -> None:
        """Wait until nothing runs on a host any more."""
        running = [run for key, run in self._runs.items() if key[0] == host]
        if running:
            await asyncio.wait(running, timeout=limit)

    async def _run(self, resource: Resource, command: Command, wait: float) -> Answer:
        soft = wait - min(LONGEST_UNDO, wait * UNDO_SHARE)
        return await resource.execute(copy_with(command, wait=max(1, int(soft))))


def digest(body: bytes) -> bytes:
    """Return what stands for a body without its `contextMap`; the body itself may hold secrets."""
    try:
        document = json.loads(body)
    except ValueError:
        return hashlib.sha256(body).digest()
    if isinstance(document, Mapping):
        document = {name: value for name, value in document.items() if name != _CONTEXT}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()
