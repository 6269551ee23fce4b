"""Keeps the agent from locking its own account.

A domain locks an account after a few wrong passwords, and an agent that polls every minute on
eight connections gets there at once.  So: unless a login succeeded not long ago, only one is tried
at a time; after one was refused, none is tried for a while, unless the credentials were changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudstack_hyperv.wsman.errors import AuthenticationFailed


class LoginGuard:
    """The state of the login of one account at one host."""

    def __init__(self, pause: float) -> None:
        """Refuse new logins for `pause` seconds after a refused one."""
        self._pause = pause
        self._trying = False
        self._ended = asyncio.Event()
        self._proven_until = 0.0
        self._blocked_until = 0.0
        self._reason = ""

    def check(self) -> None:
        """Raise AuthenticationFailed while no login may be tried."""
        left = self._blocked_until - asyncio.get_running_loop().time()
        if left > 0:
            raise AuthenticationFailed(
                f"{self._reason}; not tried again for {left:.0f} s, lest the account be locked"
            )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Try one login in the block, when it may be tried.

        Raises AuthenticationFailed without trying while none may.  A block that raises it was
        refused; one that ends was a success; any other exception says nothing about the account.
        """
        clock = asyncio.get_running_loop().time
        while self._trying and clock() >= self._proven_until:
            self._ended.clear()
            await self._ended.wait()
        self.check()
        self._trying = True
        try:
            yield
            self._proven_until = clock() + self._pause
        except AuthenticationFailed as error:
            self._proven_until = 0.0
            self._blocked_until = clock() + self._pause
            self._reason = str(error)
            raise
        finally:
            self._trying = False
            self._ended.set()
