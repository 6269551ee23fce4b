"""Unpacking a template while it is read: gzip, bzip2 and zip, with bounded memory.

Templates may be stored compressed (`.vhdx.gz`, `.bz2`, `.zip`).  The name says what the file should
be, and its first bytes must agree: a disk that is renamed to `.gz` is refused, not guessed at.  A
decompressor gives out at most `PIECE` bytes at a time, so that a file of a few kilobytes that
unpacks to a terabyte cannot fill the memory; the caller bounds the sum.

Zip is read as a stream: local header, one deflated or stored member, then nothing but the
directory.  Source: PKWARE APPNOTE 6.3.10, 4.3; RFC 1952 for gzip.
"""

from __future__ import annotations

import bz2
import struct
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from cloudstack_hyperv.storage.host_files import HostFileError

PIECE: Final = 1 << 20

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BZIP2_MAGIC: Final = b"BZh"
_ZIP_MEMBER: Final = b"PK\x03\x04"
_ZIP_DIRECTORY: Final = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")
_ZIP_DESCRIPTOR: Final = b"PK\x07\x08"
_ZIP_HEADER: Final = struct.Struct("<4sHHHHHIIIHH")
_ENCRYPTED, _HAS_DESCRIPTOR = 0x1, 0x8
_STORED, _DEFLATED = 0, 8


class BadArchive(HostFileError):
    """The compressed file is damaged, cut off, or of a kind that is not read."""


class Decompressor(Protocol):
    """Unpacks one file, fed in order."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` unpacks to, in pieces; raises BadArchive."""
        ...

    def finish(self) -> None:
        """Check that the file ended where it should; raises BadArchive."""
        ...


def decompressor_for(name: str) -> Decompressor | None:
    """Return a decompressor for a file by its name's ending, None for one that is not packed."""
    lowered = name.lower()
    if lowered.endswith(".gz"):
        return GzipDecompressor()
    if lowered.endswith(".bz2"):
        return Bzip2Decompressor()
    if lowered.endswith(".zip"):
        return ZipDecompressor()
    return None


class Unpacked:
    """A file that is not packed, for where a `Decompressor` is wanted."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decompressor`."""
        if data:
            yield data

    def finish(self) -> None:
        """See `Decompressor`."""


class _Stream(Protocol):
    """What zlib's and bz2's decompression objects have in common after a thin wrap."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def pieces(self, data: bytes) -> Iterator[bytes]: ...


class _Deflate:
    def __init__(self, window_bits: int) -> None:
        self._object = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data and not self._object.eof:
            piece = self._object.decompress(data, PIECE)
            data = self._object.unconsumed_tail
            if piece:
                yield piece
        while not self._object.eof and (piece := self._object.decompress(data, PIECE)):
            yield piece


class _Bzip2:
    def __init__(self) -> None:
        self._object = bz2.BZ2Decompressor()

    @property
    def eof(self) -> bool:
        return self._object.eof

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while not self._object.eof:
            piece = self._object.decompress(data, PIECE)
            data = b""
            if piece:
                yield piece
            elif self._object.needs_input:
                return


class _MemberDecompressor:
    """Files made of one or more compressed members one after the other (gzip, bzip2)."""

    kind = ""
    magic = b""

    def __init__(self) -> None:
        self._stream: _Stream | None = None
        self._waiting = b""
        self._members = 0

    def _new_stream(self) -> _Stream:
        raise NotImplementedError

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decompressor`."""
        try:
            yield from self._feed(data)
        except (zlib.error, OSError, ValueError) as error:
            raise BadArchive(f"the {self.kind} file is damaged: {error}") from error

    def _feed(self, data: bytes) -> Iterator[bytes]:
        data, self._waiting = self._waiting + data, b""
        while data:
            if self._stream is None:
                if self._members:
                    data = data.lstrip(b"\0")  # padding behind the last member is usual
                if len(data) < len(self.magic):
                    self._waiting = data
                    return
                if not data.startswith(self.magic):
                    what = "something else follows" if self._members else "it does not begin as one"
                    raise BadArchive(f"the {self.kind} file is damaged: {what}")
                self._stream = self._new_stream()
                self._members += 1
            yield from self._stream.pieces(data)
            if not self._stream.eof:
                return
            data, self._stream = self._stream.unused_data, None

    def finish(self) -> None:
        """See `Decompressor`."""
        if self._stream is not None or self._waiting or not self._members:
            raise BadArchive(f"the {self.kind} file is cut off")


class GzipDecompressor(_MemberDecompressor):
    """`.gz`; zlib checks each member's CRC and length."""

    kind, magic = "gzip", _GZIP_MAGIC

    def _new_stream(self) -> _Stream:
        return _Deflate(16 + zlib.MAX_WBITS)


