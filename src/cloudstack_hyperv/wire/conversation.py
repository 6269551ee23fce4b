"""The agent's side of one connection: frames in, events out; wishes in, frames out.  No I/O.

    startup() ──> STARTING ── StartupAnswer ──> ACCEPTED ── ReadyCommand ──> ADMITTED
                      └── StartupAnswer result:false, or ReadyCommand with _details ──> REFUSED

* The StartupAnswer of 4.22 comes at once, with host id 0: it starts the pings and is no admission.
  The id comes with ReadyCommand, which comes twice.
* A refusal is a ReadyCommand with `_details`; it is never answered, nothing else follows it.
* Own requests count from 0 over the life of the process and carry management server id -1 (any
  other would be forwarded to a peer); an answer is found by its sequence number.
* The server's requests are answered with their own header (`frame.response_header`), in any order.

What the peer does wrong is an event (`FrameDropped`): no bad frame closes the connection, only
the link's own faults do.  What the caller does wrong raises `LocalProtocolError`.

Sources: CloudStack's com.cloud.agent.Agent, com.cloud.agent.manager.AgentManagerImpl,
com.cloud.agent.transport.Request.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cloudstack_hyperv.messages import (
    Answer,
    Command,
    MalformedMessage,
    MessageError,
    UnknownCommandClass,
    command_class,
    decode_answers,
    decode_command,
    encode_answers,
    encode_commands,
    failure_answer,
    unsupported_answer,
)
from cloudstack_hyperv.messages.answers.host import PingAnswer, StartupAnswer
from cloudstack_hyperv.messages.commands.host import BadCommand, ReadyCommand
from cloudstack_hyperv.messages.json_text import Json, parse_json
from cloudstack_hyperv.messages.wire import split_tag
from cloudstack_hyperv.wire.frame import (
    UNKNOWN_ID,
    Flag,
    Frame,
    FrameUnreadable,
    Header,
    decode_frame,
    encode_frame,
    response_header,
)

MOST_COMMANDS: Final = 1000
"""Commands in one request; CloudStack sends a handful."""


class LocalProtocolError(Exception):
    """The caller asked for what the protocol does not allow now: our own bug."""


class Phase(enum.Enum):
    """How far the connection has come."""

    CONNECTED = "connected"
    STARTING = "starting"
    ACCEPTED = "accepted"
    ADMITTED = "admitted"
    REFUSED = "refused"


class Signal(enum.Enum):
    """What moves a connection on."""

    STARTUP_SENT = "Startup sent"
    STARTUP_ACCEPTED = "StartupAnswer, result true"
    READY = "ReadyCommand"
    REFUSAL = "StartupAnswer, result false, or ReadyCommand with _details"


TRANSITIONS: Final[dict[tuple[Phase, Signal], Phase]] = {
    (Phase.CONNECTED, Signal.STARTUP_SENT): Phase.STARTING,
    (Phase.STARTING, Signal.STARTUP_ACCEPTED): Phase.ACCEPTED,
    (Phase.STARTING, Signal.READY): Phase.ADMITTED,
    (Phase.STARTING, Signal.REFUSAL): Phase.REFUSED,
    (Phase.ACCEPTED, Signal.STARTUP_SENT): Phase.ACCEPTED,
    (Phase.ACCEPTED, Signal.STARTUP_ACCEPTED): Phase.ACCEPTED,
    (Phase.ACCEPTED, Signal.READY): Phase.ADMITTED,
    (Phase.ACCEPTED, Signal.REFUSAL): Phase.REFUSED,
    # A PingAnswer with sendStartup asks for another Startup on the same connection.
    (Phase.ADMITTED, Signal.STARTUP_SENT): Phase.ADMITTED,
    (Phase.ADMITTED, Signal.STARTUP_ACCEPTED): Phase.ADMITTED,
    (Phase.ADMITTED, Signal.READY): Phase.ADMITTED,
    (Phase.ADMITTED, Signal.REFUSAL): Phase.REFUSED,
}
"""What is missing here cannot happen rightly."""

_SERVING: Final = frozenset({Phase.STARTING, Phase.ACCEPTED, Phase.ADMITTED})


class Purpose(enum.Enum):
    """Why a request of ours was sent."""

    STARTUP = "startup"
    PING = "ping"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class UnreadableCommand:
    """An element of a request that is no command we know, and what to answer in its place."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """A request of the management server: one answer a command, in order, is due."""

    header: Header
    commands: tuple[Command | UnreadableCommand, ...]

    @property
    def stops_on_error(self) -> bool:
        """Whether the commands after a failed one must not be run."""
        return Flag.STOP_ON_ERROR in self.header.flags

    @property
    def sequence(self) -> int:
        """The number by which the server finds the answer."""
        return self.header.sequence


@dataclass(frozen=True, slots=True)
class StartupAccepted:
    """The server knows that we are here; pings are due every `ping_interval` seconds."""

    ping_interval: int
    host_id: int | None
    """None in the first answer of 4.22 (it says 0): no admission."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server does not want this host; nothing else will come."""

    reason: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """A ReadyCommand came; its own request follows as `Requested` and must be answered."""

    ready: ReadyCommand


