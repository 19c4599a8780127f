"""Whole decoding runs on the scripted engine: the same bytes however the work was cut up, and errors before any
work."""

import json
import random
import time

import pytest
import yaml
from journals import calls, cut_anywhere, entries
from scripted_world import run, write_recipe

from cord_distill.common.errors import CordError
from cord_distill.decode.generate import generate
from cord_distill.decode.inputs import decode_inputs
from cord_distill.decode.row_schema import validate_row
from cord_distill.decode.take_over import twins_of
from cord_distill.engines.scripted import ScriptedEngine
from cord_distill.recipe.file import load_recipe, recipe_hash
from cord_distill.run_folder.paths import RunFolder
from cord_distill.types import Stop, Trajectory


@pytest.fixture
def recipe_path(tmp_path, random_models):
    return write_recipe(tmp_path, random_models, problems=9, beam_size=3)


def rows_without_recipe(text: str) -> list[dict]:
    return [{**json.loads(line), "recipe_hash": ""} for line in text.splitlines()]


def test_rows_are_complete_valid_and_in_problem_order(recipe_path):
    rows = [json.loads(line) for line in run(recipe_path).splitlines()]
    assert [row["id"] for row in rows] == [f"p{i}" for i in range(9)]
    for row in rows:
        validate_row(row)
        trajectory = Trajectory.from_row(row)
        assert trajectory.to_row() == {
            **row,
            "steps": trajectory.to_row()["steps"],
            "candidates": trajectory.to_row()["candidates"],
        }
        assert trajectory.stop is Stop.THINK_END and trajectory.reasoning.endswith("</think>")
        assert trajectory.reasoning.startswith("### Step 1.") and "boxed" in trajectory.final_answer_text
        assert trajectory.score == trajectory.steps[-1].score
        kept = [sum(c.kept for c in level) for level in trajectory.candidates]
        assert kept == [min(3, len(level)) for level in trajectory.candidates]
    assert {row["correct"] for row in rows} == {True, False}


def test_any_number_in_flight_gives_the_same_bytes(recipe_path, tmp_path):
    """Fails one global sampling stream, ties by arrival, and rows that hold anything timed."""
    made = {
        run(
            recipe_path,
            f"output_dir={tmp_path}/{n}",
            f"decode.problems_in_flight={n}",
        )
        for n in (1, 4, 64)
    }
    assert len(made) == 1


def test_a_comparison_that_takes_long_holds_up_no_request(recipe_path, monkeypatch):
    """Fails the version that grades on the event loop, where a formula that hangs stops every search."""
    asked, went_on = [], []
    answer = ScriptedEngine.generate

    async def counted(self, ids, sampling):
        asked.append(1)
        return await answer(self, ids, sampling)

    def compared(gold, prediction):
        if not asked:
            return True  # the known answers are looked at before anything is decoded
        before, end = len(asked), time.monotonic() + 20
        while not went_on and len(asked) == before and time.monotonic() < end:
            time.sleep(0.01)
        went_on.append(len(asked) > before)
        return True

    monkeypatch.setattr(ScriptedEngine, "generate", counted)
    monkeypatch.setattr("cord_distill.grading.same_math", compared)
    run(recipe_path, "problems.grader=math", "decode.problems_in_flight=2")
    assert went_on[0] is True and len(went_on) > 5


def test_a_tiny_cache_changes_no_row(recipe_path, tmp_path):
    """Fails the version whose waiting reaches the results, and one that never comes to an end."""
    wide = rows_without_recipe(run(recipe_path, f"output_dir={tmp_path}/wide"))
    tiny = run(recipe_path, f"output_dir={tmp_path}/tiny", "teachers.0.engine_args.kv_tokens=1000")
    assert rows_without_recipe(tiny) == wide
    stats = RunFolder.of(load_recipe(recipe_path, [f"output_dir={tmp_path}/tiny"])).generate_stats
    admission = json.loads(stats.read_text())["admission"]
    # Three beams of two steps of 60 tokens: with their contexts, two problems fit at the most.
    assert admission["capacity_tokens"] == 800 and 360 < admission["most_tokens"] < 3 * 800
    assert admission["waited_seconds"] > 0


