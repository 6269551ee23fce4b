"""Properties: what is written is read back; nonsense is refused politely; planted secrets stay."""

import contextlib
import json
import types
import typing
from enum import StrEnum
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cloudstack_hyperv.messages import (
    ANSWER_CLASSES,
    COMMAND_CLASSES,
    Command,
    MessageError,
    WireObject,
    decode_answers,
    decode_command,
    decode_commands,
    encode_answers,
    encode_command,
    encode_commands,
    redacted,
)
from cloudstack_hyperv.messages.commands.migration import MigrateCommand, MigrateVolumeCommand
from cloudstack_hyperv.messages.commands.network import SecurityGroupRulesCmd
from cloudstack_hyperv.messages.commands.snapshots import CreateVMSnapshotCommand
from cloudstack_hyperv.messages.commands.startup import (
    StartupRoutingCommand,
    StartupStorageCommand,
)
from cloudstack_hyperv.messages.commands.storage import (
    AttachCommand,
    CopyCommand,
    ModifyStoragePoolCommand,
)
from cloudstack_hyperv.messages.commands.vm import StartCommand, StopCommand

LONGS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | DOUBLES | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
MAIN_COMMANDS: tuple[type[Command], ...] = (
    AttachCommand,
    CopyCommand,
    CreateVMSnapshotCommand,
    MigrateCommand,
    MigrateVolumeCommand,
    ModifyStoragePoolCommand,
    SecurityGroupRulesCmd,
    StartCommand,
    StartupRoutingCommand,
    StartupStorageCommand,
    StopCommand,
)
DEEPEST = 5
SCALARS: dict[Any, SearchStrategy[Any]] = {
    int: LONGS,
    float: DOUBLES,
    bool: st.booleans(),
    str: TEXTS,
    bytes: st.binary(max_size=8),
    Any: JSON,
}


def instances(cls: type[WireObject], depth: int = 0) -> SearchStrategy[Any]:
    """Return a strategy for objects of a class, derived from its annotations alone."""
    hints = typing.get_type_hints(cls)
    needed: dict[str, SearchStrategy[Any]] = {}
    optional: dict[str, SearchStrategy[Any]] = {}
    for info in msgspec.structs.fields(cls):
        if info.name == "unknown_fields":
            continue
        values = members(hints[info.name], depth)
        if values is not None:
            (needed if info.required else optional)[info.name] = values
    return st.fixed_dictionaries(needed, optional=optional).map(lambda fields: cls(**fields))


def members(hint: Any, depth: int) -> SearchStrategy[Any] | None:
    if hint in SCALARS:
        return SCALARS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [members(kind, depth) for kind in arguments if kind is not types.NoneType]
        some = [values for values in found if values is not None]
        # A null is the same as absence, which the optional key of the class already covers.
        return st.one_of(some) if some else None
    if origin is list:
        inner = members(arguments[0], depth)
        return None if inner is None else st.lists(inner, max_size=2)
    if origin is dict:
        inner = members(arguments[1], depth)
        if inner is None:
            return None
        # Gson leaves out null values of maps, so they cannot come back.
        return st.dictionaries(TEXTS, inner.filter(lambda value: value is not None), max_size=2)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    if origin is not None or depth >= DEEPEST:
        return None
    return instances(hint, depth + 1)


commands = st.one_of([instances(cls) for cls in MAIN_COMMANDS])
answers = st.one_of([instances(cls) for cls in sorted(set(ANSWER_CLASSES.values()), key=str)])
relaxed = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def refusal(class_name: str, body: Any) -> str:
    """Return the text of the error with which a body is refused, or nothing if it is read."""
    try:
        decode_command(class_name, json.dumps(body))
    except MessageError as error:
        return str(error)
    return ""


@given(commands)
@relaxed
def test_a_command_survives_the_wire(command: Command) -> None:
    assert decode_command(command.java_class, encode_command(command)) == command
    assert decode_commands(encode_commands([command, command])) == [command, command]


@given(answers)
@relaxed
def test_an_answer_survives_the_wire(answer: Any) -> None:
    assert decode_answers(encode_answers([answer])) == [answer]


@given(st.sampled_from(sorted(COMMAND_CLASSES)), JSON)
@settings(max_examples=400, deadline=None)
def test_random_json_is_a_command_or_one_of_the_two_errors(class_name: str, body: Any) -> None:
    problem = refusal(class_name, body)
    assert problem.isprintable()
    assert len(problem) < 500


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_random_text_is_refused_or_read(text: bytes | str) -> None:
    for read in (decode_commands, decode_answers):
        with contextlib.suppress(MessageError):
            read(text)


@given(commands, JSON, st.randoms(use_true_random=False))
@relaxed
def test_a_command_with_one_value_replaced_is_read_or_refused(
    command: Command, value: Any, random: Any
) -> None:
    body = json.loads(encode_command(command))
    holder = body
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        key = random.choice(keys)
        if not isinstance(holder[key], dict | list) or random.random() < 0.3:
            holder[key] = value
            break
        holder = holder[key]
    refusal(command.java_class, body)


passwords = st.text(alphabet="abcXYZ019&/@:=?#%+;,.'", min_size=1, max_size=12).map(
    lambda middle: f"Q7{middle}7Q"
)


def plant(value: Any, secret: str, random: Any) -> Any:
    """Return `value` with the secret in every text that may hold one, and in secret keys."""
    carriers = (
        f"cifs://10.1.1.5/secondary?user=cloud&password={secret}&domain=EXAMPLE",
        f"/primary?password={secret}&user=cloud",
        f"SMB://10.1.1.6/p?user=a&password={secret}/?ROLE=Primary&STOREUUID=u",
        f"smb://cloud:{secret}@10.1.1.6/share",
        f"mount failed: password={secret}",
    )
    if isinstance(value, dict):
        planted = {key: plant(item, secret, random) for key, item in value.items()}
        for key in ("userInfo", "vncPassword", "bootArgs"):
            if key in planted:
                planted[key] = secret
        if any(isinstance(item, str) for item in value.values()):
            planted["adminPassword"] = secret
        return planted
    if isinstance(value, list):
        return [plant(item, secret, random) for item in value]
    return random.choice(carriers) if isinstance(value, str) else value


@given(commands, passwords, st.randoms(use_true_random=False))
@relaxed
def test_a_planted_secret_is_never_shown(command: Command, secret: str, random: Any) -> None:
    body = plant(json.loads(encode_command(command)), secret, random)
    planted = decode_command(command.java_class, {**body, "fromTheFuture": {"in": [secret]}})
    for text in (json.dumps(redacted(planted), ensure_ascii=False), repr(planted)):
        assert secret not in text
        assert "Q7" not in text
