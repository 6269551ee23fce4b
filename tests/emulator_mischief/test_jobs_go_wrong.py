"""How jobs end when somebody decides it, as an independent client sees it."""

from __future__ import annotations

import asyncio

import pytest
from pypsrp.exceptions import WSManFaultError
from tests.emulator_mischief.conftest import Scene
from tests.emulator_mischief.outsider import IMAGES, SYSTEM, V2, machine_key

from cloudstack_hyperv.emulator.host import JobMode
from cloudstack_hyperv.emulator.mischief import Rule
from cloudstack_hyperv.emulator.mischief.actions import (
    AnswerWay,
    CompleteJobWithError,
    FailJob,
    LoseJob,
)

DISK = r"C:\pool\disk.vhdx"
CREATE = "CreateVirtualHardDisk"
NOT_FOUND = 0x80338000


async def there(scene: Scene) -> bool:
    """Whether the disk is on the host."""
    rows = await scene.client.query(
        r"SELECT * FROM CIM_DataFile WHERE Name = 'C:\\pool\\disk.vhdx'", "root/cimv2"
    )
    assert scene.emulation.path(DISK).exists() is bool(rows)
    return bool(rows)


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_job_that_ends_in_an_exception(scene: Scene, after_effect: bool) -> None:
    action = FailJob(
        code=32779,
        hresult=0x80070003,
        text="The system cannot find the path specified. (0x80070003).",
        after_effect=after_effect,
    )
    scene.mischief.add(Rule(name="r", action=action, method=CREATE))
    answer = await scene.client.create_disk(DISK)
    assert answer["ReturnValue"] == "4096"
    job = await scene.client.job_ended(answer)
    assert (job["JobState"], job["ErrorCode"]) == ("10", "32779")
    assert job["JobCompletionStatusCode"] == str(0x80070003)
    assert "0x80070003" in (job["ErrorDescription"] or "")
    errors = await scene.client.invoke(
        "Msvm_StorageJob", "GetErrorEx", {"InstanceID": answer["Job"] or ""}
    )
    assert "0x80070003" in (errors["Errors"] or "")
    assert await there(scene) is after_effect
    assert scene.firing() == (True, "")


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_job_that_completes_with_an_error_code(scene: Scene, after_effect: bool) -> None:
    action = CompleteJobWithError(code=32773, text="Oddly done.", after_effect=after_effect)
    scene.mischief.add(Rule(name="r", action=action, method=CREATE))
    job = await scene.client.job_ended(await scene.client.create_disk(DISK))
    assert (job["JobState"], job["ErrorCode"]) == ("7", "32773")
    assert job["ErrorDescription"] == "Oddly done."
    assert await there(scene) is after_effect


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_job_that_vanishes(scene: Scene, after_effect: bool) -> None:
    scene.mischief.add(Rule(name="r", action=LoseJob(after_effect=after_effect), method=CREATE))
    answer = await scene.client.create_disk(DISK)
    assert answer["ReturnValue"] == "4096"
    with pytest.raises(WSManFaultError) as gone:
        await scene.client.get("Msvm_StorageJob", {"InstanceID": answer["Job"] or ""})
    assert gone.value.code == NOT_FOUND
    for _ in range(100):
        if await there(scene):
            break
        await asyncio.sleep(0.01 if after_effect else 0.002)
    assert await there(scene) is after_effect


async def test_a_job_that_vanishes_while_it_is_polled(scene: Scene) -> None:
    guid = await scene.vm()
    scene.mischief.add(
        Rule(
            name="r",
            action=LoseJob(after=0.1, seconds=0.3),
            class_name=SYSTEM,
            method="RequestStateChange",
        )
    )
    answer = await scene.client.invoke(
        SYSTEM, "RequestStateChange", machine_key(guid), RequestedState=2
    )
    row = await scene.client.get("Msvm_ConcreteJob", {"InstanceID": answer["Job"] or ""})
    assert row["JobState"] == "4"
    with pytest.raises(WSManFaultError):
        await scene.client.job_ended(answer, "Msvm_ConcreteJob")
    assert (await scene.client.machine(guid))["EnabledState"] == "10"
    await asyncio.sleep(0.35)
    assert (await scene.client.machine(guid))["EnabledState"] == "2"


async def test_a_failed_start_leaves_the_machine_off_and_free(scene: Scene) -> None:
    guid = await scene.vm()
    scene.mischief.add(f"job-exception@{SYSTEM}.RequestStateChange")
    for state, ending in (("3", "10"), ("2", "7")):
        answer = await scene.client.invoke(
            SYSTEM, "RequestStateChange", machine_key(guid), RequestedState=2
        )
        if answer["ReturnValue"] == "4096":
            job = await scene.client.job_ended(answer, "Msvm_ConcreteJob")
            assert job["JobState"] == ending
        assert (await scene.client.machine(guid))["EnabledState"] == state


@pytest.mark.parametrize(
    ("mode", "as_job", "expected"),
    [(JobMode.ALWAYS_0, True, "4096"), (JobMode.ALWAYS_4096, False, "0")],
)
async def test_the_way_of_answering(
    scene: Scene, mode: JobMode, as_job: bool, expected: str
) -> None:
    scene.emulation.host.site.conductor.mode = mode
    scene.mischief.add(Rule(name="r", action=AnswerWay(as_job=as_job), class_name=IMAGES))
    assert (await scene.client.create_disk(DISK))["ReturnValue"] == expected
    other = "0" if expected == "4096" else "4096"
    assert (await scene.client.create_disk(r"C:\pool\o.vhdx"))["ReturnValue"] == other


async def test_a_slow_job(scene: Scene) -> None:
    scene.mischief.add(Rule(name="r", action=AnswerWay(as_job=True, seconds=0.3), method=CREATE))
    answer = await scene.client.create_disk(DISK)
    job = await scene.client.get("Msvm_StorageJob", {"InstanceID": answer["Job"] or ""}, V2)
    assert job["JobState"] == "4"
    job = await scene.client.job_ended(answer)
    assert job["JobState"] == "7"


async def test_a_call_that_starts_no_job_says_that_nothing_was_met(scene: Scene) -> None:
    scene.mischief.add("job-exception@*.GetVirtualHardDiskSettingData")
    await scene.client.create_disk(DISK)
    answer = await scene.client.invoke(IMAGES, "GetVirtualHardDiskSettingData", Path=DISK)
    assert answer["ReturnValue"] == "0"
    assert scene.firing() == (False, "the call started no operation")
    assert (await scene.client.create_disk(r"C:\pool\next.vhdx"))["ReturnValue"] == "0"


async def test_two_rules_about_one_job(scene: Scene) -> None:
    scene.mischief.add(Rule(name="first", action=FailJob(code=32777), method=CREATE))
    scene.mischief.add(Rule(name="second", action=CompleteJobWithError(), method=CREATE))
    job = await scene.client.job_ended(await scene.client.create_disk(DISK))
    assert (job["JobState"], job["ErrorCode"]) == ("10", "32777")
    assert [(f.rule, f.took_effect) for f in scene.mischief.firings] == [
        ("first", True),
        ("second", False),
    ]
