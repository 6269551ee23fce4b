"""WQL on a small host: everything that real clients send, and what has to be refused."""

# ruff: noqa: E501, S608  # a query stands on one line; WQL reads, and the texts are ours

from __future__ import annotations

from typing import Any

import pytest

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row, Value, WmiCode
from cloudstack_hyperv.emulator.cim.wql import parse
from cloudstack_hyperv.emulator.cim.wql_tree import AssociationFilter, Associators

V2 = "root/virtualization/v2"
GUID = "11111111-2222-3333-4444-555555555555"
VM = f"Microsoft:{GUID}"
CONTROLLER = f"{VM}\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0"


async def names(engine: CimEngine, query: str) -> list[Value]:
    found = await engine.query(V2, query)
    return [row.values["ElementName"] for row in found.rows]


# -- SELECT -------------------------------------------------------------------------------------

ALL = ["web01", "o'brien\\x", "i-2-10-VM", "HV01"]
MACHINES = ALL[:3]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", ALL),
        ("WHERE Name != __SERVER", MACHINES),
        ("where Name = __SERVER ", ["HV01"]),
        ("WHERE Name <> __server AND ElementName = 'WEB01'", ["web01"]),
        ("WHERE ElementName='web01'", ["web01"]),
        ('WHERE ElementName = "web01"', ["web01"]),
        (r"WHERE ElementName = 'o\'brien\\x'", ["o'brien\\x"]),
        (r'WHERE ElementName = "o\'brien\\x"', ["o'brien\\x"]),
        (f"WHERE Name = '{GUID.lower()}'", ["web01"]),
        ("WHERE ((EnabledState != 0 and EnabledState != 3 and EnabledState != 32769))", [*ALL[::2], "HV01"]),
        ("WHERE Name != __SERVER AND (EnabledState = 0 or EnabledState = 3)", ["o'brien\\x"]),
        ("WHERE EnabledState = '3'", ["o'brien\\x"]),
        ("WHERE 3 = EnabledState", ["o'brien\\x"]),
        ("WHERE EnabledState > 2", ["o'brien\\x"]),
        ("WHERE 2 < EnabledState", ["o'brien\\x"]),
        ("WHERE EnabledState >= 2 AND EnabledState <= 2.5", ["web01", "i-2-10-VM", "HV01"]),
        ("WHERE ProcessID = 4321", ["web01"]),
        ("WHERE ProcessID <> 4321", ["i-2-10-VM"]),  # NULL is neither
        ("WHERE NOT ProcessID = 4321", ["i-2-10-VM"]),
        ("WHERE ProcessID IS NULL", ["o'brien\\x", "HV01"]),
        ("WHERE ProcessID = NULL", ["o'brien\\x", "HV01"]),
        ("WHERE ProcessID is not null", ["web01", "i-2-10-VM"]),
        ("WHERE ProcessID <> NULL", ["web01", "i-2-10-VM"]),
        ("WHERE OperationalStatus IS NULL", ["HV01"]),
        ("WHERE ElementName LIKE '%0%'", ["web01", "i-2-10-VM", "HV01"]),
        ("WHERE ElementName LIKE '%%VM'", ["i-2-10-VM"]),
        ("WHERE ElementName LIKE 'WEB__'", ["web01"]),
        ("WHERE ElementName LIKE '[h-x]%0[^0]'", ["web01", "HV01"]),
        ("WHERE NOT (ElementName LIKE '%1%' OR EnabledState = 3)", []),
        ("WHERE NOT ElementName LIKE '%1%' AND EnabledState = 3", ["o'brien\\x"]),
        ("WHERE Caption LIKE 'virtual machine'", MACHINES),
        ("WHERE Caption <> \"x\"", ALL),
        ("WHERE __CLASS = 'msvm_computersystem'", ALL),
        ("WHERE __CLASS ISA 'CIM_System'", ALL),
        ("WHERE __THIS ISA \"CIM_Job\"", []),
        ("WHERE __SUPERCLASS = 'CIM_ComputerSystem' AND __GENUS = 2", ALL),
        ("WHERE __DYNASTY = 'CIM_ManagedElement'", ALL),
        ("WHERE __NAMESPACE = 'ROOT/virtualization\\\\v2'", ALL),
        ("WHERE __DERIVATION IS NOT NULL", ALL),
        ("WHERE __RELPATH = 'Msvm_ComputerSystem.Name=\"HV01\",CreationClassName=\"Msvm_ComputerSystem\"'", ["HV01"]),
        ("WHERE InstallDate < '20251202105600.000000+060'", ["web01", "o'brien\\x"]),
        ("WHERE InstallDate = '20251203095500.000000+000'", ["i-2-10-VM"]),
        ("WHERE Name = ElementName", ["HV01"]),
        ("WHERE OnTimeInMilliseconds = EnabledState", []),
    ],
)  # fmt: skip
async def test_conditions(engine: CimEngine, where: str, expected: list[str]) -> None:
    assert await names(engine, f"SELECT * FROM Msvm_ComputerSystem {where}") == expected


