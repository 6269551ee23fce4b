"""Command classes by subject; importing this package registers all of them."""

from cloudstack_hyperv.messages.commands import (
    backup,
    host,
    migration,
    monitoring,
    network,
    routing,
    secondary_storage,
    snapshots,
    startup,
    storage,
    storage_other,
    system_vm,
    unmanaged,
    vm,
    volume_snapshots,
)

__all__ = [
    "backup",
    "host",
    "migration",
    "monitoring",
    "network",
    "routing",
    "secondary_storage",
    "snapshots",
    "startup",
    "storage",
    "storage_other",
    "system_vm",
    "unmanaged",
    "vm",
    "volume_snapshots",
]
