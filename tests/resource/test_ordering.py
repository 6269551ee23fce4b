"""Commands with a common key run one after the other, others side by side."""

import asyncio

import pytest

from cloudstack_hyperv.resource.ordering import Ordering


async def test_a_common_key_orders_and_other_keys_do_not() -> None:
    ordering = Ordering()
    running: set[str] = set()
    overlaps: set[frozenset[str]] = set()

    async def work(name: str, *keys: str) -> None:
        async with ordering.hold(keys):
            running.add(name)
            overlaps.update(frozenset({name, other}) for other in running if other != name)
            await asyncio.sleep(0.02)
            running.discard(name)

    await asyncio.gather(
        work("start", "vm:a", "file:1"),
        work("stop", "VM:A"),
        work("delete", "file:1"),
        work("other", "vm:b"),
    )
    assert frozenset({"start", "stop"}) not in overlaps
    assert frozenset({"start", "delete"}) not in overlaps
    assert frozenset({"start", "other"}) in overlaps
    assert len(ordering) == 0


async def test_opposite_orders_cannot_deadlock() -> None:
    ordering = Ordering()

    async def work(*keys: str) -> None:
        for _ in range(50):
            async with ordering.hold(keys):
                await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(work("a", "b"), work("b", "a")), 5)


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    ordering = Ordering()
    async with ordering.hold(["vm:a"]):
        waiter = asyncio.create_task(_hold(ordering, "vm:0", "vm:a"))
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert len(ordering) == 1
    assert len(ordering) == 0


async def _hold(ordering: Ordering, *keys: str) -> None:
    async with ordering.hold(keys):
        pass
