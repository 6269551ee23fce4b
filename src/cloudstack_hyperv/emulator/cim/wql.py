r"""WQL: WMI's query language, read into a tree (`wql_tree`).

    query       = select | associators | references ;
    select      = "SELECT" ( "*" | name { "," name } ) "FROM" name [ "WHERE" condition ] ;
    condition   = conjunction { "OR" conjunction } ;
    conjunction = negation { "AND" negation } ;
    negation    = "NOT" negation | "(" condition ")" | test ;
    test        = operand ( comparator operand
                          | "LIKE" string
                          | "IS" [ "NOT" ] "NULL"
                          | "ISA" string ) ;
    comparator  = "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" ;
    operand     = name | string | number | "TRUE" | "FALSE" | "NULL" ;
    associators = "ASSOCIATORS" "OF" path [ "WHERE" { filter } ] ;
    references  = "REFERENCES" "OF" path [ "WHERE" { filter } ] ;
    filter      = ( "AssocClass" | "ResultClass" | "Role" | "ResultRole"
                  | "RequiredQualifier" | "RequiredAssocQualifier" ) "=" name
                | "ClassDefsOnly" | "KeysOnly" | "SchemaOnly" ;
    path        = "{" object path "}" ;
    string      = "'" characters "'" | '"' characters '"' ;
    name        = letter or "_", then letters, digits, "_" ;

Keywords have no letter case.  In a string `\\` is one backslash, `\'` and `\"` are quotes, and a
backslash before anything else stands for itself: os-win asks `LIKE '%\Default'` and `LIKE
'Microsoft:GUID\GUID\C%'`, libvirt's driver puts the DeviceID of a display controller into a path in
braces as it read it (`'Microsoft:GUID\GUID'`), and hosts answer both.  A filter is given once and
without commas or AND; AssocClass,
ResultRole and RequiredAssocQualifier belong to ASSOCIATORS.  Everything else (joins, GROUP BY,
WITHIN, functions) is refused with CimFault INVALID_QUERY, and so is nesting deeper than 64 and a
query longer than 64 KiB.

What a condition means is in `wql_evaluation`.

Sources: Microsoft, "Querying with WQL", "LIKE Operator", "ASSOCIATORS OF Statement", "REFERENCES OF
Statement"; libvirt's hyperv driver and os-win for what is really sent.
"""

from __future__ import annotations

import re
from typing import Final

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.emulator.cim.provider import CimFault, WmiCode
from cloudstack_hyperv.emulator.cim.wql_tree import (
    FILTERS,
    SWITCHES,
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
    Operand,
    Or,
    Query,
    References,
    Select,
)

MAX_LENGTH: Final = 64 * 1024
MAX_DEPTH: Final = 64


_FILTER_FIELDS: Final = {word.lower(): field_name for word, field_name in FILTERS.items()}
_SWITCH_FIELDS: Final = {word.lower(): field_name for word, field_name in SWITCHES.items()}
_ASSOCIATORS_ONLY: Final = frozenset({"assocclass", "resultrole", "requiredassocqualifier"})
_KEYWORDS: Final = frozenset(
    {"select", "from", "where", "and", "or", "not", "like", "is", "isa", "null", "true", "false"}
)


def parse(text: str) -> Query:
    """Read a query; raises CimFault (INVALID_QUERY, or INVALID_OBJECT_PATH for the braces)."""
    return _Parser(text).query()


