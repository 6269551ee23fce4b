"""QEMU's monitor protocol: commands from any thread, answers and events read in one.

Source: QEMU's "QEMU Machine Protocol Specification" (docs/interop/qmp-spec): greeting, then
`qmp_capabilities`, then one JSON object a line each way; answers carry the command's id.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

_SECONDS = 20.0


class QmpError(Exception):
    """QEMU refused a command, did not answer in time, or is gone."""


class Qmp:
    """One connection; `on_event` and `on_end` are called from its thread."""

    def __init__(
        self,
        connection: socket.socket,
        on_event: Callable[[str, dict[str, Any]], None],
        on_end: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._connection.settimeout(None)
        self._on_event = on_event
        self._on_end = on_end
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._over = False
        self._greeting: Future[Any] = Future()
        self._thread = threading.Thread(target=self._read, name="qmp", daemon=True)

    def open(self, seconds: float = _SECONDS) -> None:
        """Read the greeting and leave negotiation mode; QmpError."""
        self._thread.start()
        self._result(self._greeting, "its greeting", seconds)
        self.command("qmp_capabilities")

    def command(self, name: str, seconds: float = _SECONDS, **arguments: Any) -> Any:
        """Carry out a command and return its result; QmpError."""
        answer: Future[Any] = Future()
        with self._lock:
            if self._over:
                raise QmpError(f"{name}: QEMU has ended")
            number = next(self._ids)
            self._waiting[number] = answer
        request: dict[str, Any] = {"execute": name, "id": number}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): v for key, v in arguments.items()}
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"{name}: {error}") from error
        return self._result(answer, name, seconds)

    def close(self) -> None:
        """Close the connection; waits for its thread, unless called from there."""
        with contextlib.suppress(OSError):  # the other end was faster
            self._connection.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join(_SECONDS)
        self._connection.close()

    def _result(self, answer: Future[Any], what: str, seconds: float) -> Any:
        try:
            return answer.result(seconds)
        except FutureTimeout as error:
            raise QmpError(f"{what}: no answer within {seconds:g} s") from error

    def _read(self) -> None:
        try:
            with self._connection.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass  # a connection that breaks is a connection that ended
        with self._lock:
            self._over = True
            waiting = [self._greeting, *self._waiting.values()]
            self._waiting.clear()
        for answer in waiting:
            if not answer.done():
                answer.set_exception(QmpError("QEMU has ended"))
        self._on_end()

    def _take(self, message: dict[str, Any]) -> None:
        if "QMP" in message:
            self._greeting.set_result(message["QMP"])
        elif "event" in message:
            self._on_event(str(message["event"]), message.get("data", {}))
        else:
            with self._lock:
                answer = self._waiting.pop(message.get("id", 0), None)
            if answer is None:
                return  # nobody waits for it any more
            if "error" in message:
                answer.set_exception(QmpError(str(message["error"].get("desc", "refused"))))
            else:
                answer.set_result(message.get("return"))
