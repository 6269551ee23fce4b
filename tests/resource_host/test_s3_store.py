"""Secondary storage in S3, which moto plays: templates in, volumes, snapshots and templates out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import structlog
from tests.resource_host.storage_stage import (
    MIB,
    TEMPLATE_PATH,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    equal_disks,
    make_disk,
    secondary_store,
    template,
    template_in_pool,
    volume,
)
from tests.s3_emulation import ACCESS_KEY, SECRET_KEY, s3_server

from cloudstack_hyperv.config import MountSettings, Secret
from cloudstack_hyperv.messages.answers.storage import ListDataStoreObjectsAnswer
from cloudstack_hyperv.messages.commands.storage import CreateObjectCommand
from cloudstack_hyperv.messages.commands.storage_other import ListDataStoreObjectsCommand
from cloudstack_hyperv.messages.objects.storage import (
    S3TO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.storage import s3
from cloudstack_hyperv.storage.content import SourceFile
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.host_files import HostFileError, HostFileExists, HostFileNotFound
from cloudstack_hyperv.storage.progress import Progress
from cloudstack_hyperv.storage.s3 import S3Files, S3Store, S3Unavailable


class Bucket:
    """A bucket of a running server, and a client of the test's own."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.name = f"secondary-{uuid.uuid4()}"
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://{server}",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=self.name)

    @property
    def to(self) -> S3TO:
        return S3TO(
            uuid="3f0c",
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            end_point=self.server,
            bucket_name=self.name,
            https_flag=False,
        )

    @property
    def store(self) -> S3Store:
        return S3Store(f"http://{self.server}", self.name, ACCESS_KEY, Secret(SECRET_KEY))

    def keys(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.name)
        return sorted(entry["Key"] for entry in found.get("Contents", ()))

    def uploads(self) -> list[Any]:
        return list(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ()))

    def get(self, key: str, folder: Path) -> Path:
        place = folder / key.rpartition("/")[2]
        self.client.download_file(self.name, key, str(place))
        return place


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str) -> Bucket:
    return Bucket(server)


def outside(bucket: Bucket, **fields: Any) -> VolumeObjectTO:
    given: dict[str, Any] = {"path": "volumes/2/23", "data_store": bucket.to}
    return volume(**(given | fields))


@pytest.mark.parametrize("packing", ["", ".gz"])
async def test_copy_command_brings_a_template_from_s3(
    storage: StorageStage, bucket: Bucket, tmp_path: Path, packing: str
) -> None:
    source = tmp_path / "a.vhdx"
    make_disk(source)
    content = source.read_bytes()
    if packing:
        import gzip

        content = gzip.compress(content)
    bucket.client.put_object(Bucket=bucket.name, Key=TEMPLATE_PATH + packing, Body=content)
    answer = await storage.copy(
        template(TEMPLATE_PATH + packing, image_data_store=bucket.to), template_in_pool(None)
    )
    assert answer.result, answer.details
    assert isinstance(answer.new_data, TemplateObjectTO)
    assert answer.new_data.size == TEMPLATE_SIZE
    assert await equal_disks(source, storage.pool / f"{answer.new_data.path}.vhdx")


async def test_copy_command_takes_a_volume_to_s3_and_back(
    storage: StorageStage, bucket: Bucket, tmp_path: Path
) -> None:
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(file)
    answers = [await storage.copy(volume(path=VOLUME_UUID), outside(bucket)) for _ in range(2)]
    assert answers[0].result, answers[0].details
    assert answers[0] == answers[1], "the same command again finds the copy"
    copied = answers[0].new_data
    assert isinstance(copied, VolumeObjectTO)
    assert copied.path == f"volumes/2/23/{VOLUME_UUID}.vhdx"
    assert bucket.keys() == [copied.path]
    assert await equal_disks(file, bucket.get(copied.path, tmp_path))
    back = "3b9d0f52-7f0e-4a53-8d0d-4a7d5f5c1a11"
    answer = await storage.copy(outside(bucket, path=copied.path), volume(back))
    assert answer.result, answer.details
    assert await equal_disks(file, storage.pool / f"{back}.vhdx")


async def test_copy_command_makes_a_template_in_s3_and_does_not_need_the_staging_store(
    storage: StorageStage, bucket: Bucket, tmp_path: Path
) -> None:
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(file)
    wanted = template("template/tmpl/2/205", id=205, image_data_store=bucket.to)
    staged = template("template/tmpl/2/205", image_data_store=secondary_store())
    answer = await storage.copy(volume(path=VOLUME_UUID), wanted, cache_to=staged)
    assert answer.result, answer.details
    assert isinstance(answer.new_data, TemplateObjectTO)
    assert bucket.keys() == sorted(
        [str(answer.new_data.path), "template/tmpl/2/205/template.properties"]
    )
    assert await equal_disks(file, bucket.get(str(answer.new_data.path), tmp_path))
    assert storage.in_secondary() == []
    # By its folder alone, as a system VM template comes.
    folder = template("template/tmpl/2/205", image_data_store=bucket.to)
    again = await storage.copy(folder, template_in_pool(None))
    assert again.result, again.details


async def test_copy_command_backs_a_snapshot_up_to_s3(
    storage: StorageStage, bucket: Bucket, tmp_path: Path
) -> None:
    file = storage.pool / f"{VOLUME_UUID}.vhdx"
    make_disk(file)
    wanted = SnapshotObjectTO(id=41, volume=volume(path=VOLUME_UUID))
    made = await storage.execute(CreateObjectCommand(data=wanted))
    source = getattr(made, "data", None)
    assert isinstance(source, SnapshotObjectTO), made.details
    answer = await storage.copy(
        SnapshotObjectTO(path=source.path, data_store=volume().data_store),
        SnapshotObjectTO(path="snapshots/2/23", data_store=bucket.to),
    )
    assert answer.result, answer.details
    (key,) = bucket.keys()
    assert await equal_disks(file, bucket.get(key, tmp_path))


