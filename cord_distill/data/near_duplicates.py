"""Questions that are nearly the same: exact Jaccard similarity of three-word runs, without comparing all pairs."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import defaultdict

RUN = 3
# 0.56 of 25 is a little more than 14 in floating point.
ROUNDING = 1e-9


class NearDuplicates:
    """Questions seen so far. threshold: Jaccard similarity in (0, 1] from which two are one question.

    Two sets of that similarity share an element among the first `|x| - ceil(threshold * |x|) + 1` of each, in any order
    that is the same for both (prefix filtering: Bayardo, Ma, Srikant, WWW 2007), so that only those are indexed. Other
    numbers make another question, however much is shared.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._questions: list[tuple[frozenset[int], tuple[str, ...]]] = []
        self._index: defaultdict[int, list[int]] = defaultdict(list)

    def seen(self, question: str) -> bool:
        """Whether a question like this one came before; if not, it is remembered."""
        runs, numbers = _runs(question), tuple(sorted(re.findall(r"\d+(?:\.\d+)?", question)))
        prefix = sorted(runs)[: len(runs) - math.ceil(self.threshold * len(runs) - ROUNDING) + 1]
        for other in {i for run in prefix for i in self._index[run]}:
            theirs, their_numbers = self._questions[other]
            shared = len(runs & theirs)
            if numbers == their_numbers and shared >= self.threshold * (len(runs) + len(theirs) - shared) - ROUNDING:
                return True
        for run in prefix:
            self._index[run].append(len(self._questions))
        self._questions.append((runs, numbers))
        return False


def _runs(question: str) -> frozenset[int]:
    """Of what stands between blanks, without case and without the punctuation around it."""
    split = (w.strip(".,;:?!\"'()[]{}$") for w in unicodedata.normalize("NFKC", question).casefold().split())
    spoken = [w for w in split if w]
    texts = [" ".join(spoken[i : i + RUN]) for i in range(max(1, len(spoken) - RUN + 1))]
    return frozenset(int.from_bytes(hashlib.blake2b(t.encode(), digest_size=8).digest(), "big") for t in texts)
