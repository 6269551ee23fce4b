"""`cloudstack-hyperv emulate`: one emulated Hyper-V host as a process of its own."""

from __future__ import annotations

import asyncio
import enum
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.schema import RELEASES
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import Account, Accounts, DoorSettings
from cloudstack_hyperv.emulator.host.config import HostConfig, PhysicalNic, Share
from cloudstack_hyperv.emulator.host.host import EmulatedHost
from cloudstack_hyperv.emulator.host.profiles import PROFILES
from cloudstack_hyperv.emulator.mischief.call_file import CallFile
from cloudstack_hyperv.emulator.mischief.mischief import Mischief
from cloudstack_hyperv.emulator.mischief.virtual_time import KeptClock
from cloudstack_hyperv.emulator.schema import load_schema
from cloudstack_hyperv.observe import configure_logs

log = structlog.get_logger(__name__)


class EmulateRefused(Exception):
    """The options cannot be used; the text names which and why."""


class Guests(enum.StrEnum):
    """What runs in the virtual machines."""

    SCRIPTED = "scripted"
    QEMU = "qemu"


@dataclass(frozen=True, slots=True)
class EmulateOptions:
    """What the command line asked for."""

    folder: Path
    name: str = "HYPERV1"
    release: str = "2019"
    address: str = "127.0.0.1"
    port: int = 0
    host_address: str = "192.0.2.10"
    user: str = "Administrator"
    password_file: Path | None = None
    shares: tuple[str, ...] = ()
    basic: bool = False
    calls: Path | None = None
    control_port: int | None = None
    """None: no control port; 0 takes a free one."""
    virtual_time: bool = False
    keep_running: bool = False
    guests: Guests = Guests.SCRIPTED
    log_level: str = "info"
    domain: str = ""
    """DNS name of the domain that the host is a member of; "" for none."""


@dataclass(frozen=True, slots=True)
class RunningHost:
    """An emulated host that answers on loopback."""

    port: int
    user: str
    password: str
    control_port: int | None = None
    name: str = ""


async def emulate_host(options: EmulateOptions) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    configure_logs(options.log_level, "json" if not sys.stderr.isatty() else "text")
    stop = stop_signal()
    try:
        async with running_emulated_host(options) as host:
            log.info(
                "emulated host listening",
                name=options.name,
                release=options.release,
                address=options.address,
                port=host.port,
                user=host.user,
                folder=str(options.folder),
                control_port=host.control_port,
            )
            await stop.wait()
    except EmulateRefused as error:
        print(f"cloudstack-hyperv emulate: {error}", file=sys.stderr)
        return 2
    return 0


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def running_emulated_host(options: EmulateOptions) -> AsyncIterator[RunningHost]:
    """Run an emulated host for the block; raises EmulateRefused."""
    password = check_options(options)
    clock = virtual_clock(options) if options.virtual_time else None
    host = EmulatedHost(host_config(options), clock)
    async with AsyncExitStack() as stack:
        stack.callback(host.close, keep_running=options.keep_running)
        if options.guests is Guests.QEMU:
            stack.callback(_start_qemu_engine(host))
        yield await serve_host(options, host, password, clock, stack)


def check_options(options: EmulateOptions) -> str:
    """Make the folder and return the administrator's password; raises EmulateRefused."""
    if options.release not in RELEASES:
        raise EmulateRefused(f"no profile {options.release}; there are {', '.join(RELEASES)}")
    if options.virtual_time and options.control_port is None:
        raise EmulateRefused("--virtual-time needs --control-port: nobody else moves the clock")
    if options.guests is Guests.QEMU and (options.virtual_time or options.keep_running):
        raise EmulateRefused(
            "--guests qemu goes with neither --virtual-time nor --keep-running: "
            "real guests live in real time, and end with this process"
        )
    password = _password(options)
    options.folder.mkdir(parents=True, exist_ok=True)
    return password


