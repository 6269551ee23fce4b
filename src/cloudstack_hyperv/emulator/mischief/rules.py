"""Which call an action happens to: pure rules, counted per rule, repeatable by seed and by name.

A rule matches calls by patterns (`*` and `?`, no letter case), and acts on `times` of them in a
row beginning with the `nth`.  With a `chance` below 1 each of those is drawn from the rule's own
`seed`, so the same calls meet the same fate in every run.

A name of the form `FAULT@CLASS.METHOD#NTH` is a whole rule: `lost-after@*Service.DefineSystem#2`
(`NTH` 1 when left out; `@Get`, `@Enumerate` ... for an operation that is no method; FAULT from
`actions.FAULTS`).  That is how a case that failed is replayed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.door.calls import Call
from cloudstack_hyperv.emulator.mischief.actions import FAULTS, Action

OPERATIONS: Final = frozenset(
    {"Get", "Put", "Create", "Delete", "Enumerate", "Pull", "Release", "Invoke"}
)
_NAME = re.compile(r"(?P<fault>[a-z0-9-]+)@(?P<call>[A-Za-z0-9_.*?]+)(?:#(?P<nth>[1-9][0-9]*))?")


class BadRule(ValueError):
    """A rule's name or fields cannot be used; the text says why."""


class Rule(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"class_name": "class"},
):
    """Calls, and the action that they meet."""

    name: str
    action: Action
    operation: str = "*"
    """Get, Put, Create, Delete, Enumerate, Pull, Release or Invoke."""
    class_name: str = "*"
    """`class` in JSON.  Queries have the class `*`; match them by `about`."""
    method: str = "*"
    """Matches the empty name of what is no Invoke only as `*`."""
    namespace: str = "*"
    about: str = "*"
    """Matches the WQL text, a selector's value, or a text or path among the arguments, those of
    embedded instances included."""
    nth: int = 1
    """The first of the matching calls that is met, from 1."""
    times: int = 1
    """How many in a row; 0 is all from the `nth` on."""
    chance: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise BadRule("a rule needs a name")
        if self.nth < 1 or self.times < 0:
            raise BadRule("nth counts from 1, times from 0")
        if not 0.0 < self.chance <= 1.0:
            raise BadRule("chance is above 0 and at most 1")

    def matches(self, call: Call) -> bool:
        """Whether the rule counts this call."""
        return (
            _fits(call.operation, self.operation)
            and _fits(call.class_name, self.class_name)
            and _fits(call.method, self.method)
            and _fits(call.namespace.replace("\\", "/"), self.namespace)
            and (self.about == "*" or any(_fits(text, self.about) for text in _texts(call)))
        )


def rule_of_name(name: str) -> Rule:
    """Return the rule that a name stands for; raises BadRule."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise BadRule(f"{name!r} is not FAULT@CLASS.METHOD#NTH")
    action = FAULTS.get(parts["fault"])
    if action is None:
        raise BadRule(f"no fault {parts['fault']}; there are {', '.join(FAULTS)}")
    call, nth = parts["call"], int(parts["nth"] or 1)
    if call in OPERATIONS:
        return Rule(name=name, action=action, operation=call, nth=nth)
    class_name, dot, method = call.rpartition(".")
    if not dot:
        raise BadRule(f"{call} is neither an operation nor CLASS.METHOD")
    if method in OPERATIONS:
        return Rule(name=name, action=action, class_name=class_name, operation=method, nth=nth)
    return Rule(
        name=name,
        action=action,
        operation="Invoke",
        class_name=class_name,
        method=method,
        nth=nth,
    )


def name_of(fault: str, call: Call, nth: int) -> str:
    """Return the name by which `fault` happens to the nth call of this kind."""
    what = call.method or call.operation
    return f"{fault}@{call.class_name}.{what}#{nth}"


@dataclass(slots=True)
class Firing:
    """One time that a rule acted."""

    rule: str
    call: int
    """Number of the call."""
    took_effect: bool = True
    """False where there was nothing to act on: no job was started, the host refused."""
    note: str = ""


@dataclass(slots=True)
class _Counted:
    rule: Rule
    dice: random.Random
    seen: int = 0


@dataclass(slots=True)
class RuleBook:
    """The rules in force, in the order of their arrival, and how often each has been met."""

    _rules: dict[str, _Counted] = field(default_factory=dict)

    def add(self, rule: Rule) -> None:
        """Put a rule in force; one of the same name is replaced and counts anew."""
        self._rules.pop(rule.name, None)
        dice = random.Random(rule.seed)  # noqa: S311 - repeatable, not secret
        self._rules[rule.name] = _Counted(rule, dice)

    def remove(self, name: str) -> bool:
        """Take a rule out of force; return whether there was one."""
        return self._rules.pop(name, None) is not None

    def clear(self) -> None:
        """Take all rules out of force."""
        self._rules.clear()

    def __iter__(self) -> Iterator[Rule]:
        return iter([counted.rule for counted in self._rules.values()])

    def seen(self, name: str) -> int:
        """Return how many calls a rule has matched; KeyError for an unknown one."""
        return self._rules[name].seen

    def met(self, call: Call) -> list[Rule]:
        """Count a call and return the rules that act on it, in order."""
        acting: list[Rule] = []
        for counted in self._rules.values():
            rule = counted.rule
            if not rule.matches(call):
                continue
            counted.seen += 1
            last = rule.nth + rule.times - 1
            in_turn = counted.seen >= rule.nth and (rule.times == 0 or counted.seen <= last)
            if in_turn and (rule.chance >= 1.0 or counted.dice.random() < rule.chance):
                acting.append(rule)
        return acting


def _fits(text: str, pattern: str) -> bool:
    return pattern == "*" or fnmatchcase(text.casefold(), pattern.casefold())


def _texts(call: Call) -> Iterable[str]:
    if call.filter:
        yield call.filter
    yield from call.selectors.values()
    for value in call.arguments.values():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, str | ObjectPath):
                yield str(item)
            elif isinstance(item, Row):
                yield from _row_texts(item)


def _row_texts(row: Row) -> Iterable[str]:
    for value in row.values.values():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, str):
                yield item
