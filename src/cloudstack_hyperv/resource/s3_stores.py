"""Secondary stores in S3, as CloudStack's S3TO describes them.

CloudStack puts a staging store (NFS or SMB) before S3 for hypervisors that cannot read it, names it
as `cacheTO` and clears it up afterwards.  This agent reads and writes the bucket itself, so nothing
is ever staged there; a template that CloudStack has staged comes from the staging store like from
any other.

Sources: CloudStack's S3TO, AncientDataMotionStrategy (needCacheStorage).
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from cloudstack_hyperv.config import Secret
from cloudstack_hyperv.messages.objects.storage import S3TO
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.storage.content import CopyRefused, SourceFile
from cloudstack_hyperv.storage.copying import trusted_disk
from cloudstack_hyperv.storage.progress import Progress
from cloudstack_hyperv.storage.s3 import S3Files, S3Store
from cloudstack_hyperv.vhd import DiskInfo

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class S3Secondary:
    """A bucket as `SecondaryStore`."""

    files: S3Files

    @property
    def shown(self) -> str:
        """See `SecondaryStore`."""
        return str(self.files.store)

    @property
    def root(self) -> str:
        """See `SecondaryStore`."""
        return self.files.store.root

    async def prepare_folder(self, folder: str) -> None:
        """See `SecondaryStore`: nothing has to be made, and nothing half-made shows."""
        await self.files.make_folder(folder)

    async def put_disk(self, source: SourceFile, final: str, *, what: str) -> DiskInfo:
        """See `SecondaryStore`."""
        info = await trusted_disk(source.files, source.path)
        await self.files.upload(source, final, Progress(what))
        if await trusted_disk(source.files, source.path) != info:
            await self.files.delete(final)
            raise CopyRefused(f"{source.path} changed while it was copied")
        log.info("copied", what=what, path=final, virtual_size=info.virtual_size)
        return info

    async def put_file(self, final: str, content: bytes) -> None:
        """See `SecondaryStore`."""
        await self.files.put(final, content)

    async def delete(self, path: str) -> bool:
        """See `SecondaryStore`."""
        return await self.files.delete(path)


def s3_secondary(store: S3TO) -> S3Secondary:
    """Open a bucket; connects to nothing yet.  Raises CommandRefused, S3Unavailable."""
    missing = [
        name
        for name, value in (
            ("endPoint", store.end_point),
            ("bucketName", store.bucket_name),
            ("accessKey", store.access_key),
            ("secretKey", store.secret_key),
        )
        if not value
    ]
    if missing:
        raise CommandRefused(f"the store in S3 lacks {', '.join(missing)}")
    server = (store.end_point or "").rpartition("://")[2].rstrip("/")
    scheme = "https" if store.https_flag else "http"
    return S3Secondary(
        S3Files(
            S3Store(
                endpoint=f"{scheme}://{server}",
                bucket=store.bucket_name or "",
                access_key=store.access_key or "",
                secret_key=Secret(store.secret_key or ""),
                signature="s3" if store.signer == "S3SignerType" else "s3v4",
                connect_timeout=_seconds(store.connection_timeout, 30.0),
                read_timeout=_seconds(store.socket_timeout, 60.0),
                retries=min(max(store.max_error_retry or 3, 1), 10),
            )
        )
    )


def _seconds(milliseconds: int | None, default: float) -> float:
    """Return a timeout of the store; CloudStack's are in milliseconds, and absent when unset."""
    return min(milliseconds / 1000, 600.0) if milliseconds and milliseconds > 0 else default
