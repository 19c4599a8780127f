"""Failures that must not pass for success, and must not take anything along: what an engine may say, what a failed
problem costs, what is said of it, and what comes of it in the next run."""

import asyncio
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
from doubles import RandomEngine
from scripted_world import run, write_recipe

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.common.exit_codes import FINE, SOME_FAILED, TOO_MANY_FAILED
from cord_distill.decode.failures import Failures, count_failures
from cord_distill.decode.generate import generate
from cord_distill.decode.model import Model
from cord_distill.decode.replay import Meter, ReplayEngine
from cord_distill.engines.base import EngineError, Generation, Sampling
from cord_distill.engines.chat import Reply
from cord_distill.prompts.render import load_renderer
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe
from cord_distill.run.run import RunLog
from cord_distill.run.stages import plan_stages
from cord_distill.run_folder.journal import Journal
from cord_distill.run_folder.paths import RunFolder
from cord_distill.search.segment import StepMarker
from cord_distill.types import Stop

GOOD = Generation((5, 6), "ab", Stop.STEP, "### Step")
SAMPLING = Sampling(8, 0, stop=("### Step",))


@pytest.fixture
def recipe_path(tmp_path, random_models):
    return write_recipe(tmp_path, random_models)


def write_problems(folder, questions):
    rows = [{"id": f"q{i}", "question": question, "answer": i} for i, question in enumerate(questions)]
    (folder / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))


def rows_of(path, *overrides):
    return [json.loads(line) for line in run(path, *overrides).splitlines()]


