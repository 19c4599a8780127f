"""Plausible trajectory rows for tests: a made-up beam search over made-up steps, with text meant to break a page."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from cord_distill.evaluation.figures import ModelScores, SuiteFigures
from cord_distill.report.summary import RunProtocol, Summary
from cord_distill.types import Candidate, Problem, Step, Stop, Trajectory

TEACHERS = ("ada", "bob", "cyd")
MALICE = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=2> <!-- & \u2028 \\(x^2\\) `|`"


def made_row(
    i: int,
    *,
    pipeline: str = "cord",
    steps: int = 6,
    beam_size: int = 4,
    correct: bool = True,
    wrong_steps: int = 0,
    text: str = "",
    error: str | None = None,
) -> dict[str, Any]:
    """One row, as read back from JSON. The beam is a real one: parents count the kept of the step before."""
    rng = random.Random(f"{pipeline}-{i}")
    problem = Problem(
        f"p{i}", f"Box 0 = {i % 10}. Six more boxes. What is in box 6? {text}", str(i % 7), {"world": "made"}
    )
    blank = Trajectory(
        id=problem.id, problem=problem, pipeline=pipeline, steps=(), final_answer_text="", prediction=None,
        correct=None, score=None, stop=Stop.ABORT, num_tokens={}, recipe_hash="0" * 16, seed=0, error=error,
    )  # fmt: skip
    if error:
        return json.loads(json.dumps(blank.to_row()))
    if pipeline == "curation":
        candidates, path = _whole_traces(rng, i, steps, text)
    else:
        candidates, path = _beam(rng, i, steps, beam_size, text)
    made = tuple(
        Step(n, teacher, words, (n, 7, 9), 12, score, Stop.THINK_END if n == len(path) else Stop.STEP)
        for n, (teacher, words, score) in enumerate(path, start=1)
    )
    right = [k >= wrong_steps for k in range(len(made))]
    done = Trajectory(
        id=problem.id, problem=problem, pipeline=pipeline, steps=made,
        final_answer_text=f"\n\nThe answer is \\boxed{{{problem.answer}}}",
        prediction=problem.answer if correct else "x",
        correct=correct, score=made[-1].score, stop=Stop.THINK_END,
        num_tokens={"reasoning": 12 * len(made), "answer": 9, "generated_total": 700 + i, "scored_total": 5000},
        recipe_hash="0" * 16, seed=0, candidates=candidates, checks={"steps_right": right, "all_right": all(right)},
    )  # fmt: skip
    return json.loads(json.dumps(done.to_row()))


def _beam(rng: random.Random, i: int, steps: int, beam_size: int, text: str) -> tuple[Any, Any]:
    columns: list[tuple[Candidate, ...]] = []
    live: list[list[tuple[str, str, float]]] = [[]]
    done = [False]
    for t in range(1, steps + 1):
        pool = []
        for parent, trace in enumerate(live):
            if done[parent]:
                pool.append((Candidate(parent, trace[-1][0], -1, "", trace[-1][2], False, Stop.THINK_END), trace))
                continue
            for teacher in TEACHERS:
                words = f"### Step {t}. {teacher} on p{i}, branch {parent}: {rng.randrange(10)}\n{text}\n"
                score = round(rng.random(), 6)
                ends = t == steps or (t == steps - 1 and rng.random() < 0.2)
                words += "</think>" if ends else ""
                stop = Stop.THINK_END if ends else Stop.STEP
                pool.append(
                    (Candidate(parent, teacher, 0, words, score, False, stop), [*trace, (teacher, words, score)])
                )
        best = sorted(range(len(pool)), key=lambda k: -(pool[k][0].score or 0))[:beam_size]
        flagged = [
            (Candidate(c.parent, c.teacher, c.sample, c.text, c.score, k in best, c.stop), trace)
            for k, (c, trace) in enumerate(pool)
        ]
        columns.append(tuple(c for c, _ in flagged))
        live = [trace for c, trace in flagged if c.kept]
        done = [c.stop is Stop.THINK_END for c, _ in flagged if c.kept]
    return tuple(columns), max(live, key=lambda trace: trace[-1][2])


def _whole_traces(rng: random.Random, i: int, steps: int, text: str) -> tuple[Any, Any]:
    traces = []
    for teacher in TEACHERS:
        for _ in range(4):
            score = round(rng.random(), 6)
            traces.append((teacher, [f"### Step {t}. {teacher} p{i} {text}\n" for t in range(1, steps + 1)], score))
    best = max(range(len(traces)), key=lambda k: traces[k][2])
    column = tuple(
        Candidate(0, teacher, k % 4, "".join(parts), score, k == best, Stop.THINK_END)
        for k, (teacher, parts, score) in enumerate(traces)
    )
    teacher, parts, score = traces[best]
    return (column,), [(teacher, words, score) for words in parts]


def made_rows(n: int = 20, pipeline: str = "cord", right: float = 0.8, **kinds: Any) -> list[dict[str, Any]]:
    """n rows, about `right` of them with the right answer; every fifth right one has a wrong step (a lucky trace)."""
    rows = []
    for i in range(n):
        correct = (i * 7919 % 100) / 100 < right
        rows.append(
            made_row(i, pipeline=pipeline, correct=correct, wrong_steps=int(not correct or i % 5 == 0), **kinds)
        )
    return rows


def write_run(folder: Path, *, rows: int = 20, text: str = "", stats: bool = True) -> Path:
    """A recipe with the variants cord and curation, and the run folder that it would have left. Returns the recipe."""
    recipe = folder / "made.yaml"
    teachers = "".join(f"  - {{name: {t}, engine: scripted, script: 'a.b:c'}}\n" for t in TEACHERS)
    recipe.write_text(
        f"name: made\noutput_dir: ./out\nteachers:\n{teachers}"
        "evaluate: {suites: [ledger], samples: 4, teachers: true}\n"
        "variants:\n  cord: {decode.pipeline: cord}\n  curation: {decode.pipeline: curation}\n"
    )
    out = folder / "out"
    for method, right in (("cord", 0.85), ("curation", 0.3)):
        (out / method).mkdir(parents=True)
        lines = [json.dumps(row) + "\n" for row in made_rows(rows, method, right, text=text)]
        (out / method / "trajectories.jsonl").write_text("".join(lines))
        (out / method / "generate_stats.json").write_text(json.dumps({"seconds": 41.5}))
    if stats:
        accuracies = {"untrained": 0.0, "cord": 0.52, "curation": 0.16} | {t: 0.04 for t in TEACHERS}
        for label, x in accuracies.items():
            suite = {"avg_at_k": x, "avg_at_k_ci": [max(0, x - 0.05), x + 0.05], "k": 1 if label in TEACHERS else 4,
                     "num_problems": 100, "step_accuracy": 0.4 + x / 2}  # fmt: skip
            (out / "eval" / label).mkdir(parents=True)
            (out / "eval" / label / "results.json").write_text(
                json.dumps({"label": label, "suites": {"ledger": suite}, "seconds": 8.0})
            )
        seconds = {"models": 150.2, "generate": 60.0, "dataset": 1.0, "train:cord": 30.0, "train:curation": 28.0}
        (out / "stages.json").write_text(
            json.dumps({k: {"seconds": s, "fingerprint": "x"} for k, s in seconds.items()})
        )
    return recipe


def made_summary(**figures: Any) -> Summary:
    """A run's figures, those given; its protocol is that of one CoRD and one Curation with no teachers."""
    protocol = RunProtocol(
        beam_size=4, teachers=[], teacher_notes={}, problems=None, meta_prover=None, suites=[], samples=4,
        temperature=0.6, seed=0, train_seeds=[], pipelines={"cord": "cord", "curation": "curation"},
    )  # fmt: skip
    return Summary("made", **{"protocol": protocol, **figures})


def made_scores(avg_at_k: float | None = None, k: int = 4, suite: str = "ledger", **figures: Any) -> ModelScores:
    """An evaluated model, on one suite."""
    return ModelScores({suite: SuiteFigures(avg_at_k=avg_at_k, k=k, **figures)})
