#!/usr/bin/env python3
"""Parts of docs/emulated-host.md: what is served, class and method, and the door's leniencies.

Read from the schema files and from the providers of a two-node cluster of every release; what a
belief rests on is read from tests/conformance/recorded_shapes and from `CLIENT_CODE` and `GUESSES`
below, and is Microsoft's documentation for all other classes.  `--write` replaces what stands
between the markers of the document, without argument it is printed;
tests/docs/test_emulated_host_table.py fails when the document is not what would be written.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloudstack_hyperv.emulator.cim.schema import RELEASES, ClassDef, Schema
from cloudstack_hyperv.emulator.door.leniencies import LENIENCIES
from cloudstack_hyperv.emulator.host import HostConfig
from cloudstack_hyperv.emulator.host.fleet import Fleet, plan_fleet
from cloudstack_hyperv.emulator.schema import load_schema

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "emulated-host.md"
SHAPES = ROOT / "tests" / "conformance" / "recorded_shapes"
BEGIN = "<!-- classes: written by scripts/emulated_host_table.py -->"
END = "<!-- end of classes -->"
BEGIN_LENIENCIES = "<!-- leniencies: written by scripts/emulated_host_table.py -->"
END_LENIENCIES = "<!-- end of leniencies -->"

CLIENT_CODE = {
    "Msvm_VirtualSystemManagementService": "libvirt, os-win, virt-who, CloudStack's C# agent",
    "Msvm_VirtualSystemSnapshotService": "os-win, CloudStack's C# agent",
    "Msvm_VirtualEthernetSwitchManagementService": "os-win",
    "Msvm_ImageManagementService": "os-win, CloudStack's C# agent",
    "Msvm_VirtualSystemMigrationService": "os-win",
    "Msvm_MetricService": "os-win",
    "Msvm_SummaryInformation": "virt-who",
    "Msvm_ResourceAllocationSettingData": "libvirt, os-win",
    "Msvm_StorageAllocationSettingData": "libvirt, os-win",
    "Msvm_SyntheticEthernetPortSettingData": "libvirt, os-win",
    "Msvm_EthernetPortAllocationSettingData": "libvirt, os-win",
    "Msvm_ProcessorSettingData": "libvirt, os-win",
    "Msvm_MemorySettingData": "libvirt, os-win",
    "Msvm_SerialPortSettingData": "libvirt, os-win",
    "Msvm_VirtualSystemSettingData": "libvirt, os-win",
    "Msvm_DiskDrive": "libvirt",
    "Msvm_Keyboard": "libvirt",
    "Msvm_VideoHead": "libvirt",
    "Msvm_SyntheticDisplayController": "libvirt",
    "Msvm_ShutdownComponent": "libvirt, os-win",
    "Msvm_ConcreteJob": "libvirt, os-win",
}
GUESSES = {
    "MSFT_Disk": "form of its ObjectId",
    "MSFT_Partition": "form of its ObjectId",
    "MSFT_SmbGlobalMapping": "code of a second mapping of a share",
    "MSFT_Volume": "form of its ObjectId",
    "Msvm_GuestFileService": "its Name, and the texts of its failures",
    "Msvm_NumaNode": "form of its NodeID",
    "Msvm_VirtualSystemReferencePoint": "form of InstanceID and tracking ids, least VM version",
    "Msvm_VirtualSystemReferencePointService": "its Name",
    "Msvm_BootSourceSettingData": "form of its InstanceID",
}


@dataclass(slots=True)
class Served:
    """What is known of one class on some host."""

    releases: list[str] = field(default_factory=list)
    carried_out: set[str] = field(default_factory=set)


def served_classes(folder: Path) -> dict[tuple[str, str], Served]:
    """Return what hosts of all releases serve, by namespace and class name in lower case."""
    found: dict[tuple[str, str], Served] = defaultdict(Served)
    for release in RELEASES:
        basis = HostConfig(folder / release, release=release)
        plan = plan_fleet(folder / release, 2, template=basis, cluster=release != "client-11")
        fleet = Fleet(plan)
        try:
            for provider in next(iter(fleet)).table:
                served = found[provider.namespace.lower(), provider.class_name.lower()]
                served.releases.append(release)
                served.carried_out |= provider.modelled_methods
        finally:
            fleet.close()
    return found


def section() -> str:
    """Return the generated part, markers included."""
    schema = load_schema()
    with tempfile.TemporaryDirectory() as folder:
        served = served_classes(Path(folder))
    lines = [BEGIN, "", *_summary(schema, served)]
    for namespace in sorted(schema.namespaces):
        lines += ["", f"### {namespace}", "", *_namespace(schema, namespace, served)]
    return "\n".join([*lines, "", END])


def _summary(schema: Schema, served: dict[tuple[str, str], Served]) -> Iterator[str]:
    concrete = [each for each in schema if not each.abstract]
    known = [each for each in concrete if (each.namespace, each.name.lower()) in served]
    methods = sum(len(each.methods) for each in known)
    done = sum(
        method.name.lower() in served[each.namespace, each.name.lower()].carried_out
        for each in known
        for method in each.methods
    )
    yield (
        f"{len(known)} of {len(concrete)} concrete classes have a provider; "
        f"{done} of their {methods} methods are carried out."
    )


def _namespace(
    schema: Schema, namespace: str, served: dict[tuple[str, str], Served]
) -> Iterator[str]:
    classes = sorted(
        (each for each in schema if each.namespace == namespace and not each.abstract),
        key=lambda each: each.name.lower(),
    )
    yield "| Class | releases | methods carried out | methods refused | source |"
    yield "|---|---|---|---|---|"
    without = []
    for definition in classes:
        found = served.get((namespace, definition.name.lower()))
        if found is None:
            without.append(definition.name)
            continue
        names = [method.name for method in definition.methods]
        done = [name for name in names if name.lower() in found.carried_out]
        refused = [name for name in names if name.lower() not in found.carried_out]
        yield (
            f"| {definition.name} | {_span(found.releases)} | {', '.join(done)} | "
            f"{', '.join(refused)} | {_source(definition)} |"
        )
    if without:
        yield ""
        yield f"In the schema, without a provider and so without rows: {', '.join(without)}."


def _span(releases: list[str]) -> str:
    if len(releases) == len(RELEASES):
        return "all"
    indexes = [RELEASES.index(each) for each in releases]
    if indexes == list(range(indexes[0], indexes[-1] + 1)) and len(indexes) > 1:
        return f"{releases[0]} to {releases[-1]}"
    return ", ".join(releases)


def _source(definition: ClassDef) -> str:
    sources = ["[documented]"]
    if definition.name in _recorded():
        sources.insert(0, "[recorded]")
    if definition.name in CLIENT_CODE:
        sources.append(f"[client code] {CLIENT_CODE[definition.name]}")
    if definition.name in GUESSES:
        sources.append(f"[guess] {GUESSES[definition.name]}")
    return "; ".join(sources)


def _recorded() -> frozenset[str]:
    return frozenset(
        json.loads(file.read_text(encoding="utf-8"))["class"] for file in SHAPES.glob("*.json")
    )


def leniencies() -> str:
    """Return the table of leniencies, markers included."""
    rows = [f"| {each.name} | {each.what} | {each.source} |" for each in LENIENCIES.values()]
    head = ["| Name | what is accepted | because |", "|---|---|---|"]
    return "\n".join([BEGIN_LENIENCIES, "", *head, *rows, "", END_LENIENCIES])


def document(text: str) -> str:
    """Return the document with its generated parts current; ValueError without markers."""
    text = _replaced(text, BEGIN_LENIENCIES, END_LENIENCIES, leniencies())
    return _replaced(text, BEGIN, END, section())


def _replaced(text: str, begin: str, end: str, part: str) -> str:
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"no markers {begin} and {end}")
    return head + part + tail


def main(arguments: list[str]) -> int:
    """Write the generated part, or print it."""
    if arguments == ["--write"]:
        TARGET.write_text(document(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    if arguments:
        sys.stderr.write(__doc__ or "")
        return 2
    sys.stdout.write(section() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
