"""Recordings of self-tests on emulated hosts, and replays of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.emulation import PASSWORD, USER, Emulation, running_emulation
from tests.fieldwork.stage import BASE, NAMES

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.fieldwork.comparison.replay import Comparison, Replay
from cloudstack_hyperv.fieldwork.comparison.wire import open_wire
from cloudstack_hyperv.fieldwork.recording.file import Recording
from cloudstack_hyperv.fieldwork.recording.recorder import Recorder
from cloudstack_hyperv.fieldwork.selftest.programme import PROGRAMME, Scenario
from cloudstack_hyperv.fieldwork.selftest.run import play, survey
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient

LOGIN = Credentials(AuthScheme.BASIC, USER, PASSWORD, allow_clear_text=True)


def files_of(emulation: Emulation) -> FolderFiles:
    return FolderFiles((MountSettings(host_path="C:\\", folder=str(emulation.folder / "c")),))


def endpoint_of(emulation: Emulation) -> Endpoint:
    return Endpoint("127.0.0.1", emulation.port, https=False)


async def record(
    emulation: Emulation, programme: Iterable[Scenario] = PROGRAMME, base: str = BASE
) -> Recording:
    """Play a self-test and return its recording."""
    recorder = Recorder(NAMES)
    client = WsmanClient(endpoint_of(emulation), LOGIN, trace=recorder.trace)
    try:
        ground = await survey(client, files_of(emulation), base)
        await play(ground, NAMES, recorder, recorder, programme=programme)
    finally:
        await client.close()
    return recorder.recording(address="127.0.0.1", user=USER, base=base)


async def replay(folder: Path, recording: Recording, **config: Any) -> Comparison:
    """Play a recording to a new emulated host that bears the recorded one's made-up name."""
    header = recording.header
    config.setdefault("release", header.profile)
    domain = "domain1.example" if header.joined else ""
    async with (
        running_emulation(folder, name=header.host, domain=domain, **config) as host,
        open_wire(endpoint_of(host), LOGIN) as wire,
    ):
        return await Replay(wire, files_of(host)).play(recording.entries)
