"""A server that speaks S3 on loopback, in a process of its own: moto."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_SECONDS = 30.0
BUCKET = "secondary"
ACCESS_KEY = "AKIATESTONLY"
SECRET_KEY = "s3cr3t-of-tests-only"


@contextmanager
def s3_server() -> Iterator[str]:
    """Run the server for the block; returns `127.0.0.1:port`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, "moto ended"
        time.sleep(0.05)
    raise AssertionError("moto does not answer")
