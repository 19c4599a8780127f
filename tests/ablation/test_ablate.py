"""`cord ablate` on the scripted engine: what is run and what is skipped, and exact tables of rows made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from made_rows import made_row
from pydantic import TypeAdapter

from cord_distill.ablation.ablate import ablate, list_of_variants, load_ablation
from cord_distill.ablation.results import AblationFigures
from cord_distill.ablation.tables import markdown, tables_of
from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.common.markdown import markdown_table
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.paths import RunFolder

SECTION = {
    "baseline": "wide",
    "seeds": [0, 5],
    "tables": {"Search": ["wide", "narrow"], "Pipeline": ["wide", "whole"]},
    "plain_search": ["narrow", "wide"],
    "at_equal_tokens": ["whole"],
    "left_out": {"Segmentation": "there is one kind of step"},
    "paper": {"narrow": [81.6, 0.719]},
}
VARIANTS = {
    "wide": {},
    "narrow": {"decode.beam_size": 1},
    "whole": {"decode.pipeline": "curation", "decode.curation.traces_per_teacher": 2},
}


@pytest.fixture
def recipe(tmp_path: Path, random_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plain recipe of two scripted teachers and four problems; its list of variants lies in ablations/ beside it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    scripted = {"engine": "scripted", "script": "scripted_world:script"}
    rows = [{"id": f"p{i}", "question": f"What is {i} mod 3?", "answer": i % 3} for i in range(4)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    base = {
        "output_dir": "run",
        "teachers": [{"model": str(random_models[name]), "name": name, **scripted} for name in ("r1", "qwq")],
        "meta_prover": {"model": str(random_models["prover"]), **scripted},
        "problems": {"path": "problems.jsonl", "grader": "exact"},
        "decode": {"beam_size": 2, "budgets": {"reasoning_tokens": 300, "answer_tokens": 40, "max_step_tokens": 60}},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "base.yaml").write_text(
        yaml.safe_dump({"extends": "../base.yaml", "ablate": SECTION, "variants": VARIANTS}, sort_keys=False)
    )
    return tmp_path / "base.yaml"


def put_rows(recipe: Path, variant: str, seed: int, rows: list[dict]) -> None:
    """Rows made by hand in the place where this variant's would be."""
    run = RunFolder.of(load_ablation(list_of_variants(recipe)).runs[variant][seed])
    run.folder.mkdir(parents=True, exist_ok=True)
    run.trajectories.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_every_variant_runs_once_per_seed_and_a_second_call_starts_no_engine(recipe, monkeypatch) -> None:
    made = ablate(str(recipe))
    root = recipe.parent / "run"
    found = sorted(str(path.parent.relative_to(root)) for path in root.rglob("trajectories.jsonl"))
    assert found == [f"seed{seed}/{name}" for seed in (0, 5) for name in ("narrow", "whole", "wide")]
    assert {name: v.num_problems for name, v in made.variants.items()} == {"wide": 8, "narrow": 8, "whole": 8}
    assert made.missing == {} and made.variants["narrow"].changes == {"decode.beam_size": 1}
    assert made.variants["wide"].generated > made.variants["narrow"].generated
    assert made.variants["wide"].seconds > 0
    assert (root / "ablations.json").read_text() == made.as_json()
    assert (root / "ablations.md").read_text() == markdown(made)
    monkeypatch.setattr("cord_distill.decode.generate.start_ensemble", None)
    assert ablate(str(recipe)) == made


def test_the_engines_are_shared_by_all_variants_and_seeds(recipe, monkeypatch) -> None:
    """Fails one process or one pool per variant, which would load every model again."""
    from cord_distill.engines import scripted

    begun = []
    first = scripted.ScriptedEngine.__init__

    def counted(self, *arguments, **options):
        begun.append(1)
        first(self, *arguments, **options)

    monkeypatch.setattr(scripted.ScriptedEngine, "__init__", counted)
    ablate(str(recipe))
    assert len(begun) == 3  # two teachers and a meta-prover


