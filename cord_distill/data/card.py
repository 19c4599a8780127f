"""The README.md beside a data set: what it is, where its rows come from, what was dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cord_distill import __version__
from cord_distill.common.markdown import code, inline, without_places
from cord_distill.recipe.file import dump_recipe
from cord_distill.recipe.recipe import Recipe

# Files beside train.jsonl, by their key in stats.json.
EXPORTS = ("preferences", "step_values")


def card_text(recipe: Recipe, stats: dict[str, Any]) -> str:
    """Markdown. Figures are those of stats.json; nothing is claimed that was not counted."""
    name = recipe.name + (f", {recipe.variant}" if recipe.variant else "")
    dropped = "".join(f"- {inline(reason)}: {count}\n" for reason, count in stats["dropped"].items()) or "- none\n"
    against = ", ".join(code(Path(p).name) for p in recipe.data.decontaminate) or "nothing: no file was given"
    near = stats["near_duplicates"]
    score = f", mean score S {stats['mean_score']:.3f}" if stats["mean_score"] is not None else ""
    made = f" ({recipe.decode.pipeline})" if recipe.teachers or not recipe.data.sources else ""
    return f"""---
{card_header(recipe, stats)}
---
# {inline(name)}

{stats["kept"]} reasoning traces written by language models{made}, put together with cord-distill
{__version__}. No person has checked them. {stats["graded"]} were graded, {stats["correct"]} of these as right{score}.

```python
from datasets import load_dataset

rows = load_dataset("PATH_OR_HUB_ID", split="train")
```

{_problems(recipe)}{_sources(recipe, stats)}{_teachers(recipe, stats)}Dropped, of {stats["rows"]} rows:
{dropped}
Decontaminated against {against}. Near duplicates: {f"dropped from similarity {near} on" if near else "not looked for"}.
Step markers are {"kept" if stats["keep_markers"] else "stripped"}.
{_more(stats)}
Columns: `prompt` and `completion` (messages; the completion holds the thought in `<think>` … `</think>` and the
answer), `id`, `pipeline` (or the source), `score` (S of the reasoning, 0 to 1), `correct`, `teachers` (one per step);
of own trajectories also `recipe_hash` and `seed`.

## Limits
{_limits(recipe, stats)}
## Recipe
The recipe, with the hash of train.jsonl (sha256 {stats["sha256"]}):

```yaml
{without_places(dump_recipe(recipe))}```
"""


def card_header(recipe: Recipe, stats: dict[str, Any]) -> str:
    """The YAML that the hub reads: licence, size, tags, where the rows are."""
    from huggingface_hub import DatasetCardData

    sources = {source.licence for source in recipe.data.sources}
    shared = sources.pop() if len(sources) == 1 and not recipe.teachers else ""
    own = ["cord", recipe.decode.pipeline] if recipe.teachers else []
    data = DatasetCardData(
        pretty_name=recipe.name,
        license=recipe.data.licence or shared or "other",
        task_categories=["text-generation"],
        size_categories=[size_category(stats["kept"])],
        tags=list(dict.fromkeys(["reasoning", "chain-of-thought", "distillation", "synthetic", "cord-distill", *own])),
        configs=[
            {"config_name": "default", "data_files": "train.jsonl"},
            *({"config_name": name, "data_files": f"{name}.jsonl"} for name in EXPORTS if name in stats),
        ],
    )
    return data.to_yaml()


def size_category(rows: int) -> str:
    """The hub's name of a size: n<1K, 1K<n<10K, ..."""
    names = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
    return next((name for power, name in enumerate(names, start=3) if rows < 10**power), "n>100M")


def _problems(recipe: Recipe) -> str:
    source = recipe.problems
    if source is None or not recipe.teachers:
        return ""
    local = source.builder or Path(str(source.path)).name
    told = f"{code(source.dataset)}, split {inline(source.split)}" if source.dataset else code(local)
    return f"Questions and known answers: {told}. Graded by {code(source.grader)}.\n\n"


