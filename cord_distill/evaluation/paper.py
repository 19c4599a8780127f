"""The paper's numbers beside ours: which of its rows is the same as ours, and what of the protocol differs."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from cord_distill.common.paths import bundled


@cache
def paper() -> dict[str, Any]:
    """`eval/paper.yaml`."""
    found: dict[str, Any] = yaml.safe_load((bundled("eval") / "paper.yaml").read_text(encoding="utf-8"))
    return found


def paper_row(model: str, method: str, num_teachers: int) -> dict[str, float]:
    """suite -> percent, {} where the paper has no such row.

    model: hub id or path of the base model. method: untrained, or the label of the trained student; only students that
    are called after the paper's methods match. num_teachers: different teachers (one = homogeneous).
    """
    name = model.rstrip("/").rsplit("/", 1)[-1].lower()
    row = method if method == "untrained" else f"{method}-{'het' if num_teachers > 1 else 'hom'}"
    rows: dict[str, Any] = next((rows for key, rows in paper()["models"].items() if key.lower() == name), {})
    return dict(rows.get(row, {}))


def differs_from_paper(protocol: dict[str, Any], suite: str) -> list[str]:
    """What of our protocol differs from what the paper says of its own, as `key: ours, the paper's x`."""
    ours = protocol["suites"][suite]
    pairs = [(key, protocol.get(key), value) for key, value in paper()["protocol"].items()]
    pairs += [(key, ours[key], paper()[key][suite]) for key in ("samples", "problems") if suite in paper()[key]]
    if protocol.get("judge") and "judge_prompt_version" in ours:
        pairs.append(("judge", protocol["judge"]["model"].rsplit("/", 1)[-1], paper()["judge"]))
    return [f"{key} {mine}, the paper's {theirs}" for key, mine, theirs in pairs if mine != theirs]
