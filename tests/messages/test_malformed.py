"""Bad input is one of two errors, which say where and what, and never what the value was."""

import json

import pytest

from cloudstack_hyperv.messages import (
    MAX_BODY_BYTES,
    MAX_DEPTH,
    MalformedMessage,
    MessageError,
    decode_command,
    decode_commands,
)
from cloudstack_hyperv.messages.commands.vm import GetVncPortCommand, StopCommand

START = "com.cloud.agent.api.StartCommand"
STOP = "com.cloud.agent.api.StopCommand"
COPY = "org.apache.cloudstack.storage.command.CopyCommand"
VNC = "com.cloud.agent.api.GetVncPortCommand"


VOLUME_TAG = "org.apache.cloudstack.storage.to.VolumeObjectTO"
NFS_TAG = "com.cloud.agent.api.to.NfsTO"
START_OF = '{"vm":{"name":"a",%s}}'
COPY_OF = '{"srcTO":{"' + VOLUME_TAG + '":{%s}}}'


@pytest.mark.parametrize(
    ("class_name", "body", "text"),
    [
        (STOP, "{}", ".vmName: is missing"),
        (STOP, '{"vmName":null}', ".vmName: is missing"),
        (STOP, "[]", ": expected an object, got an array"),
        (STOP, "null", ": expected an object, got null"),
        (STOP, '{"vmName":["hunter2"]}', ".vmName: expected a text, got an array"),
        (
            START,
            START_OF % '"disks":[{},{"diskSeq":"hunter2"}]',
            ".vm.disks[1].diskSeq: expected an integer, got a text",
        ),
        (
            START,
            START_OF % '"nics":{"hunter2":1}',
            ".vm.nics: expected an array, got an object",
        ),
        (
            START,
            START_OF % '"details":{"k":{"password":"hunter2"}}',
            ".vm.details['k']: expected a text, got an object",
        ),
        (
            COPY,
            COPY_OF % '"size":{}',
            f".srcTO.{VOLUME_TAG}.size: expected an integer, got an object",
        ),
        (
            COPY,
            '{"srcTO":{"com.example.X":{}}}',
            ".srcTO: 'com.example.X' is none of SnapshotObjectTO, TemplateObjectTO, VolumeObjectTO",
        ),
        (
            COPY,
            COPY_OF % f'"dataStore":{{"{NFS_TAG}":"hunter2"}}',
            f".srcTO.{VOLUME_TAG}.dataStore.{NFS_TAG}: expected an object, got a text",
        ),
    ],
)
def test_the_text_names_the_place_and_what_was_expected(
    class_name: str, body: str, text: str
) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_command(class_name, body)
    assert str(caught.value) == f"${text}"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"vmName":"hunter2"',
        b"{'vmName':'hunter2'}",
        b'{"vmName":"i-2-3-VM"}\x00',
        b'{"vmName":"i-2-3-VM"} hunter2',
        b'{"vmName":NaN}',
        b'{"vmName":-Infinity}',
        b'{"wait":1e400,"vmName":"hunter2"}',
        b'{"vmName":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"wait":' + b"9" * 5000 + b"}",
    ],
)
def test_text_that_is_not_json(body: bytes) -> None:
    with pytest.raises(MalformedMessage, match=r"^\$: not JSON \(") as caught:
        decode_command(STOP, body)
    assert "hunter2" not in str(caught.value)


def test_latin_1_is_read_where_utf_8_fails() -> None:
    utf8 = decode_command(VNC, '{"name":"Küche"}'.encode())
    latin = decode_command(VNC, '{"name":"Küche"}'.encode("latin-1"))
    assert utf8 == latin == GetVncPortCommand(name="Küche")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, 1_000_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_has_a_limit(depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    body = opening * depth + "1" + closing * depth
    with pytest.raises(MalformedMessage, match=f"nested more than {MAX_DEPTH} levels deep"):
        decode_command(STOP, body)


def test_nesting_within_the_limit_is_read() -> None:
    snapshot: dict[str, object] = {}
    for _ in range(MAX_DEPTH - 3):
        snapshot = {"parent": snapshot}
    decode_command(
        "com.cloud.agent.api.DeleteVMSnapshotCommand",
        json.dumps({"vmName": "i-2-3-VM", "target": snapshot}),
    )


def test_parsed_bodies_are_guarded_like_texts() -> None:
    body: dict[str, object] = {"vmName": "i-2-3-VM"}
    for _ in range(MAX_DEPTH + 1):
        body = {"vmName": "i-2-3-VM", "vm": body}
    with pytest.raises(MalformedMessage, match="nested"):
        decode_command(STOP, body)


def test_size_has_a_limit() -> None:
    with pytest.raises(MalformedMessage, match=f"more than {MAX_BODY_BYTES} bytes"):
        decode_command(STOP, b" " * (MAX_BODY_BYTES + 1))


def test_unknown_keys_are_kept_and_do_not_disturb() -> None:
    command = decode_command(STOP, '{"vmName":"i-2-3-VM","fromTheFuture":[1]}')
    assert command == StopCommand(vm_name="i-2-3-VM", unknown_fields={"fromTheFuture": [1]})


def test_a_long_or_unprintable_map_key_stays_out_of_the_text() -> None:
    body = json.dumps({"vmName": "a", "contextMap": {"\x1b[31m" + "x" * 500: {}}})
    with pytest.raises(MessageError) as caught:
        decode_command(STOP, body)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_the_place_in_an_array_of_commands_is_named() -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_commands(json.dumps([{STOP: {"vmName": "a"}}, {STOP: {}}]))
    assert str(caught.value) == f"$[1].{STOP}.vmName: is missing"
