"""The 2012 contract: PrimaryStorageDownload, Create and Destroy, from template to volume."""

from __future__ import annotations

import bz2
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from tests.emulation import POOL, SECONDARY_URL, Emulation
from tests.resource_host.storage_stage import (
    MIB,
    POOL_UUID,
    TEMPLATE_PATH,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    equal_disks,
    filer,
    make_disk,
    virtual_size,
)

from cloudstack_hyperv.messages.answers.storage import CreateAnswer, PrimaryStorageDownloadAnswer
from cloudstack_hyperv.messages.commands.storage import (
    CreateCommand,
    DestroyCommand,
    PrimaryStorageDownloadCommand,
)
from cloudstack_hyperv.messages.objects.storage import DiskProfile, VolumeTO
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource


@pytest.fixture
def storage(emulated_host: Emulation, host_context: HostContext) -> StorageStage:
    """The emulated host, and an agent that may fetch templates from loopback."""
    settings = host_context.settings
    allowing = msgspec.structs.replace(settings.storage, download_allow=("127.0.0.0/8",))
    context = HostContext(
        msgspec.structs.replace(settings, storage=allowing),
        host_context.host,
        host_context.cim,
        host_context.files,
    )
    return StorageStage(emulated_host, Resource(context))


@asynccontextmanager
async def web_server(**files: bytes) -> AsyncIterator[str]:
    """Serve files by name (`_` for `.`) on loopback."""

    async def serve(request: web.Request) -> web.Response:
        body = files.get(request.path.lstrip("/").replace(".", "_"))
        return web.Response(status=404) if body is None else web.Response(body=body)

    application = web.Application()
    application.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def fetch(storage: StorageStage, url: str, **fields: Any) -> PrimaryStorageDownloadAnswer:
    given: dict[str, Any] = {
        "url": url,
        "primary_pool": filer(),
        "pool_uuid": POOL_UUID,
        "format": "VHDX",
        "name": "debian12",
    }
    answer = await storage.execute(PrimaryStorageDownloadCommand(**(given | fields)))
    assert isinstance(answer, PrimaryStorageDownloadAnswer)
    return answer


async def create(storage: StorageStage, template: str | None, **profile: Any) -> CreateAnswer:
    given: dict[str, Any] = {"name": "ROOT-17", "size": TEMPLATE_SIZE, "type": "ROOT"}
    answer = await storage.execute(
        CreateCommand(
            vol_id=23,
            pool=filer(),
            template_url=template,
            disk_characteristics=DiskProfile(**(given | profile)),
        )
    )
    assert isinstance(answer, CreateAnswer)
    return answer


@pytest.mark.parametrize("packed", [False, True])
async def test_primary_storage_download_command_fetches_a_template_from_a_web_server(
    storage: StorageStage, packed: bool
) -> None:
    source = storage.emulation.secondary / "a.vhdx"
    make_disk(source)
    content = source.read_bytes()
    async with web_server(a_vhdx=content, a_vhdx_bz2=bz2.compress(content)) as url:
        answer = await fetch(storage, f"{url}/a.vhdx{'.bz2' if packed else ''}")
    assert answer.result, answer.details
    assert answer.install_path is not None
    assert answer.install_path.endswith(".vhdx")
    assert storage.in_pool() == [answer.install_path]
    file = storage.pool / answer.install_path
    assert answer.template_size == file.stat().st_size
    assert await equal_disks(source, file)


async def test_primary_storage_download_command_takes_a_template_from_the_store(
    storage: StorageStage,
) -> None:
    source = storage.emulation.secondary / TEMPLATE_PATH
    make_disk(source)
    for url in (
        f"{SECONDARY_URL}/{TEMPLATE_PATH}",
        f"{SECONDARY_URL}/{TEMPLATE_PATH}?user=u&password=hunter2",
        f"{SECONDARY_URL}/{TEMPLATE_PATH.rpartition('/')[0]}",
    ):
        answer = await fetch(storage, url)
        assert answer.result, answer.details
        assert await equal_disks(source, storage.pool / str(answer.install_path))


