"""One connection's life, as frames that CloudStack's Java wrote and as tables."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.messages import Answer, Command, UnsupportedAnswer
from cloudstack_hyperv.messages.answers.vm import StopAnswer
from cloudstack_hyperv.messages.commands.host import PingRoutingCommand, ShutdownCommand
from cloudstack_hyperv.messages.commands.startup import StartupRoutingCommand
from cloudstack_hyperv.wire import (
    Admitted,
    Answered,
    Conversation,
    Event,
    Flag,
    FrameDropped,
    Header,
    LocalProtocolError,
    Phase,
    PingAnswered,
    Refused,
    Requested,
    Sequences,
    StartupAccepted,
    UnreadableCommand,
    decode_frame,
    encode_frame,
)
from cloudstack_hyperv.wire.conversation import TRANSITIONS, Signal

FRAMES = Path(__file__).parent / "frames"
LIMIT = 16 * 2**20


def java(name: str) -> bytes:
    [file] = FRAMES.glob(f"{name}*.bin")
    return file.read_bytes()


def conversation(*, started: bool = True, accepted: bool = False) -> Conversation:
    one = Conversation(Sequences(), agent_id=None, most_body_bytes=LIMIT)
    if started or accepted:
        one.startup([StartupRoutingCommand(guid="g-HypervResource")])
    if accepted:
        one.receive(java("02b"))
    return one


def header(data: bytes) -> Header:
    return decode_frame(data, most_body_bytes=LIMIT).header


def body(data: bytes) -> Any:
    return json.loads(decode_frame(data, most_body_bytes=LIMIT).body)


def frame(flags: int, sequence: int, content: object) -> bytes:
    return encode_frame(Header(Flag(flags), sequence, 77, 5, 5), json.dumps(content).encode())


def test_a_life_as_4_22_plays_it() -> None:
    talk = Conversation(Sequences(), agent_id=None, most_body_bytes=LIMIT)
    startup = talk.startup([StartupRoutingCommand(guid="g-HypervResource")])
    assert header(startup.data) == Header(Flag.REQUEST, 0, -1, -1, -1)
    assert talk.receive(java("02b")) == [StartupAccepted(60, None)]
    assert talk.phase.value == "accepted"
    admitted, requested = talk.receive(java("05"))
    assert isinstance(admitted, Admitted)
    assert admitted.ready.ms_host_list == ["10.1.1.3", "10.1.1.4"]
    assert isinstance(requested, Requested)
    assert talk.phase is Phase.ADMITTED
    assert talk.agent_id == 5
    ping = talk.ping(PingRoutingCommand(host_type="Routing", host_id=5))
    assert header(ping.data) == Header(Flag.REQUEST | Flag.STOP_ON_ERROR, 1, -1, 5, 5)
    assert talk.receive(java("09")) == [PingAnswered(1, send_startup=False, avoid_servers=())]


def test_sequences_go_on_over_connections() -> None:
    sequences = Sequences()
    first = Conversation(sequences, agent_id=None, most_body_bytes=LIMIT)
    assert first.startup([StartupRoutingCommand()]).sequence == 0
    second = Conversation(sequences, agent_id=5, most_body_bytes=LIMIT)
    startup = second.startup([StartupRoutingCommand()])
    assert header(startup.data) == Header(Flag.REQUEST, 1, -1, 5, 5)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("signal", list(Signal))
def test_every_pair_of_phase_and_signal_is_decided(phase: Phase, signal: Signal) -> None:
    """The table against the rules it stands for, written the other way round."""
    after = TRANSITIONS.get((phase, signal))
    if phase is Phase.REFUSED:
        assert after is None
    elif phase is Phase.CONNECTED:
        assert after == (Phase.STARTING if signal is Signal.STARTUP_SENT else None)
    elif signal is Signal.REFUSAL:
        assert after is Phase.REFUSED
    elif signal is Signal.READY:
        assert after is Phase.ADMITTED
    elif phase is Phase.STARTING:
        assert after == (Phase.ACCEPTED if signal is Signal.STARTUP_ACCEPTED else None)
    else:
        assert after is phase


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("07-ready", "Unable to connect host: host is being removed"),
        (
            "07b",
            "com.cloud.utils.exception.CloudRuntimeException: No resource state adapter response",
        ),
        ("03", "Cannot transit host: wrong hypervisor type"),
    ],
)
def test_refusals(name: str, reason: str) -> None:
    talk = conversation(accepted=name != "03")
    assert talk.receive(java(name)) == [Refused(reason)]
    assert talk.phase is Phase.REFUSED
    assert talk.receive(java("11")) == [FrameDropped("a request while refused")]
    with pytest.raises(LocalProtocolError):
        talk.startup([StartupRoutingCommand()])


def test_the_complete_startup_answer_names_the_host() -> None:
    assert conversation().receive(java("02-")) == [StartupAccepted(60, 5)]


def test_a_second_startup_answer_is_dropped() -> None:
    talk = conversation(accepted=True)
    [event] = talk.receive(java("02-"))
    assert isinstance(event, FrameDropped)
    assert talk.phase is Phase.ACCEPTED


def test_a_ping_answer_may_ask_for_startup() -> None:
    talk = conversation(accepted=True)
    talk.ping(PingRoutingCommand())
    assert talk.receive(java("10")) == [
        PingAnswered(1, send_startup=True, avoid_servers=("10.1.1.4",))
    ]
    again = talk.startup([StartupRoutingCommand()])
    assert header(again.data).flags == Flag.REQUEST
    assert talk.phase is Phase.ACCEPTED


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(0x23, 0x02), (0x27, 0x06), (0x21, 0x00), (0x25, 0x04), (0x63, 0x02), (0x03, 0x22)],
)
def test_answers_echo_what_the_server_needs(flags: int, expected: int) -> None:
    talk = conversation(accepted=True)
    [event] = talk.receive(frame(flags, 99, [{"com.cloud.agent.api.CheckHealthCommand": {}}]))
    assert isinstance(event, Requested)
    data = talk.answer(event.request.header, [Answer(result=True)])
    assert header(data) == Header(Flag(expected), 99, 77, 5, 5)


def test_several_commands_keep_their_order() -> None:
    [event] = conversation().receive(java("17"))
    assert isinstance(event, Requested)
    names = [type(one).__name__ for one in event.request.commands]
    assert names == ["StopCommand", "CheckVirtualMachineCommand", "CheckHealthCommand"]
    assert event.request.stops_on_error
    [event] = conversation().receive(java("19"))
    assert isinstance(event, Requested)
    assert not event.request.stops_on_error


@pytest.mark.parametrize("name", ["20", "22-boundary-8191", "22-boundary-8192", "25", "26", "52"])
def test_java_s_requests_are_understood(name: str) -> None:
    [event] = conversation().receive(java(name))
    assert isinstance(event, Requested)
    assert all(isinstance(one, Command) for one in event.request.commands)


@pytest.mark.parametrize("name", ["44", "46", "47"])
def test_what_is_no_array_is_one_bad_command(name: str) -> None:
    [event] = conversation().receive(java(name))
    assert isinstance(event, Requested)
    [one] = event.request.commands
    assert isinstance(one, UnreadableCommand)
    assert isinstance(one.answer, UnsupportedAnswer)


@pytest.mark.parametrize("name", ["40", "41", "42", "43", "49", "50", "54"])
def test_bad_frames_are_dropped_and_the_conversation_goes_on(name: str) -> None:
    talk = conversation(accepted=True)
    [event] = talk.receive(java(name))
    assert isinstance(event, FrameDropped)
    [event] = talk.receive(java("11"))
    assert isinstance(event, Requested)


def test_an_empty_array_is_answered_by_an_empty_array() -> None:
    talk = conversation()
    [event] = talk.receive(java("48"))
    assert isinstance(event, Requested)
    assert event.request.commands == ()
    assert body(talk.answer(event.request.header, [])) == []


def test_an_unknown_class_does_not_spoil_its_neighbours() -> None:
    content = [
        {"com.example.NoSuchCommand": {"wait": 0}},
        {"com.cloud.agent.api.StopCommand": {"vmName": {"a": 1}}},
        {"com.cloud.agent.api.CheckHealthCommand": {}},
    ]
    [event] = conversation().receive(frame(0x23, 1, content))
    assert isinstance(event, Requested)
    unknown, malformed, good = event.request.commands
    assert isinstance(unknown, UnreadableCommand)
    assert isinstance(unknown.answer, UnsupportedAnswer)
    assert "com.example.NoSuchCommand" in (unknown.answer.details or "")
    assert isinstance(malformed, UnreadableCommand)
    assert isinstance(malformed.answer, StopAnswer)
    assert "vmName" in (malformed.answer.details or "")
    assert isinstance(good, Command)


@pytest.mark.parametrize("content", [[None], [{}], [7], [[]], ["x"] * 3])
def test_elements_without_a_class_drop_the_frame(content: object) -> None:
    [event] = conversation().receive(frame(0x23, 1, content))
    assert isinstance(event, FrameDropped)


def test_answers_to_other_requests() -> None:
    talk = conversation(accepted=True)
    sent = talk.request(ShutdownCommand(reason="x"))
    answers = [{"com.cloud.agent.api.AgentControlAnswer": {"result": True}}]
    [event] = talk.receive(frame(0x22, sent.sequence, answers))
    assert isinstance(event, Answered)
    assert event.answers[0].result
    [event] = talk.receive(frame(0x22, sent.sequence, answers))
    assert isinstance(event, FrameDropped)
    given_up = talk.request(ShutdownCommand(reason="x"))
    talk.forget(given_up.sequence)
    [event] = talk.receive(frame(0x22, given_up.sequence, answers))
    assert isinstance(event, FrameDropped)


def test_an_unreadable_answer_to_a_ping_is_a_sign_of_life() -> None:
    talk = conversation(accepted=True)
    sent = talk.ping(PingRoutingCommand())
    assert talk.receive(frame(0x22, sent.sequence, [None])) == [PingAnswered(sent.sequence)]


@pytest.mark.parametrize("content", [[], [None], [{"com.example.NoSuchAnswer": {"result": True}}]])
def test_an_unreadable_startup_answer_is_none(content: object) -> None:
    talk = conversation()
    [event] = talk.receive(frame(0x20, 0, content))
    assert isinstance(event, FrameDropped)
    assert talk.phase is Phase.STARTING


def test_own_mistakes_raise() -> None:
    fresh = conversation(started=False)
    with pytest.raises(LocalProtocolError):
        fresh.ping(PingRoutingCommand())
    with pytest.raises(LocalProtocolError):
        fresh.startup([])
    assert isinstance(fresh.receive(java("11"))[0], FrameDropped)


def test_the_farewell_awaits_no_answer() -> None:
    talk = conversation(accepted=True)
    data = talk.farewell(ShutdownCommand(reason="sig.kill"))
    assert header(data).flags == header(java("24")).flags
    assert body(data)[0].keys() == body(java("24"))[0].keys()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "com.cloud.agent.api.ReadyCommand",
                    "com.cloud.agent.api.StopCommand",
                    "com.cloud.agent.api.StartupAnswer",
                    "com.cloud.agent.api.PingAnswer",
                    "_details",
                    "wait",
                    "hostId",
                    "msHostList",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(content=st.lists(json_values, max_size=3), flags=st.integers(0, 0x7F), seq=st.integers(0, 3))
def test_any_json_is_an_event(content: list[Any], flags: int, seq: int) -> None:
    talk = conversation(accepted=True)
    talk.ping(PingRoutingCommand())
    events: list[Event] = talk.receive(frame(flags, seq, content))
    assert events
    for event in events:
        if isinstance(event, Requested):
            assert len(event.request.commands) == max(1, len(content)) or not content


@given(st.binary(max_size=120), st.sampled_from(["05", "09", "11", "17", "20", "02b"]), st.data())
def test_any_damage_is_an_event(noise: bytes, name: str, data: st.DataObject) -> None:
    whole = java(name)
    at = data.draw(st.integers(0, len(whole)))
    assert conversation(accepted=True).receive(whole[:at] + noise + whole[at + len(noise) :])