def _more(stats: dict[str, Any]) -> str:
    """What was made of more than the winner; "" where the recipe asks for none of it."""
    tails, pairs, values = (stats.get(key) for key in ("cut_tail", "preferences", "step_values"))
    rows = stats.get("rows_per_problem")
    lines = [
        f"Up to {rows} traces of a problem; near-equal ones are dropped." if rows else "",
        f"{tails['traces']} traces end where S stays above {tails['above']:g}: {tails['steps']} steps are cut off."
        if tails
        else "",
        f'`preferences.jsonl` (`name="preferences"`): {pairs["pairs"]} pairs of {pairs["problems"]} problems, '
        f"{pairs['step']} of steps and {pairs['trace']} of whole traces, mean margin {pairs['mean_margin']:.3f}. "
        "Columns `prompt`, `chosen`, `rejected` (messages), `score_chosen`, `score_rejected`, `margin`, `kind`, "
        "`step`, `teachers`, `shared` (characters that both completions begin with). The better one was chosen by "
        "score, not by a person."
        if pairs
        else "",
        f'`step_values.jsonl` (`name="step_values"`): the scores of {values["steps"]} steps in {values["rows"]} traces '
        f"and of {values['siblings']} other proposals for the same prefixes."
        if values
        else "",
    ]
    return "".join(f"\n{line}\n" for line in lines if line)


def _limits(recipe: Recipe, stats: dict[str, Any]) -> str:
    """What a reader has to know before training on it; each line only where it holds."""
    wrong = stats["graded"] - stats["correct"]
    lines = [
        "Written by language models: it holds their mistakes, their style, and what they were trained on.",
        f"{wrong} of the graded rows end in a wrong answer." if wrong else "",
        f"{stats['kept'] - stats['graded']} rows were not graded." if stats["kept"] > stats["graded"] else "",
        "A right answer says little about the steps before it"
        + (": traces were chosen by how well they predict the known answer." if recipe.teachers else "."),
        "Questions were not compared with any benchmark." if not recipe.data.decontaminate else "",
        ""
        if recipe.data.licence
        else "No licence was chosen: the terms of the questions and of every model that wrote here apply.",
    ]
    return "".join(f"- {line}\n" for line in lines if line)


def _teachers(recipe: Recipe, stats: dict[str, Any]) -> str:
    if not stats["steps"]:
        return ""
    share = "".join(f"| {inline(t)} | {100 * s:.1f} % |\n" for t, s in stats["teacher_share"].items())
    models = "".join(f"- {inline(t.label)}: {code(without_places(t.model or t.engine))}\n" for t in recipe.teachers)
    tokens = stats["tokens"]
    return f"""Teachers:
{models}
| teacher | share of steps |
|---|---|
{share}
Tokens, counted by the meta-prover: {tokens["reasoning"]} reasoning, {tokens["answer"]} answer;
{tokens["mean_per_row"]:.0f} per row, the longest row {tokens["longest_row"]}.

"""


def _sources(recipe: Recipe, stats: dict[str, Any]) -> str:
    """Where the rows of others come from; "" for a data set of own trajectories alone."""
    if not recipe.data.sources:
        return ""
    known = {source.label: source for source in recipe.data.sources}
    lines = []
    for name, counts in stats["sources"].items():
        source = known.get(name)
        own = source and (inline(source.origin or source.dataset or "") or code(Path(str(source.path)).name))
        commit = (stats.get("commits") or {}).get(name)
        told = (own or "this recipe") + (f" at {code(commit[:12])}" if commit else "")
        licence = inline(source.licence or "not said") if source else ""
        weight = f"{source.weight:g}" if source else "1"
        figures = [str(counts.get(key, 0)) for key in ("read", "kept", "written")]
        lines.append(f"| {inline(name)} | {told} | {licence} | {weight} | {' | '.join(figures)} |\n")
    head = "| source | from | licence | weight | read | kept | written |\n|---|---|---|---|---|---|---|\n"
    return f"{head}{''.join(lines)}\n"
