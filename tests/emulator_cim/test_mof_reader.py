"""The MOF reader and compiler on small texts, good and bad."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.cim import CimType
from cloudstack_hyperv.emulator.cim.compiler import SchemaError, cim_datetime, compile_classes
from cloudstack_hyperv.emulator.cim.mof import MofError, MofReader
from cloudstack_hyperv.emulator.cim.schema import ClassDef
from cloudstack_hyperv.emulator.schema import mof_files

HEAD = mof_files()["qualifiers.mof"] + '#pragma namespace ("Root\\\\Test")\n'


def compile_text(text: str) -> dict[str, ClassDef]:
    return {each.name: each for each in compile_classes(MofReader().read(HEAD + text, "test.mof"))}


def test_what_a_class_text_means() -> None:
    found = compile_text(
        r"""
        /* a comment */ [Abstract] class Above { [Key] string Id; string Name = "top"; };
        [MinRelease("2016"), Singleton] class Below : Above
        {
            [Override("Name"), Write, Description("one " "two \"three\" \\")] string Name = "below";
            uint16 Codes[] = {1, 0x10}; // both notations
            [Interval] datetime Delay = "00000001000203.000000:000";
            [EmbeddedInstance("Above"), AsElements] string Inner[];
            [OctetString] uint8 Bytes[];
            boolean Yes = TRUE;
            sint8 Low = -5;
            [ReturnCodes("Hyper-V")]
            uint32 Do([In, Required] Above REF Target, [In, Out] string X[]);
            void Nothing();
        };
        """
    )
    below = found["Below"]
    assert below.namespace == "root/test"
    assert below.superclasses == ("Above",)
    assert below.keys == ("Id",)
    assert below.singleton
    assert "2012r2" not in below.releases
    name = below.property("NAME")
    assert name is not None
    assert name.description == 'one two "three" \\'
    assert name.writable
    assert name.declared_in == "Above"
    assert below.property("Id") is found["Above"].property("Id")
    assert below.defaults() == {
        "Codes": [1, 16],
        "Delay": timedelta(days=1, minutes=2, seconds=3),
        "Low": -5,
        "Name": "below",
        "Yes": True,
    }
    inner = below.property("Inner")
    assert inner is not None
    assert (inner.cim_type, inner.embedded_class, inner.embedded_as) == (
        CimType.OBJECT,
        "Above",
        "object",
    )
    do, nothing = below.method("do"), below.method("Nothing")
    assert do is not None
    assert nothing is not None
    assert dict(do.values)["4096"].startswith("Method Parameters Checked")
    assert [(p.name, p.direction, p.required) for p in do.parameters] == [
        ("Target", "in", True),
        ("X", "inout", False),
    ]
    assert nothing.returns is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("class A { string B }", "';' expected"),
        ("class A { string B; }", "';' expected, not ''"),
        ("class A { strin B; };", "unknown type 'strin'"),
        ("class A { [Kee] string B; };", "qualifier 'kee' is not declared"),
        ("class A { [Key, Key] string B; };", "given twice"),
        ('class A { [Key("x")] string B; };', "wrong type"),
        ("class A { [Description] string B; };", "needs a value"),
        ('class A { [ValueMap("1")] string B; };', "wrong type"),
        ('class A { string B = "x; };', "a string expected"),
        ("class A { uint8 B = -; };", "a value expected"),
        ("class A { A REF B(); };", "cannot return a reference"),
        ("instance of A { };", "'class' expected"),
        ('#pragma include ("x.mof")', "'namespace' expected"),
        ("class 1A { };", "a name expected"),
        ("class A @", "'{' expected, not '@'"),
    ],
)
def test_text_that_is_not_mof_is_refused_with_its_line(text: str, problem: str) -> None:
    line = HEAD.count("\n") + 2
    with pytest.raises(MofError, match=rf"test\.mof, line {line}: .*") as caught:
        compile_text("\n" + text)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("class A : Z { };", "no class Z"),
        ("class A : B { }; class B : A { };", "derives from itself"),
        ("class A { }; class a { };", "defined twice"),
        ("class A { string X; }; class B : A { string X; };", "without Override"),
        (
            'class A { string X; }; class B : A { [Override("X")] uint8 X; };',
            "with another type",
        ),
        ("class A { void M(); }; class B : A { void M(); };", "without Override"),
        ("class A { uint8 X = 256; };", "256 is no uint8"),
        ('class A { uint8 X = "1"; };', "'1' is no uint8"),
        ("class A { uint8 X[] = 1; };", "written in braces"),
        ("class A { uint8 X = {1}; };", "array as the default of a scalar"),
        ('class A { datetime X = "yesterday"; };', "not a CIM datetime"),
        ("class A { void M(string X); };", "neither In nor Out"),
        ('class A { [EmbeddedInstance("A")] uint8 X; };', "belongs on a string"),
        ("class A { [AsElements] string X; };", "without EmbeddedInstance"),
        ("class A { [OctetString] uint8 X; };", "belongs on an array of uint8"),
        ("class A { [Interval] string X; };", "belongs on a datetime"),
        ('class A { [MinRelease("2008")] string X; };', "no such release"),
        ('class A { [ReturnCodes("x")] void M(); };', "no table of return codes"),
        ('class A { [ValueMap {"1"}] string X; };', "of the same length"),
    ],
)
def test_definitions_that_contradict_themselves_are_refused(text: str, problem: str) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_text(text)
    assert problem in str(caught.value)
    assert "test.mof" in str(caught.value)


def test_a_class_needs_a_namespace() -> None:
    with pytest.raises(SchemaError, match="has no namespace"):
        compile_classes(MofReader().read("class A { };", "test.mof"))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        MofReader().read(text, "any.mof")
    except MofError as refused:
        line = refused.line
    else:
        line = 1
    assert 1 <= line <= text.count("\n") + 1


@given(st.text(alphabet='ab[]{}();:,="\\#/* \n', max_size=60))
def test_text_made_of_mof_signs_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(MofError, SchemaError):
        assert "A" in compile_text("class A { " + text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20250131120000.000000+060", datetime(2025, 1, 31, 11, tzinfo=UTC)),
        ("20250131120000.500000-030", datetime(2025, 1, 31, 12, 30, 0, 500000, tzinfo=UTC)),
        ("16010101000000.000000+000", datetime(1601, 1, 1, tzinfo=UTC)),
        ("00000000004500.000001:000", timedelta(minutes=45, microseconds=1)),
    ],
)
def test_cim_datetimes(text: str, value: datetime | timedelta) -> None:
    assert cim_datetime(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-01-31T12:00:00Z",
        "20250131120000.000000*000",
        "20251331120000.000000+000",
        "x" * 25,
    ],
)
def test_texts_that_are_no_cim_datetimes(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a CIM datetime|does not match|unconverted"):
        cim_datetime(text)
