r"""Reads class definitions written in MOF, the text form of the CIM standard (DSP0004, annex A).

The schema of the emulated host stands in `emulator/schema/*.mof` so that a person can read it and
correct it.  This reader takes the part of MOF that class definitions need and refuses the rest
(instances, aliases, indications, `#pragma include`) with file and line:

    file        = { pragma | qualifier-declaration | class } ;
    pragma      = "#pragma" "namespace" "(" string ")" ;
    qualifier-declaration
                = "Qualifier" name ":" type [ "[" "]" ] [ "=" value ] { "," scope } ";" ;
    scope       = name "(" name { "," name } ")" ;
    class       = [ qualifiers ] "class" name [ ":" name ] "{" { feature } "}" ";" ;
    feature     = [ qualifiers ] ( property | method ) ";" ;
    property    = ( type | name "REF" ) name [ "[" "]" ] [ "=" value ] ;
    method      = ( type | "void" ) name "(" [ parameter { "," parameter } ] ")" ;
    parameter   = [ qualifiers ] ( type | name "REF" ) name [ "[" "]" ] ;
    qualifiers  = "[" qualifier { "," qualifier } "]" ;
    qualifier   = name [ "(" value ")" | array ] ;
    value       = array | scalar ;
    array       = "{" [ scalar { "," scalar } ] "}" ;
    scalar      = string { string } | integer | "true" | "false" | "null" ;
    type        = "boolean" | "string" | "datetime" | "char16" | "uint8" | ... | "real64" ;
    name        = letter or "_" followed by letters, digits, "_" ;
    string      = '"' characters with the escapes \" \\ \n \t \r '"' ;

White space and comments (`// ...`, `/* ... */`) separate tokens.  Keywords and qualifier names are
taken without letter case.  A qualifier has to be declared, with the type of its value.

A property that a superclass declares too says so with `Override("name")`: what its qualifiers and
default leave out stays as inherited; type and array-ness must not change.  An overriding method
replaces the inherited one whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

MofScalar: TypeAlias = str | int | bool | None
MofValue: TypeAlias = MofScalar | tuple[MofScalar, ...]

_TOKEN: Final = re.compile(
    r"""(?:\s|//[^\n]*|/\*(?s:.*?)\*/)*      # white space and comments
        ( "(?:[^"\\\n]|\\.)*"
        | [A-Za-z_][A-Za-z0-9_]*
        | [-+]?0[xX][0-9A-Fa-f]+ | [-+]?[0-9]+
        | [\[\]{}():;,=#]
        | \S                                   # anything else: an error, found by the parser
        | \Z )
    """,
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}
_NAME_START: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NUMBER_START: Final = frozenset("0123456789+-")
_HEXADECIMAL: Final = frozenset("0123456789ABCDEFabcdef")

INTEGER_TYPES: Final = frozenset(
    {"uint8", "uint16", "uint32", "uint64", "sint8", "sint16", "sint32", "sint64"}
)
SCALAR_TYPES: Final = INTEGER_TYPES | {
    "boolean",
    "string",
    "datetime",
    "char16",
    "real32",
    "real64",
}


class MofError(ValueError):
    """The text is not MOF as this module's grammar has it."""

    def __init__(self, source: str, line: int, problem: str) -> None:
        super().__init__(f"{source}, line {line}: {problem}")
        self.source = source
        self.line = line


@dataclass(frozen=True, slots=True)
class QualifierDeclaration:
    """`Qualifier Key : boolean = false, Scope(property);` without its scopes and flavours."""

    name: str
    type_name: str
    array: bool
    default: MofValue


@dataclass(frozen=True, slots=True)
class FeatureText:
    """A property or parameter as it stands in the text."""

    name: str
    type_name: str
    """A type's name in lower case, "ref" for a reference."""
    reference_class: str | None
    array: bool
    qualifiers: Mapping[str, MofValue]
    """By lower-case name."""
    default: MofValue = None


@dataclass(frozen=True, slots=True)
class MethodText:
    """A method as it stands in the text; `type_name` is "void" for one that returns nothing."""

    name: str
    type_name: str
    parameters: tuple[FeatureText, ...]
    qualifiers: Mapping[str, MofValue]


