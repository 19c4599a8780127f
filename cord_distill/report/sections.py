"""Tables of the report beside the first one: the paper's figures, drop counts, cost by part, the protocol."""

from __future__ import annotations

from dataclasses import dataclass

from cord_distill.common.jsonl import read_json
from cord_distill.decode.answer_figures import AT_ONCE, GROUPS
from cord_distill.evaluation.paper import paper, paper_row
from cord_distill.evaluation.protocol import protocol_lines
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import training_runs
from cord_distill.report import effects
from cord_distill.report.summary import Summary
from cord_distill.report.table import NONE, known_columns, number, percent, percent_with_interval
from cord_distill.run_folder.paths import RunFolder, method_name
from cord_distill.run_folder.training_folder import TrainingFolder
from cord_distill.tracking.checkpoint_results import checkpoint_results


@dataclass(frozen=True, slots=True)
class Section:
    """A table with its title; note: a sentence below it. words: its cells are sentences, not numbers. All of it plain
    text, escaped by whoever draws it."""

    title: str
    head: list[str]
    rows: list[list[str]]
    note: str = ""
    words: bool = False


def sections(recipes: list[Recipe], summary: Summary) -> list[Section]:
    """The sections of a report that hold a row. recipes: one per method; summary: of their run."""
    every = [
        *(paper_data(recipes, summary), paper_students(recipes, summary), checkpoints(recipes)),
        *(final_answers(summary), known_answer(recipes, summary), rows_of(recipes), cost(summary)),
        Section(effects.TITLE, ["", *effects.HEAD[1:]], effects.audited(recipes), effects.NOTE),
        protocol(recipes),
    ]
    return [section for section in every if section.rows]


# The problem sets of the paper: only a run on one of them is set beside its figures.
PAPER_PROBLEMS = ("GAIR/LIMO", "simplescaling/s1K")


def on_paper_problems(recipe: Recipe) -> bool:
    """Whether a method's traces, or the rows of other people, are of the paper's own problems."""
    named = [recipe.problems.dataset] if recipe.problems else [source.dataset for source in recipe.data.sources]
    return any((name or "").lower().startswith(known.lower()) for name in named for known in PAPER_PROBLEMS)


def paper_data(recipes: list[Recipe], summary: Summary) -> Section:
    """Our data beside the paper's of the same method, and with as many kinds of teachers."""
    rows = []
    for recipe in recipes:
        name, found = method_name(recipe), paper()["data"]
        ours = summary.methods.get(name)
        theirs = found.get(f"{recipe.decode.pipeline}-{'het' if num_kinds(recipe) > 1 else 'hom'}")
        if ours and theirs and on_paper_problems(recipe) and recipe.decode.selector == "predictive_perplexity":
            shown = percent_with_interval(ours.answer_accuracy, ours.answer_accuracy_ci)
            rows.append([name, shown, f"{theirs[0]:.1f}", number(ours.score, 3), f"{theirs[1]:.3f}"])
    note = "The paper's are for LIMO-v1 and teachers of 14B to 32B: only a run of these can agree with them."
    return Section(
        "Data, beside the paper's", ["", "right answers %", "the paper's", "S", "the paper's"], rows, note
    )  # fmt: skip


def paper_students(recipes: list[Recipe], summary: Summary) -> Section:
    """Our students beside the paper's of the same base model, method and suite."""
    rows = []
    for name, student in summary.students.items():
        recipe = next((r for r in recipes if method_name(r) == name), recipes[0])
        if name != "untrained" and not on_paper_problems(recipe):
            continue
        theirs = paper_row(str(recipe.train.get("model_name_or_path", "")), name, num_kinds(recipe))
        for suite, figures in student.suites.items():
            if suite in theirs and figures.avg_at_k is not None:
                ours = percent_with_interval(figures.avg_at_k, figures.avg_at_k_ci)
                rows.append([name, suite, ours, f"{theirs[suite]:.1f}"])
    return Section("Students, beside the paper's", ["", "suite", "avg@k %", "the paper's"], rows)


def checkpoints(recipes: list[Recipe]) -> Section:
    """What each checkpoint scored that was evaluated while, or after, its training ran."""
    rows = []
    for one in (one for recipe in recipes for one in training_runs(recipe)):
        trained = TrainingFolder.of(one)
        for results in checkpoint_results(trained):
            for suite, figures in results["suites"].items():
                shown = percent_with_interval(figures.get("avg_at_k"), figures.get("avg_at_k_ci"))
                rows.append([trained.run.label, f"{results['step']:,}", suite, shown, str(figures.get("k", NONE))])
    return Section("Checkpoints", ["", "updates", "suite", "avg@k %", "k"], rows)


