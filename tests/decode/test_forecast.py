"""What decoding will cost: the scheduler played on numbers, against runs that happened."""

from __future__ import annotations

import asyncio
import json

import pytest
from scripted_world import write_recipe

from cord_distill.cli import main
from cord_distill.decode import forecast as module
from cord_distill.decode.forecast import Correction, forecast, seen_of, setup_of
from cord_distill.decode.replay import Meter
from cord_distill.decode.simulate import Machine, Said, Seen, Setup, simulate
from cord_distill.engines.base import Generation
from cord_distill.engines.scripted import ScriptedEngine
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.run_folder.trajectories import read_rows
from cord_distill.types import Stop

# Turns of the loop that a step takes: the search has asked anew by then, as it has on an engine of large models.
TURNS = 12
QUIET = "track.wandb.mode=disabled"
TWO = Seen(((Said("a", 10, 0.5, Stop.THINK_END), Said("b", 30, 0.4, Stop.THINK_END)),), answer=5)


def whole(slots: int, *, engines: tuple[str, str] = ("x", "y"), replicas: int = 1, in_flight: int = 9) -> Setup:
    """Two teachers that write one trace each, and a prover on the first one's engine."""
    machines = {name: Machine(engine, slots, replicas) for name, engine in zip("ab", engines, strict=True)}
    return Setup(("a", "b"), "a", machines, in_flight, 1000, 1000, traces=1)


def test_requests_wait_for_a_place_and_the_engines_for_each_other():
    """4 problems of 10 + 5 and 30 + 5 tokens and two scores. Fails a sum of all tokens, and one without a queue."""
    wide = simulate(whole(9), [TWO], 4)
    assert dict(wide.requests) == {"a": 8, "b": 8} and dict(wide.generated) == {"a": 60, "b": 140}
    assert (wide.scores, wide.ticks, wide.steps) == (8, 36, {"x": 17, "y": 35})
    narrow = simulate(whole(1), [TWO], 4)
    assert narrow.steps == {"x": 60 + 8, "y": 140} and narrow.ticks == 141
    two = simulate(whole(1, replicas=2), [TWO], 4)
    assert two.steps == {"x": 30 + 4, "y": 70} and two.generated == narrow.generated
    shared = simulate(whole(1, engines=("x", "x")), [TWO], 4)
    assert shared.steps == {"x": 60 + 140 + 8}
    one_by_one = simulate(whole(9, in_flight=1), [TWO], 4)
    assert one_by_one.ticks == 4 * 36


def test_a_budget_ends_a_trace_and_a_cap_a_step():
    seen = Seen(((Said("a", 10, 0.5, Stop.STEP),),), answer=2)
    setup = Setup(("a",), None, {"a": Machine("x", 4)}, 4, 35, 8, beam_size=1)
    cost = simulate(setup, [seen], 1)
    assert dict(cost.generated) == {"a": 8 + 8 + 8 + 8 + 3 + 2} and cost.requests["a"] == 6 and cost.scores == 0


class Stepping(ScriptedEngine):
    """Answers as a batch does: each turn gives every running request one token. It counts its turns, as vLLM's does."""

    slots = 12

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.steps, self.open, self.pump = 0, [], None

    async def generate(self, ids, sampling) -> Generation:
        out = await super().generate(ids, sampling)
        await self.turns(len(out.ids))
        return out

    async def logprobs(self, ids, target_ids):
        out = await super().logprobs(ids, target_ids)
        await self.turns(1)
        return out

    async def turns(self, count: int) -> None:
        over = asyncio.get_running_loop().create_future()
        self.open.append([count, over])
        if self.pump is None or self.pump.done():
            self.pump = asyncio.create_task(self.go_round())
        await over

    async def go_round(self) -> None:
        await asyncio.sleep(0)
        while self.open:
            self.steps += 1
            for one in self.open[: self.slots]:
                one[0] -= 1
                if not one[0]:
                    one[1].set_result(None)
            self.open = [one for one in self.open if one[0]]
            for _ in range(TURNS):
                await asyncio.sleep(0)


def close(found: float, said: float) -> bool:
    return abs(found / said - 1) < 0.15


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({}, {"beam_size": 1}),
        ({}, {"beam_size": 5}),
        ({"pipeline": "curation"}, {"pipeline": "curation", "curation": {"traces_per_teacher": 2}}),
    ],
    ids=["as it was", "B = 1", "B = 5", "fewer traces"],
)
def test_what_eight_problems_say_of_a_run_that_then_happens(tmp_path, random_models, monkeypatch, before, after):
    """Requests, tokens and engine steps within 15 %. Fails a bound by budgets, and a prediction that takes the beam for
    a factor of all."""
    monkeypatch.setattr("cord_distill.engines.scripted.ScriptedEngine", Stepping)
    first, then = tmp_path / "first", tmp_path / "then"
    first.mkdir()
    then.mkdir()
    looked = load_recipe(write_recipe(first, random_models, problems=8, **before))
    asked = write_recipe(then, random_models, problems=40, **after)
    assert not main(["generate", str(first / "recipe.yaml"), QUIET])
    seen = seen_of(read_rows(RunFolder.of(looked).trajectories))
    monkeypatch.setattr(module, "slots", lambda *_: Stepping.slots)
    said = forecast(load_recipe(asked), seen, 40)
    assert not main(["generate", str(asked), QUIET])
    stats = json.loads((then / "run/generate_stats.json").read_text())
    requests = sum(model["requests"] for name, model in stats["models"].items() if name != "prover")
    generated = sum(model["generated_tokens"] for model in stats["models"].values())
    assert close(said.requests, requests) and close(said.generated, generated), (said, requests, generated)
    assert close(max(said.cost.steps.values()), max(stats["engine_steps"].values())), (said, stats["engine_steps"])


def test_check_says_what_other_settings_would_cost_and_generate_corrects_itself(
    tmp_path, random_models, monkeypatch, capsys
):
    path = str(write_recipe(tmp_path, random_models, problems=20))
    monkeypatch.chdir(tmp_path)
    main(["check", path])
    assert "predicted from" not in capsys.readouterr().out
    assert not main(["generate", path, QUIET])
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


def test_nothing_is_said_where_nothing_is_known(tmp_path, random_models):
    """Too few problems, failed ones, a pipeline or a selector that asks in its own way."""
    path = write_recipe(tmp_path, random_models)
    recipe = load_recipe(path)
    assert forecast(recipe, [TWO] * 7, 40) is None and forecast(recipe, [TWO] * 8, 40) is not None
    for changed in ("decode.selector=longest", "decode.pipeline=mcts"):
        assert setup_of(load_recipe(path, [changed])) is None
    assert seen_of([{"error": "gone", "candidates": []}, {"num_tokens": {}}]) == []
    correction = Correction(recipe, 15, {"r1": Meter()})
    assert [correction.after({"error": None}) for _ in range(9)] == [None] * 9  # 15 problems are nearly done by then
