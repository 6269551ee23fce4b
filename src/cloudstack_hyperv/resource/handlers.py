"""The registry, filled: this module imports all that hold handlers, so look rows up here."""

from cloudstack_hyperv.resource import (
    connection,
    console,
    copies,
    networks,
    security_groups,
    statistics,
    storage_pools,
    store_listing,
    vm_adapters,
    vm_address,
    vm_drives,
    vm_import,
    vm_migration,
    vm_reboot,
    vm_scaling,
    vm_snapshots,
    vm_start,
    vm_state,
    vm_stop,
    volume_resize,
    volume_statistics,
    volumes,
)
from cloudstack_hyperv.resource.registry import HandlerRow, handler_row, supported_commands

__all__ = ["HANDLER_MODULES", "HandlerRow", "handler_row", "supported_commands"]

HANDLER_MODULES = (
    connection,
    console,
    copies,
    networks,
    security_groups,
    statistics,
    storage_pools,
    store_listing,
    vm_adapters,
    vm_address,
    vm_drives,
    vm_import,
    vm_migration,
    vm_reboot,
    vm_scaling,
    vm_snapshots,
    vm_start,
    vm_state,
    vm_stop,
    volume_resize,
    volume_statistics,
    volumes,
)
