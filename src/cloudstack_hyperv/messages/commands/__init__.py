"""Command classes by subject; importing this package registers all of them."""

from cloudstack_hyperv.messages.commands import (
    host,
    migration,
    monitoring,
    network,
    snapshots,
    startup,
    storage,
    vm,
)

__all__ = [
    "host",
    "migration",
    "monitoring",
    "network",
    "snapshots",
    "startup",
    "storage",
    "vm",
]
