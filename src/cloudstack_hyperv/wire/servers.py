"""Which management server to connect to next: the list, the order, the ones to avoid.

CloudStack writes the list as `ms1,ms2,ms3@algorithm`.  What the algorithms mean:

* `static`: the list as it is; the first server is the preferred one;
* `roundrobin`: the list rotated, by another amount for each host, so that hosts spread evenly;
* `shuffle`: a random order, and hosts spread evenly on average.

A list that the management server sends is already in this host's order (IndirectAgentLBServiceImpl
sorts it before sending) and is used as it is; only one that an operator wrote for many hosts is put
in order here (`ordered_for`).

Source: CloudStack's com.cloud.agent.AgentShell (getNextHost, setHosts) and
org.apache.cloudstack.agent.lb.algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

STATIC: Final = "static"
ROUNDROBIN: Final = "roundrobin"
SHUFFLE: Final = "shuffle"
ALGORITHMS: Final = (STATIC, ROUNDROBIN, SHUFFLE)


class ServerListInvalid(ValueError):
    """A list of management servers that names none; the text says what stood there."""


@dataclass(frozen=True, slots=True)
class ServerList:
    """Management servers in the order in which they are tried, first the preferred one."""

    servers: tuple[str, ...]
    algorithm: str = STATIC
    """One of ALGORITHMS; another word of a newer server is kept and treated as `static`."""

    @classmethod
    def parse(cls, text: str) -> ServerList:
        """Read `ms1,ms2@algorithm`; raises ServerListInvalid, also for an unfilled `@template@`."""
        stripped = text.strip()
        if stripped.startswith("@") and stripped.endswith("@") and len(stripped) > 1:
            raise ServerListInvalid(f"{stripped!r} is a template that was never filled in")
        names, _, algorithm = stripped.partition("@")
        servers = tuple(name.strip() for name in names.split(",") if name.strip())
        if not servers:
            raise ServerListInvalid(f"{text!r} names no management server")
        return cls(servers, algorithm.strip().lower() or STATIC)

    def ordered_for(
        self, position: int, shuffled: Callable[[Sequence[str]], Sequence[str]]
    ) -> ServerList:
        """Return the list in the order for the host at `position` among its neighbours.

        `shuffled` returns a permutation (`random.sample` with the length).
        """
        match self.algorithm:
            case "roundrobin":
                turn = position % len(self.servers)
                return replace(self, servers=self.servers[turn:] + self.servers[:turn])
            case "shuffle":
                return replace(self, servers=tuple(shuffled(self.servers)))
            case _:
                return self

    def is_same_as(self, other: ServerList) -> bool:
        """Whether nothing changes by taking `other`: the order means nothing when shuffled."""
        if self.algorithm != other.algorithm:
            return False
        if self.algorithm == SHUFFLE:
            return sorted(self.servers) == sorted(other.servers)
        return self.servers == other.servers

    def __str__(self) -> str:
        return f"{','.join(self.servers)}@{self.algorithm}"


@dataclass(slots=True)
class ServerChoice:
    """Walks through a list; after a success the next reconnect takes the next server."""

    listed: ServerList
    avoided: frozenset[str] = frozenset()
    """In maintenance: skipped as long as another one is left."""
    _next: int = field(default=0, repr=False)

    def next(self) -> str:
        """Return the server for the next try."""
        servers = self.listed.servers
        for step in range(len(servers)):
            at = (self._next + step) % len(servers)
            if servers[at] not in self.avoided:
                self._next = at + 1
                return servers[at]
        chosen = servers[self._next % len(servers)]
        self._next = self._next % len(servers) + 1
        return chosen

    @property
    def is_new_round(self) -> bool:
        """Whether the next try begins the list anew: every server had its turn."""
        return self._next == 0 or self._next >= len(self.listed.servers)

    def take(self, listed: ServerList) -> bool:
        """Use a list that the server sent, from its beginning; False if it was the same."""
        if listed.is_same_as(self.listed):
            return False
        self.listed = listed
        self._next = 0
        return True

    def avoid(self, servers: Iterable[str] | None) -> None:
        """Skip these from now on; None leaves it as it was, none ends all avoiding."""
        if servers is not None:
            self.avoided = frozenset(servers)

    def candidates(self) -> tuple[str, ...]:
        """Return the servers that are not to be avoided, in order."""
        return tuple(one for one in self.listed.servers if one not in self.avoided)

    def better_than(self, connected: str) -> str | None:
        """Return the preferred server, None if it is `connected` or to be avoided."""
        preferred = self.listed.servers[0]
        return None if preferred == connected or preferred in self.avoided else preferred
