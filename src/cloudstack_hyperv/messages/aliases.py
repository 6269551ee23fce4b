"""Keys that had another name in another release of CloudStack.

A JSON key is the name of a Java field, so whoever renames a field renames the key, and an
agent that knows one spelling breaks silently with the other: live migration did in 4.21.0 and
storage statistics in 4.20.1 for the agent written in C#.  This table is the only place where
such a rename is stated.  Reading takes the first key of `canonical, *older` that is present and
not null; writing uses the canonical key and, where `written`, every older one as well, because
the management server that reads it may be of either kind.

Found by comparing the Java classes at the release commits 4.11 to 4.22.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Alias:
    """One renamed key."""

    class_name: str
    """Simple name of the Java class that declares the field; subclasses inherit the row."""
    canonical: str
    """The key of CloudStack 4.22."""
    older: tuple[str, ...]
    since: str
    """The release that has the canonical key first; `4.11` means by then at the latest."""
    written: bool = False
    """Whether answers carry the older keys too."""


ALIASES: Final[tuple[Alias, ...]] = (
    Alias("MigrateCommand", "destinationIp", ("destIp",), "4.21.0"),
    Alias("MigrateCommand", "windows", ("isWindows",), "4.21.0"),
    Alias("MigrateCommand", "virtualMachine", ("vmTO",), "4.21.0"),
    Alias("DiskTO", "details", ("_details",), "4.21.0"),
    Alias("DiskTO", "path", ("vdiUuid",), "4.11"),
    Alias("NetworkTO", "securityGroupEnabled", ("isSecurityGroupEnabled",), "4.21.0"),
    Alias("VirtualMachineTO", "details", ("params",), "4.21.0"),
    Alias("GetStorageStatsAnswer", "usedBytes", ("used",), "4.20.1", written=True),
    Alias("GetStorageStatsAnswer", "capacityBytes", ("capacity",), "4.20.1", written=True),
    Alias("VmStatsEntry", "intFreeMemoryKBs", ("intfreememoryKBs",), "4.18", written=True),
    Alias("VmStatsEntry", "targetMemoryKBs", ("targetmemoryKBs",), "4.18", written=True),
    Alias("StartAnswer", "hostGuid", ("host_guid",), "4.11"),
    Alias("UpdateHostPasswordCommand", "username", ("_username",), "4.11"),
    Alias("UpdateHostPasswordCommand", "newPassword", ("_new_password",), "4.11"),
)


def aliases_of(class_names: tuple[str, ...]) -> dict[str, Alias]:
    """Return the rows of a class and its base classes by canonical key."""
    return {row.canonical: row for row in ALIASES if row.class_name in class_names}