async def test_copy_command_shows_no_keys_and_says_what_is_wrong(
    storage: StorageStage, bucket: Bucket
) -> None:
    lost = S3TO(
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        end_point=bucket.server,
        bucket_name="no-such-bucket",
    )
    away = S3TO(
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        end_point="127.0.0.1:1",
        bucket_name="x",
        max_error_retry=1,
    )
    with structlog.testing.capture_logs() as logs:
        for store, reason in (
            (lost, "NoSuchBucket"),
            (away, "127.0.0.1:1"),
            (S3TO(), "lacks endPoint"),
        ):
            answer = await storage.copy(template(image_data_store=store), template_in_pool(None))
            assert not answer.result
            assert SECRET_KEY not in (answer.details or "")
            assert reason in (answer.details or "")
    assert SECRET_KEY not in str(logs)
    assert storage.in_pool() == []


async def test_list_data_store_objects_command_lists_a_bucket(
    storage: StorageStage, bucket: Bucket
) -> None:
    for key in ("template/tmpl/1/a.vhdx", "template/tmpl/1/b.vhdx", "volumes/x.vhdx", "top.txt"):
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"12345")
    pages = {}
    for path in ("", "template/tmpl/1", "gone"):
        answer = await storage.execute(ListDataStoreObjectsCommand(store=bucket.to, path=path))
        assert isinstance(answer, ListDataStoreObjectsAnswer)
        assert answer.result, answer.details
        pages[path] = (answer.paths, answer.sizes)
    assert pages == {
        "": (["/template", "/volumes", "/top.txt"], [0, 0, 5]),
        "template/tmpl/1": (["/template/tmpl/1/a.vhdx", "/template/tmpl/1/b.vhdx"], [5, 5]),
        "gone": ([], []),
    }


# The files themselves


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceFile:
    """A file of several parts."""
    monkeypatch.setattr(s3, "PART", 5 * MIB)  # the least that S3 takes
    (tmp_path / "big.vhdx").write_bytes(bytes(range(256)) * (12 * MIB // 256) + b"end")
    files = FolderFiles([MountSettings(host_path="C:\\", folder=str(tmp_path))])
    return SourceFile(files, "C:\\big.vhdx")


async def test_a_file_is_uploaded_in_parts_and_read_by_ranges(
    bucket: Bucket, big: SourceFile, tmp_path: Path
) -> None:
    files = S3Files(bucket.store)
    path = f"{bucket.store.root}\\deep\\er\\big.vhdx"
    await files.upload(big, path, Progress("test"))
    content = (tmp_path / "big.vhdx").read_bytes()
    assert bucket.keys() == ["deep/er/big.vhdx"]
    assert bucket.uploads() == []
    assert await files.read(path, 5 * MIB - 2, 4) == content[5 * MIB - 2 : 5 * MIB + 2]
    assert await files.read(path, 12 * MIB, 100) == b"end"
    assert await files.read(path, 13 * MIB, 100) == b""
    assert await files.read(path, 0, 0) == b""
    assert [found async for found in files.data_ranges(path)] == [(0, len(content))]
    status = await files.status(path)
    assert status is not None
    assert (status.size, status.is_folder) == (len(content), False)
    folder = await files.status(f"{bucket.store.root}\\deep")
    assert folder is not None
    assert folder.is_folder
    assert [entry.path for entry in await files.list_folder(f"{bucket.store.root}\\deep\\er")] == [
        path
    ]
    with pytest.raises(HostFileExists):
        await files.upload(big, path, Progress("test"))
    assert await files.delete(path)
    assert not await files.delete(path)
    assert bucket.keys() == []


@pytest.mark.parametrize("failing", ["upload_part", "complete_multipart_upload"])
async def test_an_upload_that_fails_leaves_nothing(
    bucket: Bucket, big: SourceFile, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    files = S3Files(bucket.store)
    call, calls = files._call_now, 0

    def fails(method: str, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += method == failing
        if method == failing and calls == (2 if failing == "upload_part" else 1):
            raise S3Unavailable("broken on purpose")
        return call(method, *arguments, **named)

    monkeypatch.setattr(files, "_call_now", fails)
    with pytest.raises(S3Unavailable, match="broken on purpose"):
        await files.upload(big, f"{bucket.store.root}\\big.vhdx", Progress("test"))
    assert (bucket.keys(), bucket.uploads()) == ([], [])


async def test_what_is_not_in_the_bucket_is_not_found(bucket: Bucket) -> None:
    files = S3Files(bucket.store)
    lost = f"{bucket.store.root}\\lost.vhdx"
    assert await files.status(lost) is None
    for reading in (files.read(lost, 0, 10), files.disk_info(lost), files.list_folder(lost)):
        with pytest.raises(HostFileNotFound):
            await reading
    with pytest.raises(HostFileNotFound, match="is not in"):
        await files.status("\\\\s3\\another\\x")
    for writing in (files.create(lost, 1), files.rename(lost, lost)):
        with pytest.raises(HostFileError, match="as a whole only"):
            await writing


async def test_without_the_library_the_answer_says_what_to_install(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(S3Unavailable, match=r"cloudstack-hyperv\[s3\]"):
        S3Files(bucket.store)
