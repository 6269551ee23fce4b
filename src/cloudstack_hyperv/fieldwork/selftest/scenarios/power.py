"""A running machine: states and their codes, summary, screen, key-value pairs, hot plugging."""

from __future__ import annotations

from cloudstack_hyperv.cim import Uint16, Uint32
from cloudstack_hyperv.cim.constants import (
    EnabledState,
    RequestedState,
    ReturnCode,
    SummaryField,
)
from cloudstack_hyperv.fieldwork.selftest import scratch_machines
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Source
from cloudstack_hyperv.fieldwork.selftest.refusals import refusal
from cloudstack_hyperv.fieldwork.selftest.scenarios.first_generation import DATA_DISK
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor import drives, images, power
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, Machine, machine_path
from cloudstack_hyperv.hypervisor.settings_data import guest_data_item
from cloudstack_hyperv.wsman import Instance, parse_embedded
from cloudstack_hyperv.wsman.protocol.wql import Select, starts_with

_WIDTH, _HEIGHT = 80, 60
_BYTES_A_PIXEL = 2
_KEY = "selftest"
_SUMMARY = (
    SummaryField.NAME,
    SummaryField.ELEMENT_NAME,
    SummaryField.NOTES,
    SummaryField.NUMBER_OF_PROCESSORS,
    SummaryField.ENABLED_STATE,
    SummaryField.PROCESSOR_LOAD,
    SummaryField.MEMORY_USAGE,
    SummaryField.HEARTBEAT,
    SummaryField.UPTIME,
    SummaryField.HEALTH_STATE,
    SummaryField.OPERATIONAL_STATUS,
)


async def play_states(stage: Stage, findings: Findings) -> None:
    """Start, pause, go on, save, go on, reset; ask for what it is already."""
    client = stage.client
    machine = await stage.machine(scratch_machines.FIRST)
    guid, name = machine.guid, machine.element_name
    await power.turn_on(client, guid, name)
    await _expect_state(stage, findings, "started", EnabledState.ENABLED, machine)
    findings.expect(
        "RequestStateChange to the state that it has",
        Source.CLIENT_CODE,
        int(ReturnCode.INVALID_STATE),
        await _request(stage, machine, RequestedState.START),
    )
    findings.expect_that(
        "DestroySystem of a running machine",
        Source.DOCUMENTED,
        f"refused with {ReturnCode.INVALID_STATE:d}, or by its job",
        answer := await refusal(_destroy(stage, machine)),
        holds=answer in (f"refused with {ReturnCode.INVALID_STATE:d}", "refused by the job"),
    )
    await power.pause(client, guid, name)
    await _expect_state(stage, findings, "paused", EnabledState.PAUSED, machine)
    await power.turn_on(client, guid, name)
    await power.save(client, guid, name)
    await _expect_state(stage, findings, "saved", EnabledState.SAVED, machine)
    await power.turn_on(client, guid, name)
    await power.reset(client, guid, name)
    await _expect_state(stage, findings, "reset", EnabledState.ENABLED, machine)


async def play_views(stage: Stage, findings: Findings) -> None:
    """Read the summary and the screen of the running machine."""
    machine = await stage.machine(scratch_machines.FIRST)
    row = await _summary(stage, machine)
    findings.expect("NumberOfProcessors", Source.DOCUMENTED, 1, row.uint("NumberOfProcessors"))
    findings.expect(
        "EnabledState", Source.DOCUMENTED, EnabledState.ENABLED, row.uint("EnabledState")
    )
    uptime = row.uint("UpTime")
    findings.expect_that(
        "UpTime in milliseconds",
        Source.DOCUMENTED,
        "0 to an hour",
        uptime,
        holds=uptime is not None and uptime < 3_600_000,
    )
    findings.expect(
        "properties that were not asked for are null",
        Source.DOCUMENTED,
        (),
        row.strings("GuestOperatingSystem"),
    )
    with translated("read the screen"):
        result = await stage.client.invoke(
            MANAGEMENT_SERVICE,
            "GetVirtualSystemThumbnailImage",
            {
                "TargetSystem": machine.settings_path,
                "WidthPixels": Uint16(_WIDTH),
                "HeightPixels": Uint16(_HEIGHT),
            },
        )
    findings.expect("thumbnail's ReturnValue", Source.CLIENT_CODE, 0, result.return_value)
    image = result.out.octets("ImageData") or b""
    findings.expect(
        "bytes of an 80 x 60 thumbnail (RGB565)",
        Source.CLIENT_CODE,
        _WIDTH * _HEIGHT * _BYTES_A_PIXEL,
        len(image),
    )
    findings.expect(
        "ImageData is one base64 text", Source.CLIENT_CODE, 1, len(result.out.strings("ImageData"))
    )