class Bzip2Decompressor(_MemberDecompressor):
    """`.bz2`; the library checks each block's CRC."""

    kind, magic = "bzip2", _BZIP2_MAGIC

    def _new_stream(self) -> _Stream:
        return _Bzip2()


class ZipDecompressor:
    """`.zip` with exactly one member, which is the disk."""

    def __init__(self) -> None:
        self._buffer = b""
        self._body: _Deflate | _Stored | None = None
        self._crc = 0
        self._length = 0
        self._expected: tuple[int, int] | None = None
        """CRC and size of the header; None if they follow in a descriptor."""
        self._tail: bytearray | None = None
        """What follows the member: only its first bytes matter."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See `Decompressor`."""
        try:
            yield from self._feed(data)
        except zlib.error as error:
            raise BadArchive(f"the zip file is damaged: {error}") from error

    def _feed(self, data: bytes) -> Iterator[bytes]:
        if self._tail is not None:
            self._keep_tail(data)
            return
        if self._body is None:
            self._buffer += data
            if not self._read_header():
                return
            data, self._buffer = self._buffer, b""
        if self._body is None:
            return
        for piece in self._body.pieces(data):
            self._crc = zlib.crc32(piece, self._crc)
            self._length += len(piece)
            yield piece
        if self._body.eof:
            self._tail = bytearray()
            self._keep_tail(self._body.unused_data)

    def _keep_tail(self, data: bytes) -> None:
        if self._tail is not None and len(self._tail) < 64:
            self._tail += data[:64]

    def _read_header(self) -> bool:
        """Read the local file header once it is whole, and cut it off."""
        if len(self._buffer) < _ZIP_HEADER.size:
            return False
        signature, _, flags, method, _, _, crc, packed, size, name_length, extra_length = (
            _ZIP_HEADER.unpack_from(self._buffer)
        )
        if signature != _ZIP_MEMBER:
            raise BadArchive("the zip file is damaged: it does not begin as one")
        start = _ZIP_HEADER.size + name_length + extra_length
        if len(self._buffer) < start:
            return False
        extra = self._buffer[_ZIP_HEADER.size + name_length : start]
        if flags & _ENCRYPTED:
            raise BadArchive("the zip file is encrypted")
        described = bool(flags & _HAS_DESCRIPTOR)
        if not described:
            size, packed = _zip64_sizes(extra, size, packed)
            self._expected = (crc, size)
        if method == _DEFLATED:
            self._body = _Deflate(-zlib.MAX_WBITS)
        elif method == _STORED and not described:
            self._body = _Stored(packed)
        else:
            raise BadArchive(f"the zip file uses compression method {method}, which is not read")
        self._buffer = self._buffer[start:]
        return True

    def finish(self) -> None:
        """See `Decompressor`."""
        if self._body is None or self._tail is None:
            raise BadArchive("the zip file is cut off")
        tail = bytes(self._tail)
        if self._expected is None:
            self._expected, tail = self._descriptor(tail)
        if self._expected != (self._crc, self._length):
            raise BadArchive("the zip file is damaged: its content has another checksum or length")
        if not tail.startswith(_ZIP_DIRECTORY):
            raise BadArchive("the zip file holds more than one file, or its end is damaged")

    def _descriptor(self, tail: bytes) -> tuple[tuple[int, int], bytes]:
        """Read the data descriptor: signature optional, sizes of 4 or 8 bytes (zip64)."""
        start = 4 if tail.startswith(_ZIP_DESCRIPTOR) else 0
        for layout in ("<III", "<IQQ"):
            end = start + struct.calcsize(layout)
            if tail[end : end + 4] in _ZIP_DIRECTORY:
                crc, _, size = struct.unpack(layout, tail[start:end])
                return (crc, size), tail[end:]
        raise BadArchive("the zip file holds more than one file, or its end is damaged")


class _Stored:
    """A zip member that is not compressed."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.unused_data = b""

    @property
    def eof(self) -> bool:
        return self._left == 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        mine, self.unused_data = data[: self._left], data[self._left :]
        self._left -= len(mine)
        if mine:
            yield mine


def _zip64_sizes(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    """Return sizes of more than 4 GiB from the extra field (APPNOTE 4.5.3)."""
    position = 0
    while position + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, position)
        body = extra[position + 4 : position + 4 + length]
        if tag == 1:
            values = [value for (value,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8])]
            if size == 0xFFFFFFFF and values:
                size = values.pop(0)
            if packed == 0xFFFFFFFF and values:
                packed = values.pop(0)
        position += 4 + length
    return size, packed
