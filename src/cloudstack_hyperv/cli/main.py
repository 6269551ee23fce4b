"""The `cloudstack-hyperv` command.

Exit status: 0 done, 1 it did not work, 2 it was not asked rightly (arguments, configuration).
Imports of the parts stand inside the subcommands: `--help` and the extension door must start fast.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from cloudstack_hyperv import __version__

DEFAULT_CONFIGURATION = Path("/etc/cloudstack-hyperv/cloudstack-hyperv.toml")

app = typer.Typer(
    name="cloudstack-hyperv",
    help="Apache CloudStack's Hyper-V agent: commands in, WMI over WS-Management out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Configuration = Annotated[
    Path, typer.Option("--config", "-c", help="The TOML file.", envvar="CLOUDSTACK_HYPERV_CONFIG")
]
LogLevel = Annotated[
    str | None, typer.Option(help="debug, info, warning or error; the file's value when absent.")
]
LogFormat = Annotated[str | None, typer.Option(help="text or json; the file's value when absent.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cloudstack-hyperv {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: Configuration = DEFAULT_CONFIGURATION,
    *,
    emulated: Annotated[
        bool, typer.Option("--emulated", help="Serve one emulated host instead of configured ones.")
    ] = False,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Serve CloudStack's commands for the configured hosts until told to stop."""
    from cloudstack_hyperv.cli.serve import serve

    raise typer.Exit(serve(config, emulated=emulated, level=log_level, form=log_format))


@app.command()
def check(
    host: Annotated[str | None, typer.Argument(help="Only this host.")] = None,
    config: Configuration = DEFAULT_CONFIGURATION,
) -> None:
    """Try a configured host: WinRM, login, Hyper-V, switches, folders, migration settings."""
    from cloudstack_hyperv.cli.check import check_hosts

    raise typer.Exit(asyncio.run(check_hosts(config, host)))


