"""The process that does the mathematics, and the handle on it: one per process of ours, killed when it hangs.

sympy can run for hours on a short formula and holds the interpreter while it does; only another process can be stopped
for certain. `python -m cord_distill.grading.worker` reads one JSON request per line and answers each with one line.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

from cord_distill.grading.compare import Leaves, Rules, equivalent

# Of processor time, so that a verdict does not depend on what else the machine does; WALL times as long by the clock.
SECONDS = 10.0
WALL = 30
START_SECONDS = 120.0
MEMORY_BYTES = 4 << 30
KILL_WITH_PARENT = 1
# A fixed hash seed: sympy orders terms by hash here and there.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"}


class GradingWorkerError(RuntimeError):
    """The worker cannot be started at all (sympy or latex2sympy2_extended is broken)."""


class Worker:
    """Handle on the grading process: started by the first question, again after a timeout or a crash. Thread-safe."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.timeouts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()
        self._read = b""

    def equivalent(self, gold: str, prediction: str, rules: Rules | None = None) -> bool:
        """The verdict of `compare.equivalent`. False when it takes `seconds` of processor time, or crashes."""
        asked = {"gold": gold, "prediction": prediction, "rules": asdict(rules or Rules()), "seconds": self.seconds}
        request = json.dumps(asked)
        with self._lock:
            process = self._running()
            try:
                assert process.stdin is not None
                process.stdin.write(request.encode() + b"\n")
                process.stdin.flush()
                answer = self._line(WALL * self.seconds)
            except BrokenPipeError:
                answer = None
            if answer is None:
                self.timeouts += 1
                self._stop()
                return False
            return bool(json.loads(answer)["equal"])

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _running(self) -> subprocess.Popen[bytes]:
        # After a fork the parent's worker answers the parent: the child starts its own.
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self._read, self._owner = b"", os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cord_distill.grading.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if self._line(START_SECONDS) is None:
            self._stop()
            raise GradingWorkerError("the grading process did not start; try: python -m cord_distill.grading.worker")
        return self._process

    def _line(self, seconds: float) -> bytes | None:
        """The next line of the worker, None when it is late or gone."""
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._read:
            # Not `select`, which knows no file numbers from 1024 on: each problem in flight has a file.
            waiting = select.poll()
            waiting.register(pipe, select.POLLIN)
            ready = waiting.poll(1000 * seconds)
            more = os.read(pipe, 1 << 16) if ready else b""
            if not more:
                return None
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _stop(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process = None


def serve() -> None:
    """The process: answers requests until its input ends. Its memory is bounded, and it dies with its parent."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    _die_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Nothing that a library prints may reach the pipe.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from cord_distill.grading import leaves

    sys.set_int_max_str_digits(0)
    mathematics = Leaves(leaves.equal, leaves.same_equation)
    leaves.equal("1", "\\frac{2}{2}", Rules())
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        # The signal that this timer sends ends the process, inside one long multiplication too.
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        verdict = _judged(request, mathematics)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"equal": verdict}), file=out, flush=True)


def _judged(request: dict[str, Any], mathematics: Leaves) -> bool:
    try:
        return equivalent(request["gold"], request["prediction"], mathematics, Rules(**request["rules"]))
    except (Exception, RecursionError, MemoryError):
        # sympy raises every kind of error on formulas that it cannot handle: such an answer is not accepted.
        return False


def _die_with_parent() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(KILL_WITH_PARENT, signal.SIGKILL)


_shared = Worker()
atexit.register(_shared.close)


def shared_worker() -> Worker:
    """The worker of this process."""
    return _shared


if __name__ == "__main__":
    serve()
