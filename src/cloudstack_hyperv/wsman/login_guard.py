"""Keeps the agent from locking its own account.

A domain locks an account after a few wrong passwords, and an agent that polls every minute on
eight connections gets there at once.  So: until a login has succeeded, only one is tried at a
time; after one failed, none is tried for a while, unless the credentials were changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudstack_hyperv.wsman.errors import AuthenticationFailed


class LoginGuard:
    """The state of the login of one account at one host."""

    def __init__(self, pause: float) -> None:
        """Refuse new logins for `pause` seconds after a failed one."""
        self._pause = pause
        self._proven = False
        self._trying = False
        self._changed = asyncio.Event()
        self._blocked_until = 0.0
        self._reason = ""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until a login may be tried; raises AuthenticationFailed while none may.

        The block tells how it went by `succeeded` or `failed`.
        """
        while self._trying and not self._proven:
            self._changed.clear()
            await self._changed.wait()
        left = self._blocked_until - asyncio.get_running_loop().time()
        if left > 0:
            raise AuthenticationFailed(
                f"{self._reason}; not tried again for {left:.0f} s, lest the account be locked"
            )
        if self._proven:
            yield
            return
        self._trying = True
        try:
            yield
        finally:
            self._trying = False
            self._changed.set()

    def succeeded(self) -> None:
        """Let any number of logins be tried at once."""
        self._proven = True
        self._changed.set()

    def failed(self, error: AuthenticationFailed) -> None:
        """Refuse logins for the pause."""
        self._proven = False
        self._reason = str(error)
        self._blocked_until = asyncio.get_running_loop().time() + self._pause
