"""Rules by themselves: what they match, which of the calls they act on, names that replay."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Caller, Row, Value
from cloudstack_hyperv.emulator.door.calls import Call
from cloudstack_hyperv.emulator.mischief.actions import FAULTS, Action, Drop, FailJob, RestartVmms
from cloudstack_hyperv.emulator.mischief.rules import BadRule, Rule, RuleBook, name_of, rule_of_name


def call(
    class_name: str = "Msvm_ComputerSystem",
    method: str = "RequestStateChange",
    *,
    operation: str = "Invoke",
    selectors: dict[str, str] | None = None,
    text: str = "",
    **arguments: Value,
) -> Call:
    return Call(
        1,
        operation,
        "root/virtualization/v2",
        class_name,
        method,
        selectors or {},
        Caller("u"),
        text,
        arguments,
    )


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({}, True),
        ({"class_name": "msvm_computersystem"}, True),
        ({"class_name": "Msvm_*", "method": "requeststate*"}, True),
        ({"class_name": "Win32_*"}, False),
        ({"operation": "Get"}, False),
        ({"namespace": "root/virtualization/*"}, True),
        ({"namespace": "root/cimv2"}, False),
        ({"about": "*VM-7*"}, True),
        ({"about": "vm-7"}, True),
        ({"about": "*VM-8*"}, False),
    ],
)
def test_patterns(fields: dict[str, str], fits: bool) -> None:
    rule = Rule(name="r", action=Drop(), **fields)  # type: ignore[arg-type]  # patterns only
    assert rule.matches(call(selectors={"Name": "vm-7"})) is fits


def test_about_looks_into_queries_paths_and_instances() -> None:
    rule = Rule(name="r", action=Drop(), about="*needle*")
    assert rule.matches(call("*", "", operation="Enumerate", text="SELECT * FROM Needles"))
    assert rule.matches(call(Target=ObjectPath.of("Msvm_ComputerSystem", Name="a-Needle-b")))
    assert rule.matches(call(Settings=[Row("X", {"HostResource": [r"C:\needle.vhdx"]})]))
    assert not rule.matches(call(Settings=[Row("X", {"HostResource": [r"C:\hay.vhdx"]})]))


def acted(rule: Rule, calls: int) -> list[int]:
    """Return which of so many matching calls a rule acts on."""
    book = RuleBook()
    book.add(rule)
    return [number for number in range(1, calls + 1) if book.met(call())]


@given(nth=st.integers(1, 20), times=st.integers(0, 10))
def test_nth_and_times(nth: int, times: int) -> None:
    last = nth + times - 1 if times else 25
    rule = Rule(name="r", action=Drop(), nth=nth, times=times)
    assert acted(rule, 25) == list(range(nth, min(last, 25) + 1))


@given(seed=st.integers(0, 2**32), chance=st.floats(0.05, 0.95))
def test_chance_is_repeatable_by_seed(seed: int, chance: float) -> None:
    rule = Rule(name="r", action=Drop(), times=0, chance=chance, seed=seed)
    assert acted(rule, 200) == acted(rule, 200)


def test_chance_differs_by_seed_and_is_about_right() -> None:
    counts = [
        acted(Rule(name="r", action=Drop(), times=0, chance=0.3, seed=seed), 500)
        for seed in range(5)
    ]
    assert len({tuple(found) for found in counts}) == 5
    assert all(110 < len(found) < 190 for found in counts)


def test_only_matching_calls_count_and_others_do_not() -> None:
    book = RuleBook()
    book.add(Rule(name="r", action=Drop(), method="DefineSystem", nth=2))
    assert not book.met(call(method="DefineSystem"))
    assert not book.met(call(method="DestroySystem"))
    assert [rule.name for rule in book.met(call(method="DefineSystem"))] == ["r"]
    assert book.seen("r") == 2
    assert book.remove("r")
    assert not book.remove("r")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "lost-after@Msvm_VirtualSystemManagementService.DefineSystem#2",
            ("Invoke", "Msvm_VirtualSystemManagementService", "DefineSystem", 2),
        ),
        ("http-503@Get", ("Get", "*", "*", 1)),
        ("fault@Msvm_ConcreteJob.Get#3", ("Get", "Msvm_ConcreteJob", "*", 3)),
        ("hang-before@*.*", ("Invoke", "*", "*", 1)),
    ],
)
def test_a_name_is_a_whole_rule(name: str, expected: tuple[str, str, str, int]) -> None:
    rule = rule_of_name(name)
    assert (rule.operation, rule.class_name, rule.method, rule.nth) == expected
    assert rule.name == name


@pytest.mark.parametrize("fault", sorted(FAULTS))
@pytest.mark.parametrize(
    "seen", [call(), call("Msvm_StorageJob", "", operation="Get")], ids=["invoke", "get"]
)
def test_the_name_of_a_case_replays_it(fault: str, seen: Call) -> None:
    rule = rule_of_name(name_of(fault, seen, 4))
    assert rule.matches(seen)
    assert rule.action == FAULTS[fault]
    assert rule.nth == 4


@pytest.mark.parametrize(
    "name", ["", "lost-after", "no-such-fault@Get", "lost-after@DefineSystem", "lost-after@A.B#0"]
)
def test_names_that_say_nothing(name: str) -> None:
    with pytest.raises(BadRule):
        rule_of_name(name)


@pytest.mark.parametrize("fields", [{"nth": 0}, {"times": -1}, {"chance": 0.0}, {"chance": 1.5}])
def test_numbers_that_make_no_sense(fields: dict[str, float]) -> None:
    with pytest.raises(BadRule):
        Rule(name="r", action=Drop(), **fields)  # type: ignore[arg-type]  # numbers only


@pytest.mark.parametrize("action", list(FAULTS.values()), ids=list(FAULTS))
def test_rules_survive_json(action: Action) -> None:
    rule = Rule(name="r", action=action, class_name="Msvm_*", about="x", nth=3, times=2)
    assert msgspec.json.decode(msgspec.json.encode(rule), type=Rule) == rule


def test_json_as_people_write_it() -> None:
    text = b'{"name": "r", "class": "A", "action": {"do": "fail-job", "code": 32779}}'
    rule = msgspec.json.decode(text, type=Rule)
    assert rule.class_name == "A"
    assert rule.action == FailJob(code=32779)
    assert FAULTS["vmms-restart"] == RestartVmms()


@pytest.mark.parametrize(
    "text",
    [
        b'{"name": "r"}',
        b'{"name": "r", "action": {"do": "explode"}}',
        b'{"name": "r", "action": {"do": "drop"}, "clas": "A"}',
        b'{"name": "r", "action": {"do": "drop", "before": true}}',
        b'{"name": "r", "action": {"do": "drop"}, "nth": "2"}',
        b'{"name": "", "action": {"do": "drop"}}',
    ],
)
def test_json_that_is_wrong(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Rule)
