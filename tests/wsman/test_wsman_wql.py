"""WQL texts: what is a name and what is a literal, read back by a tokenizer of the test's own."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.cim import ObjectPath, Uint16
from cloudstack_hyperv.wsman import Instance, wql
from cloudstack_hyperv.wsman.protocol.evaluate import CannotEvaluate, evaluate

TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.)*')
    | (?P<number>-?\d+)
    | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
    | (?P<sign><>|<=|>=|[=<>()*,])
    )""",
    re.VERBOSE | re.DOTALL,
)


def tokens(statement: str) -> list[tuple[str, str]]:
    """Split as WMI does: quotes open and close literals, a backslash in them escapes."""
    found = []
    position = 0
    while position < len(statement):
        match = TOKEN.match(statement, position)
        assert match is not None, statement[position:]
        kind = str(match.lastgroup)
        text = match[kind]
        if kind == "text":
            text = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
        found.append((kind, text))
        position = match.end()
    return found


def like(pattern: str, text: str) -> bool:
    """Match as WMI does: %, _, and sets in brackets."""
    expression = ""
    index = 0
    while index < len(pattern):
        character = pattern[index]
        if character == "[":
            end = pattern.index("]", index + 1)
            expression += "[" + re.escape(pattern[index + 1 : end]) + "]"
            index = end
        else:
            expression += {"%": ".*", "_": "."}.get(character, re.escape(character))
        index += 1
    return re.fullmatch(expression, text, re.DOTALL | re.IGNORECASE) is not None


NASTY = st.text(alphabet=st.sampled_from(list("ab'\"\\%_[]^ORé*()=<>- \n")), max_size=30)


@given(NASTY | st.text(max_size=30))
def test_a_literal_is_one_literal_whatever_it_holds(text: str) -> None:
    select = wql.Select("Msvm_ComputerSystem", where=wql.equals("ElementName", text))
    assert tokens(str(select)) == [
        ("word", "SELECT"),
        ("sign", "*"),
        ("word", "FROM"),
        ("word", "Msvm_ComputerSystem"),
        ("word", "WHERE"),
        ("word", "ElementName"),
        ("sign", "="),
        ("text", text),
    ]


@given(NASTY, NASTY, NASTY)
def test_like_takes_its_text_literally(before: str, text: str, after: str) -> None:
    (_, _, (_, pattern)) = tokens(str(wql.contains("Name", text)))
    assert like(pattern, before + text + after)
    assert not like(pattern, "Z") or text == ""
    (_, _, (_, pattern)) = tokens(str(wql.starts_with("Name", text)))
    assert like(pattern, text + after)
    assert not like(pattern, "Z" + text) or text == ""
    (_, _, (_, pattern)) = tokens(str(wql.ends_with("Name", text)))
    assert like(pattern, before + text)
    assert not like(pattern, text + "Z") or text == ""


def test_the_forms_of_a_select() -> None:
    where = wql.all_of(
        [
            wql.one_of("EnabledState", [2, Uint16(9)]),
            wql.Not(wql.IsNull("Notes")),
            wql.differs("Started", True),
            wql.Comparison("InstallDate", ">=", datetime(2025, 1, 31, 12, tzinfo=UTC)),
        ]
    )
    assert str(wql.Select("Msvm_X", where, ("Name", "ElementName"))) == (
        "SELECT Name,ElementName FROM Msvm_X WHERE (EnabledState = 2 OR EnabledState = 9)"
        " AND NOT (Notes IS NULL) AND Started <> TRUE"
        " AND InstallDate >= '20250131120000.000000+000'"
    )
    assert str(wql.Select("Msvm_X")) == "SELECT * FROM Msvm_X"
    assert str(wql.starts_with("T", "Microsoft:Hyper-V:Snapshot:")) == (
        "T LIKE 'Microsoft:Hyper-V:Snapshot:%'"
    )


