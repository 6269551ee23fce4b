"""Commands: what the management server wants done, and the class each is answered with.

Every command class states its Java package and its answer class where it is defined::

    @command(AGENT_API, answer=StopAnswer)
    class StopCommand(RebootCommand): ...

The management server casts: a `StopCommand` that is answered with anything but a `StopAnswer`
is a `ClassCastException` there, with the state of the VM hanging.  So the answer class belongs
to the command's definition, and a failure is told in it (see `answer.failure_answer`).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.java import java_class
from cloudstack_hyperv.messages.message import Message


class Command(Message):
    """A command; `executeInSequence` and the like are the sender's business and only carried."""


class NetworkElementCommand(Command):
    """A command for a virtual router or other system VM, which it names in `access_details`."""

    access_details: dict[str, str] = msgspec.field(default_factory=dict)
    router_access_ip: str | None = None


AnyCommand = TypeVar("AnyCommand", bound=Command)

_command_classes: Final[dict[str, type[Command]]] = {}
_answer_classes: Final[dict[type[Command], type[Answer]]] = {}

COMMAND_CLASSES: Final[Mapping[str, type[Command]]] = MappingProxyType(_command_classes)
"""Every known command by its full Java class name."""

ANSWER_CLASSES: Final[Mapping[type[Command], type[Answer]]] = MappingProxyType(_answer_classes)
"""The class that each command is answered with."""


def command(
    package: str, *, answer: type[Answer]
) -> Callable[[type[AnyCommand]], type[AnyCommand]]:
    """Register a command class under its Java name, together with its answer's class."""

    def register(cls: type[AnyCommand]) -> type[AnyCommand]:
        named = java_class(package)(cls)
        _command_classes[named.java_class] = named
        _answer_classes[named] = answer
        return named

    return register