_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<real>[-+]?[0-9]{1,40}\.[0-9]{1,40}(?:[eE][-+]?[0-9]{1,3})?
                |[-+]?[0-9]{1,40}[eE][-+]?[0-9]{1,3})
      | (?P<integer>[-+]?[0-9]{1,40})
      | (?P<path>\{(?:[^{}'"]|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")*\})
      | (?P<sign><>|!=|<=|>=|[=<>(),*])
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_SHORT_PATH: Final = re.compile(
    r"""(?P<head>[^.='"]*)=\s*(?P<value>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL
)
_ESCAPE: Final = re.compile(r"""\\([\\'"])""")
_QUOTED: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_LONE_BACKSLASH: Final = re.compile(r"""\\([\\'"])|\\""")


def _double_lone_backslashes(quoted: re.Match[str]) -> str:
    r"""Write `\\` for a backslash that escapes nothing."""
    return _LONE_BACKSLASH.sub(lambda found: found[0] if found[1] else r"\\", quoted[0])


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise _invalid("the query is too long")
        self._kinds: list[str] = []
        self._texts: list[str] = []
        self._at = 0
        self._depth = 0
        position = 0
        while True:
            match = _TOKEN.match(text, position)
            if match is None:
                raise _invalid(f"unexpected text at character {position + 1}")
            kind = match.lastgroup or "end"
            self._kinds.append(kind)
            self._texts.append(match[kind])
            if kind == "end":
                return
            position = match.end()

    def query(self) -> Query:
        result: Query
        if self._accept("select"):
            result = self._select()
        elif self._accept("associators"):
            self._expect("of")
            result = Associators(self._path(), self._filters(associators=True))
        elif self._accept("references"):
            self._expect("of")
            result = References(self._path(), self._filters(associators=False))
        else:
            raise self._error("SELECT, ASSOCIATORS or REFERENCES")
        if self._kinds[self._at] != "end":
            raise self._error("the end of the query")
        return result

    def _select(self) -> Select:
        columns: tuple[str, ...] | None = None
        if not self._accept_sign("*"):
            names = [self._name()]
            while self._accept_sign(","):
                names.append(self._name())
            columns = tuple(names)
        self._expect("from")
        class_name = self._name()
        return Select(columns, class_name, self._condition() if self._accept("where") else None)

    # -- conditions ---------------------------------------------------------------------------

    def _condition(self) -> Condition:
        parts = [self._conjunction()]
        while self._accept("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self) -> Condition:
        parts = [self._negation()]
        while self._accept("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _negation(self) -> Condition:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _invalid("the condition is nested too deeply")
        result: Condition
        if self._accept("not"):
            result = Not(self._negation())
        elif self._accept_sign("("):
            result = self._condition()
            if not self._accept_sign(")"):
                raise self._error("a closing parenthesis")
        else:
            result = self._test()
        self._depth -= 1
        return result

    def _test(self) -> Condition:
        left = self._operand()
        if isinstance(left, Name):
            if self._accept("like"):
                return Like(left, self._string())
            if self._accept("isa"):
                return IsA(left, self._string())
            if self._accept("is"):
                negated = self._accept("not")
                self._expect("null")
                return IsNull(left, negated)
        operator = self._texts[self._at]
        if self._kinds[self._at] != "sign" or operator in {"(", ")", ",", "*"}:
            raise self._error("a comparison")
        self._at += 1
        right = self._operand()
        if isinstance(left, Constant) and isinstance(right, Constant):
            raise _invalid("a comparison of two constants")
        return Comparison("<>" if operator == "!=" else operator, left, right)

    def _operand(self) -> Operand:
        kind, text = self._kinds[self._at], self._texts[self._at]
        if kind == "string":
            return Constant(self._string())
        if kind == "name" and text.lower() in {"true", "false", "null"}:
            self._at += 1
            return Constant({"true": True, "false": False, "null": None}[text.lower()])
        if kind in {"integer", "real"}:
            self._at += 1
            return Constant(int(text) if kind == "integer" else float(text))
        return Name(self._name())

    # -- associations -------------------------------------------------------------------------

    def _path(self) -> ObjectPath:
        if self._kinds[self._at] != "path":
            raise self._error("an object path in braces")
        text = _QUOTED.sub(_double_lone_backslashes, self._texts[self._at][1:-1].strip())
        self._at += 1
        short = _SHORT_PATH.fullmatch(text)
        try:
            if short is not None:
                head = ObjectPath.parse(short["head"].strip())
                value = _ESCAPE.sub(r"\1", short["value"][1:-1])
                return ObjectPath(head.class_name, (("", value),), head.namespace, head.host)
            return ObjectPath.parse(text)
        except MalformedPath as problem:
            raise CimFault(WmiCode.INVALID_OBJECT_PATH, str(problem)) from problem

    def _filters(self, *, associators: bool) -> AssociationFilter:
        values: dict[str, str] = {}
        switches: set[str] = set()
        if self._accept("where"):
            while self._kinds[self._at] == "name":
                word = self._texts[self._at].lower()
                field_name = _FILTER_FIELDS.get(word) or _SWITCH_FIELDS.get(word)
                if (
                    field_name is None
                    or field_name in values
                    or field_name in switches
                    or (word in _ASSOCIATORS_ONLY and not associators)
                ):
                    raise self._error("a filter, each once")
                self._at += 1
                if word in _SWITCH_FIELDS:
                    switches.add(field_name)
                    continue
                if not self._accept_sign("="):
                    raise self._error("'='")
                values[field_name] = self._name()
            if not values and not switches:
                raise self._error("a filter")
        return AssociationFilter(
            assoc_class=values.get("assoc_class"),
            result_class=values.get("result_class"),
            role=values.get("role"),
            result_role=values.get("result_role"),
            required_qualifier=values.get("required_qualifier"),
            required_assoc_qualifier=values.get("required_assoc_qualifier"),
            class_defs_only="class_defs_only" in switches,
            keys_only="keys_only" in switches,
            schema_only="schema_only" in switches,
        )

    # -- tokens -------------------------------------------------------------------------------

    def _name(self) -> str:
        text = self._texts[self._at]
        if self._kinds[self._at] != "name" or text.lower() in _KEYWORDS:
            raise self._error("a name")
        self._at += 1
        return text

    def _string(self) -> str:
        if self._kinds[self._at] != "string":
            raise self._error("a string")
        self._at += 1
        return _ESCAPE.sub(r"\1", self._texts[self._at - 1][1:-1])

    def _accept(self, keyword: str) -> bool:
        if self._kinds[self._at] == "name" and self._texts[self._at].lower() == keyword:
            self._at += 1
            return True
        return False

    def _expect(self, keyword: str) -> None:
        if not self._accept(keyword):
            raise self._error(keyword.upper())

    def _accept_sign(self, sign: str) -> bool:
        if self._kinds[self._at] == "sign" and self._texts[self._at] == sign:
            self._at += 1
            return True
        return False

    def _error(self, wanted: str) -> CimFault:
        found = self._texts[self._at][:60]
        return _invalid(f"{wanted} expected, not {found!r}" if found else f"{wanted} expected")


def _invalid(problem: str) -> CimFault:
    return CimFault(WmiCode.INVALID_QUERY, f"invalid query: {problem}")
