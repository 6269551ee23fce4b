"""Whether there is a QEMU that can do what the engine needs, and what makes it fast.

Hardware acceleration needs both, a processor that says it can and a try that succeeds.  /dev/kvm
may exist and open where the processor offers nothing to it; and a KVM that stands on no such
processor (a guest's, without nesting) may start a machine and then fail at the first instruction
that it cannot emulate.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = "qemu-system-x86_64"
_OLDEST = (7, 2)
"""The first release with `-netdev dgram`."""
_SECONDS = 20.0
_VERSION = re.compile(r"version (\d+)\.(\d+)")
_QUIT = b'{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n'


class EngineUnavailable(Exception):
    """No real guests here; the text says why."""


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU that works."""

    program: str
    version: tuple[int, int]
    accelerator: str
    """ "kvm" or "tcg"."""


def find_qemu(program: str = _PROGRAM) -> Qemu:
    """Return the QEMU of this machine; EngineUnavailable."""
    path = shutil.which(program)
    if path is None:
        raise EngineUnavailable(f"{program} is not installed (Debian: qemu-system-x86)")
    shown = _run([path, "--version"])
    found = _VERSION.search(shown.stdout.decode(errors="replace"))
    if found is None:
        raise EngineUnavailable(f"{path} --version says nothing known")
    version = int(found[1]), int(found[2])
    if version < _OLDEST:
        raise EngineUnavailable(f"{path} is {version[0]}.{version[1]}, older than 7.2")
    return Qemu(path, version, "kvm" if _runs_with_kvm(path) else "tcg")


def _runs_with_kvm(path: str) -> bool:
    if not _processor_virtualizes():
        return False
    machine = ["-accel", "kvm", "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config"]
    return _run([path, *machine, "-display", "none", "-S", "-qmp", "stdio"]).returncode == 0


def _processor_virtualizes() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return re.search(r"^flags\s*:.*\b(?:vmx|svm)\b", text, re.MULTILINE) is not None


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command, input=_QUIT, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"{command[0]} does not run: {error}") from error
