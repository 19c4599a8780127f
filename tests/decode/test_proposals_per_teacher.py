"""Several proposals per teacher and prefix, alone and beside every other way of choosing."""

import asyncio
from dataclasses import replace

import pytest
from doubles import RandomEngine
from test_cord import PROBLEM, Teacher

from cord_distill.decode.model import Model
from cord_distill.decode.pipelines import Ensemble
from cord_distill.decode.pipelines.cord import cord, first_step_proposals
from cord_distill.engines.base import Sampling
from cord_distill.prompts.render import load_renderer
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.search.beam import CARRIED
from cord_distill.search.deduplicate import REPEATED

LIMITS = {"reasoning_tokens": 120, "answer_tokens": 12, "max_step_tokens": 40}


@pytest.fixture(scope="module")
def renderers(random_models):
    return {name: load_renderer(str(path), name=name) for name, path in random_models.items()}


def test_each_teacher_proposes_twice_for_every_prefix_each_time_under_its_own_seed(renderers):
    """Fails the version that asks twice under one seed: it gets the same step twice."""
    seeds = []

    def say(number, sampling):
        if not sampling.stop:
            return " \\boxed{2}.", "eos"
        seeds.append(sampling.seed)
        return f" {sampling.seed}.\n\n### Step", "### Step"

    one = Model("a", "v", Teacher(renderers["r1"], say), renderers["r1"], Sampling(0, 0), None, {"a": "v", "b": "v"})
    teachers = (one, replace(one, name="b"))
    decode = DecodeConfig(beam_size=3, proposals_per_teacher=2, budgets={**LIMITS, "max_steps": 2})
    made = asyncio.run(cord(PROBLEM, Ensemble(teachers, replace(one, name="prover"), decode, 0)))
    first, second = made.candidates
    assert sorted((c.teacher, c.sample) for c in first) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert sorted((c.parent, c.teacher, c.sample) for c in second) == [
        (parent, teacher, sample) for parent in range(3) for teacher in "ab" for sample in range(2)
    ]
    assert len(set(seeds)) == len(seeds) == 4 + 12
    assert len({c.text for c in first}) == 4


@pytest.mark.parametrize(
    ("beam_size", "teachers", "per_teacher", "fill", "first"),
    [(4, 3, 1, True, 2), (4, 3, 1, False, 1), (4, 3, 3, True, 3), (8, 3, 2, True, 3), (8, 3, 2, False, 2)],
)
def test_the_first_step_is_as_wide_as_the_larger_of_both_keys(beam_size, teachers, per_teacher, fill, first):
    decode = DecodeConfig(beam_size=beam_size, proposals_per_teacher=per_teacher, fill_first_step=fill)
    assert first_step_proposals(decode, teachers) == first


def test_the_pipeline_drops_repeats_and_widens_a_flat_step(renderers):
    """Three teachers, equal scores, two of them in the same words. Fails a pipeline that does not hand the keys on."""

    def teacher(name, words):
        def say(number, sampling):
            return (words, "### Step") if sampling.stop else (" \\boxed{2}.", "eos")

        return Model(name, "v", Teacher(renderers["r1"], say), renderers["r1"], Sampling(0, 0), None, known)

    known = dict.fromkeys("abc", "v")
    teachers = (
        teacher("a", " one.\n\n### Step"), teacher("b", " one. \n### Step"), teacher("c", " two.\n### Step"),
    )  # fmt: skip

    def first_step(**keys):
        decode = DecodeConfig(beam_size=1, budgets={**LIMITS, "max_steps": 1}, **keys)
        made = asyncio.run(cord(PROBLEM, Ensemble(teachers, replace(teachers[0], name="prover"), decode, 0)))
        return [(c.teacher, c.kept, c.error) for c in made.candidates[0]]

    wide = {"max_beam": 2, "spread": 0.1}
    assert first_step() == [("a", True, None), ("b", False, None), ("c", False, None)]
    assert first_step(adaptive_beam=wide) == [("a", True, None), ("b", True, None), ("c", False, None)]
    assert first_step(adaptive_beam=wide, deduplicate="text") == [
        ("a", True, None), ("c", True, None), ("b", False, REPEATED),
    ]  # fmt: skip


@pytest.mark.parametrize("segmentation", ["step_marker", "line_break", "prefix_phrases"])
def test_all_switches_together_over_three_vocabularies(renderers, segmentation):
    """Two proposals each, an adaptive beam, no repeats, a filter: the same rows however the answers arrive."""
    decode = DecodeConfig(
        segmentation=segmentation,
        beam_size=2,
        proposals_per_teacher=2,
        adaptive_beam={"max_beam": 4, "spread": 0.3},
        deduplicate="text",
        step_filter="test_proposals_per_teacher:no_threes",
        budgets=LIMITS,
    )

    def run(delay):
        names = ("r1", "qwq", "phi4", "prover")
        models = [
            Model(n, n, Late(renderers[n], delay), renderers[n], Sampling(0, 0), None, {x: x for x in names})
            for n in names
        ]
        return asyncio.run(cord(PROBLEM, Ensemble(tuple(models[:3]), models[3], decode, 5)))

    made = run(0)
    assert run(1) == made == run(3)
    for step in made.steps[:-1]:
        assert renderers[step.teacher].decode(step.ids) == step.text
    marked = [c.text.startswith("### Step 1.") for c in made.candidates[0]]
    assert all(marked) if segmentation == "step_marker" else not any(marked)
    for level in made.candidates:
        kept = [c for c in level if c.kept]
        assert 1 <= len(kept) <= 4
        assert all(round(kept[0].score - c.score, 6) < 0.3 for c in kept[2:])
        assert not any("3" in c.text.replace("### Step 3", "") for c in kept if c.sample != CARRIED)


def no_threes(problem, step_texts):
    return "3" not in step_texts[-1].replace("### Step 3", "")


class Late(RandomEngine):
    """Answers come in another order for another `delay`."""

    def __init__(self, renderer, delay) -> None:
        super().__init__(renderer, p_marker=0.1, p_close=0.01)
        self.delay = delay

    async def generate(self, ids, sampling):
        for _ in range(self.delay * (sampling.seed % 5)):
            await asyncio.sleep(0)
        return await super().generate(ids, sampling)
