"""What the display says of decoding beside the count: searches, live beams, tokens/s per model, cache hits."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping

from cord_distill.common.progress import Progress
from cord_distill.decode.replay import Meter

WINDOW_SECONDS = 60.0
EVERY_SECONDS = 1.0


class DecodeNote:
    """meters: per model, counting on. live: problem id -> live beams of its search (a problem is there while it is
    searched; other pipelines than `cord` leave it empty). Rates are those of the last minute."""

    def __init__(self, meters: Mapping[str, Meter], live: Mapping[str, int]) -> None:
        self.meters, self.live = meters, live
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def text(self, now: float) -> str:
        """`34 live beams of 9 problems, r1 210 qwq 190 tokens/s, cache 93 %`; what is not known is left out.

        now: seconds, of any clock."""
        made = {name: meter.generated_tokens for name, meter in self.meters.items()}
        self._seen.append((now, made))
        while now - self._seen[0][0] > WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        rates = {name: (n - before.get(name, 0)) / (now - then) for name, n in made.items() if now > then}
        prompts = sum(meter.prompt_tokens for meter in self.meters.values())
        cached = sum(meter.cached_tokens for meter in self.meters.values())
        busy = [f"{name} {rate:,.0f}" for name, rate in rates.items() if rate >= 0.5]
        parts = [
            f"{sum(self.live.values())} live beams of {len(self.live)} problems" if self.live else "",
            f"{' '.join(busy)} tokens/s" if busy else "",
            f"cache {100 * cached / prompts:.0f} %" if cached else "",
        ]
        return ", ".join(filter(None, parts))


async def keep_showing(display: Progress, note: DecodeNote) -> None:
    """Until it is cancelled: the first problem may take long."""
    while True:
        display.show(note.text(time.monotonic()))
        await asyncio.sleep(EVERY_SECONDS)
