"""Ends the process when an engine that runs inside it hangs: nothing in the process could take its place.

A step of an in-process engine holds the event loop, so no time-out of the loop's own can fire. The journal is flushed
call by call: the same command goes on where this one stood.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

from cord_distill.common.exit_codes import ENGINE_HANGS

CHECKS_PER_LIMIT = 20


class Watchdog:
    """limit: seconds that one piece of watched work may take; past it, every thread's stack is printed and the process
    ends with ENGINE_HANGS. One thread; `begin` and `end` cost one assignment each.
    """

    def __init__(self, limit: float, name: str) -> None:
        self.limit = limit
        self.name = name
        self._since: float | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name=f"watchdog of {name}", daemon=True).start()

    def begin(self) -> None:
        self._since = time.monotonic()

    def end(self) -> None:
        self._since = None

    def hangs(self) -> bool:
        """Whether the work under way has taken longer than its limit."""
        since = self._since
        return since is not None and time.monotonic() - since > self.limit

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(self.limit / CHECKS_PER_LIMIT):
            if self.hangs():
                faulthandler.dump_traceback(file=sys.stderr)
                print(
                    f"error: {self.name} hangs: one step took longer than {self.limit:g} s (decode.request_timeout). "
                    "What is finished is safe; run the same command again, or raise that limit",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(ENGINE_HANGS)
