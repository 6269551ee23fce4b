"""How a host refuses: by the return code, by a failed job, or by a fault."""

from __future__ import annotations

from collections.abc import Awaitable

from cloudstack_hyperv.hypervisor.errors import (
    HostUnavailable,
    HypervisorError,
    JobFailed,
    MethodFailed,
    OperationTimedOut,
)
from cloudstack_hyperv.wsman import WsmanFault


async def refusal(operation: Awaitable[object]) -> str:
    """Carry it out and return how it was refused, "done" when it was not.

    A host that cannot be reached, or does not answer in time, refuses nothing: that is raised.
    """
    try:
        await operation
    except (HostUnavailable, OperationTimedOut):
        raise
    except JobFailed:
        return "refused by the job"
    except MethodFailed as error:
        return f"refused with {error.code}"
    except HypervisorError as error:
        if isinstance(error.__cause__, WsmanFault):
            return f"refused by fault {error.__cause__.detail.code:#x}"
        raise
    return "done"