@dataclass(frozen=True, slots=True)
class ClassText:
    """A class as it stands in the text, without what it inherits."""

    source: str
    namespace: str
    name: str
    superclass: str | None
    qualifiers: Mapping[str, MofValue]
    properties: tuple[FeatureText, ...]
    methods: tuple[MethodText, ...]


@dataclass(slots=True)
class MofReader:
    """Reads files one after the other; qualifier declarations of one hold for the next."""

    declarations: dict[str, QualifierDeclaration] = field(default_factory=dict)

    def read(self, text: str, source: str) -> list[ClassText]:
        """Return the classes of one file; raises MofError."""
        return list(_Parser(text, source, self.declarations).classes())


class _Parser:
    """Recursive descent over a list of token texts; a token's kind is told by its first letter."""

    def __init__(
        self, text: str, source: str, declarations: dict[str, QualifierDeclaration]
    ) -> None:
        self._text = text
        self._source = source
        self._declarations = declarations
        self._tokens: list[str] = _TOKEN.findall(text)
        self._tokens.append("")  # end of text; findall may or may not have given one
        self._at = 0
        self._namespace = ""

    def classes(self) -> Iterator[ClassText]:
        tokens = self._tokens
        while tokens[self._at]:
            first = tokens[self._at]
            if first == "#":
                self._pragma()
            elif first.lower() == "qualifier" and tokens[self._at + 1] != ":":
                self._declaration()
            else:
                yield self._class()

    # -- declarations -------------------------------------------------------------------------

    def _pragma(self) -> None:
        self._expect("#")
        self._keyword("pragma")
        self._keyword("namespace")
        self._expect("(")
        self._namespace = self._string()
        self._expect(")")

    def _declaration(self) -> None:
        self._keyword("qualifier")
        name = self._name()
        self._expect(":")
        type_name = self._name().lower()
        if type_name not in SCALAR_TYPES:
            raise self._error(f"unknown type {type_name!r}")
        array = self._brackets()
        default = self._value() if self._accept("=") else None
        while self._accept(","):
            self._name()
            self._expect("(")
            self._name()
            while self._accept(","):
                self._name()
            self._expect(")")
        self._expect(";")
        self._declarations[name.lower()] = QualifierDeclaration(name, type_name, array, default)

    def _class(self) -> ClassText:
        qualifiers = self._qualifiers()
        self._keyword("class")
        name = self._name()
        superclass = self._name() if self._accept(":") else None
        self._expect("{")
        properties: list[FeatureText] = []
        methods: list[MethodText] = []
        while not self._accept("}"):
            feature = self._feature()
            if isinstance(feature, MethodText):
                methods.append(feature)
            else:
                properties.append(feature)
        self._expect(";")
        return ClassText(
            self._source,
            self._namespace,
            name,
            superclass,
            qualifiers,
            tuple(properties),
            tuple(methods),
        )

    def _feature(self) -> FeatureText | MethodText:
        qualifiers = self._qualifiers()
        if self._tokens[self._at].lower() == "void" and self._tokens[self._at + 2] == "(":
            self._at += 1
            feature: FeatureText | MethodText = self._method("void", self._name(), qualifiers)
        else:
            type_name, reference_class = self._type()
            name = self._name()
            if self._tokens[self._at] == "(":
                if reference_class is not None:
                    raise self._error("a method cannot return a reference")
                feature = self._method(type_name, name, qualifiers)
            else:
                array = self._brackets()
                default = self._value() if self._accept("=") else None
                feature = FeatureText(name, type_name, reference_class, array, qualifiers, default)
        self._expect(";")
        return feature

    def _method(self, type_name: str, name: str, qualifiers: Mapping[str, MofValue]) -> MethodText:
        self._expect("(")
        parameters: list[FeatureText] = []
        if not self._accept(")"):
            parameters.append(self._parameter())
            while self._accept(","):
                parameters.append(self._parameter())
            self._expect(")")
        return MethodText(name, type_name, tuple(parameters), qualifiers)

    def _parameter(self) -> FeatureText:
        qualifiers = self._qualifiers()
        type_name, reference_class = self._type()
        name = self._name()
        return FeatureText(name, type_name, reference_class, self._brackets(), qualifiers)

    def _type(self) -> tuple[str, str | None]:
        name = self._name()
        if self._tokens[self._at].lower() == "ref":
            self._at += 1
            return "ref", name
        if name.lower() not in SCALAR_TYPES:
            raise self._error(f"unknown type {name!r}")
        return name.lower(), None

    # -- qualifiers ---------------------------------------------------------------------------

    def _qualifiers(self) -> dict[str, MofValue]:
        found: dict[str, MofValue] = {}
        if not self._accept("["):
            return found
        while True:
            name = self._name().lower()
            declaration = self._declarations.get(name)
            if declaration is None:
                raise self._error(f"qualifier {name!r} is not declared")
            if name in found:
                raise self._error(f"qualifier {name!r} is given twice")
            found[name] = self._qualifier_value(declaration)
            if not self._accept(","):
                self._expect("]")
                return found

    def _qualifier_value(self, declaration: QualifierDeclaration) -> MofValue:
        value: MofValue
        if self._tokens[self._at] == "{":
            value = self._value()
        elif self._accept("("):
            value = self._value()
            self._expect(")")
        elif declaration.type_name == "boolean":
            return True
        else:
            raise self._error(f"qualifier {declaration.name!r} needs a value")
        kind = {"boolean": bool, "string": str}.get(declaration.type_name, int)
        if isinstance(value, tuple) != declaration.array or not all(
            type(each) is kind for each in (value if isinstance(value, tuple) else (value,))
        ):
            raise self._error(f"qualifier {declaration.name!r} has a value of the wrong type")
        return value

    # -- values -------------------------------------------------------------------------------

    def _value(self) -> MofValue:
        if not self._accept("{"):
            return self._scalar()
        values: list[MofScalar] = []
        if self._accept("}"):
            return ()
        while True:
            values.append(self._scalar())
            if not self._accept(","):
                self._expect("}")
                return tuple(values)

    def _scalar(self) -> MofScalar:
        token = self._tokens[self._at]
        if token[:1] == '"':
            return self._string()
        if token[-1:] in _HEXADECIMAL and token[:1] in _NUMBER_START:
            self._at += 1
            return int(token, 16 if "x" in token.lower() else 10)
        word = token.lower()
        if word in {"true", "false", "null"}:
            self._at += 1
            return None if word == "null" else word == "true"
        raise self._error(f"a value expected, not {token!r}")

    def _string(self) -> str:
        if self._tokens[self._at][:1] != '"' or len(self._tokens[self._at]) < 2:
            raise self._error("a string expected")
        parts: list[str] = []
        while self._tokens[self._at][:1] == '"' and len(self._tokens[self._at]) >= 2:
            part = self._tokens[self._at][1:-1]
            parts.append(_ESCAPE.sub(_unescaped, part) if "\\" in part else part)
            self._at += 1
        return "".join(parts) if len(parts) > 1 else parts[0]

    # -- tokens -------------------------------------------------------------------------------

    def _name(self) -> str:
        token = self._tokens[self._at]
        if token[:1] not in _NAME_START:
            raise self._error(f"a name expected, not {token!r}")
        self._at += 1
        return token

    def _brackets(self) -> bool:
        if not self._accept("["):
            return False
        self._expect("]")
        return True

    def _accept(self, token: str) -> bool:
        if self._tokens[self._at] == token:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if self._tokens[self._at] != token:
            raise self._error(f"{token!r} expected, not {self._tokens[self._at]!r}")
        self._at += 1

    def _keyword(self, word: str) -> None:
        if self._tokens[self._at].lower() != word:
            raise self._error(f"{word!r} expected, not {self._tokens[self._at]!r}")
        self._at += 1

    def _error(self, problem: str) -> MofError:
        return MofError(self._source, self._line_of(self._at), problem)

    def _line_of(self, index: int) -> int:
        """Find the line of a token by reading again: costs nothing while all is well."""
        for number, match in enumerate(_TOKEN.finditer(self._text)):
            if number == index:
                return self._text.count("\n", 0, match.start(1)) + 1
        return self._text.count("\n") + 1


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])
