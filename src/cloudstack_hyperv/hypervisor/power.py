"""Turning a VM on and off, asking its guest, and removing its definition.

A state change answers 32775 when the VM already has the state *or* cannot have it now; only its
EnabledState tells which, so a refused change is followed by a look.  Removing a definition is
eventual: DestroySystem's job may end before the VM's row is gone, and while a checkpoint is
merged the call is refused for a while.

Source: Microsoft, "RequestStateChange method of the Msvm_ComputerSystem class",
"Msvm_ShutdownComponent class", "DestroySystem method"; os-win `vmutils` and Microsoft's Go library
for the repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cloudstack_hyperv.cim import ObjectPath, Uint16
from cloudstack_hyperv.cim.constants import EnabledState, RequestedState, ReturnCode
from cloudstack_hyperv.hypervisor.errors import (
    HypervisorError,
    MethodFailed,
    OperationTimedOut,
    VirtualMachineNotFound,
    WrongState,
    translated,
)
from cloudstack_hyperv.hypervisor.jobs import JobVanished, call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, machine_path
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import CimClient
from cloudstack_hyperv.wsman.protocol.wql import Select, equals

FIRST_LOOK = 0.05
"""Seconds before the first look at a state that should change."""
SLOWEST_LOOK = 1.0
ASK_AGAIN = 0.5
"""Seconds until a guest that is shutting down or rebooting is asked once more."""
UNDER_WAY = "the guest is shutting down or rebooting"
STATE_TIMEOUT = 60.0
"""Seconds a VM may take to be off or gone after its job ended."""

_REFUSED = frozenset({int(ReturnCode.INVALID_STATE)})
_BETWEEN = (EnabledState.STARTING, EnabledState.SHUTTING_DOWN, EnabledState.OTHER)
"""States that a VM leaves by itself."""
_GUEST_REFUSALS = {
    int(ReturnCode.FAILED): "the guest does not answer",
    int(ReturnCode.NOT_SUPPORTED): "the guest cannot do it",
    int(ReturnCode.INVALID_STATE): "the VM is not running",
    int(ReturnCode.NOT_READY): "the guest is not ready",
    int(ReturnCode.MACHINE_LOCKED): "the guest is locked",
}


@dataclass(slots=True)
class Pace:
    """Growing pauses between looks, up to a deadline in event loop time."""

    deadline: float
    pause: float = FIRST_LOOK

    @classmethod
    def for_seconds(cls, seconds: float) -> Pace:
        """Return a pace that ends in `seconds` from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    async def next(self) -> bool:
        """Wait; False if the deadline has passed before."""
        left = self.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await asyncio.sleep(min(self.pause, left))
        self.pause = min(self.pause * 1.5, SLOWEST_LOOK)
        return True


async def read_state(client: CimClient, guid: str, *, poll: bool = False) -> int | None:
    """Return the VM's EnabledState, None if the VM is gone; `poll`: we only wait for a change."""
    with translated("read the state of a VM"):
        try:
            row = await client.get(machine_path(guid), job_poll=poll)
        except wsman.NotFound:
            return None
    state = row.uint("EnabledState")
    if state is None:
        raise HypervisorError(f"the host does not tell the state of VM {guid}")
    return state


async def turn_on(client: CimClient, guid: str, name: str) -> None:
    """Start the VM, or let a paused or saved one go on; success if it runs already."""
    await _change(client, guid, f"start VM {name}", RequestedState.START, EnabledState.ENABLED)


async def turn_off(client: CimClient, guid: str, name: str) -> None:
    """Cut the VM's power; success if it is off or gone."""
    await _change(
        client, guid, f"turn off VM {name}", RequestedState.TURN_OFF, EnabledState.DISABLED
    )


async def save(client: CimClient, guid: str, name: str) -> None:
    """Save the VM's memory to disk and stop it; success if it is saved already."""
    await _change(client, guid, f"save VM {name}", RequestedState.SAVE, EnabledState.SAVED)


async def pause(client: CimClient, guid: str, name: str) -> None:
    """Stop the VM's processors and keep its memory; success if it is paused already."""
    await _change(client, guid, f"pause VM {name}", RequestedState.PAUSE, EnabledState.PAUSED)


async def reset(client: CimClient, guid: str, name: str) -> None:
    """Push the VM's reset button."""
    await _change(client, guid, f"reset VM {name}", RequestedState.RESET, EnabledState.ENABLED)


async def shut_down(client: CimClient, guid: str, name: str, *, patience: float) -> str | None:
    """Ask the guest to shut down and wait up to `patience` seconds until it is off.

    Returns None when it is off, else why not.  The request is forced: without that a logged-on
    user blocks it, and nobody sits at these consoles.
    """
    started = asyncio.get_running_loop().time()
    pace = Pace(started + patience, ASK_AGAIN)
    while (refusal := await _ask_guest(client, guid, name, "InitiateShutdown")) == UNDER_WAY:
        # The guest shuts down already, or it reboots and has to be asked once more.
        if _is_off(await read_state(client, guid)):
            return None
        if not await pace.next():
            return f"{UNDER_WAY}, and was not off after {patience:g} s"
    if refusal is not None:
        return refusal
    left = started + patience - asyncio.get_running_loop().time()
    if await wait_until(client, guid, _is_off, max(left, 0)):
        return None
    return f"the guest was asked to shut down and was not off after {patience:g} s"


