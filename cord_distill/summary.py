"""The figures of a run: what its folder holds, as one small dict. Nothing is computed by a model here.

Shares lie in 0..1. What was not measured is null or absent, never guessed; a run that is half done has half a summary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cord_distill.errors import CordError
from cord_distill.metrics import wilson_interval
from cord_distill.over_seeds import over_seeds
from cord_distill.recipe import Recipe
from cord_distill.recipe_file import load_recipe
from cord_distill.run_folder import RunFolder, method_name, write_atomic

DIGITS = 6
DECILES = 10
TOKEN_MEANS = {"tokens_per_problem": "generated_total", "scored_tokens_per_problem": "scored_total"}


def build_summary(recipe_source: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Reads the run folders of a recipe and all its variants (a `variant=` override is ignored). Writes nothing.

    Keys: `name`, `pipeline` facts under `protocol`, `methods.<method>`, `students.<untrained|method>` (of several
    seeds their mean, and each under `seeds`), `teachers.<label>`, `models.<label>` (of `evaluate.models`),
    `seconds.<part>`. Raises CordError on a damaged file, never on a missing one.
    """
    recipes = method_recipes(recipe_source, overrides)
    shared, root = recipes[0], RunFolder.of(recipes[0]).root
    methods = {}
    for recipe in recipes:
        folder = RunFolder.of(recipe)
        if folder.trajectories.is_file():
            stats = read_json(folder.generate_stats)
            methods[method_name(recipe)] = {
                **summarise_method(read_rows(folder.trajectories)),
                "seconds": stats.get("seconds"),
                "models": {name: model_figures(meter) for name, meter in (stats.get("models") or {}).items()},
            }
    runs = {method_name(recipe): recipe.seed_runs() for recipe in recipes}
    labels = ["untrained", *(RunFolder.of(run).label for found in runs.values() for run in found)]
    teachers = list(dict.fromkeys(t.label for r in recipes for t in r.teachers))
    others = [model.label for model in shared.evaluate.models]
    results = {label: read_json(root / "eval" / label / "results.json") for label in [*labels, *teachers, *others]}
    suites = shared.evaluate.suites
    students = {x: evaluated(results[x], suites, student=True) for x in labels if results[x]}
    return {
        "name": shared.name,
        "protocol": _protocol(shared),
        "methods": methods,
        "students": _by_method(students, runs),
        "teachers": {x: evaluated(results[x], suites, student=False) for x in teachers if results[x]},
        "models": {x: evaluated(results[x], suites, student=True) for x in others if results[x]},
        "seconds": _seconds(root, methods, results),
    }


