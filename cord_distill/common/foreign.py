"""What other tools and earlier versions would have typed, and how it is written here: `--config`, `--key=value`."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DOTTED = re.compile(r"^(?:--|\+\+?|-)([a-z_]+(?:\.[\w-]+)+)(?:=(.*))?$")


def foreign_words(argv: Sequence[str]) -> str | None:
    """One sentence about the first such word; None where there is none."""
    gone = {"merge": "cord merge", "generate": "--shard"}.get(argv[0] if argv else "")
    if gone == "cord merge" or (gone and any(word.partition("=")[0] == gone for word in argv)):
        return f"{gone} is gone: start the same `cord generate RECIPE` on every node; all of them share one run folder"
    for number, word in enumerate(argv):
        after = argv[number + 1] if number + 1 < len(argv) else ""
        if word in ("--config", "--recipe", "--config_file", "-c") or word.startswith(("--config=", "--recipe=")):
            file = word.partition("=")[2] or after or "RECIPE"
            return f"{word.partition('=')[0]}: the recipe is given by its place alone: {file}"
        found = _DOTTED.match(word)
        if found:
            value = found[2] if found[2] is not None else after or "VALUE"
            return f"{word}: keys of the recipe are overridden without dashes: {found[1]}={value}"
    return None
