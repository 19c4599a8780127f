"""`cord compare A B`: two evaluated checkpoints on the problems that both answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cord_distill import metrics
from cord_distill.common.errors import CordError
from cord_distill.common.jsonl import own_rows
from cord_distill.evaluation.protocol import differences
from cord_distill.run_folder.paths import PROBLEMS, RESULTS
from cord_distill.run_folder.shapes import read_results


def _protocol(folder: Path) -> dict[str, Any]:
    protocol = read_results(folder / RESULTS).get("protocol")
    if not isinstance(protocol, dict):
        raise CordError(f"{folder / RESULTS}: says nothing of its protocol; evaluate again")
    return protocol


def compare(a: str | Path, b: str | Path) -> dict[str, dict[str, Any]]:
    """Per suite: the paired difference a - b over the problems that both answered.

    a, b: `eval/<label>` folders, or their results.json. Keys of each: difference, ci (95 %), p_value, num_problems,
    a, b (avg@k on these problems), samples [k of a, k of b], same_protocol, differs (what does). Raises CordError when
    a folder holds no finished evaluation, or the two share no problem.
    """
    folders = [Path(x).parent if str(x).endswith(RESULTS) else Path(x) for x in (a, b)]
    for folder in folders:
        if not is_finished(folder):
            raise CordError(
                f"{folder}: no finished evaluation there; give an eval/<label> folder, or make it: cord evaluate"
            )
    found = paired(*folders)
    if not found:
        raise CordError(f"{a} and {b} share no problem: evaluate both on the same suites")
    return found


def is_finished(folder: Path) -> bool:
    """results.json is written last: an evaluation that was stopped before it leaves problems.jsonl alone."""
    return (folder / PROBLEMS).is_file() and (folder / RESULTS).is_file()


def paired(*folders: Path) -> dict[str, dict[str, Any]]:
    """`compare` of two finished evaluations; {} where they share no problem."""
    rows = [_problems(folder) for folder in folders]
    protocols = [_protocol(folder) for folder in folders]
    out: dict[str, dict[str, Any]] = {}
    for suite in rows[0]:
        both = [id for id in rows[0][suite] if id in rows[1].get(suite, {})]
        shared = [id for id in both if all(side[suite][id]["avg"] is not None for side in rows)]
        if not shared:
            continue
        left, right = ([side[suite][id]["avg"] for id in shared] for side in rows)
        differs = differences(protocols[0], protocols[1], suite)
        out[suite] = {
            **metrics.paired_difference(left, right),
            "a": metrics.mean(left),
            "b": metrics.mean(right),
            "samples": [len(side[suite][shared[0]]["correct"]) for side in rows],
            "same_protocol": not differs,
            "differs": differs,
        }
    return out


def comparison_lines(a: str | Path, b: str | Path) -> list[str]:
    """`compare` as a page: one line per suite, and what of the protocols differs."""
    found = compare(a, b)
    names = [Path(x).parent.name if str(x).endswith(RESULTS) else Path(x).name for x in (a, b)]
    width = max(map(len, found))
    said = [f"{names[0]} - {names[1]}, paired over problems; 95 % bootstrap interval, sign-flip p-value"]
    for suite, one in found.items():
        mark = "" if one["same_protocol"] else "  ! other protocol"
        said.append(f"{suite:{width}s}  {sentence(one)}{mark}")
    for suite, one in found.items():
        said += [f"! {suite}: {line}" for line in one["differs"]]
    if any(one["differs"] for one in found.values()):
        said.append("! the difference is not one of the models alone: evaluate both under one protocol")
    return said


def sentence(one: dict[str, Any]) -> str:
    """One entry of `compare` in a line, for `cord compare` and for results.md."""
    low, high = one["ci"]
    k = "/".join(map(str, dict.fromkeys(one["samples"])))
    return (
        f"{one['a']:.1%} - {one['b']:.1%} = {one['difference']:+.1%} [{low:+.1%}, {high:+.1%}], "
        f"p = {one['p_value']:.2g} ({one['num_problems']} problems, k = {k})"
    )


def _problems(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """suite -> id -> row of problems.jsonl."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in own_rows(folder / PROBLEMS):
        if not {"suite", "id", "avg", "correct"} <= row.keys():
            raise CordError(f"{folder / PROBLEMS}: a row is not one of an evaluation of ours; evaluate again")
        found.setdefault(row["suite"], {})[row["id"]] = row
    return found
