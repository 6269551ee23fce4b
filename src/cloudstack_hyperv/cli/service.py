"""`cloudstack-hyperv service install|uninstall|status`."""

from __future__ import annotations

import enum
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from cloudstack_hyperv.service import units
from cloudstack_hyperv.service.installing import ServiceError, ServiceInstaller


class ServiceAction(enum.StrEnum):
    """What is done with the service."""

    INSTALL = "install"
    UNINSTALL = "uninstall"
    STATUS = "status"


def change_service(
    action: ServiceAction, *, root: Path, program: str | None, config: Path, journal: bool
) -> int:
    """Carry it out; returns the exit status (3: installed or not, but does not run)."""
    if os.name == "nt":
        return _windows(action, config)
    installer = ServiceInstaller(root)
    try:
        match action:
            case ServiceAction.INSTALL:
                found = program or shutil.which("cloudstack-hyperv") or units.PROGRAM
                lines = installer.install(
                    units.service_files(program=found, configuration=str(config), journal=journal)
                )
                runs = True
            case ServiceAction.UNINSTALL:
                lines, runs = installer.uninstall(), True
            case ServiceAction.STATUS:
                runs, lines = installer.status()
    except (ServiceError, ValueError) as error:
        print(f"cloudstack-hyperv service {action}: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0 if runs else 3


def _windows(action: ServiceAction, config: Path) -> int:
    from cloudstack_hyperv.service.windows_service import control

    words = {ServiceAction.INSTALL: "install", ServiceAction.UNINSTALL: "remove"}
    if action is ServiceAction.STATUS:
        print("ask Windows: sc query cloudstack-hyperv", file=sys.stderr)
        return 2
    try:
        control(windows_main(config), [words[action]])
    except ServiceError as error:
        print(f"cloudstack-hyperv service {action}: {error}", file=sys.stderr)
        return 1
    return 0


def windows_main(
    config: Path,
) -> Callable[[Callable[[], None], Callable[[Callable[[], None]], None]], int]:
    """Return what a service that is told, not signalled, runs as the agent."""

    def main(opened: Callable[[], None], take_stop: Callable[[Callable[[], None]], None]) -> int:
        from cloudstack_hyperv.cli.serve import serve

        return serve(config, emulated=False, opened=opened, take_stop=take_stop)

    return main
