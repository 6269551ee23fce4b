"""Jobs of a host: rows that clients poll, and their fate.

A job has a duration on the host's timeline and, for disk images, work in a thread; when both are
over its effect is applied and its state becomes 7, or 10 with an error.  It is removed five
minutes later, or at once with the machine that it belongs to.

Sources: Microsoft's pages Msvm_ConcreteJob, Msvm_StorageJob, Msvm_Error; what a finished job looks
like ([17, 2], InstallDate 1601, TimeBeforeRemoval) is recorded in r4sd/go-wsman's test data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import FINAL_JOB_STATES, JobState, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.clock import NEVER, Appointment, Timeline
from cloudstack_hyperv.emulator.host.outcome import Hresult, JobFailed

_AFTER_ITS_MACHINE = 5.0
"""Seconds that a DestroySystem job outlives its machine: libvirt looks for it once more."""

CREATED_BY_JOB = 5
"""ElementEffects of an element that the job made."""

_STATE_TEXT = {
    JobState.STARTING: "Job is starting",
    JobState.RUNNING: "Job is running",
    JobState.COMPLETED: "Job has completed successfully",
    JobState.TERMINATED: "Job has been cancelled",
    JobState.KILLED: "Job has been killed",
    JobState.EXCEPTION: "Job has failed",
    JobState.COMPLETED_WITH_WARNINGS: "Job has completed with warnings",
}


@dataclass(frozen=True, slots=True)
class JobKind:
    """What a job does: `number` is JobType, `caption` its name."""

    class_name: str
    number: int
    caption: str
    cancellable: bool = False

    @classmethod
    def concrete(cls, number: int, caption: str) -> JobKind:
        """Return a kind of Msvm_ConcreteJob."""
        return cls("Msvm_ConcreteJob", number, caption)

    @classmethod
    def storage(cls, number: int, caption: str) -> JobKind:
        """Return a kind of Msvm_StorageJob; these can be cancelled."""
        return cls("Msvm_StorageJob", number, caption, cancellable=True)

    @classmethod
    def migration(cls, number: int, caption: str) -> JobKind:
        """Return a kind of Msvm_MigrationJob; these can be cancelled."""
        return cls("Msvm_MigrationJob", number, caption, cancellable=True)


class Progress:
    """Shared by a thread (writes) and the job row (reads); also carries the wish to stop."""

    def __init__(self) -> None:
        self.fraction = 0.0
        self.cancelled = False

    def report(self, done: int, total: int) -> None:
        """Take note; raises JobFailed when the job was cancelled meanwhile."""
        self.fraction = done / total if total else 1.0
        if self.cancelled:
            raise JobFailed(ReturnCode.FAILED, "The operation was cancelled.", Hresult.CANCELLED)


@dataclass(slots=True)
class Job:
    """One job.  `finish` is given the result of `work` (None without work)."""

    job_id: str
    kind: JobKind
    owner: str
    submitted: datetime
    seconds: float
    finish: Callable[[Any], None]
    fail: Callable[[], None]
    machine_id: str | None = None
    affected: tuple[ObjectPath, ...] = ()
    created: list[ObjectPath] = field(default_factory=list)
    state: JobState = JobState.RUNNING
    changed: datetime = NEVER
    error_code: int = 0
    error_text: str = ""
    error_hresult: int = 0
    error_reasons: tuple[tuple[int, str], ...] = ()
    details: dict[str, Value] = field(default_factory=dict)
    """Properties that only this job's class has."""
    progress: Progress = field(default_factory=Progress)
    work: Future[Any] | None = None
    due: Appointment | None = None
    child_path: str = ""
    parent_path: str = ""
    removal: float | None = None
    """Seconds that its row stays; None: as usual."""

    @property
    def is_over(self) -> bool:
        """Whether it has come to an end, good or bad."""
        return self.state in FINAL_JOB_STATES


