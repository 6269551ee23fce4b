"""One request: order, stop on error, cancelling, waiting for a place."""

import asyncio

import pytest

from cloudstack_hyperv.doors.agent.execution import STOPPED, RunningRequest
from cloudstack_hyperv.messages import Answer, Command
from cloudstack_hyperv.messages.answers.vm import StopAnswer
from cloudstack_hyperv.messages.commands.host import CheckHealthCommand
from cloudstack_hyperv.messages.commands.vm import StopCommand
from cloudstack_hyperv.wire import Flag, Header, ServerRequest, UnreadableCommand


def request(*commands: Command | UnreadableCommand, stop: bool = True) -> RunningRequest:
    flags = Flag.REQUEST | Flag.FROM_SERVER | (Flag.STOP_ON_ERROR if stop else Flag(0))
    return RunningRequest(ServerRequest(Header(flags, 7), tuple(commands)))


def stops(count: int) -> list[StopCommand]:
    return [StopCommand(vm_name=f"i-2-{number}-VM") for number in range(count)]


@pytest.mark.parametrize(
    ("fails", "stop", "ran", "results"),
    [
        ((), True, "012", [True, True, True]),
        ((0,), True, "0", [False, False, False]),
        ((1,), True, "01", [True, False, False]),
        ((1,), False, "012", [True, False, True]),
        ((0, 1, 2), False, "012", [False, False, False]),
    ],
)
async def test_order_and_stop_on_error(
    fails: tuple[int, ...], stop: bool, ran: str, results: list[bool]
) -> None:
    seen = ""

    async def execute(command: Command) -> Answer:
        nonlocal seen
        assert isinstance(command, StopCommand)
        number = command.vm_name.split("-")[2]
        seen += number
        return StopAnswer(result=int(number) not in fails, details="vm is locked")

    made = await request(*stops(3), stop=stop).answers(execute, None)
    assert seen == ran
    assert [one.result for one in made] == results
    for number, one in enumerate(made):
        if str(number) not in ran:
            assert type(one) is Answer
            assert one.details == STOPPED == "Stopped by previous failure"


async def test_an_unreadable_command_counts_as_failed() -> None:
    async def execute(_: Command) -> Answer:
        raise AssertionError("must not run")

    bad = UnreadableCommand(Answer(result=False, details="no such class"))
    made = await request(bad, *stops(1)).answers(execute, None)
    assert [one.details for one in made] == ["no such class", STOPPED]


async def _cancelled(running: RunningRequest, workers: asyncio.Semaphore | None) -> list[Answer]:
    began = asyncio.Event()
    made: list[Answer] = []

    async def execute(_: Command) -> Answer:
        began.set()
        await asyncio.sleep(60)
        raise AssertionError("was not cancelled")

    async def run() -> None:
        made.extend(await running.answers(execute, workers))

    running.task = asyncio.create_task(run())
    if workers is None:
        await began.wait()
    else:
        await asyncio.sleep(0)
    running.cancel("asked to")
    await asyncio.wait_for(running.task, 5)
    assert not running.task.cancelled()
    return made


async def test_a_cancelled_request_is_answered_in_its_own_classes() -> None:
    made = await _cancelled(request(*stops(2), stop=False), None)
    assert isinstance(made[0], StopAnswer)
    assert made[0].details == "cancelled: asked to"
    assert made[1].details == STOPPED


async def test_a_request_cancelled_in_the_queue_is_answered_too() -> None:
    workers = asyncio.Semaphore(1)
    await workers.acquire()
    made = await _cancelled(request(CheckHealthCommand()), workers)
    assert made[0].details == "cancelled before it began: asked to"
    workers.release()
    assert not workers.locked()


async def test_the_process_s_own_cancellation_is_not_swallowed() -> None:
    running = request(*stops(1))

    async def execute(_: Command) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError("was not cancelled")

    task = asyncio.create_task(running.answers(execute, None))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_bug_is_an_answer_without_its_text_and_its_place_is_given_back() -> None:
    workers = asyncio.Semaphore(1)

    async def fail(_: Command) -> Answer:
        raise ValueError("planted-secret")

    [one] = await request(*stops(1)).answers(fail, workers)
    assert isinstance(one, StopAnswer)
    assert not one.result
    assert "ValueError" in (one.details or "")
    assert "planted-secret" not in (one.details or "")
    assert not workers.locked()
