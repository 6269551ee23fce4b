"""A guest's network card: datagrams between QEMU and the switch port of the emulated host.

One datagram is one frame, without preamble and checksum.  What does not fit into the socket's
buffer at once is lost, as on a card whose ring is full.
"""

from __future__ import annotations

import asyncio
import socket

from cloudstack_hyperv.emulator.host.fabric import Fabric

_LARGEST_FRAME = 65_550
_BUFFER = 1 << 20
_AT_ONCE = 64
"""Frames that are taken before other sockets get their turn."""


class Card:
    """One card; `descriptor` is QEMU's end, to be closed by `plug` once QEMU has it."""

    def __init__(self, fabric: Fabric, port: str, loop: asyncio.AbstractEventLoop) -> None:
        """`port` is the switch port's GUID; it may come and go."""
        self._fabric, self._port, self._loop = fabric, port, loop
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self._ours, self._theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._ours.settimeout(0)
        self.lost = 0
        """Frames that the guest did not take in time."""

    @property
    def descriptor(self) -> int:
        """Descriptor of QEMU's end."""
        return self._theirs.fileno()

    def plug(self) -> None:
        """Let frames flow."""
        self._theirs.close()
        self._fabric.attach(self._port, self._deliver)
        self._loop.add_reader(self._ours.fileno(), self._take)

    def pull(self) -> None:
        """Take the card away."""
        if self._ours.fileno() >= 0:
            self._loop.remove_reader(self._ours.fileno())
        self._fabric.detach(self._port)
        self._theirs.close()
        self._ours.close()

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                frame = self._ours.recv(_LARGEST_FRAME)
            except OSError:
                return  # nothing more for now, or QEMU is gone: its end is noticed elsewhere
            self._fabric.send(self._port, frame)

    def _deliver(self, frame: bytes) -> None:
        try:
            self._ours.send(frame)
        except OSError:
            self.lost += 1
