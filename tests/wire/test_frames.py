"""Frames: byte for byte what CloudStack's own Java wrote, and bad ones survived."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.wire import (
    BodyTooLarge,
    Flag,
    Frame,
    FrameUnreadable,
    Header,
    LinkBroken,
    Packet,
    PacketReader,
    decode_frame,
    encode_frame,
    packet,
    response_header,
)

FRAMES = Path(__file__).parent / "frames"
INDEX: list[dict[str, Any]] = json.loads((FRAMES / "index.json").read_text())
LIMIT = 16 * 2**20

READABLE = [entry for entry in INDEX if entry.get("valid") and "header" in entry]
UNREADABLE = {
    "40-version-v2.bin",
    "41-version-v3.bin",
    "42-version-9.bin",
    "43-truncated-header.bin",
    "49-bad-gzip.bin",
    "50-gzip-length-too-small.bin",
}


def read(name: str) -> Frame:
    return decode_frame((FRAMES / name).read_bytes(), most_body_bytes=LIMIT)


@pytest.mark.parametrize("entry", READABLE, ids=lambda entry: entry["file"])
def test_frames_that_java_wrote(entry: dict[str, Any]) -> None:
    frame = read(entry["file"])
    said = entry["header"]["flags"]
    assert {
        "request": Flag.REQUEST in frame.header.flags,
        "stop_on_error": Flag.STOP_ON_ERROR in frame.header.flags,
        "in_sequence": Flag.IN_SEQUENCE in frame.header.flags,
        "from_server": Flag.FROM_SERVER in frame.header.flags,
        "control": Flag.CONTROL in frame.header.flags,
    } == {name: said[name] for name in said if name != "compressed"}
    body = json.loads(frame.body)
    if "content_json" in entry:
        assert body == entry["content_json"]
    else:  # too long for the index: it names the classes
        assert [name for element in body for name in element] == entry["answer_classes"]


@pytest.mark.parametrize(
    "name",
    [
        entry["file"]
        for entry in READABLE
        if entry["file"] not in ("52-plain-length-wrong.bin", "55-reserved-bits.bin")
        and not entry["header"]["flags"]["compressed"]
    ],
)
def test_writing_gives_java_s_bytes(name: str) -> None:
    raw = (FRAMES / name).read_bytes()
    frame = read(name)
    assert encode_frame(frame.header, frame.body) == raw


@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_unreadable_frames_are_refused(name: str) -> None:
    with pytest.raises(FrameUnreadable):
        read(name)


@pytest.mark.parametrize(
    ("request_frame", "answer_frame"),
    [
        ("05-ready-request.bin", "06-ready-answer.bin"),
        ("11-getvmstats-request.bin", "12-getvmstats-answer.bin"),
        ("15-start-in-sequence.bin", "16-start-answer.bin"),
        ("17-multi-stop-on-error.bin", "18-multi-stop-on-error-answer.bin"),
    ],
)
def test_response_header_is_the_one_java_makes(request_frame: str, answer_frame: str) -> None:
    assert response_header(read(request_frame).header) == read(answer_frame).header


@pytest.mark.parametrize("size", [8191, 8192])
def test_gzip_starts_at_8192_bytes(size: int) -> None:
    body = b"[" + b" " * (size - 2) + b"]"
    raw = encode_frame(Header(Flag.REQUEST, 1), body)
    assert bool(raw[3] & Flag.COMPRESSED) == (size == 8192)
    assert int.from_bytes(raw[12:16], "big") == size
    assert decode_frame(raw, most_body_bytes=LIMIT).body == body


def test_a_gzip_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(b"\0" * (64 * 2**20))
    head = encode_frame(Header(Flag.REQUEST, 1), b"[]")[:40]
    told = head[:2] + b"\x00\x81" + head[4:12] + (64 * 2**20).to_bytes(4, "big") + head[16:]
    with pytest.raises(BodyTooLarge):
        decode_frame(told + bomb, most_body_bytes=LIMIT)
    small = told[:12] + (100).to_bytes(4, "big") + told[16:]
    with pytest.raises(FrameUnreadable):
        decode_frame(small + bomb, most_body_bytes=LIMIT)


ids = st.integers(-(2**63), 2**63 - 1)


@given(
    header=st.builds(
        Header,
        flags=st.sampled_from([Flag(bits) for bits in range(0x68) if not bits & 0x18]),
        sequence=ids,
        management_server=ids,
        agent=ids,
        via=ids,
    ),
    body=st.binary(max_size=20000),
)
def test_any_frame_survives(header: Header, body: bytes) -> None:
    frame = decode_frame(encode_frame(header, body), most_body_bytes=LIMIT)
    assert frame == Frame(header, body)


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        frame = decode_frame(data, most_body_bytes=LIMIT)
    except FrameUnreadable:
        return
    assert len(data) >= 40
    assert isinstance(frame.body, bytes)


def test_packet_headers_are_java_s() -> None:
    for entry in json.loads((Path(__file__).parent / "link-headers.json").read_text()):
        if "record_bytes" in entry:
            raw = packet(b"r" * entry["record_bytes"], more_follows=not entry["last"])
            assert raw[:4].hex() == entry["header_hex"]


@pytest.mark.parametrize("header", ["00004651", "00008000", "0000ffff"])
def test_impossible_packets_break_the_link(header: str) -> None:
    with pytest.raises(LinkBroken):
        PacketReader().receive(bytes.fromhex(header))
    with pytest.raises(ValueError, match="18000"):
        packet(b"x" * 18001)


def test_ignored_bits_and_empty_packets() -> None:
    reader = PacketReader()
    assert reader.receive(bytes.fromhex("7fff0001") + b"x") == [Packet(b"x", more_follows=True)]
    assert reader.receive(bytes(4)) == [Packet(b"", more_follows=False)]


@given(
    packets=st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6),
    cuts=st.lists(st.integers(1, 50), max_size=40),
)
def test_packets_survive_any_cut(packets: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    stream = b"".join(packet(content, more_follows=more) for content, more in packets)
    reader = PacketReader()
    got: list[Packet] = []
    position = 0
    for cut in [*cuts, len(stream)]:
        got += reader.receive(stream[position : position + cut])
        position += cut
    assert got == [Packet(content, more) for content, more in packets]
    assert reader.pending == 0
