"""Pings, patience, pauses and pacing over a clock that the test turns."""

import pytest

from cloudstack_hyperv.wire import Backoff, Pacing, PingSchedule, StartupPatience


def schedule(*, silent_after: int = 0) -> PingSchedule:
    one = PingSchedule(60, 3, silent_after)
    one.begin(1000.0)
    return one


def test_pings_are_due_every_interval_from_the_startup_answer_on() -> None:
    pings = schedule()
    assert pings.pause(1000.0) == 60
    assert pings.pause(1059.0) == 1
    assert pings.pause(1061.0) == 0
    pings.sent(1, 1061.0)
    assert pings.pause(1061.0) == 59  # no drift


def test_no_burst_after_a_suspension() -> None:
    pings = schedule()
    pings.sent(1, 5000.0)
    assert pings.pause(5000.0) == 0
    pings.sent(2, 5000.0)
    assert pings.pause(5000.0) == 60


@pytest.mark.parametrize(
    ("answered", "lost"), [((), True), ((1,), False), ((3,), False), ((0,), True)]
)
def test_unanswered_pings_end_the_connection(answered: tuple[int, ...], lost: bool) -> None:
    pings = schedule()
    for sequence in (1, 2, 3):
        assert not pings.is_lost
        pings.sent(sequence, 1000 + 60.0 * sequence)
    for sequence in answered:
        pings.answered(sequence)
    assert pings.is_lost is lost


@pytest.mark.parametrize(
    ("words", "silent"),
    [("", False), ("--", False), ("---", True), ("--+--", False), ("---+", False)],
)
def test_a_gateway_does_not_speak_for_a_dead_host(words: str, silent: bool) -> None:
    pings = schedule(silent_after=3)
    for word in words:
        pings.host_reported(answered=word == "+")
    assert pings.is_silent is silent


def test_silence_can_be_turned_off() -> None:
    pings = schedule(silent_after=0)
    for _ in range(100):
        pings.host_reported(answered=False)
    assert not pings.is_silent


def test_startup_patience_doubles_once() -> None:
    patience = StartupPatience()
    seen = []
    for _ in range(4):
        seen.append(patience.seconds)
        patience.ran_out()
    assert seen == [180, 360, 180, 360]
    patience.ran_out()
    assert patience.seconds == 360
    patience.succeeded()
    assert patience.seconds == 180


def test_pauses_double_up_to_the_limit_and_begin_anew() -> None:
    backoff = Backoff(5, 60, jitter=0)
    assert [backoff.pause(lambda: 0.9) for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    assert backoff.same_pause(lambda: 0.9) == 60
    backoff.reset()
    assert backoff.same_pause(lambda: 0.9) == 5
    assert backoff.pause(lambda: 0.9) == 5


@pytest.mark.parametrize(("fraction", "pause"), [(0.0, 7.5), (0.5, 10.0), (0.75, 11.25)])
def test_jitter_goes_both_ways(fraction: float, pause: float) -> None:
    assert Backoff(10, 60).pause(lambda: fraction) == pause


def test_pacing_lets_a_burst_through_and_spreads_the_rest() -> None:
    pacing = Pacing(burst=64, per_second=1000)
    delays = [pacing.delay(50.0) for _ in range(164)]
    assert delays[:64] == [0.0] * 64
    assert delays[64] == pytest.approx(0.001)
    assert delays[-1] == pytest.approx(0.1)
    assert pacing.delay(60.0) == 0


def test_pacing_never_slows_a_steady_pace_down() -> None:
    pacing = Pacing(burst=4, per_second=1000)
    assert all(pacing.delay(n / 900) < 1e-9 for n in range(1000))
