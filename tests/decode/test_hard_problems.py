"""`cord problems`: which problems are kept, the counts by reason, and that no try is ever made twice."""

import json
import random
from dataclasses import replace

import pytest
import yaml
from journals import calls, cut_anywhere

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.decode.hard_problems import Try, load_problems, try_inputs, why_not_hard
from cord_distill.decode.inputs import decode_inputs
from cord_distill.decode.problems import load_candidates
from cord_distill.decode.try_problems import counts_line, filter_problems
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.problems import HardForConfig
from cord_distill.run.stages import plan_stages
from cord_distill.run_folder.paths import RunFolder
from cord_distill.search.seeds import keyed_seed
from cord_distill.types import Stop

QUESTIONS = {
    "solved": "right=1111 words=40",
    "hard": "right=0000 words=40",
    "short": "right=0000 words=5",
    "endless": "right=1111 words=40 endless",  # never closed within its budget: wrong, and long
    "silent": "right=1111 words=40 silent",  # ends its turn without closing the thought: no answer
}


@pytest.fixture
def recipe_path(tmp_path, random_models):
    rows = [{"id": name, "question": question, "answer": 7} for name, question in QUESTIONS.items()]
    (tmp_path / "candidates.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = {"model": str(random_models["qwq"]), "engine": "scripted", "script": "problem_scripts:student"}
    teacher = {"model": str(random_models["r1"]), "engine": "scripted", "script": "scripted_world:script"}
    recipe = {
        "output_dir": "run",
        "teachers": [teacher],
        "meta_prover": {"same_as": "r1"},
        "decode": {"beam_size": 1, "budgets": {"reasoning_tokens": 200, "answer_tokens": 20, "max_step_tokens": 60}},
        "problems": {
            "path": "candidates.jsonl",
            "hard_for": {**small, "tries": 3, "min_reasoning_tokens": 20, "reasoning_tokens": 300, "answer_tokens": 30},
        },
        "track": {"wandb": {"mode": "disabled"}},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def kept(recipe) -> list[str]:
    return [json.loads(line)["id"] for line in RunFolder.of(recipe).hard_problems.read_text().splitlines()]


def tries(*lengths: int) -> list[Try]:
    return [Try("", length, Stop.EOS) for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "right", "rule", "reason"),
    [
        ((9, 9, 9), (False, False, False), {"min_reasoning_tokens": 8}, None),
        ((9, 9, 9), (False, True, False), {"min_reasoning_tokens": 8}, "solved"),
        ((9, 9, 9), (False, False, False), {"min_reasoning_tokens": 9}, "short"),
        ((1, 9, 20), (False, False, False), {"min_reasoning_tokens": 9}, None),
        ((1, 9, 20), (False, False, False), {"min_reasoning_tokens": 10}, "short"),
        ((1, 9, 20), (False, False, False), {"min_reasoning_tokens": 9, "reasoning_length": "min"}, "short"),
        ((1, 9, 20), (False, False, False), {"min_reasoning_tokens": 19, "reasoning_length": "max"}, None),
        ((0,), (False,), {"min_reasoning_tokens": 0}, "short"),
    ],
)
def test_the_rule(lengths, right, rule, reason):
    """All wrong, and longer than: not as long as. Fails `any wrong`, `>=` and one length for all three."""
    assert why_not_hard(tries(*lengths), right, HardForConfig(model="x", **rule)) == reason


def test_problems_are_kept_and_counted_by_reason(recipe_path):
    """Fails the version that grades what a cut-off try happens to hold, and one that takes silence for an answer."""
    recipe = load_recipe(recipe_path)
    counts = filter_problems(recipe)
    assert counts["candidates"] == 5 and counts["kept"] == 3 and counts["dropped"] == {"solved": 1, "short": 1}
    assert counts["tries"] == {"all": 15, "right": 3, "cut_off": 3, "unjudged": 0}
    assert kept(recipe) == ["hard", "endless", "silent"]
    rows = [json.loads(line) for line in RunFolder.of(recipe).hard_problems.read_text().splitlines()]
    assert rows[0]["question"] == QUESTIONS["hard"] and rows[0]["answer"] == "7"
    assert rows[1]["reasoning_tokens"] == [300] * 3 and rows[0]["reasoning_tokens"] == [122] * 3
    assert json.loads((RunFolder.of(recipe).problem_filter / "stats.json").read_text()) == counts


def test_one_right_try_of_three_is_enough_to_drop_a_problem(recipe_path, tmp_path):
    """Each try has a seed of its own. Fails three times the same try, and a first try that stands for all."""
    rows = [{"id": f"p{i}", "question": "right=0100 words=40", "answer": 7} for i in range(12)]
    (tmp_path / "candidates.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = load_recipe(recipe_path)
    counts = filter_problems(recipe)
    seeds = {row["id"]: [keyed_seed(keyed_seed(0, row["id"], "try", i), "answer") for i in range(3)] for row in rows}
    expected = [name for name, three in seeds.items() if not any(seed % 4 == 1 for seed in three)]
    assert kept(recipe) == expected and 0 < len(expected) < 12
    assert counts["tries"]["right"] == sum(seed % 4 == 1 for three in seeds.values() for seed in three)


def test_nothing_is_asked_twice_and_another_rule_asks_nothing(recipe_path, monkeypatch):
    recipe = load_recipe(recipe_path)
    filter_problems(recipe)
    first = RunFolder.of(recipe).hard_problems.read_text()
    monkeypatch.setattr("cord_distill.decode.try_problems.EnginePool", None)
    filter_problems(recipe)
    assert RunFolder.of(recipe).hard_problems.read_text() == first
    filter_problems(load_recipe(recipe_path, ["problems.hard_for.min_reasoning_tokens=0"]))
    assert kept(recipe) == ["hard", "short", "endless", "silent"]
    filter_problems(load_recipe(recipe_path, ["problems.hard_for.min_reasoning_tokens=122"]))
    assert kept(recipe) == ["endless"]


def test_a_journal_cut_anywhere_goes_on_to_the_same_problems(recipe_path, kept_calls):
    recipe = load_recipe(recipe_path)
    filter_problems(recipe)
    run = RunFolder.of(recipe)
    undisturbed, journal = run.hard_problems.read_text(), run.problem_filter / "journal"
    made, rng = sorted(calls(journal)), random.Random(0)
    for _ in range(3):
        cut_anywhere(journal, rng)
        run.hard_problems.unlink()
        filter_problems(recipe)
        assert run.hard_problems.read_text() == undisturbed
        assert sorted(calls(journal)) == made and len(made) == len(set(made))


def test_changed_tries_are_refused_and_overwrite_sets_the_old_ones_aside(recipe_path):
    recipe = load_recipe(recipe_path)
    filter_problems(recipe)
    other = load_recipe(recipe_path, ["problems.hard_for.tries=2"])
    with pytest.raises(CordError, match=r"changed since: problems\.hard_for\.tries"):
        filter_problems(other)
    assert filter_problems(other, overwrite=True)["tries"]["all"] == 10
    assert list((RunFolder.of(recipe).problem_filter / "stale").glob("*/journal"))
    faster = load_recipe(recipe_path, ["problems.hard_for.tries=2", "problems.hard_for.max_num_seqs=7"])
    assert filter_problems(faster)["tries"]["all"] == 10


@pytest.mark.parametrize("override", ["repetition_detection={}", "served_model_name=small-v2"])
def test_what_decides_a_try_is_part_of_its_inputs(recipe_path, override):
    """Fails the version whose list of keys lacks these: tries of another model, or of one that was stopped in a loop,
    would be taken for today's."""
    before, after = (try_inputs(load_recipe(recipe_path, o)) for o in ([], [f"problems.hard_for.{override}"]))
    key = f"problems.hard_for.{override.partition('=')[0]}"
    assert [name for name in after if after[name] != before[name]] == [key]


def test_a_failed_problem_is_counted_and_tried_again(recipe_path, tmp_path):
    rows = [{"id": "a", "question": QUESTIONS["hard"], "answer": 7}]
    rows += [{"id": "b", "question": "right=0000 words=40 broken", "answer": 7}]
    (tmp_path / "candidates.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = load_recipe(recipe_path)
    counts = filter_problems(recipe)
    assert counts["dropped"] == {"failed": 1} and kept(recipe) == ["a"]
    rows[1]["question"] = QUESTIONS["hard"]
    (tmp_path / "candidates.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert filter_problems(recipe)["dropped"] == {} and kept(recipe) == ["a", "b"]


def test_a_judge_decides_on_open_ended_answers_and_keeps_its_verdicts(recipe_path, monkeypatch):
    """No verdict is no right answer. Fails the version that compares open answers as texts, and one that asks the
    judge about tries without an answer."""
    small = load_recipe(recipe_path).problems.hard_for.model
    judge = {"model": small, "engine": "scripted", "script": "problem_scripts:judge"}
    asked = ["problems.grader=judge", f"evaluate.judge={json.dumps(judge)}"]
    with pytest.raises(CordError, match=r"evaluate\.judge, and there is none"):
        filter_problems(load_recipe(recipe_path, asked[:1]))
    assert not RunFolder.of(load_recipe(recipe_path)).problem_filter.exists()
    recipe = load_recipe(recipe_path, asked)
    counts = filter_problems(recipe)
    assert counts["dropped"] == {"solved": 1, "short": 1}
    # `hard` and `short` said 8, which this judge calls nothing; `endless` was cut off, `silent` has no answer.
    assert counts["tries"] == {"all": 15, "right": 3, "cut_off": 3, "unjudged": 6}
    assert counts_line(counts).endswith("(6 tries got no verdict and count as wrong)")
    replies = (RunFolder.of(recipe).problem_filter / "judgements.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["verdict"] or False for line in replies) == [False, False, True]
    monkeypatch.setattr("cord_distill.grading.judge_engines.asker", lambda section: None)
    assert filter_problems(recipe)["kept"] == 3


def test_only_hard_problems_are_decoded_and_only_once_they_are_found(recipe_path):
    recipe = load_recipe(recipe_path)
    assert len(load_candidates(recipe)) == 5
    with pytest.raises(CordError, match="not there yet; find them: cord problems"):
        load_problems(recipe)
    filter_problems(recipe)
    assert [problem.id for problem in load_problems(recipe)] == ["hard", "endless", "silent"]
    with pytest.raises(CordError, match="made under other settings"):
        load_problems(load_recipe(recipe_path, ["problems.hard_for.min_reasoning_tokens=7"]))
    first = load_recipe(recipe_path, ["problems.limit=2"])
    filter_problems(first)
    assert [problem.id for problem in load_problems(first)] == ["hard"]
    with pytest.raises(CordError, match="only the first 2 problems were tried"):
        load_problems(recipe)
    filter_problems(load_recipe(recipe_path, ["problems.limit=1"]))
    with pytest.raises(CordError, match="no problem was hard enough"):
        load_problems(load_recipe(recipe_path, ["problems.limit=1"]))


def test_a_file_of_hard_problems_that_was_edited_is_named_with_its_row(recipe_path):
    """Fails the version that reads the columns as they come: a KeyError in `cord generate`."""
    recipe = load_recipe(recipe_path)
    filter_problems(recipe)
    RunFolder.of(recipe).hard_problems.write_text('{"id": "hard"}\n')
    with pytest.raises(CordError, match=r"problems\.jsonl, row 1: lacks id, question or answer; find them"):
        load_problems(recipe)


def test_how_hard_problems_are_found_changes_no_trajectory(recipe_path):
    """A journal goes on when the rule changes: it says which problems there are, not what comes of one."""
    plain, other = (load_recipe(recipe_path, [f"problems.hard_for.tries={n}"]) for n in (3, 5))
    assert decode_inputs(plain) == decode_inputs(other)
    assert decode_inputs(plain) == decode_inputs(load_recipe(recipe_path, ["problems.hard_for=null"]))


def test_the_file_can_be_the_problems_of_another_recipe(recipe_path, tmp_path):
    """Ids, questions, answers and what graders need of a problem (`meta`) come back as they were."""
    source = {"builder": "cord_distill.worlds.ledger.world:problems", "args": json.dumps({"n": 4, "split": "train"})}
    toy = ["problems.path=null", *(f"problems.{key}={value}" for key, value in source.items())]
    recipe = load_recipe(recipe_path, [*toy, f"output_dir={tmp_path / 'toy'}"])
    problems = load_candidates(recipe)
    rows = "".join(
        json.dumps({"id": p.id, "question": p.question, "answer": p.answer, "meta": p.meta}) + "\n" for p in problems
    )
    (tmp_path / "problems.jsonl").write_text(rows)
    copied = load_recipe(recipe_path, [f"problems.path={tmp_path / 'problems.jsonl'}", "problems.hard_for=null"])
    stripped = [replace(p, answer=p.answer.strip()) for p in problems]  # as known answers of files are
    assert load_problems(copied) == stripped and problems[0].meta


def test_a_run_finds_them_before_it_decodes(recipe_path):
    recipe = load_recipe(recipe_path)
    stages = {stage.key: stage for stage in plan_stages(Experiment.load(recipe_path))}
    assert list(stages)[:2] == ["problems", "generate"]
    before = {key: stages[key].fingerprint() for key in ("problems", "generate")}
    filter_problems(recipe)
    assert stages["problems"].fingerprint() == before["problems"]
    assert stages["generate"].fingerprint() != before["generate"]
    other = Experiment.load(recipe_path, ["problems.hard_for.min_reasoning_tokens=7"])
    changed = {stage.key: stage for stage in plan_stages(other)}
    assert changed["problems"].fingerprint() != before["problems"]
    assert changed["generate"].fingerprint() == stages["generate"].fingerprint()


def test_the_commands(recipe_path, capsys):
    assert main(["generate", str(recipe_path)]) == 2
    assert "cord problems" in capsys.readouterr().err
    assert main(["problems", str(recipe_path)]) == 0
    assert "3 of 5 problems kept, dropped: 1 solved, 1 short" in capsys.readouterr().out
    assert main(["generate", str(recipe_path)]) == 0
    rows = RunFolder.of(load_recipe(recipe_path)).trajectories.read_text().splitlines()
    assert [json.loads(row)["id"] for row in rows] == ["hard", "endless", "silent"]
    assert main(["problems", "smoke_real"]) == 2
    assert "problems.hard_for: the recipe has none" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_engine_makes_the_tries(random_models, tmp_path):
    """vLLM on CPU: a model of random weights solves nothing, so the length alone decides; the same in another order."""
    rows = [{"id": f"p{i}", "question": f"What is {i} + {i}?", "answer": 2 * i} for i in range(8)]
    found = []
    for order in (rows, rows[::-1]):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        (folder / "candidates.jsonl").write_text("\n".join(map(json.dumps, order)))
        small = {"model": str(random_models["qwq"]), "max_num_seqs": 8, "reasoning_tokens": 48, "answer_tokens": 8}
        recipe = {"problems": {"path": "candidates.jsonl", "hard_for": {**small, "min_reasoning_tokens": 40}}}
        (folder / "recipe.yaml").write_text(yaml.safe_dump({"output_dir": "run", **recipe}))
        recipe = load_recipe(folder / "recipe.yaml")
        counts = filter_problems(recipe)
        assert counts["candidates"] == 8 and counts["tries"]["all"] == 24 and counts["tries"]["right"] == 0
        assert counts["kept"] + counts["dropped"].get("short", 0) == 8
        lines = RunFolder.of(recipe).hard_problems.read_text().splitlines()
        found.append({row["id"]: row["reasoning_tokens"] for row in map(json.loads, lines)})
        assert all(sum(lengths) / 3 > 40 for lengths in found[-1].values())
    assert found[0] == found[1]