def test_a_run_that_was_stopped_goes_on_with_what_is_left(recipe, monkeypatch) -> None:
    """A killed run ends with the same figures; what was finished is not decoded again."""
    whole = ablate(str(recipe))
    root = recipe.parent / "run"
    cut = root / "seed5" / "narrow"
    (rows,) = (cut / "journal/rows").glob("*.jsonl")
    rows.write_bytes(rows.read_bytes()[: rows.stat().st_size // 2])
    (cut / "trajectories.jsonl").unlink()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("generate_stats.json")}
    again = ablate(str(recipe))
    changed = [path.parent for path, stamp in before.items() if path.stat().st_mtime_ns != stamp]
    assert changed == [cut]
    timed, untimed = whole.variants["narrow"], again.variants["narrow"]
    assert untimed.seconds is None and timed.seconds is not None  # a run in two pieces has no time of its own
    assert replace(again, variants={**again.variants, "narrow": replace(untimed, seconds=timed.seconds)}) == whole


def test_one_variant_at_a_time(recipe) -> None:
    made = ablate(str(recipe), only=["narrow"])
    assert list(made.variants) == ["narrow"]
    assert made.missing == {"wide": [0, 5], "whole": [0, 5]}
    assert made.variants["narrow"].difference == {"right": None, "valid": None}
    text = markdown(made)
    assert "- Not run yet: `wide` (seed 0, 5), `whole` (seed 0, 5)." in text and "| wide |" not in text
    assert list(ablate(str(recipe), only=["wide"]).missing) == ["whole"]


def test_the_tables_of_rows_made_by_hand(recipe) -> None:
    """Two seeds of four problems: the cells by hand. Fails shares over finished problems and unpaired differences."""
    for seed in (0, 5):
        put_rows(recipe, "wide", seed, [made_row(i, correct=i != 3) for i in range(4)])
    put_rows(recipe, "narrow", 0, [made_row(0), made_row(1, correct=False), *(made_row(i) for i in (2, 3))])
    put_rows(recipe, "narrow", 5, [made_row(0), made_row(1), made_row(2, error="gone"), made_row(3, correct=False)])
    made = ablate(str(recipe), run=False)
    (title, head, rows), *_ = tables_of(made)
    assert (title, rows[0][0], rows[1][0]) == ("Search", "wide", "narrow")
    cells = [dict(zip(head, row, strict=False)) for row in rows]
    assert cells[0]["right answers %"] == "75.0 [40.9, 92.9]" and cells[0]["over seeds"] == "75.0 to 75.0"
    assert cells[1]["right answers %"] == "62.5 [30.6, 86.3]" and cells[1]["over seeds"] == "50.0 to 75.0"
    assert rows[0][2] == "–" and rows[1][2].startswith("-12.5 [")
    assert (cells[0]["generated"], cells[0]["scored"], cells[1]["paper: % / S"]) == ("702", "5,000", "81.6 / 0.719")
    assert "s/problem" not in head and "all steps right %" not in head  # nothing was timed, no process check
    text = markdown(made)
    assert "- `narrow`: 1 of 8 problems failed (counted as wrong)." in text
    assert "- Not run yet: `whole` (seed 0, 5)." in text
    assert "- Segmentation: left out; there is one kind of step." in text


def test_a_table_of_the_baseline_alone_is_left_out_once_another_variant_ran(recipe) -> None:
    """Of two variants out of many, every table would say the baseline's row again."""
    put_rows(recipe, "wide", 0, [made_row(0)])
    made = ablate(str(recipe), run=False)
    tables = {"Search": ["wide", "narrow"], "Selection": ["wide", "whole"]}
    assert [title for title, *_ in tables_of(replace(made, tables=tables))] == ["Search", "Selection"]
    put_rows(recipe, "narrow", 0, [made_row(0)])
    again = replace(ablate(str(recipe), run=False), tables=tables, at_equal_tokens={})
    assert [title for title, *_ in tables_of(again)] == ["Search"]


def test_the_baseline_may_be_ahead_of_the_others(recipe) -> None:
    """A half-finished table compares what both have: seed 0."""
    put_rows(recipe, "wide", 0, [made_row(i, correct=True) for i in range(4)])
    put_rows(recipe, "wide", 5, [made_row(i, correct=False) for i in range(4)])
    put_rows(recipe, "narrow", 0, [made_row(i, correct=False) for i in range(4)])
    made = ablate(str(recipe), run=False)
    compared = made.variants["narrow"].difference["right"]
    assert (compared.difference, compared.num_problems) == (-1.0, 4)
    assert made.missing == {"narrow": [5], "whole": [0, 5]}


def test_equal_tokens_in_the_table(recipe) -> None:
    put_rows(recipe, "narrow", 0, [made_row(i, correct=False) for i in range(4)])  # 701.5 tokens
    put_rows(recipe, "wide", 0, [made_row(i + 200, correct=True) for i in range(4)])  # other problems: nothing shared
    put_rows(recipe, "whole", 0, [made_row(i, correct=True) for i in range(4)])
    assert ablate(str(recipe), run=False).at_equal_tokens["whole"]["right"] is None
    put_rows(recipe, "wide", 0, [{**made_row(i), "num_tokens": tokens(900)} for i in range(4)])
    put_rows(recipe, "whole", 0, [{**made_row(i), "num_tokens": tokens(800)} for i in range(4)])
    made = ablate(str(recipe), run=False)
    _, head, (row,) = tables_of(made)[-1]
    assert head[:5] == ["", "problems", "generated", "plain search that spends no more", "right answers %"]
    assert row[:5] == ["whole", "4", "800", "50 % narrow, 50 % wide: 49.6 at 800", "100.0"]
    assert row[5] == "+50.4 [+50.4, +50.4] seeds missing"  # seed 5 is not done: nothing is won yet
    same = ablate(str(recipe), ["ablate.seeds=[0]"], run=False)
    assert tables_of(same)[-1][2][0][5] == "+50.4 [+50.4, +50.4] wins"


def test_a_plain_size_is_held_against_the_other_sizes(recipe) -> None:
    """Fails the version that finds a variant no better than itself."""
    put_rows(recipe, "narrow", 0, [{**made_row(i, correct=False), "num_tokens": tokens(500)} for i in range(4)])
    put_rows(recipe, "wide", 0, [{**made_row(i), "num_tokens": tokens(900)} for i in range(4)])
    found = ablate(str(recipe), ["ablate.at_equal_tokens=[narrow, wide]"], run=False).at_equal_tokens
    assert (found["wide"]["right"].reference, found["wide"]["right"].difference) == ({"narrow": 1.0}, 1.0)
    assert found["narrow"]["right"] is None  # nothing is as cheap


def test_needless_steps_are_a_column_where_there_are_any(recipe) -> None:
    """Fails the share of traces in place of the share of steps, and a column of zeros for every other task."""
    checks = {"steps_right": [True] * 4, "all_right": True}
    put_rows(recipe, "wide", 0, [{**made_row(i), "checks": {**checks, "needless": [False] * 4}} for i in range(2)])
    head = tables_of(ablate(str(recipe), run=False))[0][1]
    assert "needless %" not in head and "steps right %" in head
    put_rows(recipe, "narrow", 0, [{**made_row(0), "checks": {**checks, "needless": [False, False, False, True]}},
                                   {**made_row(1), "checks": {**checks, "needless": [False] * 4}}])  # fmt: skip
    _, head, rows = tables_of(ablate(str(recipe), run=False))[0]
    assert [row[head.index("needless %")] for row in rows] == ["0.0", "12.5"]


def put_student(recipe: Path, variant: str, shares: list[float], stage: str = "train", seed: int | None = None) -> None:
    """What evaluating one student of problem limit 9 leaves: a row per problem."""
    made = load_ablation(list_of_variants(recipe)).runs[variant][9]
    run = RunFolder.of(made.model_copy(update={"stage": stage, "train_seed": seed}))
    rows = [{"suite": "s", "id": f"t{i}", "avg": share, "correct": [share > 0.5] * 2, "num_tokens": [10 + i, 20 + i]}
            for i, share in enumerate(shares)]  # fmt: skip
    (run.eval / run.label).mkdir(parents=True)
    (run.eval / run.label / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_students_of_every_stage_and_training_seed_are_paired_with_the_baselines(recipe) -> None:
    """Fails one student per variant, a difference of unlike seeds, and problems of several trainings as if they were
    more problems."""
    listed = recipe.parent / "ablations" / "base.yaml"
    made = yaml.safe_load(listed.read_text())
    made |= {"seed": [3, 4], "train": {"model_name_or_path": "x"}, "data": {"preferences": {}}, "dpo": {}}
    listed.write_text(
        yaml.safe_dump({**made, "ablate": {**SECTION, "seed_key": "problems.limit", "seeds": [9]}}, sort_keys=False)
    )
    for seed, shares in ((3, [1.0, 0.0]), (4, [0.5, 0.5])):
        put_student(recipe, "wide", shares, seed=seed)
    put_student(recipe, "wide", [1.0, 1.0], "dpo", 3)
    put_student(recipe, "wide", [1.0, 0.5], "dpo", 4)
    put_student(recipe, "narrow", [1.0, 0.0], seed=4)
    made = ablate(str(recipe), run=False)
    assert {name: one.by_training for name, one in made.students.items()} == {
        "wide": {"9/3": 0.5, "9/4": 0.5},
        "wide-dpo": {"9/3": 1.0, "9/4": 0.75},
        "narrow": {"9/4": 0.5},
    }
    after, other = made.students["wide-dpo"], made.students["narrow"]
    assert (after.difference, after.interval, after.num_problems) == (0.375, (0.25, 0.5), 2)
    assert (other.difference, other.interval) == (0.0, (-0.5, 0.5))  # against wide's seed 4 alone
    assert made.students["wide"].difference is None
    _, head, rows = next(table for table in tables_of(made) if table[0] == "Students")
    assert head == ["", "trainings", "avg@k %", "of each training", "difference", "tokens"]
    assert rows[1] == ["wide-dpo", "2", "87.5", "100.0, 75.0", "+37.5 [+25.0, +50.0]", "16"]


def tokens(generated: int) -> dict[str, int]:
    return {"reasoning": 72, "answer": 9, "generated_total": generated, "scored_total": 5000}


def test_nothing_run_yet_is_said(recipe, capsys) -> None:
    assert main(["ablate", str(recipe), "--tables"]) == 0
    assert "Nothing measured yet." in capsys.readouterr().out


@pytest.mark.parametrize(("max_share", "code"), [(0.3, 3), (0.2, 4)])
def test_failed_problems_are_said_and_end_the_command_with_the_code_of_others(recipe, capsys, max_share, code) -> None:
    """Fails the version that ends with 0, and one that counts the variants that nobody asked for."""
    put_rows(recipe, "narrow", 0, [made_row(0), made_row(1, error="engine gone"), made_row(2), made_row(3)])
    asked = ["ablate", str(recipe), "ablate.seeds=[0]", f"decode.max_failed_share={max_share}"]
    assert main([*asked, "--tables"]) == 0
    said = capsys.readouterr()
    assert "decode narrow (seed 0): 1 of 4 problems failed (25.0 %), most often with: engine gone." in said.err
    assert "At equal generated tokens" not in said.out and "spends no more" not in said.out
    assert main([*asked, "--variant", "wide"]) == 0
    rows = [{"id": f"p{i}", "question": "fine" if i else "bad", "answer": 1} for i in range(4)]
    (recipe.parent / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    broken = [f"teachers.{i}.script=scripted_world:broken" for i in range(2)]
    assert main([*asked, *broken, "--variant", "wide", f"output_dir={recipe.parent / 'other'}"]) == code


def test_the_command_prints_the_tables(recipe, capsys) -> None:
    assert main(["ablate", str(recipe), "ablate.seeds=[0]", "--variant", "wide", "--variant", "narrow"]) == 0
    out = capsys.readouterr().out
    assert "Search" in out and "narrow" in out and "ablations.md" in out and "Not run yet: `whole` (seed 0)" in out


@pytest.mark.parametrize(
    ("named", "seeds", "variants"),
    [([], [0], ["wide narrow whole"]), (["--variant", "wide"], [0, 5], ["wide", "wide"])],
)
def test_students_are_made_by_the_stages_of_cord_run_once_per_seed(recipe, monkeypatch, named, seeds, variants) -> None:
    """In the folders of the decoding, without their teachers' evaluation. Fails the version that trains on one seed, or
    on variants that nobody asked for. What `cord run` does is tested beside it (tests/run)."""
    asked = []
    monkeypatch.setattr("cord_distill.run.run.run", asked.append)
    assert main(["ablate", str(recipe), f"ablate.seeds={seeds}", "--students", *named]) == 0
    assert [" ".join(str(one.variant) for one in made.variants) for made in asked] == variants
    assert [(made.recipe.output_dir, made.recipe.seed) for made in asked] == [
        (str(recipe.parent / "run" / f"seed{seed}"), seed) for seed in seeds
    ]
    assert not any(made.recipe.evaluate.teachers for made in asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ["narow"]}, r"--variant: no variant is called 'narow'; did you mean 'narrow'\?"),
        ({"overrides": ["ablate.baseline=cord"]}, "ablate.baseline: no variant is called 'cord'; there are: wide"),
        ({"overrides": ["ablate.tables.Search=[wide, grredy]"]}, "ablate.tables.Search: no variant is called 'grredy'"),
        ({"overrides": ["ablate.plain_search=[width]"]}, "ablate.plain_search: .* did you mean 'wide'"),
        ({"overrides": ["ablate.seeds=[1, 1]"]}, "name one twice"),
    ],
)
def test_a_name_that_is_not_there_is_named_before_anything_runs(recipe, arguments, message) -> None:
    with pytest.raises(CordError, match=message):
        ablate(str(recipe), **arguments)
    assert not (recipe.parent / "run").exists()