def test_a_journal_cut_anywhere_goes_on_to_the_same_rows_and_asks_nothing_twice(recipe_path, tmp_path, kept_calls):
    """Kill at random places: candidates, scores and choices equal those of the undisturbed run."""
    undisturbed = run(recipe_path)
    journal = RunFolder.of(load_recipe(recipe_path)).journal
    rng = random.Random(0)
    made = sorted(calls(journal))
    for _ in range(8):
        cut_anywhere(journal, rng)
        journal.with_name("trajectories.jsonl").unlink()
        assert run(recipe_path) == undisturbed
        assert sorted(calls(journal)) == made and len(made) == len(set(made))


def test_a_finished_run_starts_no_engine(recipe_path, monkeypatch):
    first = run(recipe_path)
    monkeypatch.setattr("cord_distill.decode.generate.start_ensemble", None)
    assert run(recipe_path) == first


def test_variants_that_differ_behind_decoding_are_decoded_once(recipe_path, tmp_path, monkeypatch):
    """Fails a version that asks the teachers again for each data rule, or that counts a copied row as free: rows, order
    and figures of the copy are those of the decoding that made them, and what one lacks the other decodes."""
    from cord_distill.decode import generate as module

    started = []
    real = module.start_ensemble
    monkeypatch.setattr(
        module, "start_ensemble", lambda recipe, *rest: started.append(recipe.variant) or real(recipe, *rest)
    )
    file = yaml.safe_load(recipe_path.read_text())
    file["variants"] = {
        "plain": {},
        "rows_2": {"data.rows_per_problem": 2},
        "narrow": {"decode.beam_size": 2},
        "cut": {"data.cut_tail": 0.9},
    }
    recipe_path.write_text(yaml.safe_dump(file))
    one_problem = [load_recipe(recipe_path, ["problems.limit=1"], variant="cut")]
    generate(one_problem)
    recipes = [load_recipe(recipe_path, variant=name) for name in file["variants"]]
    decoded = generate(recipes)
    assert started == ["cut", "plain", "narrow"]
    assert [recipe.variant for recipe in decoded.recipes] == ["plain", "rows_2", "narrow", "cut"]
    plain, rows_2, narrow, cut = (RunFolder.of(recipe) for recipe in recipes)
    assert plain.trajectories.read_bytes() == rows_2.trajectories.read_bytes() == cut.trajectories.read_bytes()
    assert narrow.trajectories.read_bytes() != plain.trajectories.read_bytes()
    assert rows_2.generate_stats.read_text() == plain.generate_stats.read_text()
    assert json.loads(cut.generate_stats.read_text())["decoded_now"] == 1
    generate(recipes)
    assert len(started) == 3


def test_a_variant_takes_the_rows_that_an_earlier_command_decoded(recipe_path, monkeypatch):
    """`cord generate variant=plain`, and later `variant=rows_2`: fails a version that looks among the variants of one
    command alone, and one whose second variant takes the few rows of the earlier command and decodes the others again
    in place of taking them from the first."""
    from cord_distill.decode import generate as module

    started = []
    real = module.start_ensemble
    monkeypatch.setattr(
        module, "start_ensemble", lambda recipe, *rest: started.append(recipe.variant) or real(recipe, *rest)
    )
    file = yaml.safe_load(recipe_path.read_text())
    file["variants"] = {"cut": {"data.cut_tail": 0.9}, "plain": {}, "rows_2": {"data.rows_per_problem": 2}}
    recipe_path.write_text(yaml.safe_dump(file))
    generate([load_recipe(recipe_path, ["problems.limit=1"], variant="cut")])
    cut, plain, rows_2 = recipes = [load_recipe(recipe_path, variant=name) for name in file["variants"]]
    generate([plain, rows_2], siblings=recipes)
    assert started == ["cut", "plain"]
    generate([cut], siblings=recipes)
    assert started == ["cut", "plain"]
    texts = {RunFolder.of(recipe).trajectories.read_text() for recipe in recipes}
    assert len(texts) == 1 and len(texts.pop().splitlines()) == 9
    other = load_recipe(recipe_path, ["decode.beam_size=2"], variant="rows_2")
    assert twins_of([other], recipes) == twins_of([plain], [other]) == [None]


