"""`eval/results.md`: the figures of all evaluated checkpoints for people, beside the paper's for the same rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cord_distill.common.markdown import markdown_table
from cord_distill.evaluation import over_seeds
from cord_distill.evaluation.comparison import is_finished, paired, sentence
from cord_distill.evaluation.figures import ModelScores
from cord_distill.evaluation.paper import differs_from_paper, paper, paper_row
from cord_distill.evaluation.protocol import differences
from cord_distill.run_folder.paths import RESULTS
from cord_distill.run_folder.shapes import read_results

MARK = "†"
FIXED = {
    *("avg_at_k", "k", "num_problems", "pass_at_k", "pass_at", "maj_at_k", "truncated", "answerless", "mean_tokens"),
    *("tokens_percentiles", "step_accuracy", "all_steps_right", "comparability", "unmatched"),
}


def results_table(eval_folder: Path, order: Iterable[str] = ()) -> str:
    """The page as Markdown. order: labels that come first; other folders with results follow by name."""
    results = _all_results(eval_folder, order)
    suites = list(dict.fromkeys(s for r in results for s, found in r["suites"].items() if "avg_at_k" in found))
    if not suites:
        return ""
    notes: list[str] = []
    rows = with_means(results)
    parts = [
        "# Evaluation\n",
        "avg@k (pass@1 over k samples) in percent, with its 95 % interval over problems. "
        "Cut-off outputs count as wrong.\n",
        _scores(rows, suites, notes),
        *(f"[{number}] {note}  " for number, note in enumerate(notes, 1)),
    ]
    if any(r.get("num_seeds") for r in rows):
        parts.append(over_seeds.NOTE)
    if any(_published(r) for r in rows):
        parts.append(
            f"paper: {paper()['source']}, one run of its own; {MARK} = ours was measured under another protocol."
        )
    parts += ["\n## How the outputs ended\n", _details(results, suites)]
    if differing := _paired(eval_folder, results):
        parts += ["\n## Against the untrained model\n", "Paired over problems; sign-flip p-value.\n", *differing]
    return "\n".join(parts) + "\n"


def _all_results(eval_folder: Path, order: Iterable[str]) -> list[dict[str, Any]]:
    first = [eval_folder / label / RESULTS for label in order]
    rest = sorted((p for p in eval_folder.glob(f"*/{RESULTS}") if p not in first), key=_by_number)
    return [read_results(p) for p in [*first, *rest] if p.is_file()]


def _by_number(path: Path) -> list[tuple[int, str]]:
    """A sort key: checkpoint-8 comes before checkpoint-16."""
    return [(int(x), "") if x.isdigit() else (0, x) for x in re.split(r"(\d+)", path.parent.name)]


def with_means(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results, and after the last run of a method that was trained with several seeds their mean as one more."""
    out: list[dict[str, Any]] = []
    for i, one in enumerate(results):
        out.append(one)
        method = one.get("method") if one.get("seed") is not None else None
        if method and all(later.get("method") != method for later in results[i + 1 :]):
            runs = [r for r in results if r.get("method") == method and r.get("seed") is not None]
            label = f"{method}, mean of {len(runs)} seed{'s' if len(runs) > 1 else ''}"
            out.append({**one, "label": label, "seed": None, "num_seeds": len(runs), "suites": _mean_suites(runs)})
    return out


def _mean_suites(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The means over runs, of the suites that every run was measured on in the same way."""
    means = over_seeds.over_seeds({run["seed"]: ModelScores.of(run, ()) for run in runs}, len(runs)).suites
    return {
        suite: {**runs[0]["suites"][suite], "avg_at_k": mean.avg_at_k, "avg_at_k_ci": mean.avg_at_k_ci}
        for suite, mean in means.items()
        if mean.avg_at_k is not None
    }


def _scores(results: list[dict[str, Any]], suites: list[str], notes: list[str]) -> str:
    published = {r["label"]: _published(r) for r in results}
    header = ["model"]
    for suite in suites:
        found = next(r["suites"][suite] for r in results if suite in r["suites"])
        header.append(f"{suite} avg@{found['k']} ({found['num_problems']} problems)")
        if any(suite in row for row in published.values()):
            header.append("paper")
    rows = []
    for one in results:
        cells = [one["label"]]
        for suite in suites:
            cells.append(_cell(one, suite, results, notes))
            theirs = published[one["label"]].get(suite)
            if theirs is not None:
                differs = suite in one["suites"] and differs_from_paper(one["protocol"], suite)
                cells[-1] += f" {MARK}{_note(notes, '; '.join(differs))}" if differs else ""
                cells.append(f"{theirs:.1f}")
            elif any(suite in row for row in published.values()):
                cells.append("")
        rows.append(cells)
    return markdown_table(header, rows) + "\n"


def _cell(one: dict[str, Any], suite: str, results: list[dict[str, Any]], notes: list[str]) -> str:
    """A score; with a note where its protocol is not that of the first row of the column."""
    found = one["suites"].get(suite)
    if found is None or "avg_at_k" not in found:
        return "-"
    first = next(r for r in results if suite in r["suites"])
    text = f"{100 * found['avg_at_k']:.1f}"
    if found["avg_at_k_ci"]:
        low, high = found["avg_at_k_ci"]
        text += f" [{100 * low:.1f}, {100 * high:.1f}]"
    if found["k"] != first["suites"][suite]["k"]:
        text += f" (k={found['k']})"
    differs = differences(first["protocol"], one["protocol"], suite)
    told = "; ".join(differs)
    return text + (_note(notes, f"not the protocol of {first['label']}: {told}") if differs else "")


def _note(notes: list[str], text: str) -> str:
    if text not in notes:
        notes.append(text)
    return f" [{notes.index(text) + 1}]"


def _details(results: list[dict[str, Any]], suites: list[str]) -> str:
    header = ["model", "suite", "pass@k", "maj@k", "cut off", "no answer", "mean tokens", "50 / 90 / 99 %", "also"]
    rows = []
    for one in results:
        for suite in suites:
            found = one["suites"].get(suite)
            if not found or "avg_at_k" not in found:
                continue
            shares = [_percent(found[key]) for key in ("pass_at_k", "maj_at_k", "truncated", "answerless")]
            percentiles = " / ".join(f"{value:,.0f}" for value in found["tokens_percentiles"].values())
            also = {k: v for k, v in found.items() if isinstance(v, float) and (k not in FIXED or "step" in k)}
            said = ", ".join(f"{key} {_percent(value)}" for key, value in also.items())
            rows.append([one["label"], suite, *shares, f"{found['mean_tokens']:,.0f}", percentiles, said])
    return markdown_table(header, rows)


def _paired(eval_folder: Path, results: list[dict[str, Any]]) -> list[str]:
    students = [r["label"] for r in results if r.get("student") and is_finished(eval_folder / r["label"])]
    if "untrained" not in students:
        return []
    found = []
    for label in (label for label in students if label != "untrained"):
        for suite, one in paired(eval_folder / label, eval_folder / "untrained").items():
            mark = "" if one["same_protocol"] else f" {MARK} other protocol"
            found.append(f"- {label}, {suite}: {sentence(one)}{mark}")
    return found


def _published(one: dict[str, Any]) -> dict[str, float]:
    """The paper's row for this one; of several seeds their mean has it, not each run."""
    if one.get("seed") is not None:
        return {}
    method = one.get("method") or one["label"]
    return paper_row(one.get("base", ""), method if one.get("student") else "untrained", one.get("teachers", 0))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
