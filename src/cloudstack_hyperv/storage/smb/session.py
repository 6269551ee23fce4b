"""One login on one SMB server, and the pool that keeps some of them.

A session is used by one thread at a time.  What a pool hands out is either fresh or has just shown
that it lives: a server may have closed an idle connection, and a request that is lost on it could
not safely be repeated.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, cast

from smbprotocol.exceptions import SMBException
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from cloudstack_hyperv.storage.smb.connection import StrictConnection
from cloudstack_hyperv.storage.smb.errors import (
    SmbConnectionLost,
    SmbProtectionRefused,
    SmbUnreachable,
    translated,
)
from cloudstack_hyperv.storage.smb.server import DIALECTS, SmbServer

IDLE_BEFORE_CHECK: Final = 5.0
"""Seconds after which a kept session is asked for an ECHO before it is used."""
IDLE_BEFORE_CLOSE: Final = 300.0
"""Seconds after which a kept session is closed instead of used."""
_ECHO_TIMEOUT: Final = 5.0


class SmbSession:
    """A connection with a login; shares are connected on first use."""

    def __init__(self, server: SmbServer) -> None:
        """Connect and log in.

        Raises SmbUnreachable, SmbLoginRefused, SmbProtectionRefused.
        """
        self.server = server
        self.connection = StrictConnection(
            uuid.uuid4(), server.address, server.port, server.timeout
        )
        self._trees: dict[str, TreeConnect] = {}
        self.used = time.monotonic()
        try:
            self._connect()
            self.login: Session = self._log_in()
        except BaseException:
            self.drop()
            raise

    def _connect(self) -> None:
        try:
            self.connection.connect(timeout=self.server.timeout)
        except (SMBException, OSError, ValueError) as error:
            # The library turns a failed connect into a ValueError with the system's text.
            raise SmbUnreachable(
                f"no SMB connection to {self.server}: is it up, and does its firewall let port "
                f"{self.server.port} through?"
            ) from error
        dialect = int(self.connection.dialect)
        if dialect < DIALECTS[self.server.minimum_dialect]:
            raise SmbProtectionRefused(
                f"{self.server} speaks SMB dialect 0x{dialect:04x} at most, and "
                f"{self.server.minimum_dialect} is demanded"
            )
        if self.server.encryption and not self.connection.supports_encryption:
            raise SmbProtectionRefused(
                f"{self.server} does not encrypt SMB; set encryption = false for it to be content "
                "with signing"
            )

    def _log_in(self) -> Session:
        server = self.server
        protocol = cast("Literal['negotiate', 'ntlm', 'kerberos']", server.authentication)
        session = Session(
            self.connection,
            username=server.login or None,
            password=server.password.reveal() or None,
            require_encryption=server.encryption,
            auth_protocol=protocol,
        )
        with translated(f"login to {server}"):
            session.connect()
        return session

    @property
    def session_id(self) -> int:
        """The server's number for this login."""
        return int(self.login.session_id)

    def tree(self, share: str) -> Any:
        """Return the connected share; raises PathNotReachable if the server has none."""
        tree = self._trees.get(share.upper())
        if tree is None:
            name = f"\\\\{self.server.address}\\{share}"
            tree = TreeConnect(self.login, name)
            with translated(name):
                tree.connect()
            self._trees[share.upper()] = tree
        return tree

    def lives(self) -> bool:
        """Ask the server for an ECHO."""
        try:
            self.connection.echo(sid=self.session_id, timeout=_ECHO_TIMEOUT)
        except (SMBException, OSError):
            return False
        return True

    def close(self) -> None:
        """Log off and close; what fails on the way only means that the server was gone already."""
        try:
            self.connection.disconnect(close=True, timeout=_ECHO_TIMEOUT)
        except (SMBException, OSError):
            self.drop()

    def drop(self) -> None:
        """Close the connection without a word to the server."""
        if self.connection.transport is not None:
            self.connection.disconnect(close=False)


class SmbPool:
    """The sessions with one server.  All of it may be used by many threads."""

    def __init__(self, server: SmbServer) -> None:
        self.server = server
        self._idle: list[SmbSession] = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(server.connections)
        self._closed = False

    @contextmanager
    def lease(self) -> Iterator[SmbSession]:
        """Lend a session for the block; after SmbConnectionLost in it, it is not used again."""
        if not self._places.acquire(timeout=self.server.timeout):
            raise SmbUnreachable(f"all SMB connections to {self.server} are busy")
        try:
            session = self._kept() or SmbSession(self.server)
            try:
                yield session
            except SmbConnectionLost:
                session.drop()
                raise
            except BaseException:
                self._keep(session)
                raise
            self._keep(session)
        finally:
            self._places.release()

    def close(self) -> None:
        """Close what is kept; a session that is lent out is closed when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    def _kept(self) -> SmbSession | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                session = self._idle.pop()
            idle = time.monotonic() - session.used
            if idle < IDLE_BEFORE_CHECK or (idle < IDLE_BEFORE_CLOSE and session.lives()):
                return session
            session.drop()

    def _keep(self, session: SmbSession) -> None:
        session.used = time.monotonic()
        with self._lock:
            if not self._closed and session.connection.transport is not None:
                self._idle.append(session)
                return
        session.close()
