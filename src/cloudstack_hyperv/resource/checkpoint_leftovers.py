"""Checkpoints that we take for a moment: their names, and what a crash leaves of them.

A checkpoint that freezes a VM's disks for a copy is called `cloudstack-hyperv <owner> <token>`,
with the same owner's mark as unfinished files (`storage.leftovers`).  One of our mark on which this
process does not work was left by a crash and is deleted when its VM's disks are wanted again, or
when a pool is made usable at a connect.  No other checkpoint is ever touched.  One that broke down
before it got its name cannot be told from an operator's and stays.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from cloudstack_hyperv.hypervisor import checkpoints
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.known_machines import machine_directory
from cloudstack_hyperv.storage.leftovers import owner_mark
from cloudstack_hyperv.wsman.protocol.wql import Select, all_of, starts_with

log = structlog.get_logger(__name__)

_MEMORY: Final = "temporary checkpoints"
"""In `HostMemory`: the names of those that this process works on."""
_NAME: Final = re.compile(r"cloudstack-hyperv (?P<owner>[0-9a-f]{8}) [0-9a-f]{12}")
PATIENCE: Final = 60.0
"""Seconds for a leftover's merge; the host goes on with it by itself."""


@contextmanager
def temporary_name(context: HostContext) -> Iterator[str]:
    """Reserve a name for a checkpoint for the block."""
    name = f"{_prefix(context)}{secrets.token_hex(6)}"
    in_work = _in_work(context)
    in_work.add(name)
    try:
        yield name
    finally:
        in_work.discard(name)


def is_leftover(context: HostContext, name: str) -> bool:
    """Tell whether a checkpoint's name is one of ours on which nobody works."""
    match = _NAME.fullmatch(name)
    return (
        match is not None
        and match["owner"] == owner_mark(context.host.name)
        and name not in _in_work(context)
    )


async def remove_leftover_checkpoints_of(
    context: HostContext, machine: Machine, patience: float = PATIENCE
) -> None:
    """Delete what a crash left on one VM; raises HypervisorError."""
    name = machine.cloudstack_name
    for checkpoint in await checkpoints.list_checkpoints(context.cim, machine.guid, name):
        if is_leftover(context, checkpoint.name):
            await checkpoints.delete(context.cim, machine, checkpoint, patience)
            log.info("removed a checkpoint that a crash left", vm=name, checkpoint=checkpoint.name)


async def remove_leftover_checkpoints(context: HostContext) -> None:
    """Delete what a crash left on any VM of ours; what cannot be deleted now stays for later."""
    with translated("look for checkpoints that a crash left"):
        rows = await context.cim.query(
            Select(
                "Msvm_VirtualSystemSettingData",
                where=all_of(
                    (
                        starts_with("ElementName", _prefix(context)),
                        starts_with("VirtualSystemType", "Microsoft:Hyper-V:Snapshot:"),
                    )
                ),
                properties=("ElementName", "VirtualSystemIdentifier"),
            )
        )
    guids = {
        (row.string("VirtualSystemIdentifier") or "").upper()
        for row in rows
        if is_leftover(context, row.string("ElementName") or "")
    }
    if not guids:
        return
    for machine in await machine_directory(context).list_all():
        if machine.guid.upper() not in guids or machine.ownership is None:
            continue
        try:
            await remove_leftover_checkpoints_of(context, machine)
        except HypervisorError as error:
            log.warning(
                "a checkpoint that a crash left cannot be removed yet",
                vm=machine.cloudstack_name,
                reason=str(error),
            )


def _prefix(context: HostContext) -> str:
    return f"cloudstack-hyperv {owner_mark(context.host.name)} "


def _in_work(context: HostContext) -> set[str]:
    names: set[str] = context.memory.values.setdefault(_MEMORY, set())
    return names
