"""The process that does the mathematics, and the handle on it: one per process of ours, killed when it hangs.

sympy can run for hours on a short formula and holds the interpreter while it does; only another process can be stopped
for certain. It answers one JSON request after the other over a pipe.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from cord_distill.common.die_with_parent import signal_at_parents_end
from cord_distill.common.errors import CordError
from cord_distill.grading.compare import Mathematics, Rules, equivalent

# Of processor time, so that a verdict does not depend on what else the machine does; WALL times as long by the clock.
SECONDS = 10.0
WALL = 30
START_SECONDS = 120.0
MEMORY_BYTES = 4 << 30
# A fixed hash seed: sympy orders terms by hash here and there.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}


class Worker:
    """Handle on the grading process: started by the first question, again after a timeout or a crash. Thread-safe."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.timeouts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def equivalent(self, gold: str, prediction: str, rules: Rules | None = None) -> bool:
        """The verdict of `compare.equivalent`. False when it takes `seconds` of processor time, or crashes."""
        asked = {"gold": gold, "prediction": prediction, "rules": asdict(rules or Rules()), "seconds": self.seconds}
        with self._lock:
            pipe = self._running()
            try:
                pipe.send_bytes(json.dumps(asked).encode())
                verdict = _reply(pipe, WALL * self.seconds)
            except OSError:
                verdict = None
            if verdict is None:
                self.timeouts += 1
                self._stop()
            return bool(verdict)

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _running(self) -> Connection:
        # After a fork the parent's worker answers the parent: the child starts its own.
        lives = self._process is not None and self._owner == os.getpid() and self._process.poll() is None
        if lives and self._pipe is not None:
            return self._pipe
        self._pipe, theirs = Pipe()
        self._owner = os.getpid()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cord_distill.grading.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        if not _reply(self._pipe, START_SECONDS):
            self._stop()
            raise CordError(
                "the process that compares answers did not start; install latex2sympy2_extended and sympy anew, and "
                "try: python -c 'import latex2sympy2_extended'"
            )
        return self._pipe

    def _stop(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _reply(pipe: Connection, seconds: float) -> bool | None:
    """What the process says next, None when it is late or gone."""
    try:
        return bool(json.loads(pipe.recv_bytes())) if pipe.poll(seconds) else None
    except (EOFError, OSError):
        return None


def serve(pipe: Connection) -> None:
    """The process: says that it is there, and answers until the pipe ends. Its memory is bounded, and it dies with its
    parent."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal_at_parents_end(signal.SIGKILL)
    from cord_distill.grading import leaves

    sys.set_int_max_str_digits(0)
    leaves.same_number("1", "\\frac{2}{2}", Rules())
    pipe.send_bytes(b"true")
    while True:
        try:
            request = json.loads(pipe.recv_bytes())
        except EOFError:
            return
        maths = Mathematics(leaves.same_number, leaves.same_equation, Rules(**request["rules"]))
        # The signal that this timer sends ends the process, inside one long multiplication too.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        verdict = _judged(request, maths)
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send_bytes(json.dumps(verdict).encode())


def _judged(request: dict[str, Any], maths: Mathematics) -> bool:
    try:
        return equivalent(request["gold"], request["prediction"], maths)
    except (Exception, RecursionError, MemoryError):
        # sympy raises every kind of error on formulas that it cannot handle: such an answer is not accepted.
        return False


_shared = Worker()
atexit.register(_shared.close)


def shared_worker() -> Worker:
    """The worker of this process."""
    return _shared


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
