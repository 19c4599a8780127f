"""The ablation tables, as Markdown and for a terminal, from what `cord ablate` found."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from cord_distill.ablation.figures import AtEqualTokens, BySeed, Difference
from cord_distill.ablation.results import AblationFigures
from cord_distill.common.markdown import markdown_table
from cord_distill.report.table import NONE, draw_table, percent, percent_with_interval

HEAD = ("", "right answers %", "difference", "over seeds", "all steps right %", "difference", "steps right %",
        "needless %", "S", "generated", "scored", "s/problem", "paper: % / S")  # fmt: skip
EQUAL_HEAD = ("", "problems", "generated", "plain search that spends no more", "right answers %", "difference",
              "all steps right %", "difference")  # fmt: skip
# A terminal with fewer columns than all of a table needs shows these of them.
WIDE = 190
NARROW, EQUAL_NARROW = (0, 1, 2, 4, 7, 8, 9), (0, 2, 4, 5, 6, 7)
NOTES = """\
right answers, all steps right: shares of the problems of all seeds with 95 % Wilson intervals; a problem that failed
counts as wrong. needless: steps of the kept trace that say again what is known (of a process check that tells them).
difference: to `{baseline}` on the same problems, in points, with a 95 % bootstrap interval over
problems. over seeds: lowest and highest right answers of a seed. S: mean score by the row's own meta-prover. The search
selects by S, so S is no evidence of quality, and the S of two meta-provers do not compare. generated, scored: tokens
per problem, over all proposals. s/problem: wall clock of one machine, whatever else it did, once engines are up."""
EQUAL_NOTES = """\
Each option against the plain search at the sizes {plain}: of these, and of mixtures of two of them by problem, the one
with the highest share that spends no more generated tokens, on the same problems. wins, loses: the interval leaves out
0 and every seed says the same."""
STUDENTS_TITLE = "Students"
STUDENTS_HEAD = ("", "trainings", "avg@k %", "of each training", "difference", "steps right %", "tokens")
STUDENTS_NOTES = """\
Students: a training per seed of the problems and training seed. avg@k, steps right, tokens of an answer: means over the
trainings. difference: to the students of `{baseline}` with the same seeds, in points, with a 95 % bootstrap interval
over the problems of the suite; what another training of the same data would give is not in it."""
EQUAL_TITLE = "At equal generated tokens"


def tables_of(ablation: AblationFigures, narrow: bool = False) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, head, rows) of every table; a column in which no row has a figure is left out. narrow: the main ones.

    Of a few variants that were run, a table that would hold the baseline alone is left out too.
    """
    known = {title: [name for name in names if name in ablation.variants] for title, names in ablation.tables.items()}
    alone = [ablation.baseline] if set(ablation.variants) - {ablation.baseline} else []
    drawn = [(t, list(HEAD), [_row(ablation, name) for name in names]) for t, names in known.items() if names != alone]
    drawn.append((STUDENTS_TITLE, list(STUDENTS_HEAD), _students(ablation)))
    equal = [_equal_row(ablation, name, found) for name, found in ablation.at_equal_tokens.items()]
    drawn.append((EQUAL_TITLE, list(EQUAL_HEAD), equal))
    kept = {len(HEAD): NARROW, len(EQUAL_HEAD): EQUAL_NARROW} if narrow else {}
    return [(title, *_columns(head, rows, kept.get(len(head)))) for title, head, rows in drawn if rows]


def markdown(ablation: AblationFigures) -> str:
    parts = [f"# Ablations: {ablation.name}", _about(ablation)]
    for title, head, rows in tables_of(ablation):
        parts += [f"## {title}", markdown_table(head, rows)]
        if title in (EQUAL_TITLE, STUDENTS_TITLE):
            parts.append(_note(ablation, title))
    return "\n\n".join([*parts, *_closing(ablation)]) + "\n"


def terminal(ablation: AblationFigures) -> str:
    if not ablation.variants:
        return "Nothing measured yet."
    width = shutil.get_terminal_size((120, 24)).columns
    parts = [draw_table(title, head, rows, width) for title, head, rows in tables_of(ablation, narrow=width < WIDE)]
    parts += [_note(ablation, EQUAL_TITLE)] if ablation.at_equal_tokens else []
    parts += [_note(ablation, STUDENTS_TITLE)] if ablation.students else []
    return "\n\n".join([*parts, *_closing(ablation)])


