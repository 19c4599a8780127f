"""Which keys a file of accelerate takes, and which flags `accelerate launch`: known without accelerate and its torch.

They are kept in `launcher_keys.json`; a test compares them with the installed accelerate, and `python -m
cord_distill.training.launcher_keys` writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cord_distill.common.suggest import did_you_mean

FILE = Path(__file__).with_suffix(".json")
# Sections of the file whose keys are those of the flags.
OF_FLAGS = ("deepspeed_config", "fsdp_config", "parallelism_config")


@cache
def launcher_keys() -> dict[str, list[str]]:
    """`file`: the keys of a file; `flags`: the flags, without the spelling with dashes."""
    return dict(json.loads(FILE.read_text()))


def file_faults(read: Mapping[str, Any], where: str) -> list[str]:
    """Keys of a launcher's file that accelerate does not know: it ends in a traceback, or leaves them aside."""
    known = launcher_keys()
    flags = {flag.lstrip("-") for flag in known["flags"]}
    found = [_unknown(key, known["file"], where) for key in read if key not in known["file"]]
    for section in OF_FLAGS:
        given = read.get(section)
        if isinstance(given, Mapping):
            own = {flag for flag in flags if flag.startswith(section.removesuffix("config"))} or flags
            found += [_unknown(key, own, f"{where}: {section}") for key in given if str(key) not in flags]
    return found


def flag_faults(args: Sequence[str]) -> list[str]:
    """What `accelerate launch` does not take of `launch.args`."""
    known = launcher_keys()["flags"]
    names = [str(arg).partition("=")[0] for arg in args]
    found = [
        _unknown(name, known, "launch.args", "flag of accelerate launch")
        for name in names
        if name.startswith("--") and name.replace("-", "_").replace("__", "--", 1) not in known
    ]
    if names and not names[0].startswith("-"):
        found.append(f"launch.args: {names[0]!r} would be taken for the script; write flags, e.g. [--num_processes, 2]")
    return found


def _unknown(key: Any, known: Collection[str], where: str, what: str = "key of accelerate") -> str:
    hint = did_you_mean(str(key), known, f"there are: {', '.join(sorted(known))}")
    return f"{where}: {str(key)!r} is no {what}; {hint}"


def installed_keys() -> dict[str, list[str]]:
    """What launcher_keys.json should hold, read off the installed accelerate."""
    from dataclasses import fields

    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.commands.launch import launch_command_parser

    flags = {flag for action in launch_command_parser()._actions for flag in action.option_strings}
    return {
        "file": sorted(one.name for one in fields(ClusterConfig)),
        "flags": sorted(flag for flag in flags if "-" not in flag.lstrip("-")),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(installed_keys(), indent=0) + "\n")
