"""Every message that the real classes wrote is understood whole and written back unchanged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudstack_hyperv.messages import (
    ANSWER_CLASSES,
    COMMAND_CLASSES,
    WireObject,
    decode_answers,
    decode_command,
    encode_answers,
    encode_command,
)
from cloudstack_hyperv.messages.aliases import ALIASES
from cloudstack_hyperv.messages.answer import ANSWERS_BY_NAME

OLDER_KEYS = {key: row.canonical for row in ALIASES if row.written for key in row.older}

UNSERIALISED = {"org.apache.cloudstack.HostVmStateReportCommand"}
"""Posted as `{}` without a Java object behind it."""


def unknown_fields(item: Any, path: str = "$") -> Iterator[str]:
    """Yield the path of every key, at any depth, that no field of a class claims."""
    if isinstance(item, WireObject):
        yield from (f"{path}.{key}" for key in item.unknown_fields)
        for name in item.__struct_fields__:
            if name != "unknown_fields":
                yield from unknown_fields(getattr(item, name), f"{path}.{name}")
    elif isinstance(item, list):
        for element in item:
            yield from unknown_fields(element, f"{path}[]")
    elif isinstance(item, dict):
        for key, element in item.items():
            yield from unknown_fields(element, f"{path}[{key}]")


def without_older_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: without_older_keys(item)
            for key, item in value.items()
            if OLDER_KEYS.get(key) not in value
        }
    return [without_older_keys(v) for v in value] if isinstance(value, list) else value


def test_a_command_is_its_own_type_with_every_key_named(command_vector: tuple[str, bytes]) -> None:
    class_name, text = command_vector
    command = decode_command(class_name, text)
    assert type(command).__name__ == class_name.rpartition(".")[2]
    assert command.java_class == class_name
    assert list(unknown_fields(command)) == []


def test_a_command_is_written_back_without_loss(command_vector: tuple[str, bytes]) -> None:
    class_name, text = command_vector
    assert json.loads(encode_command(decode_command(class_name, text))) == json.loads(text)


def test_an_answer_is_written_as_java_writes_it(answer_vector: tuple[str, bytes]) -> None:
    class_name, text = answer_vector
    answers = decode_answers(text)
    assert {answer.java_class for answer in answers} == {class_name}
    assert list(unknown_fields(answers)) == []
    written = json.loads(encode_answers(answers))
    assert without_older_keys(written) == json.loads(text)


@pytest.mark.parametrize("folder", ["commands", "answers"])
def test_every_class_is_proved_by_a_vector(vectors: Path, folder: str) -> None:
    named = {row["class"] for row in json.loads((vectors / folder / "index.json").read_text())}
    known = COMMAND_CLASSES if folder == "commands" else ANSWERS_BY_NAME
    assert set(known) - named == (UNSERIALISED if folder == "commands" else set())
    assert named <= set(known)


def test_every_command_has_a_registered_answer_class() -> None:
    assert set(ANSWER_CLASSES) == set(COMMAND_CLASSES.values())
    assert set(ANSWER_CLASSES.values()) <= set(ANSWERS_BY_NAME.values())


def test_numbers_keep_their_json_type(vectors: Path) -> None:
    """A long that became a double would lose digits above 2**53."""
    text = b'{"agentId":9007199254740993,"futureOwner":-9223372036854775808}'
    written = encode_command(decode_command("com.cloud.agent.api.TransferAgentCommand", text))
    assert b'"agentId":9007199254740993' in written
    assert b'"futureOwner":-9223372036854775808' in written
