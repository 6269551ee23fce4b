"""What the demo stands on: folders, a template that is a real VHDX, configuration, processes."""

from __future__ import annotations

import dataclasses
import random
import secrets
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cloudstack_hyperv.demo import conversation as say
from cloudstack_hyperv.demo.conversation import GIB, Zone
from cloudstack_hyperv.demo.processes import LoggedProcess
from cloudstack_hyperv.vhd import LINUX_BLOCK_SIZE, OsFile, create_dynamic, open_disk

HOST_ADDRESS = "192.0.2.10"
"""TEST-NET-1: the emulated host's own card, as it shows in Win32_NetworkAdapterConfiguration."""
LABEL = "External"
SHARE = r"\\10.1.1.5\secondary"
MIB = 2**20


@dataclass(slots=True)
class Stage:
    """Folders and secrets of one demonstration."""

    folder: Path
    template: Path
    user: str
    password: str
    zone: Zone

    @classmethod
    def build(cls, folder: Path, console: Console) -> Stage:
        """Make the folders, the template, an ISO and a password."""
        template = folder / "secondary" / say.TEMPLATE_PATH
        if not template.exists():
            with console.status("making the template, a real VHDX"):
                make_template(template, virtual_size=2 * GIB, data=48 * MIB)
        iso = folder / "secondary" / say.ISO_PATH
        iso.parent.mkdir(parents=True, exist_ok=True)
        iso.write_bytes(b"\0" * 0x8000 + b"\x01CD001\x01" + b"\0" * (2 * MIB))
        zone = Zone(HOST_ADDRESS, LABEL, "", "", 2 * GIB, 4 * GIB, 10 * GIB)
        stage = cls(folder, template, "Administrator", secrets.token_urlsafe(12), zone)
        stage._write_configuration_files()
        return stage

    def zone_with_pool(self, uuid: str, path: str) -> Zone:
        """Return the zone with the local pool that the host offered at Startup."""
        return dataclasses.replace(self.zone, pool_uuid=uuid, pool_path=path)

    def local_path(self, windows_path: str) -> Path:
        r"""Return the folder of this machine that is the host's `C:\...`."""
        return self.folder / "host" / "c" / windows_path[3:].replace("\\", "/")

    def start_emulated_host(self) -> LoggedProcess:
        """Start the emulated host as a process."""
        return LoggedProcess(
            "the emulated host",
            [
                "emulate", str(self.folder / "host"), "--port", "0",
                "--host-address", HOST_ADDRESS,
                "--password-file", str(self._password_file),
                "--share", f"{SHARE}={self.folder / 'secondary'}",
            ],
            self.folder / "emulated-host.log",
        )  # fmt: skip

    def start_agent(self, winrm_port: int) -> LoggedProcess:
        """Write the agent's configuration and start it as a process."""
        configuration = self.folder / "cloudstack-hyperv.toml"
        configuration.write_text(
            f"""\
state_folder = '{self.folder / "agent"}'

[direct]
port = 0                       # a free one: this is a demonstration; stock servers call 8250
allow = ["127.0.0.1"]

[[storage.stores]]
url = "{say.SECONDARY_URL}"
folder = '{self.folder / "secondary"}'
host_path = '{SHARE}'

[[hosts]]
name = "hyperv1"
listen = "127.0.0.1"
private_address = "{HOST_ADDRESS}"
emulated = true
shutdown_timeout = 20.0

[hosts.winrm]
address = "127.0.0.1"
port = {winrm_port}
transport = "http"             # Negotiate seals every message all the same
user = "{self.user}"
password = {{ file = '{self._password_file}' }}

[[hosts.mounts]]
host_path = 'C:\\'
folder = '{self.folder / "host" / "c"}'
"""
        )
        return LoggedProcess(
            "the agent",
            ["run", "--config", str(configuration), "--log-format", "json", "--log-level", "info"],
            self.folder / "agent.log",
        )

    @property
    def _password_file(self) -> Path:
        return self.folder / "administrator.password"

    def _write_configuration_files(self) -> None:
        self._password_file.touch(mode=0o600)
        self._password_file.chmod(0o600)
        self._password_file.write_text(self.password + "\n")


def make_template(path: Path, *, virtual_size: int, data: int) -> None:
    """Make a dynamic VHDX of `virtual_size` bytes with `data` bytes of content scattered over it.

    The content is pseudo-random with a fixed seed: it cannot be equal to anything by accident.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial")
    unfinished.unlink(missing_ok=True)
    source = random.Random(4)  # noqa: S311 - content, not a secret
    with OsFile.create(unfinished) as file:
        create_dynamic(file, virtual_size, block_size=LINUX_BLOCK_SIZE)
        with open_disk(file, writable=True) as disk:
            pieces = data // MIB
            for piece in range(pieces):
                place = piece * (virtual_size // pieces) // MIB * MIB
                disk.write(place, source.randbytes(MIB))
            disk.write(virtual_size - MIB, source.randbytes(MIB))
    unfinished.rename(path)


def same_content(template: Path, volume: Path, size: int) -> list[str]:
    """Compare a volume with its template byte by byte; what differs is returned in words.

    `size` is the virtual size the volume must have; what lies beyond the template must be zeros.
    """
    if not volume.exists():
        return [f"{volume.name} is not there"]
    with (
        OsFile(template) as template_file,
        OsFile(volume) as volume_file,
        open_disk(template_file) as original,
        open_disk(volume_file) as copy,
    ):
        if copy.virtual_size != size:
            return [f"{volume.name} has {copy.virtual_size} bytes, not {size}"]
        for offset in range(0, size, 4 * MIB):
            length = min(4 * MIB, size - offset)
            within = max(0, min(length, original.virtual_size - offset))
            expected = original.read(offset, within) if within else b""
            if copy.read(offset, length) != expected.ljust(length, b"\0"):
                return [f"{volume.name} differs from the template within {offset}+{length}"]
    return []
