"""The log: entries built by hand after [MS-VHDX] 2.3, replay, and crashes of our own writer."""

import random
import struct
from collections.abc import Iterable, Iterator
from uuid import UUID, uuid4

import pytest

from cloudstack_hyperv.vhd import (
    CorruptDiskError,
    MemoryFile,
    VhdError,
    compact,
    create_differencing,
    create_dynamic,
    open_disk,
    read_info,
    resize,
)
from cloudstack_hyperv.vhd.crc32c import crc32c
from cloudstack_hyperv.vhd.files import Buffer
from cloudstack_hyperv.vhd.vhdx.header import HEADER_OFFSETS, NO_LOG, read_header

MIB = 1 << 20
LOG_OFFSET = MIB
BAT_OFFSET = 3 * MIB
GUID = UUID("11111111-2222-3333-4444-555555555555")


def _page(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers).ljust(4096, b"\0")


def _entry(
    sequence: int,
    tail: int,
    pages: dict[int, bytes],
    zeros: dict[int, int] | None = None,
    *,
    guid: UUID = GUID,
    flushed: int = 4 * MIB,
    last: int = 4 * MIB,
) -> bytes:
    """One log entry: header, descriptors, data sectors."""
    zeros = zeros or {}
    descriptors = b"".join(
        struct.pack("<4sIQQQ", b"zero", 0, length, offset, sequence)
        for offset, length in zeros.items()
    ) + b"".join(
        b"desc" + page[-4:] + page[:8] + struct.pack("<QQ", offset, sequence)
        for offset, page in pages.items()
    )
    count = len(zeros) + len(pages)
    head_sectors = 1 if count <= 126 else 1 + -(-(count - 126) // 128)
    data = b"".join(
        b"data"
        + struct.pack("<I", sequence >> 32)
        + page[8:-4]
        + struct.pack("<I", sequence % 2**32)
        for page in pages.values()
    )
    length = head_sectors * 4096 + len(data)
    fields = struct.pack(
        "<IIQII16sQQ", length, tail, sequence, count, 0, guid.bytes_le, flushed, last
    )
    body = (fields + descriptors).ljust(head_sectors * 4096 - 8, b"\0") + data
    checksum = crc32c(b"loge" + bytes(4) + body)
    return b"loge" + struct.pack("<I", checksum) + body


def _put(file: MemoryFile, at: int, *entries: bytes) -> None:
    """Write entries one after the other into the ring, from `at`."""
    for entry in entries:
        first = entry[: MIB - at]
        file.pwrite(LOG_OFFSET + at, first)
        file.pwrite(LOG_OFFSET, entry[len(first) :])
        at = (at + len(entry)) % MIB


def _name_log(file: MemoryFile, guid: UUID = GUID) -> None:
    """Let the headers say that the log is not empty."""
    header, _slot = read_header(file)
    for offset in HEADER_OFFSETS:
        header = header.next(log_guid=guid)
        file.pwrite(offset, header.encode())


@pytest.fixture
def disk_file() -> MemoryFile:
    """Two blocks with content behind the 4 MiB of a new file, and a BAT that lacks them."""
    file = MemoryFile()
    create_dynamic(file, 8 * MIB, block_size=MIB)
    file.pwrite(4 * MIB, b"\x0a" * MIB + b"\x0b" * MIB)
    return file


def _present(*megabytes: int) -> bytes:
    return _page(*(6 | at << 20 if at else 0 for at in megabytes))


def _blocks(file: MemoryFile) -> list[int]:
    with open_disk(file) as disk:
        return [disk.read(block * MIB, 1)[0] for block in range(8)]


def test_replay_for_reading_changes_nothing_in_the_file(disk_file: MemoryFile) -> None:
    _put(disk_file, 0, _entry(7, 0, {BAT_OFFSET: _present(4, 5)}, last=6 * MIB))
    _name_log(disk_file)
    before = disk_file.content()
    assert _blocks(disk_file) == [10, 11, 0, 0, 0, 0, 0, 0]
    assert read_info(disk_file).is_log_dirty
    assert disk_file.content() == before


def test_replay_for_writing_happens_once_and_clears_the_log(disk_file: MemoryFile) -> None:
    _put(disk_file, 0, _entry(7, 0, {BAT_OFFSET: _present(4, 5)}, last=7 * MIB))
    _name_log(disk_file)
    header, _ = read_header(disk_file)
    with open_disk(disk_file, writable=True) as disk:
        assert disk.read(MIB, 1) == b"\x0b"
    after, _ = read_header(disk_file)
    assert after.log_guid == NO_LOG
    assert after.file_write_guid != header.file_write_guid
    assert after.data_write_guid == header.data_write_guid, "the guest sees no change"
    assert disk_file.size() == 7 * MIB, "the file has at least LastFileOffset"
    assert disk_file.pread(BAT_OFFSET, 4096) == _present(4, 5)
    assert not read_info(disk_file).is_log_dirty


def test_all_entries_from_tail_to_head_are_replayed_in_order(disk_file: MemoryFile) -> None:
    other = BAT_OFFSET + 4096
    tail = 8192
    _put(
        disk_file,
        0,
        # Older than the tail: applied long ago, must not be replayed again.
        _entry(4, 0, {BAT_OFFSET: _present(5, 4)}),
        _entry(5, tail, {BAT_OFFSET: _present(5), other: _page(1)}),
        _entry(6, tail, {BAT_OFFSET: _present(4)}),
        _entry(7, tail, {}, {other: 4096}, last=6 * MIB),
    )
    _name_log(disk_file)
    disk_file.pwrite(other, b"\xee" * 4096)
    with open_disk(disk_file, writable=True):
        pass
    assert disk_file.pread(BAT_OFFSET, 8192) == _present(4) + bytes(4096)


def test_a_sequence_may_wrap_around_the_end_of_the_ring(disk_file: MemoryFile) -> None:
    at = MIB - 8192 - 4096
    _put(
        disk_file,
        at,
        _entry(2**32 - 1, at, {BAT_OFFSET: _present(5)}),
        _entry(2**32, at, {BAT_OFFSET: _present(4)}, last=6 * MIB),
    )
    _name_log(disk_file)
    assert _blocks(disk_file)[:2] == [10, 0]


def test_the_newest_complete_sequence_wins(disk_file: MemoryFile) -> None:
    _put(disk_file, 0x40000, _entry(9, 0x40000, {BAT_OFFSET: _present(4)}))
    _put(disk_file, 0x80000, _entry(8, 0x80000, {BAT_OFFSET: _present(5)}))
    # Newer, but its tail is gone.
    _put(disk_file, 0xC0000, _entry(20, 0xB0000, {BAT_OFFSET: _present(5, 4)}))
    _name_log(disk_file)
    assert _blocks(disk_file)[:2] == [10, 0]


def test_an_entry_of_another_log_guid_is_ignored(disk_file: MemoryFile) -> None:
    first = _entry(1, 0, {BAT_OFFSET: _present(4)})
    _put(disk_file, 0, first, _entry(2, 0, {BAT_OFFSET: _present(5)}, guid=uuid4()))
    _name_log(disk_file)
    assert _blocks(disk_file)[:2] == [10, 0]


def test_an_entry_with_more_descriptors_than_one_sector_holds(disk_file: MemoryFile) -> None:
    pages = {BAT_OFFSET + 4096 * number: _page(0) for number in range(1, 140)}
    _put(disk_file, 0, _entry(1, 0, {BAT_OFFSET: _present(4), **pages}))
    _name_log(disk_file)
    assert _blocks(disk_file)[:2] == [10, 0]


@pytest.mark.parametrize(
    "offset", [0, 4, 8, 16, 24, 32, 64, 80, 88, 4096, 4100, 5000, 8191], ids=str
)
def test_a_damaged_entry_is_no_entry(disk_file: MemoryFile, offset: int) -> None:
    entry = bytearray(_entry(1, 0, {BAT_OFFSET: _present(4)}))
    entry[offset] ^= 1
    _put(disk_file, 0, bytes(entry))
    _name_log(disk_file)
    with pytest.raises(CorruptDiskError, match="no valid sequence"):
        open_disk(disk_file)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (_entry(1, 0, {}, flushed=16 * MIB), "truncated"),
        (_entry(1, 0, {64 << 10: bytes(4096)}), "headers"),
        (_entry(1, 0, {0: bytes(4096)}), "headers"),
        (_entry(1, 0, {1 << 60: bytes(4096)}), "behind the end"),
        (_entry(1, 0, {}, {4 * MIB: 1 << 62}), "behind the end"),
        (_entry(1, 0, {}, {4 * MIB: 1 << 50}, last=1 << 51), "1 GiB"),
        (_entry(1, 0, {}, last=1 << 62), "no VHDX"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_entry_is_refused(disk_file: MemoryFile, entry: bytes, message: str) -> None:
    _put(disk_file, 0, entry)
    _name_log(disk_file)
    size = disk_file.size()
    for writable in (False, True):
        with pytest.raises(VhdError, match=message):
            open_disk(disk_file, writable=writable)
        assert disk_file.size() == size


def test_a_log_full_of_one_sector_entries_is_read_in_linear_time(disk_file: MemoryFile) -> None:
    """Every sector starts a chain; walking each from its start would be quadratic."""
    _put(disk_file, 0, *(_entry(number, 4096 * 255, {}) for number in range(1, 257)))
    _name_log(disk_file)
    assert _blocks(disk_file) == [0] * 8


class _CrashingFile(MemoryFile):
    """Remembers every change and flush, so that the file can be rebuilt as of any moment."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.epochs: list[list[tuple[int, bytes | None]]] = [[]]

    def pwrite(self, offset: int, data: Buffer) -> None:
        super().pwrite(offset, data)
        if self.size() and hasattr(self, "epochs"):
            self.epochs[-1].append((offset, bytes(data)))

    def truncate(self, size: int) -> None:
        super().truncate(size)
        self.epochs[-1].append((size, None))

    def flush(self) -> None:
        self.epochs.append([])


def _apply(file: MemoryFile, steps: Iterable[tuple[int, bytes | None]]) -> None:
    for offset, data in steps:
        if data is None:
            file.truncate(offset)
        else:
            file.pwrite(offset, data)


def _crash_states(
    start: bytes, file: _CrashingFile, randomness: random.Random
) -> Iterator[MemoryFile]:
    """What may be on the medium after a crash.

    All that was flushed, and of what was written since: a prefix, the last write torn, or any
    subset, as the medium reorders what no flush separates.
    """
    stable = MemoryFile(start)
    for steps in file.epochs:
        for count, (offset, data) in enumerate(steps, 1):
            state = MemoryFile(stable.content())
            _apply(state, steps[:count])
            yield state
            torn = MemoryFile(stable.content())
            _apply(torn, steps[: count - 1])
            if data is not None:
                _apply(torn, [(offset, data[: len(data) // 2 // 512 * 512])])
                yield torn
        for _ in range(2):
            state = MemoryFile(stable.content())
            _apply(state, [step for step in steps if randomness.random() < 0.5])
            yield state
        _apply(stable, steps)
    yield stable


def test_a_crash_at_any_moment_leaves_the_old_or_the_new_disk(randomness: random.Random) -> None:
    new = MemoryFile()
    create_dynamic(new, 4 * MIB, block_size=MIB)
    start = new.content()
    file = _CrashingFile(start)
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"\x01" * MIB)
        disk.flush()
        disk.write(MIB, b"\x02" * MIB)
        disk.flush()
        disk.write_zeroes(0, MIB)
        disk.flush()
        resize(disk, 6 * MIB)
        disk.write(4 * MIB, b"\x03" * MIB)
    # (virtual MiB, content of blocks 0, 1, 4) after each of the steps above.
    allowed = [(4, 0, 0, 0), (4, 1, 0, 0), (4, 1, 2, 0), (4, 0, 2, 0), (6, 0, 2, 0), (6, 0, 2, 3)]
    seen = set()
    for state in _crash_states(start, file, randomness):
        with open_disk(state) as disk:
            size = disk.virtual_size // MIB
            blocks = [disk.read(at * MIB, MIB) if at < size else bytes(MIB) for at in (0, 1, 4)]
        assert all(block == block[:1] * MIB for block in blocks), "no block is half old"
        seen.add((size, *(block[0] for block in blocks)))
        with open_disk(state, writable=True) as disk:
            disk.write(2 * MIB, b"alive")
        with open_disk(state) as disk:
            assert disk.read(2 * MIB, 5) == b"alive"
    assert seen == set(allowed)


def test_a_crash_leaves_every_sector_of_a_child_old_or_new(randomness: random.Random) -> None:
    """Partially present blocks: sector bitmap, block, and table change together or not at all."""
    base = MemoryFile()
    create_dynamic(base, 4 * MIB, block_size=MIB)
    with open_disk(base, writable=True) as disk:
        disk.write(0, b"\x01" * (4 * MIB))
    child = MemoryFile()
    create_differencing(child, base, relative_path="base", block_size=MIB)
    start = child.content()
    file = _CrashingFile(start)
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"\x02" * 512)
        disk.write(3 * MIB, b"\x02" * 512)
        disk.flush()
        disk.write_zeroes(3 * MIB, MIB)
        disk.write(MIB, b"\x03" * MIB)
        disk.flush()
        disk.write(3 * MIB + 512, b"\x04" * 512)
        compact(disk)
    allowed = {(1, 1, 1, 1), (2, 1, 2, 1), (2, 3, 0, 0), (2, 3, 0, 4)}
    seen = set()
    for state in _crash_states(start, file, randomness):
        with open_disk(state, parent_resolver=lambda _locator, _child: base) as disk:
            content = disk.read(0, 4 * MIB)
        at = (0, MIB, 3 * MIB, 3 * MIB + 512)
        seen.add(tuple(content[offset] for offset in at))
        rest = content[512:MIB], content[2 * MIB : 3 * MIB]
        assert all(part == b"\x01" * len(part) for part in rest)
    assert seen == allowed
