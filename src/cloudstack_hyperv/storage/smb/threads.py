"""Threads in which blocking SMB calls run, apart from everybody else's."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

COUNT: Final = 16

_Result = TypeVar("_Result")


class SmbThreads:
    """A bounded number of threads; the default executor stays free while a server is silent."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(COUNT, thread_name_prefix="smb")

    async def run(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        """Run `work` in one of them, with the caller's context (its log fields)."""
        context = contextvars.copy_context()
        call = functools.partial(context.run, work, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Take no more work; what runs goes on to its own deadline."""
        self._executor.shutdown(wait=False)
