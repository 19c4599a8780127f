"""What the letters of an answer run over: `for all real x`, `where k is an integer`, `k \\in \\mathbb{Z}`.

Such a tail is set apart from the answer and compared like a unit: it may be left out, another one is another answer.
A tail that bounds anything (`for x > 3`) is a part of the answer and stays.
"""

from __future__ import annotations

import re

_WORDS = (
    "for all any every each some where with is are being a an the real integer integers positive negative "
    "nonnegative nonpositive nonzero natural rational complex number numbers constant constants arbitrary in and "
    "values of value"
).split()
_DOMAINS = {"Z": "integer", "N": "natural", "Q": "rational", "C": "complex", "R": ""}
_KINDS = "integer positive negative nonnegative nonpositive nonzero natural rational complex constant some".split()
_TAIL = re.compile(
    r"(?:\s*[,;]\s*|\s+|\s*‹[\s,]*|\s*\(\s*)(?:(?:for|where|with)(?![A-Za-z])|\\forall|[A-Za-z]\s*\\in\s*\\mathbb\b)"
)
_ARTICLE = re.compile(r"a\s+[a-z]{2}")
_ALLOWED = re.compile(r"\\forall|\\in(?![a-z])|\\mathbb\s*\{?\s*([A-Z])\s*\}?|[A-Za-z]+|[\s,;‹›()+^*{}]")


def without_condition(core: str) -> tuple[str, str, str]:
    """(the answer, its condition in one spelling, the letter that it binds).

    The condition is "" where there is none or it says `all reals`, the letter where it binds none or several.
    """
    found = _TAIL.search(core)
    if found is None or not re.search(r"\w", core[: found.start()]) or core.startswith("\\{"):
        return core, "", ""
    tail = core[found.start() :]
    kinds: list[str] = []
    letters: set[str] = set()
    place = 0
    text = re.sub(r"non[- ]?(?=negative|positive|zero)", "non", tail)
    while place < len(text):
        token = _ALLOWED.match(text, place)
        if token is None:
            return core, "", ""
        word = token[0]
        if token[1]:
            if token[1] not in _DOMAINS:
                return core, "", ""
            kinds.append(_DOMAINS[token[1]])
        elif word.isalpha() and len(word) > 1:
            if word.lower() not in _WORDS:
                return core, "", ""
            kinds += [word.lower().removesuffix("s")] if word.lower().removesuffix("s") in _KINDS else []
        elif word.isalpha() and not _ARTICLE.match(text, place):
            letters.add(word)
        place = token.end()
    head = core[: found.start()].rstrip(" ,;")
    return head, " ".join(sorted({kind for kind in kinds if kind})), letters.pop() if len(letters) == 1 else ""
