"""`cloudstack-hyperv extension`: one call of CloudStack's HyperV extension, or its installation.

A call asks the agent on this machine; without one it goes straight to the host that the payload
describes.  Nothing but the outcome is written, and that to standard output: the management server
takes standard error for a part of it.  Logs of a call that goes straight are not kept.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from pathlib import Path
from typing import Final

from cloudstack_hyperv.doors.extension import executable

INSTALL: Final = "install"
FILE_NAME: Final = "hyperv.py"
"""The name that the stock HyperV extension has for its executable."""


def call(action: str, payload: str, seconds: str | None, *, straight: bool, socket: str) -> int:
    """Carry out one action; returns the exit status."""
    try:
        arguments = [action, payload] if seconds is None else [action, payload, seconds]
        action, path, limit = executable.read_arguments(arguments)
        content = executable.read_file(path)
    except (OSError, ValueError) as error:
        return executable.fail(str(error))
    if not straight:
        try:
            return executable.tell(*executable.ask_agent(socket, action, content, limit))
        except executable.NoAgent:
            pass  # The host itself is asked below.
        except OSError as error:
            return executable.fail(f"the connection to the agent broke: {error}")
    return _straight(action, content, limit)


def _straight(action: str, content: bytes, seconds: int) -> int:
    """Go to the host without an agent; whatever happens, the outcome is all that is written."""
    import warnings

    from cloudstack_hyperv.observe import configure_logs

    warnings.simplefilter("ignore")
    configure_logs("error", "json", io.StringIO())
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    os.close(quiet)
    try:
        status, text = asyncio.run(_run(action, content, seconds))
    except Exception as error:  # noqa: BLE001 - a trace would be shown to a user; its text may hold secrets
        return executable.fail(f"internal error ({type(error).__name__})")
    return executable.tell(status, text.encode("ascii"))


async def _run(action: str, content: bytes, seconds: int) -> tuple[int, str]:
    from cloudstack_hyperv.cli.assembly import payload_resource
    from cloudstack_hyperv.config import Settings
    from cloudstack_hyperv.doors.extension.dispatch import run_action
    from cloudstack_hyperv.doors.extension.hosts import ExtensionHosts

    hosts = ExtensionHosts((), Settings(), payload_resource, any_host=True)
    try:
        outcome = await run_action(action, content, float(seconds), hosts)
        return outcome.status, outcome.text
    finally:
        await hosts.close()


def install(folder: Path, *, socket: str | None = None, program: str | None = None) -> int:
    """Write the executable into the extension's folder; the same bytes for the same options."""
    text = Path(executable.__file__).read_text(encoding="utf-8")
    if socket is not None:
        text = _with(text, f'SOCKET = "{executable.SOCKET}"', f"SOCKET = {socket!r}")
    if program is not None:
        listed = "PROGRAMS = (\n" + "".join(f'    "{one}",\n' for one in executable.PROGRAMS) + ")"
        text = _with(text, listed, f"PROGRAMS = ({program!r},)")
    target = folder / FILE_NAME
    temporary = folder / f".{FILE_NAME}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(target)
    except OSError as error:
        print(f"cloudstack-hyperv extension install: {error}", file=sys.stderr)
        return 1
    print(
        f"{target} is written. Give it to all management servers, in the folder of their extension "
        "HyperV: they compare its checksum."
    )
    return 0


def _with(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"the executable does not say {old!r} once")
    return text.replace(old, new)