async def test_primary_storage_download_command_converts_to_the_registered_format(
    storage: StorageStage,
) -> None:
    source = storage.emulation.secondary / "a.vhdx"
    make_disk(source)
    async with web_server(a_vhdx=source.read_bytes()) as url:
        answer = await fetch(storage, f"{url}/a.vhdx", format="VHD")
    assert answer.result, answer.details
    assert storage.in_pool() == [answer.install_path]
    assert str(answer.install_path).endswith(".vhd")
    assert await equal_disks(source, storage.pool / str(answer.install_path))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone.vhdx", "404"),
        ("page.vhdx", "VHD"),
        ("short.vhdx", "headers are damaged"),
        ("lies.vhdx.bz2", "damaged"),
    ],
)
async def test_primary_storage_download_command_that_fails_leaves_nothing(
    storage: StorageStage, path: str, reason: str
) -> None:
    source = storage.emulation.secondary / "a.vhdx"
    make_disk(source)
    async with web_server(
        page_vhdx=b"<html>not a disk</html>" * 1000,
        short_vhdx=source.read_bytes()[: 1 << 16],
        lies_vhdx_bz2=source.read_bytes(),
    ) as url:
        answer = await fetch(storage, f"{url}/{path}")
    assert not answer.result
    assert reason in (answer.details or "")
    assert storage.in_pool() == []


async def test_primary_storage_download_command_shows_no_login(
    storage: StorageStage, capsys: pytest.CaptureFixture[str]
) -> None:
    for url in (
        "http://user:hunter2@192.0.2.1/a.vhdx",
        "http://127.0.0.1:1/a.vhdx?token=hunter2",
        "cifs://10.9.9.9/x/a.vhdx?user=u&password=hunter2",
    ):
        answer = await fetch(storage, url)
        assert not answer.result
        assert "hunter2" not in (answer.details or "")
    assert "hunter2" not in capsys.readouterr().out


async def test_primary_storage_download_command_refuses_loopback_by_default(
    emulated_host: Emulation, resource: Resource
) -> None:
    async with web_server(a_vhdx=b"x") as url:
        answer = await fetch(StorageStage(emulated_host, resource), f"{url}/a.vhdx")
    assert "download_allow" in (answer.details or "")


async def test_create_command_makes_a_volume_of_the_template_that_was_fetched(
    storage: StorageStage,
) -> None:
    source = storage.emulation.secondary / TEMPLATE_PATH
    make_disk(source)
    template = (await fetch(storage, f"{SECONDARY_URL}/{TEMPLATE_PATH}")).install_path
    assert template is not None
    for url in (template, f"{POOL}\\{template}"):
        answer = await create(storage, url, size=2 * TEMPLATE_SIZE)
        assert answer.result, answer.details
        made = answer.volume
        assert made is not None
        assert (made.id, made.name, made.type) == (23, "ROOT-17", "ROOT")
        assert (made.size, made.storage_pool_uuid) == (2 * TEMPLATE_SIZE, POOL_UUID)
        assert made.mount_point == POOL
        assert made.path is not None
        assert await equal_disks(source, storage.pool / made.path)
        destroyed = await storage.execute(DestroyCommand(volume=made))
        assert destroyed.result, destroyed.details
        assert storage.in_pool() == [template]
    evicted = VolumeTO(path=template, mount_point=POOL, storage_pool_type="Filesystem")
    assert (await storage.execute(DestroyCommand(volume=evicted))).result
    assert storage.in_pool() == []


async def test_create_command_makes_a_blank_volume_once_where_it_has_a_name(
    storage: StorageStage,
) -> None:
    for _ in range(2):
        answer = await create(storage, None, size=70 * MIB, path=VOLUME_UUID)
        assert answer.result, answer.details
        assert answer.volume is not None
        assert (answer.volume.path, answer.volume.size) == (f"{VOLUME_UUID}.vhdx", 70 * MIB)
    assert storage.in_pool() == [f"{VOLUME_UUID}.vhdx"]
    assert virtual_size(storage.pool / f"{VOLUME_UUID}.vhdx") == 70 * MIB
    assert (await create(storage, None, size=70 * MIB)).result
    assert len(storage.in_pool()) == 2


@pytest.mark.parametrize(
    ("template", "profile", "reason"),
    [
        ("gone.vhdx", {}, "not in the pool"),
        ("../x.vhdx", {}, "not in the pool"),
        ("NUL.vhdx", {}, "device"),
        (None, {"size": 0}, "bytes, not 0"),
        (None, {"path": "..\\x"}, "forbids"),
    ],
)
async def test_create_command_fails_in_its_own_class(
    storage: StorageStage, template: str | None, profile: dict[str, Any], reason: str
) -> None:
    answer = await create(storage, template, **profile)
    assert not answer.result
    assert reason in (answer.details or "")
    assert answer.volume is None
    assert storage.in_pool() == []
