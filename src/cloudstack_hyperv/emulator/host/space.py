"""How much room a host's volumes have left, and files that notice when it runs out.

The folders behind drives and shares have the room of the emulating machine; a volume can be told
to have less.  From then on a file that grows takes from what is left, and fails with ENOSPC as it
would on a full volume: in the middle, after what fitted was written.  What the guests write, and
what other programs put into the folders, is not counted.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from cloudstack_hyperv.vhd import OsFile


class Space:
    """Room on the volumes of one host; used by threads."""

    def __init__(self) -> None:
        self._left: dict[Path, int] = {}
        self._lock = threading.Lock()

    def limit(self, root: Path, left: int) -> None:
        """Leave `left` bytes on the volume whose folder is `root`."""
        with self._lock:
            self._left[root] = left

    def lift(self, root: Path) -> None:
        """Give a volume back the room of the emulating machine."""
        with self._lock:
            self._left.pop(root, None)

    def free(self, root: Path, actual: int) -> int:
        """Return the free bytes of a volume that really has `actual`."""
        with self._lock:
            return min(actual, self._left.get(root, actual))

    def take(self, root: Path, count: int) -> None:
        """Take `count` bytes (negative: give back); raises OSError (ENOSPC)."""
        with self._lock:
            left = self._left.get(root)
            if left is None:
                return
            if count > left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._left[root] = left - count


class HostFile(OsFile):
    """A file on a volume of the host.

    `flush` does not wait for the medium: an emulated host need not survive a power failure of the
    machine that emulates it.
    """

    def __init__(
        self, path: Path, *, space: Space, root: Path, writable: bool = False, new: bool = False
    ) -> None:
        """Open an existing file, or make a `new` one, which must not exist; raises OSError."""
        if new:
            space.take(root, 0)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
        super().__init__(path, writable=writable or new, durable=False)
        self._space = space
        self._root = root

    def pwrite(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """See `RandomAccessFile`; raises OSError (ENOSPC) on a full volume."""
        self._grow(offset + memoryview(data).nbytes)
        super().pwrite(offset, data)

    def truncate(self, size: int) -> None:
        """See `RandomAccessFile`; raises OSError (ENOSPC) on a full volume."""
        before = self.size()
        if size > before:
            self._grow(size)
        super().truncate(size)
        if size < before:
            self._space.take(self._root, size - before)

    def _grow(self, size: int) -> None:
        more = size - self.size()
        if more > 0:
            self._space.take(self._root, more)
