"""Class names to classes, and whole bodies to commands and answers and back."""

from collections.abc import Iterable, Mapping
from typing import Final

from cloudstack_hyperv.messages import answers, commands
from cloudstack_hyperv.messages.answer import ANSWERS_BY_NAME, Answer
from cloudstack_hyperv.messages.command import ANSWER_CLASSES, COMMAND_CLASSES, Command
from cloudstack_hyperv.messages.enums import PowerState
from cloudstack_hyperv.messages.errors import MalformedMessage, UnknownCommandClass
from cloudstack_hyperv.messages.gson import expected
from cloudstack_hyperv.messages.json_text import Json, check_depth, parse_json, render_json
from cloudstack_hyperv.messages.wire import from_json, split_tag, tagged, to_json

SUBJECTS: Final = (*answers.__all__, *commands.__all__)
"""The modules whose import has registered all classes."""

STARTUP_COMMAND: Final = "com.cloud.agent.api.StartupCommand"
"""The class name under which the direct door posts an *array* of tagged commands."""


def command_class(class_name: str) -> type[Command]:
    """Return the class with this full Java name, or raise `UnknownCommandClass`."""
    cls = COMMAND_CLASSES.get(class_name)
    if cls is None:
        raise UnknownCommandClass(class_name)
    return cls


def decode_command(class_name: str, body: bytes | str | Mapping[str, Json]) -> Command:
    """Read a bare command, as the direct door posts it under its class name.

    Raises `UnknownCommandClass`, or `MalformedMessage` if the body is not one of that class.
    """
    return from_json(command_class(class_name), _parsed(body))


def decode_commands(body: bytes | str | list[Json]) -> list[Command]:
    """Read an array of tagged commands: a frame, or the direct door's start-up body.

    Raises as `decode_command` does.  An empty array is not refused; what it means depends on
    the door.
    """
    elements = _parsed(body)
    if not isinstance(elements, list):
        raise expected("an array of commands", elements)
    decoded = []
    for index, element in enumerate(elements):
        try:
            class_name, inner = split_tag(element)
            decoded.append(_inside(class_name, command_class(class_name), inner))
        except MalformedMessage as error:
            raise error.inside(f"[{index}]") from None
    return decoded


def decode_answers(body: bytes | str | list[Json]) -> list[Answer]:
    """Read an array of tagged answers, as the other side would; for tests and for the demo."""
    elements = _parsed(body)
    if not isinstance(elements, list):
        raise expected("an array of answers", elements)
    decoded = []
    for index, element in enumerate(elements):
        try:
            class_name, inner = split_tag(element)
            cls = ANSWERS_BY_NAME.get(class_name)
            if cls is None:
                raise MalformedMessage("no answer class has this name")
            decoded.append(from_json(cls, inner))
        except MalformedMessage as error:
            raise error.inside(f"[{index}]") from None
    return decoded


def encode_answers(items: Iterable[Answer]) -> bytes:
    """Write an array of tagged answers."""
    return render_json([tagged(item) for item in items])


def encode_commands(items: Iterable[Command]) -> bytes:
    """Write an array of tagged commands: the reply to a start-up on the direct door."""
    return render_json([tagged(item) for item in items])


def encode_command(item: Command) -> bytes:
    """Write a bare command, as the direct door posts it."""
    return render_json(to_json(item))


def encode_vm_state_report(states: Mapping[str, PowerState]) -> bytes:
    """Write the reply to `HostVmStateReportCommand`: `[{"i-2-3-VM":"PowerOn"}]`.

    It is no array of answers, and each VM is an object of its own: of an object with two keys
    the server reads the first only.  An empty report says that no VM is here, so a report that
    could not be made must not be written at all.
    """
    return render_json([{name: state.value} for name, state in states.items()])


def answer_class(command: Command | type[Command]) -> type[Answer]:
    """Return the class that a command is answered with."""
    return ANSWER_CLASSES[command if isinstance(command, type) else type(command)]


def failure_answer(command: Command | type[Command], details: str) -> Answer:
    """Return the command's own answer with `result` false and a text for the operator.

    The class suffices where the command could not even be read.
    """
    read = None if isinstance(command, type) else command
    return answer_class(command).failure(read, details)


def _parsed(body: bytes | str | Mapping[str, Json] | list[Json]) -> Json:
    if isinstance(body, bytes | str):
        return parse_json(body)
    check_depth(body)
    return body


def _inside(class_name: str, cls: type[Command], body: Json) -> Command:
    try:
        return from_json(cls, body)
    except MalformedMessage as error:
        raise error.inside(f".{class_name}") from None
