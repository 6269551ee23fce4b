"""The one place that knows what a method's ReturnValue means.

0: done.  4096: a job was started; poll it until it ends, then look at JobState *and* ErrorCode
(a job can be Completed with an ErrorCode, os-win's jobutils checks both).  A job that vanishes
while we poll has finished, or its VM was destroyed, or VMMS restarted: the caller must look at
the target (`JobVanished`).  Anything else: the call failed and nothing was started.

Source: Microsoft, "Msvm_ConcreteJob class"; polling pace of libvirt's hyperv driver (100 ms).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from cloudstack_hyperv.cim import ObjectPath, Uint16
from cloudstack_hyperv.cim.constants import FINAL_JOB_STATES, JobState, ReturnCode
from cloudstack_hyperv.hypervisor.errors import (
    HypervisorError,
    JobFailed,
    MethodFailed,
    OperationTimedOut,
    translated,
)
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import Argument, CimClient, Instance, MethodResult

log = structlog.get_logger(__name__)

FIRST_POLL = 0.05
"""Seconds before the first look at a job."""
SLOWEST_POLL = 2.0
"""Seconds between looks at a job that takes long."""
DEFAULT_JOB_TIMEOUT = 300.0
ABANDON_TIMEOUT = 10.0
"""Seconds that a cancelled command still waits for the end of its job."""


class JobVanished(HypervisorError):
    """The job is gone: finished and removed, or lost with a VMMS restart.  Check the target."""


ProgressCallback = Callable[[float], None]
"""Called with the job's progress, 0.0 to 1.0."""


async def call(
    client: CimClient,
    target: ObjectPath,
    method: str,
    arguments: Mapping[str, Argument] | None = None,
    *,
    what: str,
    timeout: float = DEFAULT_JOB_TIMEOUT,
    accept: frozenset[int] = frozenset(),
    progress: ProgressCallback | None = None,
) -> MethodResult:
    """Invoke a method and wait for its job.

    `what` names the operation in errors ("define i-2-3-VM").  Return codes in `accept` are
    handed back instead of raised.  `timeout` (seconds) bounds call and job together.

    Raises MethodFailed, JobFailed, JobVanished, OperationTimedOut, HostUnavailable.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    with translated(what):
        result = await client.invoke(target, method, arguments, timeout=min(timeout, 60.0))
    code = result.return_value
    if code is None or code == ReturnCode.COMPLETED or code in accept:
        return result
    if code != ReturnCode.JOB_STARTED:
        raise MethodFailed(what, code)
    job = result.job
    if job is None:
        raise HypervisorError(f"{what}: the host started a job but did not say which")
    await wait_for_job(client, job, what=what, deadline=deadline, progress=progress)
    return result


async def wait_for_job(
    client: CimClient,
    job: ObjectPath,
    *,
    what: str,
    deadline: float,
    progress: ProgressCallback | None = None,
) -> Instance:
    """Poll `job` until it ends well; `deadline` is in event loop time.

    When the caller is cancelled the host is asked to end the job, and its end is awaited for a
    moment: what is undone next would meet files and VMs that the job still holds.
    """
    try:
        return await _until_end(client, job, what=what, deadline=deadline, progress=progress)
    except asyncio.CancelledError:
        ending = asyncio.ensure_future(_abandon(client, job))
        await asyncio.wait([ending], timeout=ABANDON_TIMEOUT + 1)
        raise


async def _until_end(
    client: CimClient,
    job: ObjectPath,
    *,
    what: str,
    deadline: float,
    progress: ProgressCallback | None,
) -> Instance:
    loop = asyncio.get_running_loop()
    pause = FIRST_POLL
    while True:
        if loop.time() >= deadline:
            await _cancel(client, job)
            raise OperationTimedOut(f"{what}: the host's job did not end in time")
        await asyncio.sleep(min(pause, max(0.0, deadline - loop.time())))
        pause = min(pause * 1.5, SLOWEST_POLL)
        try:
            with translated(what):
                row = await _read(client, job)
        except JobVanished:
            raise JobVanished(f"{what}: the host's job is gone before we saw its end") from None
        state = row.uint("JobState")
        if progress is not None:
            progress((row.uint("PercentComplete") or 0) / 100)
        if state not in FINAL_JOB_STATES:
            continue
        error = row.uint("ErrorCode") or 0
        if state in (JobState.COMPLETED, JobState.COMPLETED_WITH_WARNINGS) and error == 0:
            return row
        raise JobFailed(what, error, await _explain(client, job, row))


async def _read(client: CimClient, job: ObjectPath) -> Instance:
    try:
        return await client.get(job, job_poll=True)
    except wsman.NotFound:
        raise JobVanished("gone") from None


async def _abandon(client: CimClient, job: ObjectPath) -> None:
    """End a job that nobody waits for any more; what cannot be ended is waited for, briefly."""
    deadline = asyncio.get_running_loop().time() + ABANDON_TIMEOUT
    try:
        await _cancel(client, job)
        await _until_end(client, job, what="end a job", deadline=deadline, progress=None)
    except (JobFailed, JobVanished):
        return  # It ended, which is all that was wanted.
    except (HypervisorError, wsman.WsmanError) as error:
        log.warning("a job of a cancelled command may still run", reason=str(error))


async def _cancel(client: CimClient, job: ObjectPath) -> None:
    """Ask the host to end a job; storage and migration jobs obey, most others refuse."""
    with translated("cancel a job"):
        try:
            await client.invoke(job, "RequestStateChange", {"RequestedState": Uint16(4)})
        except wsman.NotFound:
            return


async def _explain(client: CimClient, job: ObjectPath, row: Instance) -> str:
    """Return the job's own words: ErrorDescription, else those of GetErrorEx."""
    text = row.string("ErrorDescription") or row.string("ErrorSummaryDescription")
    if text:
        return " ".join(text.split())
    try:
        result = await client.invoke(job, "GetErrorEx")
    except wsman.WsmanError:
        # The job's row was read before; a lost detail must not hide the failure itself.
        return row.string("JobStatus") or ""
    return " ".join(" ".join(result.out.strings("Errors")).split())[:2000]
