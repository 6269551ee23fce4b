"""The forms in which the doors exchange messages: bare, tagged arrays, and the two odd ones."""

import json
from pathlib import Path

import pytest

from cloudstack_hyperv.messages import (
    STARTUP_COMMAND,
    Answer,
    Command,
    MalformedMessage,
    UnknownCommandClass,
    copy_with,
    decode_answers,
    decode_command,
    decode_commands,
    encode_answers,
    encode_commands,
    encode_vm_state_report,
)
from cloudstack_hyperv.messages.commands.host import HostVmStateReportCommand
from cloudstack_hyperv.messages.commands.startup import (
    StartupRoutingCommand,
    StartupStorageCommand,
)
from cloudstack_hyperv.messages.enums import PowerState


def test_startup_comes_and_goes_as_an_array_of_commands(vectors: Path) -> None:
    asked = decode_commands((vectors / "commands/StartupCommand.array.json").read_bytes())
    assert [type(command) for command in asked] == [StartupRoutingCommand]
    text = (vectors / "commands/StartupCommand.array-reply.json").read_bytes()
    reply = decode_commands(text)
    assert [type(command) for command in reply] == [StartupRoutingCommand, StartupStorageCommand]
    assert json.loads(encode_commands(reply)) == json.loads(text)


def test_a_completed_startup_command_returns_what_a_newer_release_put_in() -> None:
    body = b'[{"com.cloud.agent.api.StartupRoutingCommand":{"guid":"g","fromTheFuture":{"a":[1]}}}]'
    (asked,) = decode_commands(body)
    assert isinstance(asked, StartupRoutingCommand)
    reply = json.loads(encode_commands([copy_with(asked, cpus=16)]))
    (written,) = reply[0].values()
    assert written["cpus"] == 16
    assert written["guid"] == "g"
    assert written["fromTheFuture"] == {"a": [1]}
    assert asked.cpus == 0


def test_the_startup_body_is_no_bare_command(vectors: Path) -> None:
    text = (vectors / "commands/StartupCommand.array.json").read_bytes()
    with pytest.raises(MalformedMessage, match=r"^\$: expected an object, got an array$"):
        decode_command(STARTUP_COMMAND, text)


def test_the_state_report_has_an_empty_body_and_a_reply_of_its_own() -> None:
    name = "org.apache.cloudstack.HostVmStateReportCommand"
    assert isinstance(decode_command(name, b"{}"), HostVmStateReportCommand)
    report = encode_vm_state_report({"i-2-3-VM": PowerState.ON, "r-6-VM": PowerState.UNKNOWN})
    assert report == b'[{"i-2-3-VM":"PowerOn"},{"r-6-VM":"PowerUnknown"}]'
    assert encode_vm_state_report({}) == b"[]"


def test_of_several_keys_beside_a_class_name_only_the_first_counts() -> None:
    (answer,) = decode_answers(
        b'[{"com.cloud.agent.api.Answer":{"result":true},"com.cloud.agent.api.StartAnswer":{}}]'
    )
    assert type(answer) is Answer


@pytest.mark.parametrize("element", ["{}", "null", "1", '"Answer"', "[]"])
def test_an_element_without_a_class_name_is_malformed(element: str) -> None:
    with pytest.raises(MalformedMessage, match=r"^\$\[0\]: expected an object with a class name"):
        decode_commands(f"[{element}]")


@pytest.mark.parametrize(
    "class_name",
    [
        "com.example.NoSuch",
        "CheckHealthCommand",
        "com.cloud.agent.api.Answer",
        "com.cloud.agent.api.to.NfsTO",
        "com.cloud.agent.api.Command",
        "",
        "\r\nSet-Cookie: a" * 100,
    ],
)
def test_a_name_of_no_command_is_an_unknown_class(class_name: str) -> None:
    with pytest.raises(UnknownCommandClass) as caught:
        decode_command(class_name, b"{}")
    assert caught.value.class_name == class_name
    assert len(str(caught.value)) < 150
    assert str(caught.value).isprintable()
    with pytest.raises(UnknownCommandClass):
        decode_commands(json.dumps([{class_name: {}}]))


def test_an_empty_array_is_empty() -> None:
    assert decode_commands(b"[]") == []
    assert encode_answers([]) == b"[]"


def test_the_log_id_is_that_of_the_context() -> None:
    with_id = decode_command(
        "com.cloud.agent.api.MaintainCommand", b'{"contextMap":{"logid":"1b6c0f3e"}}'
    )
    assert with_id.log_id == "1b6c0f3e"
    assert Command().log_id is None


def test_a_file_name_that_is_no_text_does_not_spoil_an_answer() -> None:
    answer = Answer(result=False, details="cannot open \udcff.vhdx")
    assert json.loads(encode_answers([answer]))[0][answer.java_class]["details"] == (
        "cannot open ?.vhdx"
    )