async def test_a_trailing_blank_and_odd_spacing(engine: CimEngine) -> None:
    assert await names(engine, "select * from Msvm_ComputerSystem ") == ALL
    assert await names(engine, "\nSELECT*FROM\tmsvm_computersystem\r\n") == ALL


async def test_the_select_list_comes_back_as_declared(engine: CimEngine) -> None:
    found = await engine.query(V2, "SELECT elementname, Name,__PATH FROM Msvm_ComputerSystem")
    assert found.columns == ("ElementName", "Name")
    everything = await engine.query(V2, "SELECT * FROM Msvm_ComputerSystem")
    assert everything.columns is None


@pytest.mark.parametrize(
    "path",
    [
        rf'\\HV01\root\virtualization\v2:Msvm_ResourceAllocationSettingData.InstanceID="{CONTROLLER}"',
        rf'\\hv01.example.org\Root\Virtualization\V2:msvm_resourceallocationsettingdata.instanceid="{CONTROLLER}"',
        rf'\\.\root\virtualization\v2:Msvm_ResourceAllocationSettingData.InstanceID="{CONTROLLER}"',
        rf'root/virtualization/v2:Msvm_ResourceAllocationSettingData.InstanceID="{CONTROLLER}"',
        rf'Msvm_ResourceAllocationSettingData.InstanceID="{CONTROLLER}"',
    ],
)
async def test_path_with_every_backslash_doubled_once_more(
    engine: CimEngine, host: Any, path: str
) -> None:
    # inside the path's quotes a backslash is doubled, and WQL doubles all of them again
    escaped = path.replace(CONTROLLER, CONTROLLER.replace("\\", "\\\\")).replace("\\", "\\\\")
    found = await engine.query(
        V2, f"SELECT * FROM Msvm_ResourceAllocationSettingData WHERE __PATH = '{escaped}'"
    )
    assert [row.values["InstanceID"] for row in found.rows] == [CONTROLLER]
    assert host.providers[V2, "Msvm_ResourceAllocationSettingData"].scans == 0


@pytest.mark.parametrize(
    "path",
    [
        "no path",
        r"\\\\OTHER\\root\\virtualization\\v2:Msvm_ComputerSystem.Name=\"HV01\"",
        r"\\\\\\root\\cimv2:Msvm_ComputerSystem.Name=\"HV01\"",
        r"Msvm_ComputerSystem.Name=\"HV01\"",
        r"Msvm_Unheard.Name=\"HV01\"",
        r"Msvm_SerialPortSettingData.InstanceID=\"x\"",
    ],
)
async def test_a_path_to_nothing_equals_no_path(engine: CimEngine, path: str) -> None:
    query = f"SELECT * FROM Msvm_ComputerSystem WHERE __PATH = '{path}'"
    assert await names(engine, query) == []
    assert await names(engine, query.replace("=", "<>", 1)) == ALL


async def test_a_row_can_be_compared_with_the_path_in_a_property(engine: CimEngine) -> None:
    found = await engine.query(
        V2, "SELECT * FROM Msvm_StorageAllocationSettingData WHERE Parent = __PATH"
    )
    assert found.rows == []
    found = await engine.query(
        V2, "SELECT * FROM Msvm_StorageAllocationSettingData WHERE Parent <> __PATH"
    )
    assert len(found.rows) == 3


