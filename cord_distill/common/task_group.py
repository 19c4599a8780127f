"""Groups tasks of one event loop that end together: whatever ends their work early, none of them runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def tasks_cancelled_on_exit() -> AsyncIterator[set[asyncio.Task[Any]]]:
    """A set of tasks that are cancelled, and waited for, when the block ends."""
    tasks: set[asyncio.Task[Any]] = set()
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


async def gather_or_cancel(coroutines: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results in order; the first failure cancels the others and is raised."""
    async with tasks_cancelled_on_exit() as tasks:
        ordered = [asyncio.create_task(c) for c in coroutines]
        tasks.update(ordered)
        return list(await asyncio.gather(*ordered))