class JobBoard:
    """The jobs of one host."""

    def __init__(self, timeline: Timeline, new_guid: Callable[[], str], removal: float) -> None:
        self._timeline = timeline
        self._new_guid = new_guid
        self._removal = removal
        self._jobs: dict[str, Job] = {}

    def start(
        self,
        kind: JobKind,
        seconds: float,
        finish: Callable[[Any], None],
        *,
        owner: str,
        fail: Callable[[], None] = lambda: None,
        machine_id: str | None = None,
        affected: tuple[ObjectPath, ...] = (),
        work: Callable[[Progress], Future[Any]] | None = None,
    ) -> Job:
        """Start a job that takes `seconds` and, if given, as long as `work` takes."""
        job = Job(
            self._new_guid(),
            kind,
            owner,
            self._timeline.now(),
            seconds,
            finish,
            fail,
            machine_id,
            affected,
        )
        self._jobs[job.job_id] = job
        if work is not None:
            job.work = work(job.progress)
        job.due = self._timeline.after(seconds, lambda: self._time_is_up(job))
        return job

    def _time_is_up(self, job: Job) -> None:
        if job.work is None:
            self._end(job)
        else:
            self._timeline.when_done(job.work, lambda: self._end(job))

    def _end(self, job: Job) -> None:
        if job.is_over:
            return
        try:
            result = job.work.result() if job.work is not None else None
            job.finish(result)
        except JobFailed as failure:
            job.error_code = failure.code
            job.error_text = failure.text
            job.error_hresult = failure.hresult
            job.error_reasons = failure.reasons
            job.fail()
            self._close(job, JobState.EXCEPTION)
        except CancelledError:
            job.fail()
            self._close(job, JobState.TERMINATED)
        else:
            self._close(job, JobState.COMPLETED)

    def _close(self, job: Job, state: JobState) -> None:
        job.state = state
        job.changed = self._timeline.now()
        job.finish = _nothing
        job.fail = lambda: None
        removal = self._removal if job.removal is None else job.removal
        self._timeline.after(removal, lambda: self._drop(job))

    def _drop(self, job: Job) -> None:
        self._jobs.pop(job.job_id, None)

    def forget(self, job: Job) -> None:
        """Take a job's row away at once, as when its machine has left the host."""
        self._drop(job)

    def forget_after(self, job: Job, seconds: float) -> None:
        """Take a job's row away before it is over; what it does goes on."""
        if seconds > 0:
            self._timeline.after(seconds, lambda: self._drop(job))
        else:
            self._drop(job)

    def cancel(self, job: Job, *, kill: bool) -> int:
        """End a job before its time; return the method's code."""
        if job.is_over or not job.kind.cancellable:
            return ReturnCode.INVALID_STATE
        job.progress.cancelled = True
        if job.due is not None:
            job.due.cancel()
        job.fail()
        job.error_code = ReturnCode.FAILED
        job.error_text = f"The operation was cancelled (0x{Hresult.CANCELLED:08X})."
        job.error_hresult = Hresult.CANCELLED
        self._close(job, JobState.KILLED if kill else JobState.TERMINATED)
        return ReturnCode.COMPLETED

    def forget_machine(self, machine_id: str) -> None:
        """Remove the jobs of a machine that is gone; one that still runs stays a moment."""
        for job in [job for job in self._jobs.values() if job.machine_id == machine_id]:
            if job.is_over:
                self._jobs.pop(job.job_id)
            else:
                job.removal = _AFTER_ITS_MACHINE

    def of_class(self, class_name: str) -> list[Job]:
        """Return the jobs of one class, oldest first."""
        return [job for job in self._jobs.values() if job.kind.class_name == class_name]

    def all(self) -> Iterable[Job]:
        """Return every job that still has a row."""
        return list(self._jobs.values())

    def running_for(self, machine_id: str) -> list[Job]:
        """Return the jobs of a machine that are not over."""
        return [j for j in self._jobs.values() if j.machine_id == machine_id and not j.is_over]

    def get(self, job_id: str) -> Job | None:
        """Return the job of that id, None when it is gone."""
        return self._jobs.get(job_id.upper())

    def lose_all(self) -> None:
        """Forget every job, as a restart of VMMS does; what they had begun stays begun."""
        for job in self._jobs.values():
            if job.due is not None and not job.is_over:
                job.due.cancel()
                job.progress.cancelled = True
                job.fail()
        self._jobs.clear()

    def row(self, job: Job) -> Row:
        """Return the job as an instance of its class."""
        now = self._timeline.now()
        end = job.changed if job.is_over else now
        failed = job.state == JobState.EXCEPTION
        values: dict[str, Value] = {
            "InstanceID": job.job_id,
            "Caption": job.kind.caption,
            "Description": job.kind.caption,
            "ElementName": job.kind.caption,
            "InstallDate": NEVER,
            "Name": job.kind.caption,
            "OperationalStatus": _operational_status(job),
            "StatusDescriptions": _status_descriptions(job),
            "Status": "Error" if failed else "OK",
            "HealthState": 5,
            "JobStatus": _STATE_TEXT[job.state],
            "TimeSubmitted": job.submitted,
            "StartTime": job.submitted,
            "ScheduledStartTime": job.submitted,
            "ElapsedTime": max(end - job.submitted, timedelta()),
            "JobRunTimes": 1,
            "LocalOrUtcTime": 2,
            "Notify": "",
            "Owner": job.owner,
            "Priority": 0,
            "PercentComplete": self._percent(job, now),
            "DeleteOnCompletion": False,
            "ErrorCode": job.error_code,
            "ErrorDescription": job.error_text,
            "ErrorSummaryDescription": job.error_text.split(". ")[0],
            "RecoveryAction": 2,
            "JobState": int(job.state),
            "TimeOfLastStateChange": job.changed if job.is_over else job.submitted,
            "TimeBeforeRemoval": timedelta(seconds=self._removal),
            "Cancellable": job.kind.cancellable,
            "JobType": job.kind.number,
        }
        if job.kind.class_name == "Msvm_StorageJob":
            values["JobCompletionStatusCode"] = job.error_hresult
            values["Child"] = job.child_path
            values["Parent"] = job.parent_path
        values.update(job.details)
        return Row(job.kind.class_name, values)

    def _percent(self, job: Job, now: datetime) -> int:
        if job.state == JobState.COMPLETED:
            return 100
        if job.work is not None:
            return min(99, int(job.progress.fraction * 100))
        passed = (now - job.submitted).total_seconds()
        return min(99, int(100 * passed / job.seconds)) if job.seconds > 0 else 0