def rows_of(recipes: list[Recipe]) -> Section:
    """What became of the traces: rows kept, and dropped by reason."""
    stats = {method_name(recipe): read_json(RunFolder.of(recipe).dataset / "stats.json") for recipe in recipes}
    reasons = sorted({reason for found in stats.values() for reason in found.get("dropped") or {}})
    rows = [
        [name, str(found["rows"]), str(found["kept"]), *(str(found["dropped"].get(reason, 0)) for reason in reasons)]
        for name, found in stats.items()
        if found
    ]
    said = [reason.replace("_", " ") for reason in reasons]
    wrong = any(not recipe.data.filters.correct for recipe in recipes if stats[method_name(recipe)])
    notes = [] if said else ["No trace was dropped."]
    notes += ["Traces with a wrong final answer are trained on too (data.filters.correct: false)."] if wrong else []
    return Section("Training rows", ["", "traces", "kept", *said], rows, " ".join(notes))


def final_answers(summary: Summary) -> Section:
    """How the final answers came about, where a model did not write all of them at once."""
    found = {name: method.answers for name, method in summary.methods.items() if method.answers}
    rules = sorted({rule for one in found.values() for rule in one.rules} - {AT_ONCE})
    rows = [
        [name, str(one.traces), percent(one.gradable), *(str(one.rules.get(x, 0)) for x in (AT_ONCE, *rules))]
        for name, one in found.items()
        if rules
    ]
    head = ["", "traces", "gradable %", *(rule.replace("_", " ") for rule in (AT_ONCE, *rules))]
    note = "Traces by what gave the final answer: the model at once, or the first rule behind it that found one."
    return Section("Final answers", head, rows, note)


def known_answer(recipes: list[Recipe], summary: Summary) -> Section:
    """Where S rose, and how far the known answer stands above the rivals."""
    rows = []
    for recipe in recipes:
        name = method_name(recipe)
        one = summary.methods[name].answers if name in summary.methods else None
        by_s = recipe.decode.selector == "predictive_perplexity"
        # Without rivals, and where no leap was seen, there is nothing to read in this table.
        if not one or (not one.margins and not (by_s and one.leaps)):
            continue
        margins = [one.margins.get(group) for group in GROUPS]
        said = [NONE if m is None else f"{m.mean:+.3f} (n={m.traces}, below 0: {percent(m.below)} %)" for m in margins]
        leaps = (percent(share if by_s else None) for share in (one.leaps, one.inside))
        rows.append([name, *leaps, *said])
    note = (
        "Leap: the step that gained most in S is the first one that holds the known answer's text. Inside: it holds it "
        "within something longer only, as 180 holds 18. Margin: S of the known answer less that of the best other "
        "answer of the problem's traces (decode.rival_answers). Lucky: a right answer by a step known to be wrong."
    )
    head = ["", "leap %", "inside %", *(f"margin, {group}" for group in GROUPS)]
    return Section("The known answer", head, rows, note)


def cost(summary: Summary) -> Section:
    """Per method and model: tokens written and read for scores, and how much of the prompts the cache held."""
    rows = []
    for name, method in summary.methods.items():
        for model, one in method.models.items():
            counts = [f"{count:,}" for count in (one.requests, one.generated_tokens, one.scored_tokens)]
            rows.append([f"{name}: {model}", *counts, percent(one.cache_hit_rate), percent(one.discarded)])
    head = [
        "",
        "requests",
        "generated tokens",
        "scored tokens",
        "prompt tokens from the cache %",
        "requests given up %",
    ]
    note = (
        "These are the counts of the process that decoded last: after a resumed run they leave out what earlier ones "
        "did. A pipeline that does not select by S asks the meta-prover once for each finished trace, to report its S."
    )
    # A column in which nothing happened is left out.
    return Section("Cost of the data by model", *known_columns(head, rows, (NONE, "0", "0.0")), note)


def protocol(recipes: list[Recipe]) -> Section:
    """How the students were evaluated, as results.json of the first of them has it."""
    root = RunFolder.of(recipes[0]).eval
    labels = [RunFolder.of(run).label for recipe in recipes for run in training_runs(recipe)]
    found = [read_json(root / label / "results.json").get("protocol") for label in [*labels, "untrained"]]
    known = next((one for one in found if one), None)
    rows = [line.split(maxsplit=1) for line in protocol_lines(known)] if known else []
    return Section("Protocol of the evaluation", ["", ""], [[key, said] for key, said in rows], words=True)


def num_kinds(recipe: Recipe) -> int:
    """Different teachers: one model at several temperatures is one."""
    return len({(teacher.model, teacher.revision) for teacher in recipe.teachers})
