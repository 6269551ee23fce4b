"""The TCP connection below SMB, with a deadline on every step and few copies of the bytes.

Stands in for `smbprotocol.transport.Tcp`, whose sends wait for ever on a server that stopped
reading, and whose `select` cannot see descriptors above 1023.  Frames are those of [MS-SMB2] 2.1:
a zero byte, the length in three bytes, the message.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import Any, Final

from cloudstack_hyperv.vhd.files import Buffer

SHORT: Final = 65536
"""Bytes up to which a message gets memory of its own."""
_LONGEST_FRAME: Final = 0xFFFFFF
_LOOK_EVERY: Final = 0.5
"""Seconds after which a waiting reader looks whether the connection was closed on this side."""


class Scratch:
    """Room for one long message after the other."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def room(self, length: int) -> memoryview:
        """Return `length` bytes, not cleared; what they were used for before is over."""
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        return memoryview(self._buffer)[:length]


class DeadlineTcp:
    """One TCP connection; `send` by any thread, `recv` by one."""

    def __init__(self, server: str, port: int, timeout: float) -> None:
        """Prepare; `timeout` is the seconds to connect in, and to send one message in."""
        self.server = server
        self.port = port
        self.connected = False
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._sending = threading.Lock()
        self._long = Scratch()

    def connect(self) -> None:
        """Connect; raises OSError."""
        if self.connected:
            return
        made = socket.create_connection((self.server, self.port), timeout=self._timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.settimeout(0)
        self._socket = made
        self.connected = True

    def close(self) -> None:
        """Shut the connection down; the reader, if there is one, releases the descriptor."""
        if not self.connected or self._socket is None:
            return
        self.connected = False
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The peer was faster: nothing is left to shut down.
            return

    def release(self) -> None:
        """Free the descriptor; only when no thread reads any more."""
        self.close()
        if self._socket is not None:
            with self._sending:
                self._socket.close()

    def send(self, message: Any) -> None:
        """Send a message, a buffer or a `Structure`; raises OSError, TimeoutError."""
        buffer = isinstance(message, bytes | bytearray | memoryview)
        self.send_parts([message if buffer else message.pack()])

    def send_parts(self, parts: list[Buffer]) -> None:
        """Send one message that lies in several buffers; raises OSError, TimeoutError."""
        if self._socket is None:
            raise OSError("the connection was never opened")
        length = sum(len(part) for part in parts)
        if length > _LONGEST_FRAME:
            raise ValueError(f"a message of {length} bytes does not fit one frame")
        left = [memoryview(length.to_bytes(4, "big")), *(memoryview(part) for part in parts)]
        deadline = time.monotonic() + self._timeout
        with self._sending:
            while left:
                try:
                    sent = self._socket.sendmsg(left)
                except BlockingIOError:
                    self._wait(select.POLLOUT, deadline)
                    continue
                while left and sent >= len(left[0]):
                    sent -= len(left.pop(0))
                if left:
                    left[0] = left[0][sent:]

    def recv(self, timeout: float) -> Buffer:
        """Receive one message; empty when the connection is closed; raises TimeoutError.

        A long message lies in a buffer that the next `recv` uses again: the library copies the
        contents out of it first.
        """
        deadline = time.monotonic() + timeout
        head = bytearray(4)
        if not self._fill(memoryview(head), deadline):
            return b""
        length = int.from_bytes(head, "big")
        room = self._long.room(length) if length > SHORT else memoryview(bytearray(length))
        if not self._fill(room, deadline):
            return b""
        return bytes(room) if length <= SHORT else room

    def _fill(self, view: memoryview, deadline: float) -> bool:
        """Receive until `view` is full; False if the connection closed before."""
        while view:
            if self._socket is None or not self.connected:
                return False
            try:
                count = self._socket.recv_into(view)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            except ConnectionError:
                count = 0
            if count == 0:
                self.close()
                return False
            view = view[count:]
        return True

    def _wait(self, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket, event)  # type: ignore[arg-type]  # open while we are here
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{self.server} did not answer in time")
        poll.poll(min(left, _LOOK_EVERY) * 1000)