async def play_key_values(stage: Stage, findings: Findings) -> None:
    """Offer a key-value pair to the guest, change it, take it back."""
    machine = await stage.machine(scratch_machines.FIRST)
    await _change_items(stage, machine, "AddKvpItems", "one")
    findings.expect("HostExchangeItems", Source.CLIENT_CODE, (_KEY,), await _keys(stage, machine))
    findings.expect_that(
        "AddKvpItems of a key that is there",
        Source.CLIENT_CODE,
        "refused",
        answer := await refusal(_change_items(stage, machine, "AddKvpItems", "two")),
        holds=answer.startswith("refused"),
    )
    await _change_items(stage, machine, "ModifyKvpItems", "three")
    await _change_items(stage, machine, "RemoveKvpItems", "three")
    findings.expect("after RemoveKvpItems", Source.CLIENT_CODE, (), await _keys(stage, machine))


async def play_hot_disk(stage: Stage, findings: Findings) -> None:
    """Attach a disk while the machine runs, grow it, detach it."""
    client = stage.client
    machine = await stage.machine(scratch_machines.FIRST)
    disk = stage.path(DATA_DISK)
    sequence = await drives.attach_disk(client, machine, disk, None)
    if stage.release.has_disk_limits:
        size = (await images.read_disk(client, disk)).virtual_size
        await images.resize_disk(client, disk, 2 * size)
        findings.expect(
            "MaxInternalSize after growing it while attached",
            Source.DOCUMENTED,
            2 * size,
            (await images.read_disk(client, disk)).virtual_size,
        )
    findings.expect_true(
        "detaching it",
        Source.DOCUMENTED,
        await drives.detach_disk(client, machine, disk, sequence),
    )


async def play_destroy(stage: Stage, findings: Findings) -> None:
    """Turn the machine off and remove it; its disks stay."""
    client = stage.client
    machine = await stage.machine(scratch_machines.FIRST)
    await power.turn_off(client, machine.guid, machine.element_name)
    await _expect_state(stage, findings, "turned off", EnabledState.DISABLED, machine)
    await power.destroy(client, machine.guid, machine.element_name)
    findings.expect(
        "the machine after DestroySystem",
        Source.DOCUMENTED,
        None,
        await power.read_state(client, machine.guid),
    )
    findings.expect_true(
        "its disk is still there",
        Source.DOCUMENTED,
        await images.has_file(client, stage.path("root1.vhdx")),
    )


async def _expect_state(
    stage: Stage, findings: Findings, what: str, expected: EnabledState, machine: Machine
) -> None:
    source = (
        Source.CLIENT_CODE
        if expected in (EnabledState.PAUSED, EnabledState.SAVED)
        else Source.DOCUMENTED
    )
    found = await power.read_state(stage.client, machine.guid)
    findings.expect(f"EnabledState when {what}", source, int(expected), found)


async def _request(stage: Stage, machine: Machine, state: RequestedState) -> int | None:
    with translated("request a state"):
        result = await stage.client.invoke(
            machine_path(machine.guid), "RequestStateChange", {"RequestedState": Uint16(state)}
        )
    return result.return_value


async def _destroy(stage: Stage, machine: Machine) -> None:
    await call(
        stage.client,
        MANAGEMENT_SERVICE,
        "DestroySystem",
        {"AffectedSystem": machine.path},
        what=f"remove running VM {machine.element_name}",
    )


async def _summary(stage: Stage, machine: Machine) -> Instance:
    with translated("read the machine's summary"):
        result = await stage.client.invoke(
            MANAGEMENT_SERVICE,
            "GetSummaryInformation",
            {
                "SettingData": [machine.settings_path],
                "RequestedInformation": [Uint32(number) for number in _SUMMARY],
            },
        )
    rows = result.out.instances("SummaryInformation")
    if result.return_value != 0 or len(rows) != 1:
        raise HypervisorError(
            f"GetSummaryInformation answered {result.return_value} with {len(rows)} rows"
        )
    return rows[0]


async def _change_items(stage: Stage, machine: Machine, method: str, value: str) -> None:
    await call(
        stage.client,
        MANAGEMENT_SERVICE,
        method,
        {"TargetSystem": machine.path, "DataItems": [guest_data_item(_KEY, value)]},
        what=f"{method} of VM {machine.element_name}",
    )


async def _keys(stage: Stage, machine: Machine) -> tuple[str, ...]:
    with translated("read the offered key-value pairs"):
        rows = await stage.client.query(
            Select(
                "Msvm_KvpExchangeComponentSettingData",
                where=starts_with("InstanceID", f"Microsoft:{machine.guid}\\"),
            )
        )
        texts = [text for row in rows for text in row.strings("HostExchangeItems")]
        return tuple(parse_embedded(text).string("Name") or "" for text in texts)
