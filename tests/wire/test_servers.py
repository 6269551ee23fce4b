"""Lists of management servers: reading, ordering, walking, avoiding."""

import random

import pytest

from cloudstack_hyperv.wire import ServerChoice, ServerList, ServerListInvalid


@pytest.mark.parametrize(
    ("text", "servers", "algorithm"),
    [
        ("ms1", ("ms1",), "static"),
        ("ms1,ms2@roundrobin", ("ms1", "ms2"), "roundrobin"),
        (" ms1 , ms2 ,,@ Shuffle ", ("ms1", "ms2"), "shuffle"),
        ("2001:db8::1,10.1.1.3@static", ("2001:db8::1", "10.1.1.3"), "static"),
        ("ms1@", ("ms1",), "static"),
        ("ms1@newer", ("ms1",), "newer"),
    ],
)
def test_reading(text: str, servers: tuple[str, ...], algorithm: str) -> None:
    assert ServerList.parse(text) == ServerList(servers, algorithm)


@pytest.mark.parametrize("text", ["", "  ", "@static", ",,@shuffle", "@MSHOST@", " @host@ "])
def test_lists_that_name_nobody(text: str) -> None:
    with pytest.raises(ServerListInvalid):
        ServerList.parse(text)


def test_writing_is_what_cloudstack_reads() -> None:
    text = "ms1,ms2,ms3@roundrobin"
    assert str(ServerList.parse(text)) == text


@pytest.mark.parametrize(
    ("algorithm", "position", "order"),
    [
        ("static", 4, "abc"),
        ("newer", 4, "abc"),
        ("roundrobin", 0, "abc"),
        ("roundrobin", 1, "bca"),
        ("roundrobin", 2, "cab"),
        ("roundrobin", 3, "abc"),
        ("shuffle", 0, "cba"),
    ],
)
def test_ordering_for_a_host(algorithm: str, position: int, order: str) -> None:
    listed = ServerList(tuple("abc"), algorithm)
    ordered = listed.ordered_for(position, lambda servers: list(reversed(servers)))
    assert ordered.servers == tuple(order)
    assert ordered.algorithm == algorithm


def test_roundrobin_spreads_evenly_and_shuffle_about() -> None:
    for algorithm, most in (("roundrobin", 100), ("shuffle", 140)):
        listed = ServerList(tuple("abc"), algorithm)
        firsts = [
            listed.ordered_for(n, lambda s: random.Random(n).sample(s, len(s))).servers[0]  # noqa: B023 - called at once
            for n in range(300)
        ]
        assert max(firsts.count(one) for one in "abc") <= most


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("a,b", "a,b", True),
        ("a,b", "b,a", False),
        ("a,b@shuffle", "b,a@shuffle", True),
        ("a,b@shuffle", "a,b@static", False),
        ("a,b@roundrobin", "b,a@roundrobin", False),
        ("a,b@shuffle", "a,b,c@shuffle", False),
    ],
)
def test_sameness_depends_on_the_algorithm(one: str, two: str, same: bool) -> None:
    assert ServerList.parse(one).is_same_as(ServerList.parse(two)) is same


def walk(choice: ServerChoice, times: int) -> str:
    return "".join(choice.next() for _ in range(times))


def test_the_walk_goes_round() -> None:
    assert walk(ServerChoice(ServerList(tuple("abc"))), 7) == "abcabca"


@pytest.mark.parametrize(
    ("avoided", "order"),
    [("", "abcabc"), ("a", "bcbcbc"), ("b", "acacac"), ("ab", "cccccc"), ("abc", "abcabc")],
)
def test_servers_in_maintenance_are_skipped_while_another_is_left(avoided: str, order: str) -> None:
    choice = ServerChoice(ServerList(tuple("abc")))
    choice.avoid(avoided)
    assert walk(choice, 6) == order


def test_a_new_list_begins_at_its_beginning_the_same_one_does_not() -> None:
    choice = ServerChoice(ServerList(tuple("abc")))
    assert walk(choice, 1) == "a"
    assert not choice.take(ServerList(tuple("abc")))
    assert walk(choice, 1) == "b"
    assert choice.take(ServerList(tuple("xyz")))
    assert walk(choice, 2) == "xy"


def test_rounds_end_where_the_list_does() -> None:
    choice = ServerChoice(ServerList(tuple("ab")))
    seen = []
    for _ in range(4):
        choice.next()
        seen.append(choice.is_new_round)
    assert seen == [False, True, False, True]


def test_avoiding_ends_with_an_empty_list_not_with_none() -> None:
    choice = ServerChoice(ServerList(tuple("ab")))
    choice.avoid(["a"])
    choice.avoid(None)
    assert choice.candidates() == ("b",)
    choice.avoid([])
    assert choice.candidates() == ("a", "b")


@pytest.mark.parametrize(
    ("connected", "avoided", "better"),
    [("a", "", None), ("b", "", "a"), ("b", "a", None), ("c", "b", "a")],
)
def test_the_preferred_server(connected: str, avoided: str, better: str | None) -> None:
    choice = ServerChoice(ServerList(tuple("abc")))
    choice.avoid(avoided)
    assert choice.better_than(connected) == better
