"""`cloudstack-hyperv emulate`: one emulated Hyper-V host as a process of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from cloudstack_hyperv.emulator.schema import load_schema
from cloudstack_hyperv.observe import configure_logs

log = structlog.get_logger(__name__)


class EmulateRefused(Exception):
    """The options cannot be used; the text names which and why."""


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
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class RunningHost:
    """An emulated host that answers on loopback."""

    port: int
    user: str
    password: str


async def emulate_host(options: EmulateOptions) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    configure_logs(options.log_level, "json" if not sys.stderr.isatty() else "text")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
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
            )
            await stop.wait()
    except EmulateRefused as error:
        print(f"cloudstack-hyperv emulate: {error}", file=sys.stderr)
        return 2
    return 0


@asynccontextmanager
async def running_emulated_host(options: EmulateOptions) -> AsyncIterator[RunningHost]:
    """Run an emulated host for the block; raises EmulateRefused."""
    if options.release not in RELEASES:
        raise EmulateRefused(f"no profile {options.release}; there are {', '.join(RELEASES)}")
    password = _password(options)
    options.folder.mkdir(parents=True, exist_ok=True)
    host = EmulatedHost(_host_config(options))
    engine = CimEngine(host, load_schema().for_release(options.release))
    server = WsmanServer(
        engine,
        DoorSettings(
            address=options.address,
            http_port=options.port,
            basic=options.basic,
            allow_unencrypted=options.basic,
        ),
        Accounts([Account(options.user, password)], options.name),
    )
    try:
        await server.start()
    except OSError as error:
        raise EmulateRefused(
            f"cannot listen on {options.address} port {options.port}: {error.strerror}"
        ) from error
    try:
        yield RunningHost(urlsplit(server.endpoints[0]).port or 0, options.user, password)
    finally:
        await server.stop()
        host.close()


def _host_config(options: EmulateOptions) -> HostConfig:
    return HostConfig(
        folder=options.folder.resolve(),
        name=options.name,
        release=options.release,
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