def write_summary(recipe_source: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """`build_summary`, also written to `summary.json` of the run folder (whole or not at all)."""
    summary = build_summary(recipe_source, overrides)
    root = RunFolder.of(method_recipes(recipe_source, overrides)[0])
    write_atomic(root.summary, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def method_recipes(recipe_source: str | Path, overrides: Iterable[str] = ()) -> list[Recipe]:
    """One resolved recipe per method: per variant, or the recipe itself where it has none; no seed of a list picked."""
    kept = [x for x in overrides if not x.startswith("variant=")]
    whole = load_recipe(recipe_source, kept)
    found = [load_recipe(recipe_source, kept, variant=v) for v in whole.variants] or [whole]
    return [recipe.model_copy(update={"train_seed": None}) for recipe in found]


def summarise_method(trajectories: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The quality of one method's data, from rows of `trajectories.jsonl` (of an id given twice, the last counts).

    num_problems counts all, failed those that ended in an error; every share is over the others that were graded
    (or checked). lucky: share of the right answers whose trace has a wrong step. tokens_per_problem: mean over all
    proposals, the discarded ones too. hit_rate: which teacher wrote the trace, see `hit_rate`.
    """
    facts = {row["id"]: row_facts(row) for row in trajectories}
    done = [f for f in facts.values() if not f["failed"]]
    graded = [f["correct"] for f in done if f["correct"] is not None]
    steps = [right for f in done for right in f["steps_right"]]
    both = [not f["all_right"] for f in done if f["correct"] and f["all_right"] is not None]
    return {
        "num_problems": len(facts),
        "failed": len(facts) - len(done),
        "answer_accuracy": rounded_mean(graded),
        "answer_accuracy_ci": _interval(graded),
        "all_steps_right": rounded_mean(f["all_right"] for f in done),
        "step_accuracy": rounded_mean(steps),
        "lucky": rounded_mean(both),
        "score": rounded_mean(f["score"] for f in done),
        "steps_per_trace": rounded_mean(len(f["teachers"]) for f in done),
        "trace_tokens": rounded_mean(f["trace_tokens"] for f in done),
        **{name: rounded_mean(f["num_tokens"].get(key) for f in done) for name, key in TOKEN_MEANS.items()},
        "hit_rate": hit_rate([f["teachers"] for f in done if f["teachers"]]),
    }


def model_figures(meter: dict[str, Any]) -> dict[str, Any]:
    """What one teacher or meta-prover did, from its meter: tokens and seconds of the process that ran last.

    cache_hit_rate: share of the proposals' prompt tokens read from the prefix cache. discarded: share of the requests
    that were given up before their answer came.
    """
    requests, prompts = meter.get("requests", 0), meter.get("prompt_tokens", 0)
    return {
        "requests": requests,
        "generated_tokens": meter.get("generated_tokens", 0),
        "scored_tokens": meter.get("scored_tokens", 0),
        "request_seconds": round(meter.get("request_seconds", 0.0), 3),
        "cache_hit_rate": round(meter.get("cached_tokens", 0) / prompts, DIGITS) if prompts else None,
        "discarded": round(meter.get("discarded", 0) / requests, DIGITS) if requests else None,
    }


def hit_rate(traces: list[list[str]]) -> dict[str, Any]:
    """Which teacher wrote the selected steps: `overall` (share of all steps) and `deciles` (ten dicts, 0-10% first).

    traces: the teacher of each step, per trace. Step i of n covers the part (i/n, (i+1)/n) of its trace, and counts in
    every decile by the part that lies in it: so each trace weighs the same, and a short one leaves no hole.
    """
    names = sorted({teacher for trace in traces for teacher in trace})
    total = sum(map(len, traces))
    weight = [dict.fromkeys(names, 0.0) for _ in range(DECILES)]
    for trace in traces:
        n = len(trace)
        for i, teacher in enumerate(trace):
            # In units of 1/(n * DECILES) all borders are whole numbers.
            low, high = i * DECILES, (i + 1) * DECILES
            for d in range(low // n, (high - 1) // n + 1):
                weight[d][teacher] += (min(high, (d + 1) * n) - max(low, d * n)) / n
    return {
        "overall": {x: round(sum(t.count(x) for t in traces) / total, DIGITS) for x in names},
        "deciles": [{x: round(w[x] / len(traces), DIGITS) for x in names} for w in weight] if traces else [],
    }


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file, one at a time. A torn last line (a killed run) is left out, any other a CordError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict) or "id" not in row:
                    raise ValueError("no row with an id")
            except ValueError as error:
                if not line.endswith("\n"):
                    return
                raise CordError(f"{path}, line {number}: not a trajectory row: {error}") from None
            yield row


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} where there is no file. Raises CordError when it holds something else."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CordError(f"{path}: not readable as JSON: {error}; remove it and run the stage again") from None
    if not isinstance(value, dict):
        raise CordError(f"{path}: holds no JSON object; remove it and run the stage again")
    return value


def row_facts(row: dict[str, Any]) -> dict[str, Any]:
    """What one row says of its problem; null or empty where the row says nothing."""
    checks, tokens = row.get("checks") or {}, row.get("num_tokens") or {}
    trace = [tokens[key] for key in ("reasoning", "answer") if key in tokens]
    return {
        "failed": row.get("error") is not None,
        "correct": row.get("correct"),
        "score": row.get("score"),
        "all_right": checks.get("all_right"),
        "steps_right": checks.get("steps_right") or [],
        "teachers": [step["teacher"] for step in row.get("steps") or []],
        "num_tokens": tokens,
        "trace_tokens": sum(trace) if trace else None,
    }


def _by_method(students: dict[str, Any], runs: dict[str, list[Recipe]]) -> dict[str, Any]:
    """students: by label. One entry per method: its student's figures, or the mean over those of its seeds."""
    out = {x: students[x] for x in ("untrained",) if x in students}
    for method, found in runs.items():
        labels = {run.train_seed: RunFolder.of(run).label for run in found}
        done = {seed: students[label] for seed, label in labels.items() if label in students}
        if done:
            listed = {seed: figures for seed, figures in done.items() if seed is not None}
            out[method] = over_seeds(listed, of=len(found)) if listed else done[None]
    return out


def evaluated(results: dict[str, Any], wanted: list[str], student: bool) -> dict[str, Any]:
    """The first suite's figures at the top, each suite's under `suites`."""
    found = results.get("suites") or {}
    names = [*(s for s in wanted if s in found), *sorted(set(found) - set(wanted))]
    suites = {name: _suite(found[name], student) for name in names}
    first = {"suite": names[0], **suites[names[0]]} if names else {}
    return {**first, "seconds": results.get("seconds"), "suites": suites}


def _suite(figures: dict[str, Any], student: bool) -> dict[str, Any]:
    key = f"avg_at_{figures.get('k')}" if student else "answer_accuracy"
    return {
        key: figures.get("avg_at_k"),
        f"{key}_ci": figures.get("avg_at_k_ci"),
        "step_accuracy": figures.get("step_accuracy"),
        "k": figures.get("k"),
        "num_problems": figures.get("num_problems"),
    }


def _protocol(recipe: Recipe) -> dict[str, Any]:
    evaluate = recipe.evaluate
    return {
        "beam_size": recipe.decode.beam_size,
        "teachers": [t.label for t in recipe.teachers],
        "meta_prover": recipe.meta_prover and (recipe.meta_prover.same_as or recipe.meta_prover.label),
        "suites": evaluate.suites,
        "samples": evaluate.samples,
        "temperature": evaluate.temperature,
        "seed": recipe.decode_seed,
        "train_seeds": recipe.seed if isinstance(recipe.seed, list) else [],
    }


def _seconds(root: Path, methods: dict[str, Any], results: dict[str, Any]) -> dict[str, float]:
    """Wall-clock seconds per stage; of stages that were run by hand, what each part says of itself."""
    stages = read_json(root / "stages.json")
    said = {name: s["seconds"] for name, s in stages.items() if isinstance(s, dict) and s.get("seconds") is not None}
    if said:
        return said
    parts = {f"generate:{name}": m["seconds"] for name, m in methods.items()}
    parts |= {f"evaluate:{name}": r.get("seconds") for name, r in results.items()}
    return {name: seconds for name, seconds in parts.items() if seconds is not None}


def rounded_mean(values: Iterable[float | bool | None]) -> float | None:
    """Mean of the values that are known; None without any."""
    kept = [float(v) for v in values if v is not None]
    return round(sum(kept) / len(kept), DIGITS) if kept else None


def _interval(graded: list[bool]) -> list[float] | None:
    return [round(x, DIGITS) for x in wilson_interval(sum(graded), len(graded))] if graded else None