async def test_keys_are_looked_up_and_not_scanned(engine: CimEngine, host: Any) -> None:
    machines = host.providers[V2, "Msvm_ComputerSystem"]
    assert await names(engine, f"SELECT * FROM Msvm_ComputerSystem WHERE Name='{GUID}'") == [
        "web01"
    ]
    query = f"SELECT * FROM Msvm_ComputerSystem WHERE Name='{GUID}' AND EnabledState=3"
    assert await names(engine, query) == []
    query = f"SELECT * FROM Msvm_ComputerSystem WHERE '{GUID}' = Name AND Name <> __SERVER"
    assert await names(engine, query) == ["web01"]
    assert machines.scans == 0
    query = f"SELECT * FROM Msvm_ComputerSystem WHERE Name='{GUID}' OR EnabledState=3"
    assert await names(engine, query) == ["web01", "o'brien\\x"]
    assert machines.scans == 1
    found = await engine.query(
        V2, f"SELECT * FROM CIM_ResourceAllocationSettingData WHERE InstanceID='{VM}\\\\COM1'"
    )
    assert [row.class_name for row in found.rows] == ["Msvm_SerialPortSettingData"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", WmiCode.INVALID_QUERY),
        ("SELECT", WmiCode.INVALID_QUERY),
        ("SELECT FROM Msvm_ComputerSystem", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem, Msvm_DiskDrive", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE Name = 'x", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE Name = 'x' GROUP BY Name", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WITHIN 5", WmiCode.INVALID_QUERY),
        ("SELECT COUNT(*) FROM Msvm_ComputerSystem", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem; DROP", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE Colour = 'blue'", WmiCode.INVALID_QUERY),
        ("SELECT Colour FROM Msvm_ComputerSystem", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE OperationalStatus = 2", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE OperationalStatus LIKE '2'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE EnabledState = 'on'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE EnabledState = TRUE", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE EnabledState LIKE '2'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE EnabledState < NULL", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE Name NOT LIKE 'x'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE Name LIKE '[a'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE Name = EnabledState", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE 1 = 1", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE __PATH < 'x'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE __DERIVATION = 'x'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE InstallDate > '2025'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE Name ISA 'CIM_Job'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_ComputerSystem WHERE __THIS ISA 'Unheard'", WmiCode.INVALID_CLASS),
        ("SELECT * FROM Msvm_SettingsDefineState WHERE SettingData = 'x'", WmiCode.INVALID_QUERY),
        ("SELECT * FROM Msvm_Unheard", WmiCode.INVALID_CLASS),
        ("SELECT * FROM Win32_OperatingSystem", WmiCode.INVALID_CLASS),
        ("SELECT * FROM meta_class", WmiCode.INVALID_CLASS),
        ("SELECT * FROM X WHERE " + "(" * 1000, WmiCode.INVALID_QUERY),
        ("SELECT * FROM X WHERE " + "NOT " * 1000 + "A = 1", WmiCode.INVALID_QUERY),
        ("SELECT * FROM X WHERE A = " + "1" * 5000, WmiCode.INVALID_QUERY),
        ("SELECT * FROM X WHERE A = '" + "x" * 70000 + "'", WmiCode.INVALID_QUERY),
    ],
)  # fmt: skip
async def test_what_is_refused(engine: CimEngine, query: str, code: int) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.query(V2, query)
    assert caught.value.code == code


async def test_a_namespace_that_is_not_there(engine: CimEngine) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.query("root/nowhere", "SELECT * FROM X")
    assert caught.value.code == WmiCode.INVALID_NAMESPACE


# -- associations ---------------------------------------------------------------------------------

SYSTEM = f"{{Msvm_ComputerSystem.CreationClassName='Msvm_ComputerSystem',Name='{GUID.lower()}'}}"
SETTINGS = f'{{Msvm_VirtualSystemSettingData.InstanceID="{VM}"}}'


async def classes(engine: CimEngine, query: str) -> list[str]:
    found = await engine.query(V2, query)
    return [row.class_name for row in found.rows]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", ["Msvm_VirtualSystemSettingData"]),
        (
            "WHERE AssocClass = Msvm_SettingsDefineState ResultClass = Msvm_VirtualSystemSettingData",
            ["Msvm_VirtualSystemSettingData"],
        ),
        ("where assocclass=CIM_SettingsDefineState", ["Msvm_VirtualSystemSettingData"]),
        ("WHERE ResultClass = CIM_SettingData", ["Msvm_VirtualSystemSettingData"]),
        ("WHERE ResultClass = Msvm_Keyboard", []),
        ("WHERE AssocClass = Msvm_SystemDevice", []),
        ("WHERE Role = ManagedElement ResultRole = SettingData", ["Msvm_VirtualSystemSettingData"]),
        ("WHERE Role = SettingData", []),
        ("WHERE ResultRole = ManagedElement", []),
        ("WHERE RequiredQualifier = Association", []),
        ("WHERE RequiredAssocQualifier = Association", ["Msvm_VirtualSystemSettingData"]),
    ],
)
async def test_associators_of_a_machine(engine: CimEngine, where: str, expected: list[str]) -> None:
    assert await classes(engine, f"ASSOCIATORS OF {SYSTEM} {where}") == expected


