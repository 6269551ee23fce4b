"""The process of one bulk copy.

The job comes as one line of JSON on standard input, which then stays open: when it ends, the agent
is gone, and so is the copy.  Progress and result go as lines of JSON to standard output.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import threading
import time
from dataclasses import asdict
from typing import Any, Final

from cloudstack_hyperv.storage.bulk.ends import end_from_json
from cloudstack_hyperv.storage.bulk.engine import BulkResult, Engine
from cloudstack_hyperv.storage.bulk.sides import SourceChanged, open_source, open_target
from cloudstack_hyperv.storage.host_files import HostFileError

TELL_EVERY: Final = 0.2
"""Seconds between two lines of progress."""
SWITCH_INTERVAL: Final = 0.0005
"""Seconds: one thread sends while the other decrypts, and neither should wait long for the other
(Python's own 5 ms are as long as ten requests take)."""
ABANDONED: Final = 3
"""Exit code of a worker whose agent is gone."""

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3


def main() -> int:
    """Run the job on standard input."""
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_INTERVAL)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_agent, daemon=True).start()
    try:
        result = run(job)
    except HostFileError as error:
        _say({"error": {"kind": type(error).__name__, "text": str(error)}})
        return 1
    _say({"done": asdict(result)})
    return 0


def run(job: dict[str, Any]) -> BulkResult:
    """Carry a job out; raises HostFileError."""
    source_end, target_end = end_from_json(job["source"]), end_from_json(job["target"])
    source = open_source(source_end)
    if source.size != job["size"]:
        raise SourceChanged(f"the source has {source.size} bytes where {job['size']} were seen")
    target = open_target(target_end, source.size)
    engine = Engine(
        source,
        target,
        algorithm=job["algorithm"],
        rate=job["rate"],
        patience=job["patience"],
        tell=_Teller(),
    )
    result = engine.run()
    source.close()
    target.close()
    return result


class _Teller:
    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, fraction: float) -> None:
        now = time.monotonic()
        if now - self._last >= TELL_EVERY:
            self._last = now
            _say({"at": fraction})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _end_with_agent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(ABANDONED)


def keep_freed_memory() -> None:
    """Have the C library keep freed blocks of a MiB instead of giving them back to the system.

    Each message is a handful of such blocks; getting their pages from the system over and over
    costs more than the encryption.  The amount kept is that of the messages in flight.
    """
    with contextlib.suppress(AttributeError, OSError):  # Not glibc: it is only slower.
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(_M_TRIM_THRESHOLD, 32 << 20)
        library.mallopt(_M_TOP_PAD, 4 << 20)


if __name__ == "__main__":
    sys.exit(main())
