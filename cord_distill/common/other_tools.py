"""Recognises what users of other tools type out of habit (`--config`, `--key=value`), and says what to type here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

# Of `accelerate launch`, with `-` written as `_`.
LAUNCHERS = {
    f"__{name}"
    for name in (
        "num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port", "gpu_ids",
        "mixed_precision", "multi_gpu", "nproc_per_node", "use_deepspeed", "use_fsdp", "dynamo_backend",
    )
}  # fmt: skip
_DOTTED = re.compile(r"^(?:--|\+\+?|-)([a-z_]+(?:\.[\w-]+)+)(?:=(.*))?$")


def foreign_words(argv: Sequence[str]) -> str | None:
    """One sentence about the first such word, for `cord` and train.py; None where there is none."""
    command = argv[0] if argv else ""
    for number, word in enumerate(argv):
        after = argv[number + 1] if number + 1 < len(argv) else ""
        if word in ("--config", "--recipe", "--config_file", "-c") or word.startswith(("--config=", "--recipe=")):
            file = word.partition("=")[2] or after or "RECIPE"
            return f"{word.partition('=')[0]}: the recipe is given by its place alone: {file}"
        flag, _, given = word.partition("=")
        value = given or after or "VALUE"
        if flag == "--variant" and command != "ablate":
            return f"{flag}: a variant is picked without dashes: variant={value}"
        if flag.replace("-", "_") in LAUNCHERS:
            words = [flag, *([value] if given or (after and not after.startswith("-") and "=" not in after) else [])]
            return f"{flag}: what accelerate launch is told stands in the recipe: launch.args='{json.dumps(words)}'"
        if flag in ("--dry-run", "--dry_run", "--dryrun", "--validate"):
            return f"{flag}: what would run, and whether all of it is there, is said by: cord check RECIPE"
        found = _DOTTED.match(word)
        if found:
            value = found[2] if found[2] is not None else value
            return f"{word}: keys of the recipe are overridden without dashes: {found[1]}={value}"
    return None
