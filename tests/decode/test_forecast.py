"""What decoding will cost: the scheduler played on numbers, against runs that happened."""

from __future__ import annotations

import json
import random

import pytest
from scripted_world import write_recipe

from cord_distill.cli import main
from cord_distill.decode.forecast import Correction, forecast, pace, past_problems, setup_of
from cord_distill.decode.replay import Meter
from cord_distill.decode.simulate import Machine, PastProblem, PastProposal, Setup, simulate
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.trajectories import read_rows
from cord_distill.types import Stop

QUIET = "track.wandb.mode=disabled"
TWO = PastProblem(((PastProposal("a", 10, 0.5, Stop.THINK_END), PastProposal("b", 30, 0.4, Stop.THINK_END)),), answer=5)


def whole(slots: int, *, engines: tuple[str, str] = ("x", "y"), replicas: int = 1, in_flight: int = 9) -> Setup:
    """Two teachers that write one trace each, and a prover on the first one's engine."""
    machines = {name: Machine(engine, slots, replicas) for name, engine in zip("ab", engines, strict=True)}
    return Setup(("a", "b"), "a", machines, in_flight, 1000, 1000, traces=1)


def test_requests_wait_for_a_place_and_the_engines_for_each_other():
    """4 problems of 10 + 5 and 30 + 5 tokens and two scores. Fails a sum of all tokens, and one without a queue."""
    wide = simulate(whole(9), [TWO], 4)
    assert dict(wide.requests) == {"a": 8, "b": 8} and dict(wide.generated) == {"a": 60, "b": 140}
    assert (wide.scores, wide.ticks, wide.steps) == (8, 36, {"x": 17, "y": 35})
    slow = simulate(whole(9), [TWO], 4, lag=3)
    assert (slow.ticks, slow.steps["y"], slow.generated) == (36 + 2 * 3, 35, wide.generated)
    narrow = simulate(whole(1), [TWO], 4)
    assert narrow.steps == {"x": 60 + 8, "y": 140} and narrow.ticks == 141
    two = simulate(whole(1, replicas=2), [TWO], 4)
    assert two.steps == {"x": 30 + 4, "y": 70} and two.generated == narrow.generated
    shared = simulate(whole(1, engines=("x", "x")), [TWO], 4)
    assert shared.steps == {"x": 60 + 140 + 8}
    one_by_one = simulate(whole(9, in_flight=1), [TWO], 4)
    assert one_by_one.ticks == 4 * 36


def test_a_budget_ends_a_trace_and_a_cap_a_step():
    seen = PastProblem(((PastProposal("a", 10, 0.5, Stop.STEP),),), answer=2)
    setup = Setup(("a",), None, {"a": Machine("x", 4)}, 4, 35, 8, beam_size=1)
    cost = simulate(setup, [seen], 1)
    assert dict(cost.generated) == {"a": 8 + 8 + 8 + 8 + 3 + 2} and cost.requests["a"] == 6 and cost.scores == 0


def close(found: float, said: float) -> bool:
    return abs(found / said - 1) < 0.15


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"beam_size": 3}),
        ({"pipeline": "curation"}, {"pipeline": "curation", "curation": {"traces_per_teacher": 2}}),
    ],
    ids=["B = 3", "fewer traces"],
)
def test_what_eight_problems_say_of_a_run_that_then_happens(tmp_path, weightless_models, before, after):
    """Requests and tokens within 15 %; the quickstart's slow test adds the steps of real engines. Fails a bound by
    budgets, and a prediction that takes the beam for a factor of all."""
    first, then = tmp_path / "first", tmp_path / "then"
    first.mkdir()
    then.mkdir()
    looked = load_recipe(write_recipe(first, weightless_models, problems=8, **before))
    asked = write_recipe(then, weightless_models, problems=24, **after)
    assert not main(["generate", str(first / "recipe.yaml"), QUIET, "--no-check"])
    seen = past_problems(read_rows(RunFolder.of(looked).trajectories))
    said = forecast(load_recipe(asked), seen, 24)
    assert not main(["generate", str(asked), QUIET, "--no-check"])
    stats = json.loads((then / "run/generate_stats.json").read_text())
    requests = sum(model["requests"] for model in stats["models"].values() if model["generated_tokens"])
    generated = sum(model["generated_tokens"] for model in stats["models"].values())
    assert close(said.requests.total(), requests) and close(said.generated.total(), generated), (
        said,
        requests,
        generated,
    )


