"""A real Samba server on a high port, with folders, accounts and locks of its own.

Plays a Hyper-V host (share `C$`, and `cloudstack$` for one of its folders) and a store
(`secondary`).  Nothing of the machine's own Samba configuration is read or changed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SMBD = shutil.which("smbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "smbd"
PASSWORD = "Secret-Word-17"  # of a server that lives as long as a test

_CONFIGURATION = """\
[global]
  server role = standalone server
  netbios name = TESTHOST
  workgroup = TESTGROUP
  map to guest = never
  smb ports = {port}
  bind interfaces only = yes
  interfaces = 127.0.0.1
  disable netbios = yes
  disable spoolss = yes
  load printers = no
  private dir = {state}
  state directory = {state}
  cache directory = {state}
  lock directory = {state}
  pid directory = {state}
  ncalrpc dir = {state}/ncalrpc
  passdb backend = tdbsam:{state}/passdb.tdb
  log file = {state}/log
  log level = 1
  server min protocol = SMB2_02
  server max protocol = {dialect}
  server signing = mandatory
  server smb encrypt = {encrypt}
  store dos attributes = yes
"""
_SHARE = """\
[{name}]
  path = {folder}
  read only = no
"""


@dataclass
class SambaServer:
    """A running smbd."""

    port: int
    user: str
    folder: Path
    process: subprocess.Popen[bytes]
    configuration: Path

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        encrypt: str = "default",
        dialect: str = "SMB3_11",
        shares: dict[str, Path] | None = None,
    ) -> Self:
        """Start it with all its files below `folder`, and wait until it answers.

        `encrypt` is Samba's `server smb encrypt`; `shares` are more than the three that it has.
        """
        state = folder / "state"
        state.mkdir(parents=True)
        port = _free_port()
        all_shares = {
            "C$": folder / "C",
            "cloudstack$": folder / "D" / "CloudStack",
            "secondary": folder / "secondary",
            **(shares or {}),
        }
        for place in all_shares.values():
            place.mkdir(parents=True, exist_ok=True)
        text = _CONFIGURATION.format(port=port, state=state, encrypt=encrypt, dialect=dialect)
        text += "".join(
            _SHARE.format(name=name, folder=place) for name, place in all_shares.items()
        )
        configuration = folder / "smb.conf"
        configuration.write_text(text)
        user = pwd.getpwuid(os.getuid()).pw_name
        subprocess.run(
            ["smbpasswd", "-c", configuration, "-s", "-a", user],
            input=f"{PASSWORD}\n{PASSWORD}\n".encode(),
            check=True,
            capture_output=True,
        )
        process = subprocess.Popen(
            [SMBD, "--foreground", "--no-process-group", "-s", configuration],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        server = cls(port, user, folder, process, configuration)
        server._wait()
        return server

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"smbd does not start: {(self.folder / 'state' / 'log').read_text()}")

    def stop(self) -> None:
        """Stop it and the processes that serve its connections."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=20)

    def drop_connections(self) -> None:
        """Kill the processes that serve connections; new ones are served."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for child in children.split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"smbd" in command and _serves(int(child), self.port):
                os.kill(int(child), signal.SIGKILL)


def _serves(pid: int, port: int) -> bool:
    """Tell whether a process has an established connection on `port`."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].partition(":")[2], 16) == port and fields[3] == "01":
            inodes.add(f"socket:[{fields[9]}]")
    links = Path(f"/proc/{pid}/fd")
    return any(str(link.readlink()) in inodes for link in links.iterdir())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
