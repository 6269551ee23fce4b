"""Answers: what the host says to a command.

`result` has no default: Java takes an answer without it for a success, so it is always stated.
`details` is the text that reaches the operator when something failed.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Self, TypeVar

from cloudstack_hyperv.messages.java import AGENT_API, java_class
from cloudstack_hyperv.messages.message import Message


class Answer(Message, kw_only=True):
    """The plain answer, for commands without a class of their own; the base of all others."""

    result: bool
    details: str | None = None

    @classmethod
    def failure(cls, command: Message | None, details: str) -> Self:
        """Return this answer with `result` false.

        `command` is the one that failed, if it could be read: some answers repeat a part of it.
        """
        del command
        return cls(result=False, details=details)


AnyAnswer = TypeVar("AnyAnswer", bound=Answer)

_answers_by_name: Final[dict[str, type[Answer]]] = {}

ANSWERS_BY_NAME: Final[Mapping[str, type[Answer]]] = MappingProxyType(_answers_by_name)
"""Every known answer class by its full Java class name."""


def answer(package: str) -> Callable[[type[AnyAnswer]], type[AnyAnswer]]:
    """Register an answer class under its Java name."""

    def register(cls: type[AnyAnswer]) -> type[AnyAnswer]:
        named = java_class(package)(cls)
        _answers_by_name[named.java_class] = named
        return named

    return register


answer(AGENT_API)(Answer)


@answer(AGENT_API)
class UnsupportedAnswer(Answer):
    """This host does not know such a command.

    It is no failure of the kind a caller retries; on the direct door HTTP 404 says the same.
    """


def unsupported_answer(command: str | Message | type[Message]) -> UnsupportedAnswer:
    """Return the answer to a command that nothing here handles, in CloudStack's own words.

    `command` is the command, its class, or the Java class name if no such class is known.
    """
    class_name = command if isinstance(command, str) else command.java_class
    return UnsupportedAnswer(
        result=False,
        details=f"Unsupported command issued: {class_name}.  "
        "Are you sure you got the right type of server?",
    )