def test_a_recipe_without_a_list_says_where_one_belongs(recipe) -> None:
    (recipe.parent / "ablations" / "base.yaml").unlink()
    with pytest.raises(CordError, match=r"base\.yaml lists no variants .*/ablations/base\.yaml with `extends"):
        ablate(str(recipe))


def test_an_engine_that_is_gone_leaves_the_tables_of_what_is_done(recipe) -> None:
    dying = [f"teachers.{i}.script=scripted_world:dying" for i in range(2)]
    rows = [{"id": "a", "question": "fine", "answer": 1}, {"id": "b", "question": "bad", "answer": 1}]
    (recipe.parent / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    put_rows(recipe, "whole", 0, [made_row(0)])
    with pytest.raises(CordError, match="an engine is gone"):
        ablate(str(recipe), [*dying, "decode.problems_in_flight=1"], only=["wide"])
    assert list(json.loads((recipe.parent / "run" / "ablations.json").read_text())["variants"]) == ["whole"]


def test_the_list_of_the_quickstart_leaves_the_quickstart_as_it_is() -> None:
    """`cord ablate quickstart` finds the bundled list; its `cord` on seed 0 is the quickstart's own CoRD."""
    from cord_distill.decode.inputs import decode_inputs

    path = list_of_variants("quickstart")
    assert path.parts[-2:] == ("ablations", "quickstart.yaml")
    ablation = load_ablation(path)
    assert len(ablation.settings.seeds) >= 3
    own = load_recipe("quickstart", variant="cord")
    assert own.ablate is None and list(load_recipe("quickstart").variants) == ["cord", "curation"]
    assert decode_inputs(ablation.runs["cord"][0]) == decode_inputs(own)
    assert decode_inputs(ablation.runs["cord"][1])["problems.args.seed"] == 1
    shown = {name for names in ablation.settings.tables.values() for name in names}
    assert set(ablation.runs) <= shown | set(ablation.settings.at_equal_tokens), "a variant that no table shows"
    hashes = [json.dumps(decode_inputs(at[0]), sort_keys=True) for at in ablation.runs.values()]
    assert len(set(hashes)) == len(hashes), "two variants are the same run"


@pytest.mark.parametrize("recipe", ["quickstart", "selectors", "tails", "data_rules", "gsm8k_cpu"])
def test_the_tables_in_benchmarks_are_those_of_the_figures_beside_them(recipe) -> None:
    """Fails a page whose figures were not kept with it, or were edited."""
    folder = Path(__file__).parents[2] / "benchmarks"
    made = TypeAdapter(AblationFigures).validate_json((folder / f"ablations_{recipe}.json").read_bytes())
    assert json.loads(made.as_json()) == json.loads((folder / f"ablations_{recipe}.json").read_text()), "a key came"
    page = (folder / "ABLATIONS.md").read_text()
    for title, head, rows in tables_of(made):
        assert f"{markdown_table(head, rows)}\n" in page, title
    assert not made.missing.get(made.baseline)
    for name, seeds in made.missing.items():
        assert f"`{name}` (seed {', '.join(map(str, seeds))})" in page, "a variant that is not finished is not said"
    known = load_ablation(folder.parent / "recipes" / "ablations" / f"{recipe}.yaml")
    measured = {name: v.changes for name, v in made.variants.items()}
    assert measured | {name: known.changes[name] for name in made.missing} == known.changes
