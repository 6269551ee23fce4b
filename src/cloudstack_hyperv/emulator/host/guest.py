"""The operating system inside a machine, played from a script.

It boots, brings up its integration services and later its key-value daemon, uses some processor
time, answers a request to shut down (or is locked, or hangs, or has no services at all) and has
an address on every connected adapter.  Nothing runs: all of it follows from when it was started.

A guest engine may put a guest that does run in its place: a subclass that answers the same
questions (`is_real`).

Sources: heartbeat and shutdown codes from Microsoft's pages Msvm_HeartbeatComponent and
Msvm_ShutdownComponent; names of intrinsic items from "Msvm_KvpExchangeComponent"; that values
reach a Linux guest only once hv_kvp_daemon runs, from the kernel's tools/hv/hv_kvp_daemon.c.
"""

from __future__ import annotations

import ipaddress
import math
import zlib
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.host.config import GuestScript
from cloudstack_hyperv.emulator.host.outcome import Refused

HEARTBEAT_OK = 2
HEARTBEAT_NO_CONTACT = 12
HEARTBEAT_LOST = 13

_WAVE_SECONDS = 97.0


@dataclass(frozen=True, slots=True)
class DiskTraffic:
    """What a guest has done to one disk since it was switched on."""

    bytes_read: int
    bytes_written: int
    reads: int
    writes: int
    flushes: int


@dataclass(frozen=True, slots=True)
class GuestNetwork:
    """How an adapter is set up inside the guest when it has no DHCP."""

    addresses: tuple[str, ...]
    subnets: tuple[str, ...]
    """In step with `addresses`."""
    gateways: tuple[str, ...]
    dns_servers: tuple[str, ...]


@dataclass(slots=True)
class Guest:
    """A guest system that is (or was) running in one machine."""

    script: GuestScript
    name: str
    seed: int
    booted_from: datetime
    """When the current boot began."""
    host_items: dict[str, str] = field(default_factory=dict)
    """What the host has delivered through the key-value exchange."""
    own_items: dict[str, str] = field(default_factory=dict)
    pressed: set[int] = field(default_factory=set)
    typed: list[str] = field(default_factory=list)
    shutting_down: bool = False

    def since_boot(self, now: datetime) -> float:
        """Seconds since the current boot began."""
        return (now - self.booted_from).total_seconds()

    def services_up(self, now: datetime) -> bool:
        """Whether integration services answer."""
        return (
            self.script.integration_services
            and not (self.shutting_down and self.script.hangs)
            and self.since_boot(now) >= self.script.boot
        )

    def kvp_up(self, now: datetime) -> bool:
        """Whether the key-value daemon runs."""
        ready = self.script.boot + self.script.kvp_delay
        return self.services_up(now) and self.since_boot(now) >= ready

    def heartbeat(self, now: datetime) -> int:
        """Return OperationalStatus[0] of the heartbeat component."""
        if self.services_up(now):
            return HEARTBEAT_OK
        return HEARTBEAT_LOST if self.shutting_down else HEARTBEAT_NO_CONTACT

    def reboot(self, now: datetime) -> None:
        """Begin a new boot."""
        self.booted_from = now
        self.shutting_down = False
        self.pressed.clear()

    def load(self, now: datetime) -> float:
        """Return the share of the virtual processors in use, 0 to 1."""
        phase = 2 * math.pi * (now.timestamp() / _WAVE_SECONDS + self.seed % 97 / 97)
        return max(0.0, min(1.0, self.script.load * (1 + 0.5 * math.sin(phase))))

    def busy_seconds(self, start: datetime, end: datetime) -> float:
        """Return the integral of `load` over a time: seconds of one fully used processor."""
        if end <= start:
            return 0.0
        rate = 2 * math.pi / _WAVE_SECONDS
        shift = 2 * math.pi * (self.seed % 97) / 97
        first, last = start.timestamp() * rate + shift, end.timestamp() * rate + shift
        wave = (math.cos(first) - math.cos(last)) / rate
        return max(0.0, self.script.load * ((end - start).total_seconds() + 0.5 * wave))

    def address(self, mac: str, index: int) -> str:
        """Return the IPv4 address of an adapter."""
        network = ipaddress.ip_network(self.script.network)
        usable = max(1, network.num_addresses - 12)
        offset = 10 + (zlib.crc32(mac.encode()) + index) % usable
        return str(network.network_address + offset)

    @property
    def netmask(self) -> str:
        """Netmask of its addresses."""
        return str(ipaddress.ip_network(self.script.network).netmask)

    @property
    def gateway(self) -> str:
        """Its default gateway."""
        return str(ipaddress.ip_network(self.script.network).network_address + 1)

    def intrinsic_items(self, addresses: list[str]) -> dict[str, str]:
        """Return what the daemon publishes about itself."""
        return {
            "FullyQualifiedDomainName": self.name,
            "OSName": self.script.os_name,
            "OSVersion": self.script.os_version,
            "OSMajorVersion": self.script.os_version.split(".")[0],
            "OSMinorVersion": [*self.script.os_version.split("."), "0"][1],
            "OSBuildNumber": self.script.os_version,
            "OSPlatformId": "2",
            "ProcessorArchitecture": "9",
            "IntegrationServicesVersion": "3.1",
            "NetworkAddressIPv4": ";".join(addresses),
            "NetworkAddressIPv6": "",
            "RDPAddressIPv4": "",
            "RDPAddressIPv6": "",
        }

    # What a guest that really runs does in its own way --------------------------------------

    @property
    def is_real(self) -> bool:
        """Whether an operating system runs in it, so that not everything can be pretended."""
        return False

    def pause(self) -> None:
        """Stop executing."""

    def resume(self) -> None:
        """Execute again."""

    def end(self) -> None:
        """Lose power."""

    def shut_down(self) -> Future[int] | None:
        """Ask it to shut down; return what resolves when it has, None: the script says when."""
        return None

    def disk_traffic(self, path: str) -> DiskTraffic | None:
        """Return what was counted for a disk by its Windows path, None: nothing counts."""
        del path
        return None

    def picture(self, width: int, height: int) -> bytes | None:
        """Return its screen as RGB565, None: there is none but what the console draws."""
        del width, height
        return None

    def press(self, code: int, *, down: bool) -> None:
        """Take a virtual key that is held down or let go."""

    def type_text(self, typed: str) -> None:
        """Take ASCII text."""

    def type_scan_codes(self, codes: bytes) -> None:
        """Take set 1 scan codes."""


def require_scripted(guest: Guest | None, what: str) -> None:
    """Refuse with 32770 what can only be pretended while a real guest runs."""
    if guest is not None and guest.is_real:
        raise Refused(ReturnCode.NOT_SUPPORTED, f"{what} is not possible with a real guest")
