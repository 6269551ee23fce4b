"""WQL for any input: trees survive writing and reading, meaning agrees with a plain evaluator."""

# ruff: noqa: E501, S608  # tables of strategies; WQL reads, and the texts are ours

from __future__ import annotations

import contextlib
import operator
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.compiler import compile_classes
from cloudstack_hyperv.emulator.cim.mof import MofReader
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row
from cloudstack_hyperv.emulator.cim.schema import Schema
from cloudstack_hyperv.emulator.cim.wql import parse
from cloudstack_hyperv.emulator.cim.wql_evaluation import Surroundings, compile_condition
from cloudstack_hyperv.emulator.cim.wql_like import like
from cloudstack_hyperv.emulator.cim.wql_tree import (
    And,
    AssociationFilter,
    Associators,
    Comparison,
    Condition,
    Constant,
    IsA,
    IsNull,
    Like,
    Name,
    Not,
    Or,
    References,
    Select,
)
from cloudstack_hyperv.emulator.schema import mof_files

KEYWORDS = {
    "select",
    "from",
    "where",
    "and",
    "or",
    "not",
    "like",
    "is",
    "isa",
    "null",
    "true",
    "false",
}
WORDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda word: word.lower() not in KEYWORDS
)
NAMES = st.builds(Name, WORDS)
SCALARS = st.one_of(
    st.text(max_size=12),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
CONSTANTS = st.builds(Constant, SCALARS)
OPERATORS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])


def _nested(leaves: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = 2, 4
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.lists(inner, min_size=several[0], max_size=several[1]).map(
                lambda parts: And(tuple(parts))
            ),
            st.lists(inner, min_size=several[0], max_size=several[1]).map(
                lambda parts: Or(tuple(parts))
            ),
        ),
        max_leaves=8,
    )


CONDITIONS = _nested(
    st.one_of(
        st.builds(Comparison, OPERATORS, NAMES, st.one_of(NAMES, CONSTANTS)),
        st.builds(Comparison, OPERATORS, CONSTANTS, NAMES),
        st.builds(Like, NAMES, st.text(max_size=8)),
        st.builds(IsNull, NAMES, st.booleans()),
        st.builds(IsA, NAMES, WORDS),
    )
)
PATHS = st.builds(
    ObjectPath,
    WORDS,
    st.lists(st.tuples(WORDS, st.text(max_size=10)), max_size=3).map(tuple),
    st.sampled_from(["", "root/virtualization/v2"]),
).map(
    lambda path: ObjectPath(
        path.class_name, path.keys, path.namespace, "HV01" if path.namespace else ""
    )
)
FILTERS = st.builds(
    AssociationFilter,
    result_class=st.none() | WORDS,
    role=st.none() | WORDS,
    required_qualifier=st.none() | WORDS,
    class_defs_only=st.booleans(),
    keys_only=st.booleans(),
)
QUERIES = st.one_of(
    st.builds(
        Select,
        st.none() | st.lists(WORDS, min_size=1, max_size=3).map(tuple),
        WORDS,
        st.none() | CONDITIONS,
    ),
    st.builds(Associators, PATHS, st.builds(AssociationFilter, st.none() | WORDS, role=WORDS)),
    st.builds(References, PATHS, FILTERS),
)


@given(QUERIES)
def test_a_query_survives_writing_and_reading(query: Select | Associators | References) -> None:
    assert parse(str(query)) == query


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(CimFault):
        parse(text)


@given(
    st.lists(
        st.sampled_from(
            [
                "SELECT",
                "*",
                "FROM",
                "WHERE",
                "a",
                "=",
                "<>",
                "(",
                ")",
                "'x'",
                '"y"',
                "1",
                "-2.5",
                "AND",
                "OR",
                "NOT",
                "LIKE",
                "IS",
                "NULL",
                "ISA",
                "TRUE",
                ",",
                "ASSOCIATORS",
                "OF",
                "REFERENCES",
                "{C.K='v'}",
                "{C='v'}",
                "{C}",
                "AssocClass",
                "Role",
                "KeysOnly",
                "__PATH",
            ]
        ),
        max_size=14,
    )
)
def test_any_order_of_wql_words_is_read_or_refused(words: list[str]) -> None:
    try:
        query = parse(" ".join(words))
    except CimFault:
        return
    assert parse(str(query)) == query


# -- meaning ------------------------------------------------------------------------------------

CLASSES = compile_classes(
    MofReader().read(
        mof_files()["qualifiers.mof"]
        + """
        #pragma namespace ("root/test")
        class T {
            [Key] string K; string S; sint32 N; real64 R; boolean B; datetime D;
            [Interval] datetime I; string Other; [EmbeddedInstance("T")] string E;
        };
        class U : T { };
        """,
        "test.mof",
    )
)
CLASS = CLASSES[0]
AROUND = Surroundings(
    "HV01",
    "root/test",
    Schema(CLASSES),
    lambda row: ObjectPath("T", (("K", str(row.values["K"])),), "root/test", "HV01"),
)
SHORT = st.text(alphabet="abAB%_[]^-", max_size=4)
MOMENTS = st.integers(0, 2 * 365 * 86_400 * 10**6).map(
    lambda passed: datetime(1999, 1, 1, tzinfo=UTC) + timedelta(microseconds=passed)
)
DURATIONS = st.timedeltas(timedelta(0), timedelta(days=3))


def _row(values: dict[str, Any]) -> Row:
    return Row("T", values)


ROWS = st.fixed_dictionaries(
    {"K": SHORT},
    optional={
        "S": st.none() | SHORT,
        "N": st.none() | st.integers(-3, 3),
        "R": st.none() | st.sampled_from([-1.5, 0.0, 2.0]),
        "B": st.none() | st.booleans(),
        "D": st.none() | MOMENTS,
        "I": st.none() | DURATIONS,
        "Other": st.none() | SHORT,
    },
).map(_row)


