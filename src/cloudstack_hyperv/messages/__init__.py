"""CloudStack's language: the messages between a management server and a host, typed.

No input or output happens here.  Commands come in as JSON and go on as objects; answers are made
as objects and leave as JSON, in the form that the Java classes of CloudStack 4.22 have, with the
keys of older releases (4.11 and later) understood and, where it matters, written too.

A door::

    command = decode_command("com.cloud.agent.api.StopCommand", body)   # a bare object
    commands = decode_commands(body)                # an array of tagged objects (start-up)
    reply = encode_answers([answer])
    log.info("command", **redacted(command))        # repr() is redacted as well

`decode_command` raises `UnknownCommandClass` (the door says 404) or `MalformedMessage`, whose
text names the place and shows no value.  Either way the failure of a known class is told in
that class's own answer: `failure_answer(command_class(name), str(error))`.

A handler::

    from cloudstack_hyperv.messages.commands.vm import StopCommand
    from cloudstack_hyperv.messages.answers.vm import StopAnswer

    async def stop(command: StopCommand) -> StopAnswer:
        ...
        return StopAnswer(result=True, details="stopped")

Attribute names are the snake-case form of Java's (`command.check_before_cleanup`); which class
answers a command is stated where the command is defined.  Objects are values: `copy_with(vm,
state="Running")` makes a changed copy.  Where `DataTO` stands, the member is a
`VolumeObjectTO`, `TemplateObjectTO` or `SnapshotObjectTO`; a `match` statement tells them apart.

Modules: `commands` and `answers` by subject, `objects` for what they carry, `enums` for the
words; `wire` turns classes into JSON and back, `gson` has Java's rules for scalars, `aliases`
the renamed keys, `secrets` what no log may show, `registry` the class names.
"""

from cloudstack_hyperv.messages.answer import Answer, UnsupportedAnswer, unsupported_answer
from cloudstack_hyperv.messages.command import (
    ANSWER_CLASSES,
    COMMAND_CLASSES,
    Command,
    NetworkElementCommand,
)
from cloudstack_hyperv.messages.errors import (
    MalformedMessage,
    MessageError,
    UnknownCommandClass,
)
from cloudstack_hyperv.messages.json_text import MAX_BODY_BYTES, MAX_DEPTH, Json, JsonObject
from cloudstack_hyperv.messages.registry import (
    STARTUP_COMMAND,
    answer_class,
    command_class,
    decode_answers,
    decode_command,
    decode_commands,
    encode_answers,
    encode_command,
    encode_commands,
    encode_vm_state_report,
    failure_answer,
)
from cloudstack_hyperv.messages.secrets import masked_text
from cloudstack_hyperv.messages.wire import WireObject, copy_with, from_json, redacted, to_json

__all__ = [
    "ANSWER_CLASSES",
    "COMMAND_CLASSES",
    "MAX_BODY_BYTES",
    "MAX_DEPTH",
    "STARTUP_COMMAND",
    "Answer",
    "Command",
    "Json",
    "JsonObject",
    "MalformedMessage",
    "MessageError",
    "NetworkElementCommand",
    "UnknownCommandClass",
    "UnsupportedAnswer",
    "WireObject",
    "answer_class",
    "command_class",
    "copy_with",
    "decode_answers",
    "decode_command",
    "decode_commands",
    "encode_answers",
    "encode_command",
    "encode_commands",
    "encode_vm_state_report",
    "failure_answer",
    "from_json",
    "masked_text",
    "redacted",
    "to_json",
    "unsupported_answer",
]
