"""The known answer in a row of a question file: a text or a number as it stands, or what a pattern finds in it."""

from __future__ import annotations

import re
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import fault

# GSM8K's way: a worked solution whose last line is `#### 70,000`.
HASHES = re.compile(r"(?:^|\n)[ \t]*####[ \t]*(-?[$€£]?-?[\d.,/]*\d[ \t]*%?)\s*\Z")
THOUSANDS = re.compile(r"[-$€£]*\d{1,3}(?:,\d{3})+(?:\.\d+)?%?")
SHOWN = 60


def stated(value: str | int | float) -> str:
    """A known answer as a text without blanks around it; 42.0 of a column of floats is 42."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def known_answer(value: Any, *, where: str, what: str, key: str, pattern: str | None = None) -> str:
    """The known answer that a row's `value` holds. what: names the value in errors. key: of the pattern, likewise.

    pattern: a regular expression of one group; what the group finds last is the answer. None: the value as it stands,
    but of a solution whose last line is `#### 18` that number, without the commas of its thousands.

    Raises CordError: neither a text nor a number, nothing in it, or no match.
    """
    nothing = str(value).strip().lower() in ("", "nan", "none", "null")
    if nothing or isinstance(value, bool) or not isinstance(value, (str, int, float)) or fault([value]):
        raise CordError(f"{where}: {what} is {value!r}; the known answer must be a text or a number")
    text = stated(value)
    if pattern is not None:
        found = [match[1] for match in re.finditer(pattern, text) if match[1] and match[1].strip()]
        if not found:
            tail = " ".join(text.split())
            tail = tail if len(tail) <= SHOWN else "... " + tail[-SHOWN:]
            raise CordError(f"{where}: {key} {pattern!r} finds nothing in {tail!r}; mend the pattern or drop the row")
        return found[-1].strip()
    hashes = HASHES.search(text)
    if hashes is None:
        return text
    number = hashes[1].strip()
    return number.replace(",", "") if THOUSANDS.fullmatch(number) else number
