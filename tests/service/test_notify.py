"""What systemd hears, over a real datagram socket."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudstack_hyperv.service.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0cloudstack-hyperv-test-{os.getpid()}-{tmp_path.name}")
        listening.settimeout(5)
        yield listening


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    name = manager.getsockname()
    return {"NOTIFY_SOCKET": "@" + name[1:].decode(), **more}


async def test_ready_reloading_stopping(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager))
    assert notifier.is_heard
    notifier.ready("serving\n2 hosts")
    assert manager.recv(4096) == b"READY=1\nSTATUS=serving 2 hosts"
    notifier.reloading()
    lines = dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())
    assert lines["RELOADING"] == "1"
    assert int(lines["MONOTONIC_USEC"]) > 0
    notifier.stopping(60)
    assert b"EXTEND_TIMEOUT_USEC=90000000" in manager.recv(4096)
    await notifier.close()


async def test_the_watchdog_hears_a_loop_that_turns(manager: socket.socket) -> None:
    own = {"WATCHDOG_USEC": "200000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environment(manager, **own))
    notifier.ready("x")
    await asyncio.sleep(0.35)
    await notifier.close()
    manager.setblocking(False)
    heard = []
    while True:
        try:
            heard.append(manager.recv(4096))
        except BlockingIOError:
            break
    assert heard[0].startswith(b"READY=1")
    assert 3 <= heard.count(b"WATCHDOG=1") <= 5


async def test_another_process_s_watchdog_is_not_ours(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager, WATCHDOG_USEC="1000", WATCHDOG_PID="1"))
    notifier.ready("x")
    await asyncio.sleep(0.05)
    await notifier.close()
    manager.recv(4096)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


async def test_without_a_manager_nothing_is_sent_and_a_deaf_one_is_no_reason_to_stop(
    tmp_path: Path,
) -> None:
    silent = Notifier({})
    silent.ready("x")
    assert not silent.is_heard
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "absent")}).ready("x")
