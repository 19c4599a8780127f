"""The README.md beside a data set: what it is, where its rows come from, what was dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cord_distill import __version__
from cord_distill.recipe import Recipe


def card_text(recipe: Recipe, stats: dict[str, Any]) -> str:
    """Markdown. Figures are those of stats.json; nothing is claimed that was not counted."""
    name = recipe.name + (f", {recipe.variant}" if recipe.variant else "")
    share = "".join(f"| {t} | {100 * s:.1f} % |\n" for t, s in stats["teacher_share"].items())
    dropped = "".join(f"- {reason}: {count}\n" for reason, count in stats["dropped"].items()) or "- none\n"
    against = ", ".join(f"`{Path(p).name}`" for p in recipe.data.decontaminate) or "nothing: no file was given"
    models = "".join(f"- {t.label}: `{t.model or t.engine}`\n" for t in recipe.teachers)
    score = f", mean score S {stats['mean_score']:.3f}" if stats["mean_score"] is not None else ""
    tokens = stats["tokens"]
    return f"""# {name}

{stats["kept"]} reasoning traces written by language models ({recipe.decode.pipeline}), made with cord-distill
{__version__}. No person has checked them. {stats["correct"]} of them end in an answer that the grader accepted{score}.

Teachers:
{models}
| teacher | share of steps |
|---|---|
{share}
Tokens, counted by the meta-prover: {tokens["reasoning"]} reasoning, {tokens["answer"]} answer;
{tokens["mean_per_row"]:.0f} per row, the longest row {tokens["longest_row"]}.

Dropped, of {stats["rows"]} trajectories:
{dropped}
Decontaminated against {against}. Step markers are {"kept" if stats["keep_markers"] else "stripped"}.

Columns: `prompt` and `completion` (messages; the completion holds the thought in `<think>` … `</think>` and the
answer), `id`, `pipeline`, `score` (S of the reasoning, 0 to 1), `correct`, `teachers` (one per step), `recipe_hash`,
`seed`.
"""
