"""The MOF files of the emulated host: read fast, consistent, and the same to pywbem's compiler."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from pywbem import CIMClass
from pywbem_mock import FakedWBEMConnection  # type: ignore[import-untyped]  # has no py.typed

from cloudstack_hyperv.cim import CimType
from cloudstack_hyperv.cim.constants import FEATURE_IDS
from cloudstack_hyperv.emulator.cim.compiler import compile_classes
from cloudstack_hyperv.emulator.cim.mof import MofReader
from cloudstack_hyperv.emulator.cim.schema import (
    RELEASES,
    ClassDef,
    ParameterDef,
    PropertyDef,
    Schema,
)
from cloudstack_hyperv.emulator.schema import load_schema, mof_files

V2 = "root/virtualization/v2"


@pytest.fixture(scope="module")
def schema() -> Schema:
    return load_schema()


def test_reading_all_files_is_fast_enough_for_every_start() -> None:
    best = min(_time_of_reading() for _ in range(3))
    assert best < 0.5  # about 0.12 s alone; the rest is for a busy machine


def _time_of_reading() -> float:
    started = time.process_time()
    reader = MofReader()
    compile_classes(each for name, text in mof_files().items() for each in reader.read(text, name))
    return time.process_time() - started


def test_schema_is_loaded_once(schema: Schema) -> None:
    assert load_schema() is schema


def test_every_class_derives_from_known_classes_and_points_to_known_classes(
    schema: Schema,
) -> None:
    unknown = [
        (each.name, target)
        for each in schema
        for target in _targets(each)
        if schema.find(each.namespace, target) is None
    ]
    assert unknown == []


def _targets(each: ClassDef) -> Iterator[str]:
    yield from each.superclasses
    definitions: list[PropertyDef | ParameterDef] = list(each.properties)
    definitions += [parameter for method in each.methods for parameter in method.parameters]
    for definition in definitions:
        yield from filter(None, (definition.reference_class, definition.embedded_class))


def test_every_concrete_class_has_keys_except_the_known_one(schema: Schema) -> None:
    keyless = {each.name for each in schema if not each.abstract and not each.keys}
    assert keyless == {"MSFT_SmbConnection"}  # its key set is not documented


def test_properties_are_in_ordinal_order_as_windows_sends_them(schema: Schema) -> None:
    for each in schema:
        names = [prop.name for prop in each.properties]
        assert names == sorted(names)


@pytest.mark.parametrize(
    ("class_name", "keys"),
    [
        ("Msvm_ComputerSystem", ("CreationClassName", "Name")),
        (
            "Msvm_VirtualSystemManagementService",
            ("CreationClassName", "Name", "SystemCreationClassName", "SystemName"),
        ),
        ("Msvm_VirtualSystemSettingData", ("InstanceID",)),
        ("Msvm_SettingsDefineState", ("ManagedElement", "SettingData")),
        ("Msvm_MountedStorageImage", ("Lun", "PathId", "PortNumber", "TargetId")),
    ],
)
def test_keys_of_well_known_classes(schema: Schema, class_name: str, keys: tuple[str, ...]) -> None:
    found = schema.find(V2, class_name)
    assert found is not None
    assert found.keys == keys


def test_feature_ids_are_those_the_agent_uses(schema: Schema) -> None:
    declared = {name: schema.find(V2, name) for name in FEATURE_IDS}
    assert {name: each.uuid if each else None for name, each in declared.items()} == FEATURE_IDS


def test_embedded_instances_travel_in_two_ways(schema: Schema) -> None:
    service = schema.find(V2, "Msvm_VirtualSystemManagementService")
    assert service is not None
    define = service.method("definesystem")
    summary = service.method("GetSummaryInformation")
    assert define is not None
    assert summary is not None
    assert [each.name for each in define.parameters] == [
        "SystemSettings",
        "ResourceSettings",
        "ReferenceConfiguration",
        "ResultingSystem",
        "Job",
    ]
    settings, rows = define.parameter("SystemSettings"), summary.parameter("SummaryInformation")
    assert settings is not None
    assert rows is not None
    assert (settings.cim_type, settings.embedded_as) == (CimType.STRING, "string")
    assert (rows.cim_type, rows.embedded_as, rows.array) == (CimType.OBJECT, "object", True)
    assert rows.embedded_class == "Msvm_SummaryInformation"


@pytest.mark.parametrize(
    ("class_name", "property_name", "first"),
    [
        ("Msvm_VirtualSystemSettingData", "VirtualSystemSubType", "2012r2"),
        ("Msvm_VirtualSystemSettingData", "UserSnapshotType", "2016"),
        ("Msvm_VirtualSystemSettingData", "AutomaticSnapshotsEnabled", "2019"),
        ("Msvm_VirtualEthernetSwitchSettingData", "AllowNetLbfoTeams", "2022"),
        ("Msvm_ProcessorSettingData", "ApicMode", "2025"),
        ("Msvm_ProcessorSettingData", "Limit", "2012"),
    ],
)
def test_a_property_is_there_from_its_first_release_on(
    schema: Schema, class_name: str, property_name: str, first: str
) -> None:
    present = [
        release
        for release in RELEASES
        if (found := schema.for_release(release).find(V2, class_name)) is not None
        and found.property(property_name) is not None
    ]
    assert present == list(RELEASES[RELEASES.index(first) :])


def test_a_class_is_there_from_its_first_release_on(schema: Schema) -> None:
    name = "Msvm_EthernetSwitchPortExtendedAclSettingData"
    assert schema.for_release("2012").find(V2, name) is None
    assert schema.for_release("2012r2").find(V2, name) is not None
    summary = schema.for_release("2012").find(V2, "Msvm_SummaryInformation")
    assert summary is not None
    assert "Msvm_SummaryInformationBase" not in summary.superclasses


def test_views_share_what_does_not_differ(schema: Schema) -> None:
    view = schema.for_release("2019")
    assert view is schema.for_release("2019")
    assert view.find(V2, "Msvm_ConcreteJob") is schema.find(V2, "Msvm_ConcreteJob")
    with pytest.raises(ValueError, match="no such release"):
        schema.for_release("2008")


def test_lookups_ignore_letter_case(schema: Schema) -> None:
    assert schema.find("Root\\Virtualization\\V2", "msvm_COMPUTERsystem") is schema.find(
        V2, "Msvm_ComputerSystem"
    )
    assert schema.is_a(V2, "msvm_storagejob", "CIM_job")
    assert not schema.is_a(V2, "Msvm_Unheard", "CIM_Job")
    assert [each.name for each in schema.subclasses(V2, "cim_concretejob")] == [
        "Msvm_ConcreteJob",
        "Msvm_StorageJob",
        "Msvm_MigrationJob",
    ]


# -- pywbem as an independent reader ---------------------------------------------------------

_BLOCK = re.compile(r"(?m)^(?:\[(?s:.*?)\]\n)?class (\w+)(?: : (\w+))?\n\{\n(?s:.*?)^\};\n")


def _blocks_by_namespace() -> tuple[str, dict[str, dict[str, tuple[str | None, str]]]]:
    files = mof_files()
    qualifiers = files.pop("qualifiers.mof")
    found: dict[str, dict[str, tuple[str | None, str]]] = {}
    for text in files.values():
        namespace = re.search(r'#pragma namespace \("(.*)"\)', text)
        assert namespace is not None
        blocks = found.setdefault(namespace[1], {})
        for match in _BLOCK.finditer(text):
            blocks[match[1]] = (match[2], _portable(match[0]))
    return qualifiers, found


def _portable(block: str) -> str:
    """Rewrite what Windows allows and DSP0004 does not: void methods, references anywhere."""
    block = re.sub(r"(?m)^    void ", "    uint32 ", block)
    if "Association" not in block.partition("class ")[0]:
        block = re.sub(r"\b\w+ REF (\w+;)", r"string \1", block)
    return block


def _dependencies_first(blocks: dict[str, tuple[str | None, str]]) -> list[str]:
    order: dict[str, None] = {}

    def visit(name: str, above: tuple[str, ...] = ()) -> None:
        if name in order or name in above:
            return
        superclass, text = blocks[name]
        for needed in filter(None, (superclass, *re.findall(r"(\w+) REF ", text))):
            visit(needed, (*above, name))
        order[name] = None

    for name in blocks:
        visit(name)
    return list(order)


@pytest.fixture(scope="module")
def pywbem_classes() -> dict[tuple[str, str], CIMClass]:
    qualifiers, namespaces = _blocks_by_namespace()
    connection = FakedWBEMConnection(default_namespace=V2)
    found: dict[tuple[str, str], CIMClass] = {}
    for namespace, blocks in namespaces.items():
        if namespace != V2:
            connection.add_namespace(namespace)
        text = qualifiers + "".join(blocks[name][1] for name in _dependencies_first(blocks))
        # pywbem wants embedded classes to exist beforehand, and some contain each other
        text = text.replace("EmbeddedInstance", "EmbeddedClass")
        connection.compile_mof_string(text, namespace=namespace)
        for each in connection.EnumerateClasses(
            namespace=namespace, DeepInheritance=True, LocalOnly=False, IncludeQualifiers=True
        ):
            found[namespace, each.classname.lower()] = each
    return found


def test_pywbem_finds_the_same_classes(
    schema: Schema, pywbem_classes: dict[tuple[str, str], CIMClass]
) -> None:
    assert set(pywbem_classes) == {(each.namespace, each.name.lower()) for each in schema}


def test_pywbem_finds_the_same_properties_types_and_keys(
    schema: Schema, pywbem_classes: dict[tuple[str, str], CIMClass]
) -> None:
    for each in schema:
        theirs = pywbem_classes[each.namespace, each.name.lower()]
        assert theirs.superclass == (each.superclasses[0] if each.superclasses else None)
        assert ("Association" in theirs.qualifiers) == each.association
        assert {
            (prop.name, prop.type, bool(prop.is_array), "Key" in prop.qualifiers)
            for prop in theirs.properties.values()
        } == {
            (prop.name, _dsp0004_type(each, prop.cim_type), prop.array, prop.key)
            for prop in each.properties
        }, each.name


def test_pywbem_finds_the_same_methods_and_parameters(
    schema: Schema, pywbem_classes: dict[tuple[str, str], CIMClass]
) -> None:
    for each in schema:
        theirs = pywbem_classes[each.namespace, each.name.lower()]
        assert {
            (method.name, *((p.name, p.type, bool(p.is_array)) for p in method.parameters.values()))
            for method in theirs.methods.values()
        } == {
            (
                method.name,
                *((p.name, _parameter_type(p.cim_type), p.array) for p in method.parameters),
            )
            for method in each.methods
        }, each.name


def _dsp0004_type(each: ClassDef, cim_type: CimType) -> str:
    if cim_type is CimType.OBJECT or (cim_type is CimType.REFERENCE and not each.association):
        return "string"
    return cim_type.value


def _parameter_type(cim_type: CimType) -> str:
    return "string" if cim_type is CimType.OBJECT else cim_type.value