async def reboot(client: CimClient, guid: str, name: str) -> str | None:
    """Ask the guest to reboot; returns None when it will, else why not."""
    refusal = await _ask_guest(client, guid, name, "InitiateReboot")
    return None if refusal == UNDER_WAY else refusal


async def destroy(
    client: CimClient, guid: str, name: str, *, timeout: float = STATE_TIMEOUT
) -> None:
    """Remove the VM's definition and wait until it is gone; never touches its disks.

    The VM must be off or saved.  Success if it is gone already.
    """
    what = f"remove the definition of VM {name}"
    pace = Pace.for_seconds(timeout)
    while True:
        try:
            await call(
                client,
                MANAGEMENT_SERVICE,
                "DestroySystem",
                {"AffectedSystem": machine_path(guid)},
                what=what,
                timeout=timeout,
            )
            break
        except JobVanished:
            break
        except MethodFailed as error:
            state = await read_state(client, guid)
            if state is None:
                return
            busy = error.code in (ReturnCode.INVALID_STATE, ReturnCode.SYSTEM_IN_USE)
            if not busy or state not in (EnabledState.DISABLED, EnabledState.SAVED):
                raise
            # Off and still refused: a checkpoint is merged, or another job holds the VM.
            if not await pace.next():
                raise
        except HypervisorError as error:
            if isinstance(error.__cause__, wsman.NotFound):
                return
            raise
    while await read_state(client, guid) is not None:
        if not await pace.next():
            raise OperationTimedOut(f"{what}: the host still lists it after {timeout:g} s")


async def wait_until(
    client: CimClient, guid: str, reached: Callable[[int | None], bool], seconds: float
) -> bool:
    """Look at the VM's state until `reached` says so; False when `seconds` are over."""
    pace = Pace.for_seconds(seconds)
    while not reached(await read_state(client, guid, poll=True)):
        if not await pace.next():
            return False
    return True


async def _change(
    client: CimClient, guid: str, what: str, request: RequestedState, wanted: EnabledState
) -> None:
    """Request a state; while the VM is between two states, again and again."""
    pace = Pace.for_seconds(STATE_TIMEOUT)
    while not await _request(client, guid, what, request):
        state = await read_state(client, guid)
        if state is None:
            if wanted is EnabledState.DISABLED:
                return
            raise VirtualMachineNotFound(f"{what}: the VM is gone")
        if state == wanted and request is not RequestedState.RESET:
            return
        if state not in _BETWEEN or not await pace.next():
            raise WrongState(f"{what}: the VM is {state_name(state)}, which forbids it")


async def _request(client: CimClient, guid: str, what: str, request: RequestedState) -> bool:
    """Request a state once; False if it was refused, or if nobody knows what came of it."""
    try:
        result = await call(
            client,
            machine_path(guid),
            "RequestStateChange",
            {"RequestedState": Uint16(request)},
            what=what,
            accept=_REFUSED,
        )
    except JobVanished:
        return False
    except HypervisorError as error:
        if isinstance(error.__cause__, wsman.NotFound):
            return False
        raise
    return result.return_value != ReturnCode.INVALID_STATE


async def _ask_guest(client: CimClient, guid: str, name: str, method: str) -> str | None:
    component = await _shutdown_component(client, guid)
    if component is None:
        return "the guest has no shutdown service"
    what = f"{method} of VM {name}"
    with translated(what):
        try:
            result = await client.invoke(
                component, method, {"Force": True, "Reason": "requested by CloudStack"}
            )
        except wsman.NotFound:
            return "the guest has no shutdown service"
    code = result.return_value
    if code in (ReturnCode.COMPLETED, ReturnCode.JOB_STARTED):
        return None
    if code == ReturnCode.SHUTDOWN_IN_PROGRESS:
        return UNDER_WAY
    return _GUEST_REFUSALS.get(code or 0, f"the host answered {code}")


async def _shutdown_component(client: CimClient, guid: str) -> ObjectPath | None:
    """Return the VM's shutdown component; there is none while the VM is off."""
    with translated("find the shutdown service of a VM"):
        rows = await client.query(
            Select("Msvm_ShutdownComponent", where=equals("SystemName", guid))
        )
    if not rows:
        return None
    row = rows[0]
    return ObjectPath.of(
        "Msvm_ShutdownComponent",
        SystemCreationClassName=row.require("SystemCreationClassName"),
        SystemName=row.require("SystemName"),
        CreationClassName=row.require("CreationClassName"),
        DeviceID=row.require("DeviceID"),
    )


def _is_off(state: int | None) -> bool:
    return state is None or state == EnabledState.DISABLED


def state_name(state: int) -> str:
    """Return EnabledState in words."""
    try:
        return EnabledState(state).name.lower().replace("_", " ")
    except ValueError:
        return f"number {state}"