@app.command()
def emulate(
    folder: Annotated[Path, typer.Argument(help="Keeps the host's disks and state.")],
    *,
    name: Annotated[str, typer.Option(help="NetBIOS name of the host.")] = "HYPERV1",
    release: Annotated[
        str, typer.Option("--profile", help="2012, 2012r2, 2016, 2019, 2022, 2025 or client-11.")
    ] = "2019",
    address: Annotated[str, typer.Option(help="Where WinRM listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="WinRM over http; 0 takes a free one.")] = 5985,
    host_address: Annotated[
        str, typer.Option(help="IP address of the emulated host's own network card.")
    ] = "192.0.2.10",
    user: Annotated[str, typer.Option(help="Administrator's name.")] = "Administrator",
    password_file: Annotated[
        Path | None,
        typer.Option(help="First line: the administrator's password; one is made when absent."),
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option(help=r"\\server\share=FOLDER as the host reaches it; may be repeated."),
    ] = None,
    basic: Annotated[bool, typer.Option(help="Allow Basic over plain http (tests only).")] = False,
    calls: Annotated[
        Path | None, typer.Option(help="Append one JSON line a WS-Man call to this file.")
    ] = None,
    control_port: Annotated[
        int | None,
        typer.Option(help="Faults on purpose over HTTP, on 127.0.0.1 only; 0 takes a free port."),
    ] = None,
    virtual_time: Annotated[
        bool, typer.Option(help="The host's clock moves only when the control port says so.")
    ] = False,
    keep_running: Annotated[
        bool, typer.Option(help="VMs run on at the next start; else they went through a reboot.")
    ] = False,
    guests: Annotated[
        str, typer.Option(help="scripted, or qemu: VMs boot from their disks for real.")
    ] = "scripted",
    hosts: Annotated[
        int,
        typer.Option(min=1, max=200, help="So many hosts that reach each other."),
    ] = 1,
    cluster: Annotated[
        bool, typer.Option(help="The first two hosts form a failover cluster.")
    ] = False,
    domain: Annotated[
        str, typer.Option(help="Active Directory domain of several hosts.")
    ] = "hyperv.example",
    delegation: Annotated[
        bool,
        typer.Option(help="Several hosts may migrate for everybody (Kerberos, any protocol)."),
    ] = True,
    log_level: LogLevel = None,
) -> None:
    """Run one emulated Hyper-V host, or several, until told to stop."""
    from cloudstack_hyperv.cli.emulate import EmulateOptions, Guests, emulate_host

    try:
        chosen = Guests(guests)
    except ValueError as error:
        raise typer.BadParameter(f"--guests {guests}: scripted or qemu") from error
    options = EmulateOptions(
        folder=folder,
        name=name,
        release=release,
        address=address,
        port=port,
        host_address=host_address,
        user=user,
        password_file=password_file,
        shares=tuple(share or ()),
        basic=basic,
        calls=calls,
        control_port=control_port,
        virtual_time=virtual_time,
        keep_running=keep_running,
        guests=chosen,
        log_level=log_level or "info",
    )
    if hosts == 1 and not cluster:
        raise typer.Exit(asyncio.run(emulate_host(options)))
    from cloudstack_hyperv.cli.emulate_fleet import FleetOptions, emulate_fleet

    fleet = FleetOptions(hosts, cluster, domain, delegation)
    raise typer.Exit(asyncio.run(emulate_fleet(options, fleet)))


@app.command()
def extension(
    action: Annotated[
        str, typer.Argument(help="create, start, stop, status, ...; or: install, with a folder.")
    ],
    payload: Annotated[str, typer.Argument(help="The payload file; the folder for install.")],
    seconds: Annotated[str | None, typer.Argument(help="Time limit; 1800 when absent.")] = None,
    *,
    straight: Annotated[
        bool, typer.Option("--straight", help="Go to the host even where an agent runs.")
    ] = False,
    socket: Annotated[
        str | None, typer.Option(help="The agent's socket; written into what install makes.")
    ] = None,
    program: Annotated[
        str | None, typer.Option(help="For install: where cloudstack-hyperv is on the servers.")
    ] = None,
) -> None:
    """Be the executable of CloudStack's HyperV extension (4.21 and later), or install it."""
    from cloudstack_hyperv.cli import extension as subcommand
    from cloudstack_hyperv.doors.extension.executable import SOCKET

    if action == subcommand.INSTALL:
        raise typer.Exit(subcommand.install(Path(payload), socket=socket, program=program))
    raise typer.Exit(
        subcommand.call(action, payload, seconds, straight=straight, socket=socket or SOCKET)
    )


@app.command()
def service(
    action: Annotated[str, typer.Argument(help="install, uninstall or status.")],
    config: Configuration = DEFAULT_CONFIGURATION,
    *,
    root: Annotated[
        Path, typer.Option(help="Write below this folder and start nothing: for packages.")
    ] = Path("/"),
    program: Annotated[
        str | None, typer.Option(help="What the service starts; this program when absent.")
    ] = None,
    journal: Annotated[
        bool, typer.Option("--journal", help="Log to the journal, not to /var/log.")
    ] = False,
) -> None:
    """Make the agent a service of this machine, remove it, or tell how it is."""
    from cloudstack_hyperv.cli.service import ServiceAction, change_service

    try:
        wanted = ServiceAction(action)
    except ValueError:
        raise typer.BadParameter("install, uninstall or status") from None
    raise typer.Exit(
        change_service(wanted, root=root, program=program, config=config, journal=journal)
    )


@app.command()
def selftest(
    host: Annotated[str, typer.Argument(help="Name of a configured host.")],
    config: Configuration = DEFAULT_CONFIGURATION,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without this only the plan is printed.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(help="Keep every WS-Man exchange in this new file, names replaced."),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Only remove what interrupted self-tests left.")
    ] = False,
    folder: Annotated[
        str | None,
        typer.Option(help="Windows folder to work in; Hyper-V's default for disks if absent."),
    ] = None,
) -> None:
    """Play the product's operations on a host, in a folder and on a switch that it removes."""
    from cloudstack_hyperv.cli.selftest import SelftestOptions, selftest_host

    options = SelftestOptions(config, host, yes, record, clean, folder)
    raise typer.Exit(asyncio.run(selftest_host(options)))


@app.command()
def compare(
    file: Annotated[Path, typer.Argument(help="What selftest --record wrote.")],
    *,
    release: Annotated[
        str | None, typer.Option("--profile", help="As for emulate; the recording's if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Play a recording's requests to an emulated host; print where its answers differ."""
    from cloudstack_hyperv.cli.compare import compare_file

    raise typer.Exit(asyncio.run(compare_file(file, release, as_json=as_json)))


@app.command()
def demo(
    folder: Annotated[
        Path | None, typer.Option(help="Keep the demo's files here; a temporary folder if absent.")
    ] = None,
    *,
    plain: Annotated[bool, typer.Option(help="No colours, no moving bars.")] = False,
) -> None:
    """Play a VM's whole life: a stock CloudStack 4.22 conversation with an emulated host."""
    try:
        from cloudstack_hyperv.demo.play import play_demo
    except ModuleNotFoundError as error:
        if error.name != "pypsrp":
            raise
        typer.echo(
            "The demo reads the host back with pypsrp, a client that is not ours; "
            "install it: pip install 'cloudstack-hyperv[demo]'",
            err=True,
        )
        raise typer.Exit(2) from None
    raise typer.Exit(play_demo(folder, plain=plain))


def main() -> None:
    """Entry point; an interrupted command ends with 130."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
