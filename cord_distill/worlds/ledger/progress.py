"""How a build shows that it lives: one bar on a terminal, a line per model elsewhere. Both on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from cord_distill.worlds.ledger.plan import Plan


class Progress:
    """names: the models to be trained under this plan."""

    def __init__(self, names: list[str], plan: Plan) -> None:
        self.began = time.monotonic()
        self.left = set(names)
        total = sum(plan.examples(name) for name in names)
        self.bar = tqdm(total=total, desc="ledger models", unit="ex", disable=not sys.stderr.isatty(), leave=False)
        self._say(f"training {len(names)} models on {total} examples")

    def advance(self, name: str, count: int) -> None:
        self.bar.update(count)
        self.bar.set_postfix_str(name.lstrip("."), refresh=False)

    def done(self, name: str) -> None:
        if name in self.left:  # two processes report the base
            self.left.remove(name)
            self._say(f"{name.lstrip('.')} done after {time.monotonic() - self.began:.0f} s")

    def _say(self, line: str) -> None:
        if self.bar.disable:
            print(f"ledger: {line}", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.bar.close()
