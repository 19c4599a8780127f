"""What the display says of decoding beside the count: searches, live beams, tokens/s per model, cache hits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from cord_distill.common.progress import Progress
from cord_distill.decode.replay import Meter
from cord_distill.tracking.live import Live

WINDOW_SECONDS = 60.0
EVERY_SECONDS = 1.0
LIVE_SECONDS = 60.0


class DecodeNote:
    """Makes the display's note and the chart's figures of a decoding; rates are those of the last minute.

    meters: of each model, which count on. live: problem id -> live beams of its search (a problem is there while it is
    searched; other pipelines than `cord` leave it empty). failed: problems with an error. scored, scores: problems with
    an S, and the sum of theirs.
    """

    def __init__(self, meters: Mapping[str, Meter], live: dict[str, int]) -> None:
        self.meters, self.live = meters, live
        self.failed = 0
        self.scored = 0
        self.scores = 0.0
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def text(self, now: float) -> str:
        """Returns the note: `34 live beams of 9 problems, r1 210 qwq 190 tokens/s, cache 93 %`, without what is not
        known.

        now: seconds, of any clock."""
        rates, cached = self._rates(now), self._cached()
        busy = [f"{name} {rate:,.0f}" for name, rate in rates.items() if rate >= 0.5]
        parts = [
            f"{sum(self.live.values())} live beams of {len(self.live)} problems" if self.live else "",
            f"{' '.join(busy)} tokens/s" if busy else "",
            f"cache {100 * cached:.0f} %" if cached else "",
        ]
        return ", ".join(filter(None, parts))

    def finished(self, problem: str, row: Mapping[str, Any]) -> None:
        """Counts a finished problem by its row."""
        self.live.pop(problem, None)
        self.failed += bool(row.get("error"))
        if isinstance(row.get("score"), float):
            self.scored += 1
            self.scores += row["score"]

    def figures(self, now: float, done: int) -> dict[str, float]:
        """Returns the figures of a chart: problems done and failed, the mean S, tokens/s of each model, cache hits."""
        rates = {f"tokens_per_second/{name}": rate for name, rate in self._rates(now).items()}
        found: dict[str, float] = {"problems": done, "failed": self.failed, **rates, "cache_hit_share": self._cached()}
        return {**found, **({"S": self.scores / self.scored} if self.scored else {})}

    def _rates(self, now: float) -> dict[str, float]:
        made = {name: meter.generated_tokens for name, meter in self.meters.items()}
        self._seen.append((now, made))
        while now - self._seen[0][0] > WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        return {name: (n - before.get(name, 0)) / (now - then) for name, n in made.items() if now > then}

    def _cached(self) -> float:
        prompts = sum(meter.prompt_tokens for meter in self.meters.values())
        return sum(meter.cached_tokens for meter in self.meters.values()) / prompts if prompts else 0.0


async def keep_showing(display: Progress, note: DecodeNote, live: Live) -> None:
    """Shows the note every second and logs the figures every minute, until it is cancelled."""
    logged = time.monotonic()
    while True:
        now = time.monotonic()
        display.show(note.text(now))
        if now - logged >= LIVE_SECONDS:
            logged = now
            live.log(note.figures(now, display.done))
        await asyncio.sleep(EVERY_SECONDS)