def error_row(job: Job) -> Row:
    """Return why a job failed, as Msvm_Error."""
    return Row(
        "Msvm_Error",
        {
            "ErrorType": 4,
            "OwningEntity": "Microsoft-Windows-Hyper-V-VMMS",
            "MessageID": str(job.error_code),
            "Message": job.error_text,
            "PerceivedSeverity": 4,
            "ProbableCause": 0,
            "ErrorSource": str(job.affected[0]) if job.affected else "",
            "ErrorSourceFormat": 2,
            "CIMStatusCode": 1,
            "CIMStatusCodeDescription": "CIM_ERR_FAILED",
        },
    )


def error_rows(job: Job) -> list[Row]:
    """Return why a job failed, outermost first; reasons follow the failure they explain."""
    outer = error_row(job)
    inner = [
        Row(outer.class_name, {**outer.values, "MessageID": str(number), "Message": text})
        for number, text in job.error_reasons
    ]
    return [outer, *inner]


def _nothing(_: object) -> None:
    return None


def _operational_status(job: Job) -> list[int]:
    if job.state == JobState.COMPLETED:
        return [17, 2]
    return [2, 6] if job.state == JobState.EXCEPTION else [2]


def _status_descriptions(job: Job) -> list[str]:
    text = _STATE_TEXT[job.state]
    return [text, "OK"] if job.is_over else ["OK"]