def test_the_forms_of_associations() -> None:
    vm = ObjectPath(
        "Msvm_ComputerSystem",
        (("CreationClassName", "Msvm_ComputerSystem"), ("Name", r'a\b"c')),
        "root/virtualization/v2",
        "HV1",
    )
    path = r'{Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",Name="a\\b\"c"}'
    assert str(wql.Associators(vm)) == f"ASSOCIATORS OF {path}"
    assert str(
        wql.Associators(vm, "Msvm_SettingsDefineState", "Msvm_VirtualSystemSettingData", "R", "Q")
    ) == (
        f"ASSOCIATORS OF {path} WHERE AssocClass = Msvm_SettingsDefineState"
        " ResultClass = Msvm_VirtualSystemSettingData Role = R ResultRole = Q"
    )
    assert str(wql.References(vm, result_class="Msvm_AffectedJobElement", role="A")) == (
        f"REFERENCES OF {path} WHERE ResultClass = Msvm_AffectedJobElement Role = A"
    )


BAD = "Name = 'x' OR Name"


@pytest.mark.parametrize(
    "make",
    [
        lambda: wql.Select(BAD),
        lambda: wql.Select("A", properties=(BAD,)),
        lambda: wql.equals(BAD, 1),
        lambda: wql.contains(BAD, ""),
        lambda: wql.IsNull(BAD),
        lambda: str(wql.Associators(ObjectPath("A", ((BAD, "1"),)))),
        lambda: str(wql.Associators(ObjectPath("A", ()), BAD)),
        lambda: str(wql.References(ObjectPath(BAD, ()))),
        lambda: wql.one_of("A", []),
        lambda: wql.all_of([]),
        lambda: wql.Select(""),
    ],
)
def test_what_is_no_name_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=r"not a CIM name|no conditions"):
        make()


def row(**values: str) -> Instance:
    return Instance("Msvm_X", {name: (text,) for name, text in values.items()})


ROWS = [
    row(Name="Alpha", State="2", On="true", Date="2025-01-31T12:00:00Z"),
    row(Name="beta", State="3", On="false", Date="2025-02-01T12:00:00+02:00"),
    row(Name="100%_[x]", State="10"),
    row(State="2"),
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, [0, 1, 2, 3]),
        (wql.equals("Name", "ALPHA"), [0]),
        (wql.differs("Name", "alpha"), [1, 2]),
        (wql.Not(wql.equals("Name", "alpha")), [1, 2]),
        (wql.IsNull("Name"), [3]),
        (wql.Not(wql.IsNull("Name")), [0, 1, 2]),
        (wql.equals("State", 2), [0, 3]),
        (wql.Comparison("State", ">", 2), [1, 2]),
        (wql.Comparison("State", "<=", 3), [0, 1, 3]),
        (wql.Comparison("State", "<", 3), [0, 3]),
        (wql.Comparison("State", ">=", 3), [1, 2]),
        (wql.equals("On", True), [0]),
        (wql.equals("Date", datetime(2025, 2, 1, 10, tzinfo=UTC)), [1]),
        (wql.starts_with("Name", "AL"), [0]),
        (wql.ends_with("Name", "TA"), [1]),
        (wql.contains("Name", "%_["), [2]),
        (wql.Like("Name", "beta", before=False, after=False), [1]),
        (wql.one_of("State", [3, 10]), [1, 2]),
        (wql.any_of([wql.equals("Name", "x"), wql.equals("State", 2)]), [0, 3]),
        (wql.all_of([wql.equals("Name", "alpha"), wql.equals("State", 2)]), [0]),
        (wql.Not(wql.all_of([wql.equals("Name", "x"), wql.equals("State", 2)])), [0, 1, 2]),
        (wql.equals("__CLASS", "msvm_x"), [0, 1, 2, 3]),
    ],
)
def test_a_select_is_evaluated_by_wqls_rules(
    where: wql.Condition | None, expected: list[int]
) -> None:
    assert evaluate(wql.Select("Msvm_X", where), ROWS) == [ROWS[index] for index in expected]


def test_an_evaluated_select_shows_what_it_asks_for() -> None:
    (first, second) = evaluate(wql.Select("Msvm_X", wql.equals("State", 2), ("Name",)), ROWS)
    assert (first.values, second.values) == ({"Name": ("Alpha",)}, {})


@pytest.mark.parametrize(
    "where",
    [
        wql.equals("__PATH", "x"),
        wql.equals("Name", 5),
        wql.equals("Many", "a"),
        wql.equals("Name", datetime(2025, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_the_rows_do_not_show_cannot_be_evaluated(where: wql.Condition) -> None:
    rows = [*ROWS, Instance("Msvm_X", {"Many": ("a", "b")})]
    with pytest.raises(CannotEvaluate):
        evaluate(wql.Select("Msvm_X", where), rows)