def test_more_problems_go_on_in_the_same_journal(recipe_path):
    three = run(recipe_path, "problems.limit=3")
    nine = run(recipe_path)
    assert nine.startswith(three) and len(nine.splitlines()) == 9


def test_keys_that_change_only_speed_do_not_change_the_fingerprint(recipe_path):
    plain = decode_inputs(load_recipe(recipe_path))
    faster = [
        "decode.problems_in_flight=9",
        "teachers.0.devices=[0,1]",
        "teachers.1.max_num_seqs=5",
        "problems.limit=2",
    ]
    assert decode_inputs(load_recipe(recipe_path, faster)) == plain
    for change in (
        "seed=1",
        "teachers.0.temperature=0.9",
        "decode.budgets.max_step_tokens=9",
        "meta_prover.dtype=float16",
    ):
        assert recipe_hash(decode_inputs(load_recipe(recipe_path, [change]))) != recipe_hash(plain), change


def test_a_failing_problem_is_a_record_and_the_others_go_on(recipe_path, tmp_path):
    rows = [{"id": "a", "question": "fine", "answer": 1}, {"id": "b", "question": "bad", "answer": 1}]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    broken = [f"teachers.{i}.script=scripted_world:broken" for i in range(3)]
    made = [json.loads(line) for line in run(recipe_path, *broken).splitlines()]
    assert [row["error"] for row in made] == [None, "EngineError: the engine fell over"]
    assert made[1]["steps"] == [] and made[1]["correct"] is None
    # The script is part of the recipe's fingerprint, so mending it means another run; the same command tries `b` again.
    again = [json.loads(line) for line in run(recipe_path, *broken).splitlines()]
    assert again == made


def test_many_failures_in_a_row_stop_the_run_with_the_journal_whole(recipe_path, tmp_path):
    rows = [{"id": f"q{i}", "question": "bad", "answer": 1} for i in range(20)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    broken = [f"teachers.{i}.script=scripted_world:broken" for i in range(3)]
    with pytest.raises(CordError, match="failed one after the other"):
        run(recipe_path, *broken)


def test_an_engine_that_is_gone_stops_the_run_with_the_journal_whole(recipe_path, tmp_path):
    """Fails the version that goes on to fail every problem that is left."""
    rows = [{"id": f"q{i}", "question": "bad" if i == 3 else "fine", "answer": 1} for i in range(20)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dying = [f"teachers.{i}.script=scripted_world:dying" for i in range(3)] + ["decode.problems_in_flight=1"]
    with pytest.raises(CordError, match="an engine is gone: out of memory"):
        run(recipe_path, *dying)
    journal = RunFolder.of(load_recipe(recipe_path)).journal
    made = [entry["row"] for entry in entries(journal) if "row" in entry]
    assert [(row["id"], bool(row["error"])) for row in made] == [
        ("q0", False),
        ("q1", False),
        ("q2", False),
        ("q3", True),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "question": "q"}], r"row 1: no column 'answer'"),
        ([{"id": "a", "question": "q", "answer": 1}, {"id": "b", "question": " ", "answer": 1}], r"row 2: .*empty"),
        ([{"id": "a", "question": "q", "answer": None}], "must be a text or a number"),
        ([{"id": "a", "question": "q", "answer": True}], "must be a text or a number"),
        (
            [{"id": "a", "question": "q", "answer": 1}, {"id": "a", "question": "r", "answer": 1}],
            r"'a' occurs twice \(rows 1 and 2\)",
        ),
        ([], "holds no problems"),
    ],
)
def test_bad_rows_are_named_before_anything_starts(recipe_path, tmp_path, rows, message):
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(CordError, match=message):
        run(recipe_path)
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_there_and_a_context_too_long_are_named(recipe_path, tmp_path):
    with pytest.raises(CordError, match=r"teachers\.0\.model: .*no config\.json"):
        run(recipe_path, "teachers.0.model=./nowhere")
    with pytest.raises(CordError, match=r"teachers\.2: phi4 holds 300 tokens, but prompt and budgets need \d+"):
        run(recipe_path, "teachers.2.engine_args={max_model_len: 300}")