async def test_associators_of_settings_put_the_asked_class_first(engine: CimEngine) -> None:
    query = f"ASSOCIATORS OF {SETTINGS} WHERE AssocClass=Msvm_VirtualSystemSettingDataComponent"
    assert await classes(engine, query) == [
        "Msvm_SerialPortSettingData",
        "Msvm_ResourceAllocationSettingData",
        "Msvm_ResourceAllocationSettingData",
        "Msvm_StorageAllocationSettingData",
    ]
    assert (
        await classes(engine, query + " ResultClass=Msvm_ResourceAllocationSettingData")
        == ["Msvm_ResourceAllocationSettingData"] * 2
    )


async def test_references_of(engine: CimEngine) -> None:
    assert set(await classes(engine, f"REFERENCES OF {SETTINGS}")) == {
        "Msvm_SettingsDefineState",
        "Msvm_VirtualSystemSettingDataComponent",
    }
    query = f"REFERENCES OF {SETTINGS} WHERE ResultClass = CIM_Component Role = GroupComponent"
    assert len(await classes(engine, query)) == 4
    query = f"REFERENCES OF {SETTINGS} WHERE ResultClass = CIM_Component Role = PartComponent"
    assert await classes(engine, query) == []


async def test_keys_only(engine: CimEngine) -> None:
    found = await engine.query(V2, f"ASSOCIATORS OF {SYSTEM} WHERE KeysOnly")
    assert [row.values for row in found.rows] == [{"InstanceID": VM}]
    found = await engine.query(V2, f"REFERENCES OF {SYSTEM} WHERE KeysOnly")
    assert [sorted(row.values) for row in found.rows] == [["ManagedElement", "SettingData"]]


@pytest.mark.parametrize(
    "path",
    [
        f"{{Msvm_VirtualSystemSettingData='{VM}'}}",
        f"{{\\\\HV01\\root\\virtualization\\v2:Msvm_VirtualSystemSettingData.InstanceID='{VM}'}}",
        f'{{ root/virtualization/v2:Msvm_VirtualSystemSettingData.InstanceID="{VM}" }}',
    ],
)
async def test_spellings_of_the_source(engine: CimEngine, path: str) -> None:
    assert len(await classes(engine, f"ASSOCIATORS OF {path}")) == 5


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("ASSOCIATORS OF {nonsense.}", WmiCode.INVALID_OBJECT_PATH),
        ("ASSOCIATORS OF {Msvm_ComputerSystem}", WmiCode.INVALID_OBJECT_PATH),
        ("ASSOCIATORS OF {Msvm_ComputerSystem.Name='HV01'}", WmiCode.INVALID_OBJECT_PATH),
        ("ASSOCIATORS OF {Msvm_ComputerSystem='HV01'}", WmiCode.INVALID_OBJECT_PATH),
        ("ASSOCIATORS OF {\\\\OTHER\\root\\cimv2:Win32_Volume.DeviceID='x'}", WmiCode.INVALID_OBJECT_PATH),
        (f"ASSOCIATORS OF {SYSTEM.replace('1111', '9999')}", WmiCode.NOT_FOUND),
        ("ASSOCIATORS OF {Msvm_Unheard.Name='x'}", WmiCode.INVALID_CLASS),
        (f"ASSOCIATORS OF {SYSTEM} WHERE AssocClass = Msvm_Unheard", WmiCode.INVALID_CLASS),
        (f"ASSOCIATORS OF {SYSTEM} WHERE ResultClass = Msvm_Unheard", WmiCode.INVALID_CLASS),
        (f"ASSOCIATORS OF {SYSTEM} WHERE ClassDefsOnly", WmiCode.NOT_SUPPORTED),
        (f"ASSOCIATORS OF {SYSTEM} WHERE SchemaOnly", WmiCode.NOT_SUPPORTED),
        (f"REFERENCES OF {SYSTEM} WHERE AssocClass = CIM_Component", WmiCode.INVALID_QUERY),
        (f"ASSOCIATORS OF {SYSTEM} WHERE Role = A AND Role = B", WmiCode.INVALID_QUERY),
        (f"ASSOCIATORS OF {SYSTEM} WHERE Role = A Role = B", WmiCode.INVALID_QUERY),
        (f"ASSOCIATORS OF {SYSTEM} WHERE Role = A, ResultRole = B", WmiCode.INVALID_QUERY),
        (f"ASSOCIATORS OF {SYSTEM} WHERE", WmiCode.INVALID_QUERY),
        (f"ASSOCIATORS OF {SYSTEM} WHERE Colour = blue", WmiCode.INVALID_QUERY),
        (f"ASSOCIATORS {SYSTEM}", WmiCode.INVALID_QUERY),
        ("ASSOCIATORS OF Msvm_ComputerSystem", WmiCode.INVALID_QUERY),
    ],
)  # fmt: skip
async def test_association_queries_that_are_refused(
    engine: CimEngine, query: str, code: int
) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.query(V2, query)
    assert caught.value.code == code


