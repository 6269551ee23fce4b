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

_LONGEST_FRAME: Final = 0xFFFFFF
_LOOK_EVERY: Final = 0.5
"""Seconds after which a waiting reader looks whether the connection was closed on this side."""


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
        if self._socket is None:
            raise OSError("the connection was never opened")
        packed: Buffer = message if isinstance(message, bytes | bytearray) else message.pack()
        length = len(packed)
        if length > _LONGEST_FRAME:
            raise ValueError(f"a message of {length} bytes does not fit one frame")
        left = [memoryview(length.to_bytes(4, "big")), memoryview(packed)]
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

    def recv(self, timeout: float) -> bytearray:
        """Receive one message; empty when the connection is closed; raises TimeoutError."""
        deadline = time.monotonic() + timeout
        head = self._receive(4, deadline)
        if not head:
            return head
        return self._receive(int.from_bytes(head, "big"), deadline)

    def _receive(self, length: int, deadline: float) -> bytearray:
        buffer = bytearray(length)
        view = memoryview(buffer)
        while view:
            if self._socket is None or not self.connected:
                return bytearray()
            try:
                count = self._socket.recv_into(view)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline)
                continue
            except ConnectionError:
                count = 0
            if count == 0:
                self.close()
                return bytearray()
            view = view[count:]
        return buffer

    def _wait(self, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket, event)  # type: ignore[arg-type]  # open while we are here
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{self.server} did not answer in time")
        poll.poll(min(left, _LOOK_EVERY) * 1000)
