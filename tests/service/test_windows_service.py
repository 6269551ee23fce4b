"""The Windows service without Windows: the worker in a thread, and the class by a stand-in.

The stand-in has the few names of pywin32 that the service uses; what runs behind them is real.
"""

import logging
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from cloudstack_hyperv.cli.service import windows_main
from cloudstack_hyperv.service.installing import ServiceError
from cloudstack_hyperv.service.windows_service import control, service_class
from cloudstack_hyperv.service.worker import Phase, Worker

Hook = Callable[[], None]


def waiting(opened: Hook, take_stop: Callable[[Hook], None]) -> int:
    """An agent that runs until it is told to stop."""
    stop = threading.Event()
    take_stop(stop.set)
    opened()
    return 0 if stop.wait(10) else 9


def test_a_service_starts_runs_and_stops() -> None:
    told: list[tuple[Phase, int]] = []
    running = threading.Event()

    def report(phase: Phase, status: int) -> None:
        told.append((phase, status))
        if phase is Phase.RUNNING:
            running.set()

    worker = Worker(waiting, report)
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert running.wait(10)
    worker.stop()
    thread.join(10)
    assert [phase for phase, _ in told] == list(Phase)
    assert told[-1] == (Phase.STOPPED, 0)


def test_a_stop_before_the_start_is_not_lost() -> None:
    worker = Worker(waiting, lambda *_: None)
    worker.stop()
    assert worker.run() == 0


def test_an_agent_that_breaks_down_is_told() -> None:
    told: list[tuple[Phase, int]] = []

    def broken(opened: Hook, take_stop: Callable[[Hook], None]) -> int:
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        Worker(broken, lambda phase, status: told.append((phase, status))).run()
    assert told[-1] == (Phase.STOPPED, 1)


class Framework:
    """Stands for win32serviceutil.ServiceFramework."""

    def __init__(self, arguments: Any) -> None:
        self.told: list[tuple[str, int]] = []

    def ReportServiceStatus(self, state: str, waitHint: int = 0) -> None:  # noqa: N802, N803
        self.told.append((state, waitHint))


def pywin32(name: str) -> Any:
    if name == "win32service":
        names = ("SERVICE_START_PENDING", "SERVICE_RUNNING", "SERVICE_STOP_PENDING")
        return types.SimpleNamespace(**{each: each for each in names})
    handled: list[Any] = []
    return types.SimpleNamespace(
        ServiceFramework=Framework,
        HandleCommandLine=lambda service, argv: handled.append((service, argv)),
    )


def test_the_class_speaks_to_the_service_manager() -> None:
    made = service_class(waiting, pywin32)
    service = made(["cloudstack-hyperv"])
    thread = threading.Thread(target=service.SvcDoRun)
    thread.start()
    for _ in range(1000):
        if ("SERVICE_RUNNING", 120000) in service.told:
            break
        threading.Event().wait(0.01)
    service.SvcStop()
    thread.join(10)
    assert not thread.is_alive()
    assert [state for state, _ in service.told] == [
        "SERVICE_START_PENDING", "SERVICE_RUNNING", "SERVICE_STOP_PENDING",
    ]  # fmt: skip
    control(waiting, ["install"], pywin32)


def test_without_pywin32_it_says_so() -> None:
    with pytest.raises(ServiceError, match="pip install pywin32"):
        service_class(waiting)


@pytest.fixture
def logs_put_back() -> Iterator[None]:
    """The agent sets up the logs of its process, which here is the tests'."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("logs_put_back")
def test_the_real_agent_runs_and_stops_without_signals(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'state_folder = "{tmp_path}"\n[direct]\nport = 0\nallow = ["127.0.0.1"]\n'
        '[log]\nlevel = "error"\n'
        '[[hosts]]\nname = "hv1"\nlisten = "127.0.0.1"\n[hosts.winrm]\naddress = "127.0.0.1"\n'
        'port = 1\ntransport = "http"\nuser = "u"\npassword = { value = "p" }\n'
    )
    opened = threading.Event()
    worker = Worker(
        windows_main(config), lambda phase, _: opened.set() if phase is Phase.RUNNING else None
    )
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(worker.run()))
    thread.start()
    assert opened.wait(20)
    worker.stop()
    thread.join(20)
    assert statuses == [0]