async def test_an_end_that_is_gone_is_left_out(engine: CimEngine, host: Any) -> None:
    host.providers[V2, "Msvm_VirtualSystemSettingData"].table.clear()
    assert await classes(engine, f"ASSOCIATORS OF {SYSTEM}") == []
    assert len(await classes(engine, f"REFERENCES OF {SYSTEM}")) == 1


async def test_the_association_filter_of_ws_management(engine: CimEngine) -> None:
    source = ObjectPath.of("Msvm_VirtualSystemSettingData", InstanceID=VM)
    where = AssociationFilter(assoc_class="CIM_SettingsDefineState")
    rows: list[Row] = await engine.associated(V2, source, where)
    assert [row.values["ElementName"] for row in rows] == ["web01"]
    assert len(await engine.references(V2, source)) == 5


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"'Microsoft:A\6B'", r"Microsoft:A\6B"),
        (r"'Microsoft:A\\6B'", r"Microsoft:A\6B"),
        (r'"Microsoft:A\6B\\7\C"', r"Microsoft:A\6B\7\C"),
        (r"'it\'s\here'", r"it's\here"),
    ],
)
def test_a_lone_backslash_in_a_path_in_braces_is_a_backslash(written: str, meant: str) -> None:
    query = parse(rf"ASSOCIATORS OF {{\\HOST\root\cimv2:CIM_X.A={written},B='b'}}")
    assert isinstance(query, Associators)
    assert query.path.key("A") == meant
    assert query.path.namespace == "root/cimv2"
    short = parse(rf"ASSOCIATORS OF {{CIM_X={written}}}")
    assert isinstance(short, Associators)
    assert short.path.keys == (("", meant),)


@pytest.mark.parametrize("host_part", ["", r"\\\\HV01\\root\\virtualization\\v2:"])
async def test_a_reference_compares_with_a_path(engine: CimEngine, host_part: str) -> None:
    every = (await engine.query(V2, "SELECT * FROM Msvm_SettingsDefineState")).rows
    wanted = every[0].values["SettingData"]
    assert isinstance(wanted, ObjectPath)
    instance_id = (wanted.key("InstanceID") or "").lower().replace("\\", r"\\\\")
    path = f'{host_part}msvm_virtualsystemsettingdata.InstanceID="{instance_id}"'
    found = await engine.query(
        V2, rf"SELECT * FROM Msvm_SettingsDefineState WHERE SettingData = '{path}'"
    )
    assert [row.values for row in found.rows] == [every[0].values]
    others = await engine.query(
        V2, rf"SELECT * FROM Msvm_SettingsDefineState WHERE SettingData <> '{path}'"
    )
    assert len(others.rows) == len(every) - 1


async def test_a_lone_backslash_in_a_string_is_a_backslash(engine: CimEngine) -> None:
    for pattern in (r"Microsoft:%\%", r"Microsoft:%\\%"):
        found = await engine.query(
            V2, f"SELECT * FROM CIM_SettingData WHERE InstanceID LIKE '{pattern}'"
        )
        assert found.rows
        assert all("\\" in str(row.values["InstanceID"]) for row in found.rows)
