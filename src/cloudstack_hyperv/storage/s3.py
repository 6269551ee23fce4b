r"""A secondary store in S3: read by ranges like a file, written by multipart uploads.

An upload becomes an object in one step, when all its parts are there, so nothing half-made ever
counts and there are no temporary names.  What a crashed upload left is invisible as an object; a
bucket's lifecycle rule (AbortIncompleteMultipartUpload) removes it.

An object is named by a Windows-like path, so that the rest of the agent need not know:
`\\s3\<bucket>\template\tmpl\2\205\a.vhdx` is the key `template/tmpl/2/205/a.vhdx`.

The library (boto3, an optional dependency) blocks, so every call runs in a thread; each has the
timeouts of the store.  Source: Amazon S3 API reference; CloudStack's S3TO, S3Utils.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import structlog

from cloudstack_hyperv.config import Secret
from cloudstack_hyperv.storage.content import CHUNK, SourceFile, parts
from cloudstack_hyperv.storage.host_files import (
    FileStatus,
    HostFileError,
    HostFileExists,
    HostFileNotFound,
    HostFileWriter,
    NoSpaceLeft,
    VolumeSpace,
)
from cloudstack_hyperv.storage.progress import Progress
from cloudstack_hyperv.storage.windows_paths import (
    checked_path,
    file_name,
    join_path,
    relative_to,
)
from cloudstack_hyperv.vhd import DiskInfo, format_of_name, read_info
from cloudstack_hyperv.vhd.files import Buffer

log = structlog.get_logger(__name__)

PART: Final = 16 << 20
"""Bytes of a part, unless there would be too many."""
MOST_PARTS: Final = 9000
"""S3 takes 10000."""
PARALLEL_PARTS: Final = 3
"""Parts under way at once."""
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})


class S3Unavailable(HostFileError):
    """The store cannot be used: no library, no bucket, no right, or the server is away."""


@dataclass(frozen=True, slots=True)
class S3Store:
    """Where a bucket is and how to log in."""

    endpoint: str
    """`https://server[:port]`."""
    bucket: str
    access_key: str
    secret_key: Secret
    signature: str = "s3v4"
    """`s3v4`, or `s3` for servers that know only the old one."""
    connect_timeout: float = 30.0
    read_timeout: float = 60.0
    retries: int = 3

    @property
    def root(self) -> str:
        """The path that stands for the bucket; raises BadWindowsPath."""
        return checked_path(f"\\\\s3\\{self.bucket}")

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}"


class S3Files:
    """One bucket's objects as `HostFiles`: to be read; written by `upload` and `put` only."""

    def __init__(self, store: S3Store) -> None:
        """Connect to nothing yet; raises S3Unavailable where the library is not installed."""
        self.store = store
        self._client = _client(store)

    async def status(self, path: str) -> FileStatus | None:
        """See `HostFiles`; a folder is there as long as something is in it."""
        key = self._key(path)
        if key:
            head = await self._call("head_object", key, absent=None, Key=key)
            if head is not None:
                return _status(path, head["ContentLength"], head["LastModified"].timestamp())
        prefix = f"{key}/" if key else ""
        found = await self._call("list_objects_v2", key, Prefix=prefix, MaxKeys=1)
        return FileStatus(path, 0, is_folder=True, modified=0.0) if found["KeyCount"] else None

    async def list_folder(self, path: str) -> list[FileStatus]:
        """See `HostFiles`."""
        key = self._key(path)
        prefix = f"{key}/" if key else ""
        found: list[FileStatus] = []
        following: dict[str, str] = {}
        while True:
            page = await self._call(
                "list_objects_v2", key, Prefix=prefix, Delimiter="/", **following
            )
            for entry in page.get("CommonPrefixes", ()):
                name = entry["Prefix"].removeprefix(prefix).rstrip("/")
                found.append(FileStatus(join_path(path, name), 0, is_folder=True, modified=0.0))
            for entry in page.get("Contents", ()):
                name = entry["Key"].removeprefix(prefix)
                if name:
                    when = entry["LastModified"].timestamp()
                    found.append(_status(join_path(path, name), entry["Size"], when))
            if not page.get("IsTruncated"):
                break
            following = {"ContinuationToken": page["NextContinuationToken"]}
        if not found and key:
            raise HostFileNotFound(f"{path} does not exist")
        return sorted(found, key=lambda status: status.path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """See `HostFiles`."""
        return await asyncio.to_thread(self._read, path, offset, length)

    async def data_ranges(self, path: str) -> AsyncIterator[tuple[int, int]]:
        """See `HostFiles`: an object has no holes."""
        status = await self._existing(path)
        if status.size:
            yield 0, status.size

    async def disk_info(self, path: str) -> DiskInfo:
        """See `HostFiles`."""
        status = await self._existing(path)
        view = _ObjectView(status.size, lambda at, length: self._read(path, at, length))
        wanted = format_of_name(file_name(path))
        return await asyncio.to_thread(read_info, view, disk_format=wanted)

    async def space(self, path: str) -> VolumeSpace | None:
        """See `HostFiles`: nobody tells."""
        checked_path(path)
        return None

    async def make_folder(self, path: str) -> None:
        """See `HostFiles`: folders need not be made."""
        checked_path(path)

    async def create(self, temporary_path: str, size: int) -> HostFileWriter:
        """Raise: objects are not written piece by piece."""
        self._refuse(f"{temporary_path} ({size} bytes)")

    async def rename(self, path: str, new_path: str) -> None:
        """Raise: objects are not renamed."""
        self._refuse(f"{path} to {new_path}")

    async def delete(self, path: str) -> bool:
        """See `HostFiles`."""
        if await self.status(path) is None:
            return False
        key = self._key(path)
        await self._call("delete_object", key, Key=key)
        return True

    async def put(self, path: str, content: bytes) -> None:
        """Make a small object; raises HostFileExists."""
        await self._must_be_free(path)
        key = self._key(path)
        await self._call("put_object", key, Key=key, Body=content)

    async def upload(self, source: SourceFile, path: str, progress: Progress) -> None:
        """Make an object of a file, whole or not at all; raises HostFileExists."""
        status = await source.files.status(source.path)
        if status is None:
            raise HostFileNotFound(f"{source.path} does not exist")
        await self._must_be_free(path)
        key = self._key(path)
        begun = await self._call("create_multipart_upload", key, Key=key)
        upload = {"Key": key, "UploadId": begun["UploadId"]}
        try:
            done = await self._upload_parts(source, status.size, upload, progress)
            await self._call(
                "complete_multipart_upload", key, **upload, MultipartUpload={"Parts": done}
            )
        except BaseException:
            # Shielded: a command that is cancelled once more must still not leave the parts.
            await asyncio.shield(asyncio.ensure_future(self._abort(upload)))
            raise
        progress(1.0)

    async def _upload_parts(
        self, source: SourceFile, size: int, upload: dict[str, str], progress: Progress
    ) -> list[dict[str, Any]]:
        length = max(PART, -(-size // MOST_PARTS))
        offsets = range(0, max(size, 1), length)
        slots = asyncio.Semaphore(PARALLEL_PARTS)
        finished = 0

        async def one(number: int, offset: int) -> dict[str, Any]:
            nonlocal finished
            async with slots:
                body = await _content(source, offset, min(length, size - offset))
                answer = await self._call(
                    "upload_part", upload["Key"], **upload, PartNumber=number, Body=body
                )
            finished += 1
            progress(finished / len(offsets))
            return {"PartNumber": number, "ETag": answer["ETag"]}

        tasks = [asyncio.ensure_future(one(n, at)) for n, at in enumerate(offsets, 1)]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _abort(self, upload: dict[str, str]) -> None:
        try:
            await self._call("abort_multipart_upload", upload["Key"], **upload)
        except HostFileError as error:
            log.warning("an unfinished upload stays in the bucket", reason=str(error))

    async def _must_be_free(self, path: str) -> None:
        if await self.status(path) is not None:
            raise HostFileExists(f"{path} exists; it was not touched")

    async def _existing(self, path: str) -> FileStatus:
        status = await self.status(path)
        if status is None or status.is_folder:
            raise HostFileNotFound(f"{path} does not exist")
        return status

    async def _call(self, method: str, key: str, *, absent: object = ..., **arguments: Any) -> Any:
        """Call S3; what is not there is `absent`, or an error where that is not given."""
        return await asyncio.to_thread(self._call_now, method, key, absent, **arguments)

    def _call_now(self, method: str, key: str, absent: object, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, method)(Bucket=self.store.bucket, **arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT and absent is not ...:
                return absent
            if code in _ABSENT:
                raise HostFileNotFound(f"{self.store}/{key} does not exist") from error
            if code in ("EntityTooLarge", "QuotaExceeded", "InsufficientStorage"):
                raise NoSpaceLeft(f"{self.store}/{key}: {code}") from error
            raise S3Unavailable(f"{self.store}/{key}: {method}: {code}") from error
        except (BotoCoreError, ValueError) as error:
            # A text of the library may repeat what it was given; its kind says enough.
            raise S3Unavailable(f"{self.store}: {method}: {type(error).__name__}") from error

    def _read(self, path: str, offset: int, length: int) -> bytes:
        if length <= 0:
            return b""
        from botocore.exceptions import BotoCoreError

        key = self._key(path)
        wanted = f"bytes={offset}-{offset + length - 1}"
        try:
            answer = self._call_now("get_object", key, ..., Key=key, Range=wanted)
            with answer["Body"] as body:
                data: bytes = body.read()
        except S3Unavailable as error:
            if "InvalidRange" in str(error):
                return b""
            raise
        except (BotoCoreError, OSError) as error:
            raise S3Unavailable(f"{self.store}/{key}: {type(error).__name__}") from error
        return data

    def _key(self, path: str) -> str:
        names = relative_to(path, self.store.root)
        if names is None:
            raise HostFileNotFound(f"{path} is not in {self.store}")
        return "/".join(names)

    def _refuse(self, what: str) -> NoReturn:
        raise HostFileError(f"{self.store}: {what}: an object in S3 is made as a whole only")


class _ObjectView:
    """An object as `vhd.RandomAccessFile`, to be read."""

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._pread = read

    def pread(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes."""
        return self._pread(offset, min(length, max(self._size - offset, 0)))

    def size(self) -> int:
        """Return the object's length."""
        return self._size

    def pwrite(self, offset: int, data: Buffer) -> None:
        """Raise: an object does not change."""
        raise OSError(f"an object in S3 is not written to (at {offset}, {len(data)} bytes)")

    def truncate(self, size: int) -> None:
        """Raise: an object does not change."""
        raise OSError(f"an object in S3 is not cut to {size} bytes")

    def flush(self) -> None:
        """Nothing is waiting."""

    def close(self) -> None:
        """Nothing is open."""


async def _content(source: SourceFile, offset: int, length: int) -> bytes:
    pieces = await asyncio.gather(
        *(source.files.read(source.path, at, count) for at, count in parts(offset, length))
    )
    data = b"".join(pieces)
    if len(data) != length:
        raise HostFileError(f"{source.path} became shorter while it was copied")
    return data


def _status(path: str, size: int, modified: float) -> FileStatus:
    return FileStatus(path, size, is_folder=False, modified=modified)


def _client(store: S3Store) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise S3Unavailable(
            "stores in S3 need the library boto3: install cloudstack-hyperv[s3]"
        ) from error
    return boto3.session.Session().client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key.reveal(),
        region_name="us-east-1",
        config=Config(
            signature_version=store.signature,
            connect_timeout=store.connect_timeout,
            read_timeout=store.read_timeout,
            retries={"max_attempts": store.retries, "mode": "standard"},
            s3={"addressing_style": "path"},
            # Servers other than Amazon's do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=2 * PARALLEL_PARTS + CHUNK // (1 << 20),
        ),
    )
