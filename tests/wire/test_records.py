"""TLS records on the bare stream and in packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.wire import LinkBroken, RecordReader, check_packet


def record(size: int, kind: int = 23) -> bytes:
    return bytes([kind, 3, 3]) + size.to_bytes(2, "big") + b"r" * size


@pytest.mark.parametrize(
    "content", [b"", record(0), record(40), record(40) + record(16408), record(2, kind=21)]
)
def test_whole_records_pass(content: bytes) -> None:
    check_packet(content)


@pytest.mark.parametrize(
    "content",
    [
        record(40)[:-1],
        record(40) + b"\x17",
        record(40) + record(9)[:5],
        record(4, kind=22),
        record(1, kind=20),
        b"[{}]",
        b"\x17\x02\x00\x00\x00",
        b"\x17\x03\x03\xff\xff" + bytes(100),
    ],
)
def test_anything_else_breaks_the_link(content: bytes) -> None:
    with pytest.raises(LinkBroken):
        check_packet(content)


@given(
    sizes=st.lists(st.integers(0, 300), max_size=5),
    rest=st.binary(max_size=4),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=40),
)
def test_records_survive_any_cut(sizes: list[int], rest: bytes, cuts: list[int]) -> None:
    records = [record(size, kind=22) for size in sizes]
    stream = b"".join(records)
    reader, at = RecordReader(), 0
    got: list[bytes] = []
    while at < len(stream):
        step = cuts[len(got) % len(cuts)]
        reader.receive(stream[at : at + step])
        at += step
        while (one := reader.next_record()) is not None:
            got.append(one)
    assert got == records
    reader.receive(rest)
    assert reader.rest() == rest
    assert reader.next_record() is None


@given(st.binary(max_size=100))
def test_random_bytes_are_records_or_break_the_link(data: bytes) -> None:
    reader = RecordReader()
    reader.receive(data)
    try:
        while reader.next_record() is not None:
            pass
    except LinkBroken:
        return
    assert not data or 20 <= data[0] <= 23
