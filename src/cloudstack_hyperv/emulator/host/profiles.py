"""What the releases of Windows differ in, as far as Hyper-V's behaviour shows it.

Sources: Microsoft, "Supported virtual machine versions for live migration"; the "What's new in
Hyper-V" pages of each release; class dumps of Server 2019 and build 25398 in microsoft/wmi; for
the client profile the recorded answers in r4sd/go-wsman.  2012's configuration version is from
memory.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReleaseProfile:
    """One release; `order` compares releases."""

    release: str
    order: float
    version: str
    build: str
    caption: str
    default_configuration: str
    configurations: tuple[str, ...]
    server: bool = True
    language: str = "en-US"

    @property
    def has_generation_2(self) -> bool:
        """Server 2012 knows generation 1 only and has no VirtualSystemSubType."""
        return self.order >= 2012.5

    @property
    def is_2016_or_newer(self) -> bool:
        """Production checkpoints, hot add of NICs and memory, secure boot templates."""
        return self.order >= 2016

    @property
    def is_2012_r2_or_newer(self) -> bool:
        """Extended ACLs, storage QoS, online resize of VHDX."""
        return self.order >= 2012.5


_SINCE_2016 = ("5.0", "6.2", "7.0", "7.1", "8.0")
_SINCE_2022 = ("8.0", "8.1", "8.2", "8.3", "9.0", "9.1", "9.2", "9.3", "10.0")

PROFILES: dict[str, ReleaseProfile] = {
    profile.release: profile
    for profile in (
        ReleaseProfile(
            "2012",
            2012,
            "6.2.9200",
            "9200",
            "Microsoft Windows Server 2012 Datacenter",
            "4.0",
            ("4.0",),
        ),
        ReleaseProfile(
            "2012r2",
            2012.5,
            "6.3.9600",
            "9600",
            "Microsoft Windows Server 2012 R2 Datacenter",
            "5.0",
            ("5.0",),
        ),
        ReleaseProfile(
            "2016",
            2016,
            "10.0.14393",
            "14393",
            "Microsoft Windows Server 2016 Datacenter",
            "8.0",
            _SINCE_2016,
        ),
        ReleaseProfile(
            "2019",
            2019,
            "10.0.17763",
            "17763",
            "Microsoft Windows Server 2019 Datacenter",
            "9.0",
            (*_SINCE_2016, "8.1", "8.2", "8.3", "9.0"),
        ),
        ReleaseProfile(
            "2022",
            2022,
            "10.0.20348",
            "20348",
            "Microsoft Windows Server 2022 Datacenter",
            "10.0",
            _SINCE_2022,
        ),
        ReleaseProfile(
            "2025",
            2025,
            "10.0.26100",
            "26100",
            "Microsoft Windows Server 2025 Datacenter",
            "12.0",
            (*_SINCE_2022, "11.0", "12.0"),
        ),
        ReleaseProfile(
            "client-11",
            2024,
            "10.0.26100",
            "26100",
            "Microsoft Windows 11 Pro",
            "12.0",
            (*_SINCE_2022, "11.0", "12.0"),
            server=False,
            language="ja-JP",
        ),
    )
}


def configuration_at_least(version: str, wanted: str) -> bool:
    """Compare VM configuration versions: "8.3" is older than "10.0"."""
    return _numbers(version) >= _numbers(wanted)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
