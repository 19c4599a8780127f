"""A real vLLM server on this machine, for tests: as a user would start it on a CPU."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# On a CPU a seeded request whose prefill is split kills vLLM's engine: no prefill may be split.
ARGS = (
    "--dtype float32 --enforce-eager --max-num-seqs 16 --no-enable-chunked-prefill --generation-config vllm "
    "--block-size 32 --kv-cache-memory-bytes 134217728 --enable-prompt-tokens-details --host 127.0.0.1"
)


class ServedModel:
    """`vllm serve model` (its module form, which the CPU build has too). `kill()` ends it at once, `start()` again."""

    def __init__(self, model: Path, log: Path, max_model_len: int, *more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        length = ["--max-model-len", str(max_model_len), "--max-num-batched-tokens", str(16 * max_model_len)]
        module = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        self.command = [*module, "--model", str(model), "--port", str(self.port), *ARGS.split(), *length, *more]
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env={**os.environ, "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
                start_new_session=True,
            )

    def wait(self, seconds: float = 500) -> None:
        """Returns once it answers. Raises when it ended, with the end of its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process is not None and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        raise RuntimeError(f"the server did not come up: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
