"""A TCP relay between a client and a server that counts, cuts, stalls and changes what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Change = Callable[[bytearray], None]


class Relay:
    """Listens on a port of its own while its `with` block lasts."""

    def __init__(self, port: int, change_answer: Change | None = None) -> None:
        """`change_answer` may change each frame that the server sends, without its length."""
        self._target = port
        self._change = change_answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._open = True
        self._lock = threading.Lock()
        self.port = int(self._listener.getsockname()[1])
        self.passed = 0
        """Bytes, both directions."""
        self.connections = 0
        self.cut_after: int | None = None
        """Bytes after which all connections are cut, once."""
        self.at_cut: Callable[[], None] = lambda: None
        """Called before that cut."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._flowing.set()
        self.refuse()
        self.cut()

    def cut(self) -> None:
        """Break every connection; new ones are served."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Take no more connections."""
        self._open = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def stall(self) -> None:
        """Let nothing pass any more; connections stay open."""
        self._flowing.clear()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self.connections += 1
            with self._lock:
                self._pairs.append((client, server))
            ended = threading.Barrier(2)
            for source, sink, change in (
                (client, server, None),
                (server, client, self._change),
            ):
                threading.Thread(
                    target=self._pass, args=(source, sink, change, ended), daemon=True
                ).start()

    def _pass(
        self,
        source: socket.socket,
        sink: socket.socket,
        change: Change | None,
        ended: threading.Barrier,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := self._next(source, change):
                self._flowing.wait()
                sink.sendall(data)
                self._count(len(data))
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        ended.wait(timeout=30)
        source.close()

    def _next(self, source: socket.socket, change: Change | None) -> bytes:
        if change is None:
            return source.recv(1 << 18)
        head = _exactly(source, 4)
        if len(head) < 4:
            return b""
        frame = bytearray(_exactly(source, int.from_bytes(head, "big")))
        change(frame)
        return head + frame

    def _count(self, count: int) -> None:
        with self._lock:
            self.passed += count
            cut = self.cut_after is not None and self.passed >= self.cut_after
            if cut:
                self.cut_after = None
        if cut:
            self.at_cut()
            self.cut()


def _exactly(source: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length and (more := source.recv(length - len(data))):
        data += more
    return data