@dataclass(frozen=True, slots=True)
class Requested:
    """Commands to run."""

    request: ServerRequest


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """The server got a ping."""

    sequence: int
    send_startup: bool = False
    """The host is not Up in the server's books: send Startup again on this connection."""
    avoid_servers: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to another request of ours."""

    sequence: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class FrameDropped:
    """A frame that means nothing here; the connection stays."""

    reason: str


Event = StartupAccepted | Refused | Admitted | Requested | PingAnswered | Answered | FrameDropped


@dataclass(slots=True)
class Sequences:
    """Numbers of our own requests: one count for a host over the life of the process."""

    _next: int = 0

    def take(self) -> int:
        """Return the next number."""
        taken = self._next
        self._next += 1
        return taken


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request of ours, ready to be sent."""

    sequence: int
    data: bytes = field(repr=False)


class Conversation:
    """One connection's life, as the agent sees it."""

    def __init__(self, sequences: Sequences, *, agent_id: int | None, most_body_bytes: int) -> None:
        self.phase = Phase.CONNECTED
        self.agent_id = agent_id
        """What the server called us last; it finds the host by its guid, never by this."""
        self._sequences = sequences
        self._most_body_bytes = most_body_bytes
        self._pending: dict[int, Purpose] = {}

    def startup(self, commands: Sequence[Command]) -> OwnRequest:
        """Return the Startup request: the first on a connection, or again when asked for."""
        if (self.phase, Signal.STARTUP_SENT) not in TRANSITIONS or not commands:
            raise LocalProtocolError(f"no Startup of {len(commands)} commands when {self.phase}")
        request = self._request(commands, Flag.REQUEST, Purpose.STARTUP)
        self._move(Signal.STARTUP_SENT)
        return request

    def ping(self, command: Command) -> OwnRequest:
        """Return a ping; possible once the Startup was accepted."""
        return self._own(command, Purpose.PING)

    def request(self, command: Command) -> OwnRequest:
        """Return another request (AgentControlCommand), answered by an `Answered`."""
        return self._own(command, Purpose.OTHER)

    def farewell(self, command: Command) -> bytes:
        """Return a request that nobody answers (ShutdownCommand)."""
        flags = Flag.REQUEST | Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE
        header = Header(flags, self._sequences.take(), agent=self._id, via=self._id)
        return encode_frame(header, encode_commands([command]))

    def answer(self, header: Header, answers: Iterable[Answer]) -> bytes:
        """Return the response to a request of the server."""
        return encode_frame(response_header(header), encode_answers(answers))

    def forget(self, sequence: int) -> None:
        """Stop waiting for an answer."""
        self._pending.pop(sequence, None)

    def receive(self, data: bytes) -> list[Event]:
        """Take one frame; raises nothing, whatever it holds."""
        try:
            frame = decode_frame(data, most_body_bytes=self._most_body_bytes)
        except FrameUnreadable as error:
            return [FrameDropped(str(error))]
        if frame.header.is_request:
            return self._request_arrived(frame)
        return self._response_arrived(frame)

    def __repr__(self) -> str:
        return f"Conversation({self.phase.value}, {len(self._pending)} answers awaited)"

    @property
    def _id(self) -> int:
        return UNKNOWN_ID if self.agent_id is None else self.agent_id

    def _own(self, command: Command, purpose: Purpose) -> OwnRequest:
        if self.phase not in (Phase.ACCEPTED, Phase.ADMITTED):
            raise LocalProtocolError(f"no {type(command).__name__} when {self.phase.value}")
        return self._request([command], Flag.REQUEST | Flag.STOP_ON_ERROR, purpose)

    def _request(self, commands: Sequence[Command], flags: Flag, purpose: Purpose) -> OwnRequest:
        sequence = self._sequences.take()
        header = Header(flags, sequence, agent=self._id, via=self._id)
        self._pending[sequence] = purpose
        return OwnRequest(sequence, encode_frame(header, encode_commands(commands)))

    def _move(self, signal: Signal) -> bool:
        after = TRANSITIONS.get((self.phase, signal))
        if after is None:
            return False
        self.phase = after
        return True

    def _request_arrived(self, frame: Frame) -> list[Event]:
        if self.phase not in _SERVING:
            return [FrameDropped(f"a request while {self.phase.value}")]
        try:
            commands = _commands(frame.body)
        except MessageError as error:
            return [FrameDropped(f"a request that cannot be answered: {error}")]
        first = commands[0] if commands else None
        if not isinstance(first, ReadyCommand):
            return [Requested(ServerRequest(frame.header, commands))]
        if first.refusal:
            self._move(Signal.REFUSAL)
            return [Refused(first.refusal)]
        self._move(Signal.READY)
        if first.host_id is not None:
            self.agent_id = first.host_id
        return [Admitted(first), Requested(ServerRequest(frame.header, commands))]

    def _response_arrived(self, frame: Frame) -> list[Event]:
        sequence = frame.header.sequence
        purpose = self._pending.pop(sequence, None)
        if purpose is None:
            # Also the second, complete StartupAnswer on a connection that is attached already.
            return [FrameDropped(f"an answer to request {sequence}, which awaits none")]
        try:
            answers = tuple(decode_answers(frame.body))
        except MessageError as error:
            answers = ()
            problem = FrameDropped(f"the answer to request {sequence}: {error}")
        else:
            problem = FrameDropped(f"the answer to request {sequence} is not of the class due")
        if purpose is Purpose.PING:
            return self._ping_answered(sequence, answers)
        if purpose is Purpose.OTHER:
            return [Answered(sequence, answers)] if answers else [problem]
        first = answers[0] if answers else None
        if first is not None and not first.result:
            self._move(Signal.REFUSAL)
            return [Refused(first.details or "StartupAnswer with result false and no reason")]
        if not isinstance(first, StartupAnswer):
            return [problem]
        self._move(Signal.STARTUP_ACCEPTED)
        return [StartupAccepted(first.ping_interval, first.host_id or None)]

    def _ping_answered(self, sequence: int, answers: tuple[Answer, ...]) -> list[Event]:
        # Unreadable or not, it is a sign of life.
        first = answers[0] if answers else None
        if isinstance(first, PingAnswer):
            return [PingAnswered(sequence, first.send_startup, tuple(first.avoid_ms_list))]
        return [PingAnswered(sequence)]


def _commands(body: bytes) -> tuple[Command | UnreadableCommand, ...]:
    """Read a request's commands, each for itself: one unknown class does not spoil the others.

    Broken JSON and what is no array stand for one command that cannot be read, as Java's
    BadCommand does, so that the caller gets an answer.  Raises MalformedMessage where Java drops
    the frame (`null` or `{}` in the array).
    """
    try:
        elements = parse_json(body)
    except MessageError:
        elements = None
    if not isinstance(elements, list):
        return (UnreadableCommand(unsupported_answer(BadCommand)),)
    if len(elements) > MOST_COMMANDS:
        raise MalformedMessage(f"{len(elements)} commands in one request")
    return tuple(_element(element, index) for index, element in enumerate(elements))


def _element(element: Json, index: int) -> Command | UnreadableCommand:
    try:
        name, body = split_tag(element)
    except MalformedMessage as error:
        raise error.inside(f"[{index}]") from None
    if not isinstance(body, dict):
        return UnreadableCommand(unsupported_answer(BadCommand))
    try:
        return decode_command(name, body)
    except UnknownCommandClass:
        return UnreadableCommand(unsupported_answer(name[:200]))
    except MalformedMessage as error:
        return UnreadableCommand(failure_answer(command_class(name), str(error)))
