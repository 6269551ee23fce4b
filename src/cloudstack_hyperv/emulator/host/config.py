"""How an emulated host is made: plain, frozen values, no behaviour.

Defaults give a small server that is complete: one drive, one NIC with an address, an external
and an internal switch.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from cloudstack_hyperv.cim.constants import PHYSICAL_DISK_GUID

GIB = 2**30


class JobMode(enum.StrEnum):
    """Whether a method answers 0 (done) or 4096 (job) where Windows may do either."""

    SEEDED = "seeded"
    """As Windows usually does for that method, now and then the other way; repeatable by seed."""
    ALWAYS_0 = "always-0"
    ALWAYS_4096 = "always-4096"


class SwitchKind(enum.StrEnum):
    """What a virtual switch is connected to."""

    EXTERNAL = "external"
    INTERNAL = "internal"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class PhysicalNic:
    """A network card of the host; `address` "" means no IP stack is bound to it."""

    name: str = "Ethernet"
    description: str = "Intel(R) Ethernet Server Adapter X550"
    mac: str = "3C:EC:EF:10:20:30"
    address: str = "192.0.2.10"
    netmask: str = "255.255.255.0"
    gateway: str = "192.0.2.1"
    dns: tuple[str, ...] = ("192.0.2.1",)
    speed: int = 10_000_000_000
    """Bits per second."""


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """A switch that exists from the start."""

    name: str
    kind: SwitchKind = SwitchKind.EXTERNAL
    uplink: str = "Ethernet"
    """Name of the physical NIC (external switches)."""
    management: bool = True
    """Whether the host itself has a virtual NIC on it; its address moves there."""


@dataclass(frozen=True, slots=True)
class Drive:
    """A volume of the host, kept in a folder of the emulating machine."""

    letter: str = "C"
    folder: Path | None = None
    """None: a folder named after the letter inside the host's folder."""
    label: str = "System"
    capacity: int = 1024 * GIB


@dataclass(frozen=True, slots=True)
class PhysicalDisk:
    """A disk of the host that is offline there and may be passed through to a machine."""

    number: int = 1
    size: int = 100 * GIB

    @property
    def device_id(self) -> str:
        """DeviceID of its Msvm_DiskDrive.

        The GUID is the one of the physical disk drive's template row: libvirt's driver
        (hypervDomainAttachPhysicalDisk) reads it there and builds the DeviceID from it.
        """
        return f"Microsoft:{PHYSICAL_DISK_GUID}\\{self.number}"


@dataclass(frozen=True, slots=True)
class ShareLogin:
    r"""An account that a file server knows, `DOMAIN\user` as it is written."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Share:
    r"""An SMB share `\\server\name` as this host reaches it.

    `accounts` are the names its access list lets in, without letter case: computer accounts as
    `DOMAIN\HOST$`, users as `DOMAIN\user`, or "Everyone".
    """

    server: str
    name: str
    folder: Path
    accounts: frozenset[str] = frozenset({"Everyone"})
    capacity: int = 1024 * GIB
    logins: tuple[ShareLogin, ...] = ()
    """Passwords that the file server takes from who maps the share; see `smb_mappings`."""


@dataclass(frozen=True, slots=True)
class SharedVolume:
    r"""A cluster shared volume, mounted under a path such as `C:\ClusterStorage\Volume1`."""

    path: str
    folder: Path
    label: str = "Volume1"
    capacity: int = 1024 * GIB


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds on the host's clock that things take."""

    start: float = 0.5
    turn_off: float = 0.2
    save: float = 0.6
    pause: float = 0.1
    configure: float = 0.05
    destroy: float = 0.2
    linger: float = 0.0
    """How long a destroyed machine's row stays after its job is complete."""
    checkpoint: float = 0.4
    migrate: float = 0.8
    """Sending a machine's memory to another host; copying disks comes on top."""
    export: float = 0.3
    merge: float = 0.5
    """How long a checkpoint's disks go on merging after the job is complete, at least."""
    image: float = 0.05
    job_removal: float = 300.0


@dataclass(frozen=True, slots=True)
class GuestScript:
    """How the guest operating system of a machine behaves."""

    boot: float = 2.0
    """Seconds until integration services answer."""
    shutdown: float = 1.0
    integration_services: bool = True
    hangs: bool = False
    """Accepts a shutdown and never finishes it."""
    locked: bool = False
    """A session is open: shutdown without force is refused with 32781."""
    kvp_delay: float = 0.5
    """Seconds after boot until the key-value daemon runs."""
    os_name: str = "Debian GNU/Linux 12 (bookworm)"
    os_version: str = "6.1.0"
    network: str = "10.1.1.0/24"
    """Where the guest's addresses come from."""
    load: float = 0.12
    """Mean share of its virtual processors that it uses, 0 to 1."""
    fails_production_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class HostConfig:
    """Everything an emulated host is made from."""

    folder: Path
    """Holds the drives' files and the host's own state."""
    name: str = "HYPERV1"
    release: str = "2019"
    domain: str = ""
    """DNS name of the Active Directory domain; "" is a workgroup host."""
    migration_authentication: int = 0
    """AuthenticationType of a new host's migration service: 0 CredSSP, 1 Kerberos."""
    seed: int = 1
    job_mode: JobMode = JobMode.SEEDED
    memory_mib: int = 65536
    root_memory_mib: int = 2048
    """What the parent partition keeps for itself."""
    sockets: int = 2
    cores: int = 8
    """Per socket."""
    threads: int = 2
    """Per core."""
    mhz: int = 2400
    processor_name: str = "Intel(R) Xeon(R) Gold 6240R CPU @ 2.40GHz"
    processor_manufacturer: str = "GenuineIntel"
    nics: tuple[PhysicalNic, ...] = (PhysicalNic(),)
    switches: tuple[SwitchPlan, ...] = (
        SwitchPlan("External"),
        SwitchPlan("Internal", SwitchKind.INTERNAL),
    )
    drives: tuple[Drive, ...] = (Drive(),)
    shares: tuple[Share, ...] = ()
    volumes: tuple[SharedVolume, ...] = ()
    """Cluster shared volumes that this node mounts."""
    physical_disks: tuple[PhysicalDisk, ...] = ()
    disk_folder: str = r"C:\Users\Public\Documents\Hyper-V\Virtual Hard Disks"
    machine_folder: str = r"C:\ProgramData\Microsoft\Windows\Hyper-V"
    timings: Timings = field(default_factory=Timings)
    guest: GuestScript = field(default_factory=GuestScript)
    video: tuple[int, int] = (400, 300)
    """Pixels of a machine's screen: small enough that a thumbnail fits a 500 KB envelope."""

    @property
    def logical_processors(self) -> int:
        """Threads of the whole host."""
        return self.sockets * self.cores * self.threads