def _start_qemu_engine(host: EmulatedHost) -> Callable[[], None]:
    """Give a host real guests; return what ends them.  Raises EmulateRefused."""
    # Not above: who plays guests from scripts needs none of it.
    from cloudstack_hyperv.emulator.guests import EngineUnavailable, QemuEngine, find_qemu

    try:
        qemu = find_qemu()
    except EngineUnavailable as reason:
        raise EmulateRefused(f"--guests qemu: {reason}") from reason
    log.info("guests run under QEMU", version=qemu.version, accelerator=qemu.accelerator)
    return QemuEngine(host, qemu).close


async def serve_host(
    options: EmulateOptions,
    host: EmulatedHost,
    password: str,
    clock: KeptClock | None,
    stack: AsyncExitStack,
    *,
    credssp: bool = False,
) -> RunningHost:
    """Open a host's door, and its control port if wanted, until `stack` is closed."""
    server = WsmanServer(
        CimEngine(host, load_schema().for_release(host.release)),
        DoorSettings(
            address=options.address,
            http_port=options.port,
            basic=options.basic,
            allow_unencrypted=options.basic,
            credssp=credssp,
            language=PROFILES[host.release].language,
        ),
        Accounts([Account(options.user, password)], host.name),
    )
    if options.calls is not None:
        server.calls.listen(stack.enter_context(_call_file(options.calls)).write)
    stack.push_async_callback(server.stop)
    with _listening(options.address, options.port):
        await server.start()
    control_port = None
    if options.control_port is not None:
        mischief = Mischief(host, server, clock)
        stack.push_async_callback(mischief.close)
        control_port = await _start_control_port(options.control_port, mischief, stack)
    port = urlsplit(server.endpoints[0]).port or 0
    return RunningHost(port, options.user, password, control_port, host.name)


async def _start_control_port(port: int, mischief: Mischief, stack: AsyncExitStack) -> int:
    # Not above: its HTTP server is not loaded by those who do not ask for it.
    from cloudstack_hyperv.emulator.mischief.control import LOOPBACK, ControlPort

    control = ControlPort(mischief)
    stack.push_async_callback(control.stop)
    with _listening(LOOPBACK, port):
        return await control.start(port)


@contextmanager
def _listening(address: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmulateRefused(f"cannot listen on {address} port {port}: {error.strerror}") from error


def _call_file(path: Path) -> CallFile:
    try:
        return CallFile(path)
    except OSError as error:
        raise EmulateRefused(f"--calls {path}: {error.strerror}") from error


def virtual_clock(options: EmulateOptions) -> KeptClock:
    """Return the clock that the folder keeps; raises EmulateRefused."""
    file = options.folder / "state" / "virtual-time"
    try:
        return KeptClock(file)
    except (ValueError, OSError) as error:
        raise EmulateRefused(f"{file}: {error}") from error


def host_config(options: EmulateOptions) -> HostConfig:
    """Return what the command line says of a host; raises EmulateRefused."""
    return HostConfig(
        folder=options.folder.resolve(),
        name=options.name,
        release=options.release,
        domain=options.domain,
        nics=(PhysicalNic(address=options.host_address),),
        shares=tuple(_share(text) for text in options.shares),
    )


def _share(text: str) -> Share:
    r"""Read `\\server\share=FOLDER`."""
    unc, equals, folder = text.partition("=")
    names = unc.replace("/", "\\").removeprefix("\\\\").split("\\")
    if not equals or not folder or not unc.startswith(("\\\\", "//")) or len(names) != 2:
        raise EmulateRefused(rf"--share {text}: write \\server\share=FOLDER")
    if not Path(folder).is_dir():
        raise EmulateRefused(f"--share {text}: {folder} is not a folder")
    return Share(server=names[0], name=names[1], folder=Path(folder).resolve())


def _password(options: EmulateOptions) -> str:
    """Return the administrator's password; one is made and kept in the host's folder if needed."""
    file = options.password_file
    if file is None:
        file = options.folder / "administrator.password"
        if not file.exists():
            options.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(secrets.token_urlsafe(12) + "\n")
            log.info("administrator's password made", file=str(file))
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise EmulateRefused(f"{file}: {error.strerror}") from error
    if not lines or not lines[0]:
        raise EmulateRefused(f"{file} is empty")
    return lines[0]