def _about(ablation: AblationFigures) -> str:
    most = max((v.num_problems for v in ablation.variants.values()), default=0)
    seeds = ", ".join(map(str, ablation.seeds))
    return f"{most} problems per variant: {ablation.seed_key} {seeds}. Figures: ablations.json."


def _note(ablation: AblationFigures, title: str) -> str:
    """What is said below one of the two tables that have a note of their own."""
    plain = ", ".join(f"`{name}`" for name in ablation.plain_search)
    return (EQUAL_NOTES if title == EQUAL_TITLE else STUDENTS_NOTES).format(plain=plain, baseline=ablation.baseline)


def _closing(ablation: AblationFigures) -> list[str]:
    """The notes on all tables, and what they do not show: failed problems, variants that are not finished, rows that
    mean nothing here."""
    said = [f"`{name}`: {v.failed} of {v.num_problems} problems failed (counted as wrong)."
            for name, v in ablation.variants.items() if v.failed]  # fmt: skip
    waiting = [f"`{name}` (seed {', '.join(map(str, seeds))})" for name, seeds in ablation.missing.items()]
    said += [f"Not run yet: {', '.join(waiting)}."] if waiting else []
    said += [f"{what}: left out; {why}." for what, why in ablation.left_out.items()]
    return [NOTES.format(baseline=ablation.baseline), *(["\n".join(f"- {line}" for line in said)] if said else [])]


def _row(ablation: AblationFigures, name: str) -> list[str]:
    v = ablation.variants[name]
    paper = ablation.paper.get(name)
    tails = any(one.needless for one in ablation.variants.values())
    return [
        name,
        percent_with_interval(v.right, v.right_ci),
        _points(v.difference.get("right")),
        _range(v.right_by_seed),
        percent_with_interval(v.valid, v.valid_ci),
        _points(v.difference.get("valid")),
        percent(v.step_accuracy),
        percent(v.needless) if tails else NONE,
        NONE if v.score is None else f"{v.score:.3f}",
        _count(v.generated),
        _count(v.scored),
        NONE if v.seconds is None else f"{v.seconds:.2f}",
        NONE if paper is None else f"{paper[0]:.1f} / {paper[1]:.3f}",
    ]


def _students(ablation: AblationFigures) -> list[list[str]]:
    return [
        [
            name,
            str(len(one.by_training)),
            percent(one.avg_at_k),
            ", ".join(percent(share) for share in one.by_training.values()),
            _change(one.difference, one.interval),
            percent(one.step_accuracy),
            _count(one.tokens),
        ]
        for name, one in ablation.students.items()
    ]


def _equal_row(ablation: AblationFigures, name: str, found: Mapping[str, AtEqualTokens | None]) -> list[str]:
    v = ablation.variants[name]
    right = found["right"]
    cells = [name, NONE if right is None else str(right.num_problems), _count(v.generated), _mixture(right)]
    for measure in ("right", "valid"):
        compared = found[measure]
        cells.append(percent(getattr(v, measure)))
        cells.append(NONE if compared is None else f"{_points(compared)} {compared.verdict}")
    return cells


def _mixture(compared: AtEqualTokens | None) -> str:
    """`35 % beam_4, 65 % beam_8: 81.2 % right at 900 tokens`."""
    if compared is None:
        return "none is as cheap"
    parts = ", ".join(f"{100 * w:.0f} % {name}" if w < 1 else name for name, w in compared.reference.items())
    return f"{parts}: {percent(compared.reference_share)} at {_count(compared.reference_tokens)}"


def _points(found: Difference | None) -> str:
    return NONE if found is None else _change(found.difference, found.ci)


def _change(difference: float | None, interval: Sequence[float] | None) -> str:
    if difference is None or interval is None:
        return NONE
    low, high = interval
    return f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _range(by_seed: BySeed) -> str:
    shares = [share for share in by_seed.values() if share is not None]
    return f"{percent(min(shares))} to {percent(max(shares))}" if len(shares) > 1 else NONE


def _count(tokens: float | None) -> str:
    return NONE if tokens is None else f"{tokens:,.0f}"


def _columns(head: list[str], rows: list[list[str]], of: Sequence[int] | None) -> tuple[list[str], list[list[str]]]:
    kept = [i for i in of or range(len(head)) if any(row[i] != NONE for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
