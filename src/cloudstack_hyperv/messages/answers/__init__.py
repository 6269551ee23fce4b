"""Answer classes by subject; importing this package registers all of them."""

from cloudstack_hyperv.messages.answers import (
    host,
    migration,
    monitoring,
    network,
    snapshots,
    storage,
    system_vm,
    unmanaged,
    vm,
)

__all__ = [
    "host",
    "migration",
    "monitoring",
    "network",
    "snapshots",
    "storage",
    "system_vm",
    "unmanaged",
    "vm",
]