class Says:
    """An engine that gives what it is told to."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def generate(self, ids, sampling):
        return self.answers.pop(0)

    async def logprobs(self, ids, target_ids):
        return self.answers.pop(0)

    reward = logprobs

    async def reply(self, prompt, sampling):
        return self.answers.pop(0)


def replay(tmp_path, *answers, vocabulary=100):
    journal = Journal(tmp_path / "run" / "journal", fingerprint="f", inputs={})
    return journal, ReplayEngine(Says(*answers), journal, "p", "m", Meter(), None, vocabulary=vocabulary)


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, ids=(10**12,)),
        replace(GOOD, ids=(-1,)),
        replace(GOOD, ids=(2**63,)),
        replace(GOOD, ids=(100,)),
        replace(GOOD, ids=(1.5,)),
        replace(GOOD, ids=("12",)),
        replace(GOOD, ids=(True,)),
        replace(GOOD, ids=()),
        replace(GOOD, ids=(1,) * 9),
        replace(GOOD, text=None),
        replace(GOOD, text=7),
        replace(GOOD, text="\ud83d"),
        replace(GOOD, matched="another"),
        replace(GOOD, stop="content_filter"),
    ],
)
def test_an_odd_continuation_is_an_error_and_never_journaled(tmp_path, bad):
    """Fails the version that writes first: the answer is then replayed for ever, with a mended server too."""
    journal, engine = replay(tmp_path, bad, GOOD)
    with pytest.raises(EngineError):
        asyncio.run(engine.generate([1], SAMPLING))
    assert journal.calls("p") == {}
    assert asyncio.run(engine.generate([1], SAMPLING)) == GOOD
    journal.close()


def test_a_banned_token_is_an_error_and_never_journaled(tmp_path):
    """A server that leaves `logit_bias` aside. Fails the version that puts control tokens into steps unchecked."""
    journal, engine = replay(tmp_path, GOOD, replace(GOOD, ids=(5, 7)))
    with pytest.raises(EngineError, match="token id 6 came although it was banned"):
        asyncio.run(engine.generate([1], replace(SAMPLING, banned_ids=(6, 9))))
    assert journal.calls("p") == {}
    assert asyncio.run(engine.generate([1], replace(SAMPLING, banned_ids=(6, 9)))).ids == (5, 7)
    journal.close()


@pytest.mark.parametrize(
    "bad", [[math.nan, -1], [-1, math.inf], [-math.inf, -1], [5.0, -1], [1e308, 1], [True, -1], ["-1", -1], [-1], None]
)
def test_odd_log_probs_are_an_error_and_never_journaled(tmp_path, bad):
    journal, engine = replay(tmp_path, bad, [-1.0, 1e-7])
    with pytest.raises(EngineError, match="log-probs"):
        asyncio.run(engine.logprobs([1], [2, 3]))
    assert journal.calls("p") == {}
    assert asyncio.run(engine.logprobs([1], [2, 3])) == [-1.0, 0.0]
    journal.close()


def test_odd_rewards_and_replies_are_errors(tmp_path):
    journal, engine = replay(tmp_path, [math.nan], [3.5], Reply("\ud83d", Stop.EOS), Reply("fine", Stop.EOS))
    with pytest.raises(EngineError, match="rewards"):
        asyncio.run(engine.reward([1], [0]))
    assert asyncio.run(engine.reward([1], [0])) == [3.5]
    with pytest.raises(EngineError, match="half a surrogate pair"):
        asyncio.run(engine.reply("q", SAMPLING))
    assert asyncio.run(engine.reply("q", SAMPLING)).text == "fine"
    journal.close()


def test_a_stop_without_a_token_ends_the_proposal(random_models):
    """A server answers `stop` in the middle of a line, for ever. Fails the version that asks again with the same ids:
    it never yields to the event loop once the journal answers, so that not even Ctrl-C ends it."""
    renderer = load_renderer(str(random_models["qwq"]))
    asked = []

    class Mute(RandomEngine):
        async def generate(self, ids, sampling):
            asked.append(1)
            assert len(asked) < 5, "asked again and again"
            made = renderer.encode("a ### Step") if len(asked) == 1 else []
            return Generation(tuple(made), "a " if made else "", Stop.STEP, "### Step")

    model = Model("m", "v", Mute(renderer), renderer, Sampling(0, 0))
    with pytest.raises(EngineError, match="without a token"):
        asyncio.run(model.propose("q", (), StepMarker("### Step {t}."), max_tokens=50, seed=0))
    assert len(asked) == 2


@pytest.mark.parametrize("word", ["nan", "positive", "huge", "true", "text"])
def test_an_odd_score_costs_its_problem_alone(recipe_path, tmp_path, word):
    write_problems(tmp_path, ["fine", f"odd {word}", "fine too", "also fine"])
    rows = rows_of(recipe_path, "meta_prover.script=scripted_world:odd")
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    assert "log-probs" in rows[1]["error"]


def test_any_exception_of_one_problem_is_its_own_row(recipe_path, tmp_path):
    """Fails the version that lets a TypeError end the run at that problem for ever, the 39 behind it never decoded."""
    write_problems(tmp_path, ["fine", "raises", "fine too"])
    rows = rows_of(recipe_path, "meta_prover.script=scripted_world:odd")
    at = f"scripted_world.py, line {line_of_the_raise()}"
    assert [row["error"] for row in rows if row["error"]] == [
        f"EngineError: the script failed ({at}): TypeError: half a surrogate pair"
    ]


def line_of_the_raise() -> int:
    text = Path(__file__).parents[1].joinpath("scripted_world.py").read_text()
    return text[: text.index('raise TypeError("half')].count("\n") + 1


@pytest.mark.parametrize(("bad", "code"), [(0, FINE), (1, SOME_FAILED), (3, TOO_MANY_FAILED)])
def test_failed_problems_are_said_and_have_an_exit_code(recipe_path, tmp_path, capsys, bad, code):
    """Fails the version that ends with "7/7" and 0."""
    write_problems(tmp_path, [f"bad {i}" if i < bad else f"fine {i}" for i in range(7)])
    broken = [f"teachers.{i}.script=scripted_world:broken" for i in range(3)]
    command = ["generate", str(recipe_path), *broken, "decode.max_failed_share=0.3"]
    assert main(command) == code
    said = capsys.readouterr().err
    assert (f"decode cord: {bad} of 7 problems failed" in said) == bool(bad)
    assert not bad or "EngineError: the engine fell over" in said
    assert main(command) == code


def test_the_share_that_failed():
    some = count_failures([None, "EngineError: a", "EngineError: b", "EngineError: b"])
    assert some == Failures(3, 4, "EngineError: b") and some.share == 0.75
    assert some.exit_code(0.75) == SOME_FAILED and some.exit_code(0.7) == TOO_MANY_FAILED
    assert count_failures([]).exit_code(0.0) == FINE


@pytest.mark.slow
def test_cord_run_stops_above_the_share_and_tries_again_what_failed(recipe_path, tmp_path, monkeypatch, capfd):
    """Fails the version that trains on one row of seven, and then says "done before, skipped"."""
    write_problems(tmp_path, ["bad", "fine 1", "fine 2"])
    flag = tmp_path / "mended"
    module = "import os, scripted_world\n" + (
        "def script(renderer):\n"
        f"    return (scripted_world.script if os.path.exists({str(flag)!r}) else scripted_world.broken)(renderer)\n"
    )
    (tmp_path / "mending.py").write_text(module)
    mending = [f"teachers.{i}.script=mending:script" for i in range(3)]
    command = ["run", str(recipe_path), *mending, "data.filters.correct=false"]
    stats = tmp_path / "run" / "dataset" / "stats.json"
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:{tmp_path}:{Path(__file__).parents[1]}")
    assert main(command) == TOO_MANY_FAILED and not stats.exists()
    command.append("decode.max_failed_share=0.5")
    assert main(command) == FINE and json.loads(stats.read_text())["kept"] == 2
    assert "decode cord: 1 of 3 problems failed" in capfd.readouterr().err
    flag.touch()
    assert main(command) == FINE and json.loads(stats.read_text())["kept"] == 3
    assert "generate: again, 1 problem failed" in capfd.readouterr().err
    log, (stage, *_) = RunLog(tmp_path / "run"), plan_stages(Experiment.load(recipe_path, command[2:]))
    assert log.reason(stage, stage.fingerprint()) is None


def test_cord_run_sets_nothing_aside_unasked(recipe_path):
    """Fails the `cord run` that passes --overwrite by itself: one override moves the finished work of the other."""
    for asked in (False, True):
        (generate_stage, *_) = plan_stages(Experiment.load(recipe_path, ["decode.beam_size=1"]), asked)
        assert ("--overwrite" in generate_stage.command()[0]) == asked


def test_back_and_forth_between_two_recipes_decodes_nothing_twice(recipe_path):
    """Fails the version that decodes anew what lies in `stale/`, and the one that replaces it there."""
    wide, narrow = (load_recipe(recipe_path, [f"decode.beam_size={n}"]) for n in (2, 1))
    path = RunFolder.of(wide).trajectories
    assert generate([wide]).recipes == [wide]
    first = path.read_bytes()
    with pytest.raises(CordError, match=r"changed since: decode\.beam_size"):
        generate([narrow])
    assert path.read_bytes() == first
    assert generate([narrow], overwrite=True).recipes == [narrow]
    second = path.read_bytes()
    for _ in range(2):
        assert generate([wide]).recipes == [] and path.read_bytes() == first
        assert generate([narrow]).recipes == [] and path.read_bytes() == second