def _cim(moment: datetime | timedelta) -> str:
    if isinstance(moment, timedelta):
        hours, rest = divmod(moment.seconds, 3600)
        return (
            f"{moment.days:08}{hours:02}{rest // 60:02}{rest % 60:02}.{moment.microseconds:06}:000"
        )
    return moment.strftime("%Y%m%d%H%M%S.%f+000")


EQUALITY = st.sampled_from(["=", "<>"])
TYPED = _nested(
    st.one_of(
        st.builds(Comparison, OPERATORS, st.sampled_from([Name("S"), Name("k")]), st.builds(Constant, SHORT)),
        st.builds(Comparison, OPERATORS, st.just(Name("s")), st.just(Name("Other"))),
        st.builds(Comparison, OPERATORS, st.builds(Constant, st.integers(-3, 3)), st.just(Name("N"))),
        st.builds(Comparison, OPERATORS, st.just(Name("N")), st.just(Name("R"))),
        st.builds(Comparison, EQUALITY, st.just(Name("B")), st.builds(Constant, st.booleans())),
        st.builds(Comparison, OPERATORS, st.just(Name("D")), st.builds(Constant, MOMENTS.map(_cim))),
        st.builds(Comparison, OPERATORS, st.just(Name("I")), st.builds(Constant, DURATIONS.map(_cim))),
        st.builds(IsNull, st.sampled_from([Name(n) for n in "SNRBDI"]), st.booleans()),
        st.builds(Like, st.just(Name("S")), st.text(alphabet="abB%_", max_size=5)),
    )
)  # fmt: skip


def naive(condition: Condition, row: Row) -> bool | None:  # plain on purpose
    """Evaluate a typed condition the obvious way: look everything up, branch on everything."""
    if isinstance(condition, And | Or):
        results = [naive(each, row) for each in condition.conditions]
        decisive = isinstance(condition, Or)
        if decisive in results:
            return decisive
        return None if None in results else not decisive
    if isinstance(condition, Not):
        inner = naive(condition.condition, row)
        return None if inner is None else not inner
    if isinstance(condition, IsNull):
        return (_value(condition.name, row) is None) ^ condition.negated
    if isinstance(condition, Like):
        text = _value(condition.name, row)
        pattern = "".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in condition.pattern)
        if text is None:
            return None
        return re.fullmatch(pattern, text, re.DOTALL | re.IGNORECASE) is not None
    assert isinstance(condition, Comparison)
    left, right = (_value(each, row) for each in (condition.left, condition.right))
    if left is None or right is None:
        return None
    if isinstance(left, datetime | timedelta):
        left = _cim(left)  # the written forms sort like what they mean
    compare = {
        "=": operator.eq, "<>": operator.ne, "<": operator.lt,
        "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    }[condition.operator]  # fmt: skip
    if isinstance(left, str):
        return bool(compare(left.lower(), right.lower()))
    return bool(compare(left, right))


def _value(operand: Name | Constant, row: Row) -> Any:
    if isinstance(operand, Constant):
        return operand.value
    return {name.lower(): value for name, value in row.values.items()}.get(operand.text.lower())


@settings(max_examples=400)
@given(TYPED, ROWS)
def test_conditions_mean_what_a_plain_evaluator_says(condition: Condition, row: Row) -> None:
    written = parse(f"SELECT * FROM T WHERE {condition}")
    assert isinstance(written, Select)
    assert written.where is not None
    assert compile_condition(written.where, CLASS, AROUND)(row) is naive(condition, row)


@given(CONDITIONS, ROWS)
def test_any_condition_is_evaluated_or_refused(condition: Condition, row: Row) -> None:
    with contextlib.suppress(CimFault):
        assert compile_condition(condition, CLASS, AROUND)(row) in {True, False, None}


@pytest.mark.parametrize(
    ("inner", "expected"), [(None, None), (Row("T", {}), False), (Row("U", {}), True)]
)
def test_isa_asks_for_the_class_of_an_embedded_object(inner: Row | None, expected: bool) -> None:
    test = compile_condition(IsA(Name("e"), "u"), CLASS, AROUND)
    assert test(Row("T", {"K": "1", "E": inner})) is expected


# -- LIKE -----------------------------------------------------------------------------------------


@given(st.text(alphabet="ab%_", max_size=7), st.text(alphabet="abAB\n", max_size=9))
def test_like_agrees_with_regular_expressions(pattern: str, text: str) -> None:
    expression = "".join({"%": ".*", "_": "."}.get(c, c) for c in pattern)
    expected = re.fullmatch(expression, text, re.DOTALL | re.IGNORECASE) is not None
    assert like(pattern)(text) is expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("[a-c]x", "Bx", True),
        ("[a-c]x", "dx", False),
        ("[^a-c]x", "dx", True),
        ("[^a-c]x", "bx", False),
        ("[abz]%", "zebra", True),
        ("[%]_", "%1", True),
        ("[%]_", "a1", False),
        ("[_]", "_", True),
        ("[]]", "]", True),
        ("[a-]", "-", True),
        ("[^]", "^", True),
        ("Microsoft:Definition%Maximum", "microsoft:definition\\X\\Maximum", True),
        ("%%Default%%", "Microsoft:Definition\\GUID\\Default", True),
        ("", "", True),
        ("%", "", True),
        ("_", "", False),
    ],
)
def test_like_patterns(pattern: str, text: str, expected: bool) -> None:
    assert like(pattern)(text) is expected


def test_a_hostile_pattern_costs_no_more_than_its_length() -> None:
    matches = like("%a" * 200 + "%b_")
    assert not matches("a" * 2000)  # a backtracking expression would not end
