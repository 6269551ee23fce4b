"""`service install`, `uninstall` and `status` on Linux with systemd.

Installing writes the files of `units`, makes the user and the folders, enables the service, and
does not start it before there is a configuration.  It can be repeated.  Uninstalling removes what
installing wrote, never the configuration, the log, or what the agent keeps.

With another root than `/` only files are written: for building packages and images.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from cloudstack_hyperv.service import units

COMMAND_TIMEOUT: Final = 60.0


class ServiceError(Exception):
    """The service cannot be changed; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended."""

    status: int
    output: str


Run = Callable[[Sequence[str]], Ran]


def run_program(arguments: Sequence[str]) -> Ran:
    """Run a program of the system; raises ServiceError when it is missing or hangs."""
    try:
        ended = subprocess.run(
            arguments, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
        )
    except FileNotFoundError:
        raise ServiceError(f"{arguments[0]} is not installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{' '.join(arguments)} did not end") from None
    return Ran(ended.returncode, (ended.stdout + ended.stderr).strip())


class ServiceInstaller:
    """Changes one machine, or a folder that is to become one."""

    def __init__(self, root: Path = Path("/"), run: Run = run_program) -> None:
        self._root = root
        self._run = run

    @property
    def is_live(self) -> bool:
        """Whether it is this machine that changes."""
        return self._root == Path("/")

    def install(self, files: units.ServiceFiles) -> list[str]:
        """Install or renew the service and return what was done, a line each."""
        self._require_root("install")
        done = [self._write(place, text) for place, text in files.files]
        wanted = {place for place, _ in files.files}
        if units.LOGROTATE not in wanted:
            done += self._remove(units.LOGROTATE)
        configuration = self._at(units.CONFIGURATION)
        self._folder(units.CONFIGURATION.parent)
        if not self.is_live:
            return done
        self._must("systemd-sysusers", str(units.SYSUSERS))
        for place in (units.CONFIGURATION.parent, units.STATE, units.LOGS):
            self._folder(place)
            shutil.chown(self._at(place), units.USER, units.USER)
        self._must("systemctl", "daemon-reload")
        self._must("systemctl", "enable", units.NAME)
        done.append("the service is enabled")
        if configuration.exists():
            self._must("systemctl", "restart", units.NAME)
            done.append("the service is started")
        else:
            done.append(f"write {units.CONFIGURATION}, then start it: systemctl start {units.NAME}")
        return done

    def uninstall(self) -> list[str]:
        """Stop and remove the service and return what was done."""
        self._require_root("uninstall")
        done: list[str] = []
        if self.is_live and self._at(units.UNIT).exists():
            self._must("systemctl", "disable", "--now", units.NAME)
            done.append("the service is stopped and disabled")
        for place in (units.UNIT, units.LOGROTATE, units.SYSUSERS):
            done += self._remove(place)
        if self.is_live and done:
            self._must("systemctl", "daemon-reload")
        kept = [str(p) for p in (units.CONFIGURATION.parent, units.STATE, units.LOGS)]
        done.append(f"left alone: {', '.join(kept)}, and the user {units.USER}")
        return done

    def status(self) -> tuple[bool, list[str]]:
        """Return whether the service runs, and what there is to say."""
        if not self._at(units.UNIT).exists():
            return False, [
                f"not installed: {units.UNIT} is missing; cloudstack-hyperv service install"
            ]
        if not self.is_live:
            return False, [f"installed in {self._root}, which is not this machine"]
        shown = self._run(
            ["systemctl", "show", units.NAME, "--property",
             "ActiveState,SubState,StatusText,UnitFileState,MainPID,NRestarts,NeedDaemonReload"]
        )  # fmt: skip
        if shown.status:
            raise ServiceError(f"systemctl show: {shown.output}")
        facts = dict(line.partition("=")[::2] for line in shown.output.splitlines() if "=" in line)
        runs = facts.get("ActiveState") == "active"
        states = [facts.get(key, "?") for key in ("ActiveState", "SubState", "UnitFileState")]
        lines = ["{} ({}), {}".format(*states)]
        if facts.get("StatusText"):
            lines.append(facts["StatusText"])
        if runs:
            lines.append(f"process {facts.get('MainPID')}, {facts.get('NRestarts')} restarts")
        if facts.get("NeedDaemonReload") == "yes":
            lines.append("the unit has changed: systemctl daemon-reload")
        return runs, lines

    def _require_root(self, what: str) -> None:
        if self.is_live and os.geteuid() != 0:
            raise ServiceError(f"service {what} changes /etc: run it as root")

    def _at(self, place: PurePosixPath) -> Path:
        return self._root / place.relative_to("/")

    def _folder(self, place: PurePosixPath) -> None:
        self._at(place).mkdir(parents=True, exist_ok=True)
        self._at(place).chmod(0o750)

    def _write(self, place: PurePosixPath, text: str) -> str:
        target = self._at(place)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.new")
            temporary.write_text(text, encoding="utf-8")
            temporary.chmod(0o644)
            temporary.replace(target)
        except OSError as error:
            raise ServiceError(f"{target}: {error.strerror or error}") from error
        return f"{target} is written"

    def _remove(self, place: PurePosixPath) -> list[str]:
        target = self._at(place)
        if not target.exists():
            return []
        try:
            target.unlink()
        except OSError as error:
            raise ServiceError(f"{target}: {error.strerror or error}") from error
        return [f"{target} is removed"]

    def _must(self, *arguments: str) -> None:
        ended = self._run(arguments)
        if ended.status:
            raise ServiceError(f"{' '.join(arguments)}: {ended.output or f'status {ended.status}'}")