def test_check_says_what_other_settings_would_cost_and_generate_corrects_itself(
    tmp_path, weightless_models, monkeypatch, capsys
):
    path = str(write_recipe(tmp_path, weightless_models, problems=20))
    monkeypatch.chdir(tmp_path)
    main(["check", path])
    assert "predicted from" not in capsys.readouterr().out
    assert not main(["generate", path, QUIET, "--no-check"])
    line = next(line for line in capsys.readouterr().err.splitlines() if "finished problems" in line)
    assert line.startswith("decode cord: from 8 finished problems: about ") and "for 20 problems" in line
    stats = json.loads((tmp_path / "run/generate_stats.json").read_text())["models"]
    made = sum(model["generated_tokens"] for model in stats.values())
    assert close(int(line.split(" and ")[1].split()[0].replace(",", "")), made)

    def tokens(*overrides: str) -> tuple[int, str]:
        main(["check", path, *overrides])
        said = next(line for line in capsys.readouterr().out.splitlines() if "predicted from 20" in line)
        return int(said.split(" requests, ")[1].split()[0].replace(",", "")), said

    now, said = tokens()
    assert close(now, made) and "at the pace of run" in said
    doubled, said = tokens("decode.beam_size=4", "--tokens-per-second", "100", "--gpus", "4", "--gpu-hour-price", "2")
    assert 1.5 < doubled / now < 2.2 and "at 100 tokens/s" in said and "GPU-hours" in said and "at 2 an hour" in said


def test_the_lag_is_read_off_the_steps_that_were_counted(weightless_models, tmp_path):
    """Fails a pace that takes the steps in which an engine waits for the search for steps of its requests."""
    recipe = load_recipe(write_recipe(tmp_path, weightless_models))
    rng = random.Random(0)
    ends = [Stop.STEP] * 5 + [Stop.THINK_END]

    def step(end: Stop) -> tuple[PastProposal, ...]:
        return tuple(PastProposal(name, rng.randint(5, 40), rng.random(), end) for name in ("r1", "qwq", "phi4"))

    seen = [PastProblem(tuple(map(step, ends)), 5) for _ in range(8)]
    setup = setup_of(recipe)
    counted = simulate(setup, seen, 8, lag=5).steps
    stats = {"decoded_now": 8, "seconds": 12.0, "start_seconds": 2.0}
    plain = pace(recipe, seen, stats)
    found = pace(recipe, seen, {**stats, "engine_steps": counted})
    assert plain.lag == 0 and 3 < found.lag < 7 and found.seconds_per_step < plain.seconds_per_step
    assert pace(recipe, seen, {**stats, "decoded_now": 7}) is None


def test_nothing_is_said_where_nothing_is_known(tmp_path, weightless_models):
    """Too few problems, failed ones, a pipeline or a selector that asks in its own way."""
    path = write_recipe(tmp_path, weightless_models)
    recipe = load_recipe(path)
    assert forecast(recipe, [TWO] * 7, 40) is None and forecast(recipe, [TWO] * 8, 40) is not None
    for changed in ("decode.selector=longest", "decode.pipeline=mcts"):
        assert setup_of(load_recipe(path, [changed])) is None
    assert past_problems([{"error": "gone", "candidates": []}, {"num_tokens": {}}]) == []
    correction = Correction(recipe, 15, {"r1": Meter()})
    assert [correction.after({"error": None}) for _ in range(9)] == [None] * 9  # 15 problems are nearly done by then
