"""Selectors beyond the paper: consensus, student fit, gain; survivors that are drawn; problems without an answer."""

import asyncio
import json
import math
from dataclasses import replace

import pytest
from scripted_world import write_recipe
from test_selectors import PROBLEM, decoded, ensemble

from cord_distill.common.errors import CordError
from cord_distill.decode.generate import check_decode, generate
from cord_distill.engines.base import Generation, stop_of
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.search.beam import BeamSearch, Proposal
from cord_distill.search.particles import draw
from cord_distill.types import Step, Stop


class Reader:
    """A model that writes one step of one word and closes its thought. `likes`: log p of each token of a text that
    holds the word; S of the answer is asked behind "The final answer", and `scores` gives it by the last word."""

    def __init__(self, renderer, word="", likes=None, scores=None) -> None:
        self.renderer, self.word, self.likes, self.scores = renderer, word, likes or {}, scores or {}
        self.asked: list[str] = []

    async def generate(self, ids, sampling):
        if not sampling.stop:
            text = " It is \\boxed{2}."
            return Generation((*self.renderer.encode(text), self.renderer.end_of_turn_id), text, Stop.EOS)
        text, stop = f" {self.word}\n\n", "</think>"
        return Generation(tuple(self.renderer.encode(text + stop)), text, stop_of(stop, ended_by_eos=False), stop)

    async def logprobs(self, ids, target_ids):
        before, text = self.renderer.decode(ids), self.renderer.decode(target_ids)
        self.asked.append(text)
        known = self.scores if "The final answer" in before else self.likes
        words = (before if known is self.scores else text).replace("</think>", " ").split()
        value = next((known[word] for word in reversed(words) if word in known), math.log(0.5))
        return [value] * len(target_ids)


@pytest.mark.parametrize("pipeline", ["cord", "curation"])
def test_consensus_chooses_the_step_that_the_others_find_likely(renderer, pipeline):
    """Each teacher is sure of its own step. Fails the version that asks the step's own teacher too, or it alone."""
    sure, doubts = math.log(0.9), math.log(0.2)
    readers = [
        Reader(renderer, "alpha", {"alpha": sure, "beta": math.log(0.6), "gamma": doubts}),
        Reader(renderer, "beta", {"alpha": doubts, "beta": sure, "gamma": doubts}),
        Reader(renderer, "gamma", {"alpha": doubts, "beta": math.log(0.4), "gamma": sure}),
    ]
    made = decoded(pipeline, ensemble(renderer, readers, prover=None, selector="consensus"))
    assert [step.teacher for step in made.steps] == ["t1"] and made.score is None
    (column,) = made.candidates
    assert [(c.teacher, round(c.score, 6)) for c in column] == [("t1", 0.5), ("t0", 0.2), ("t2", 0.2)]
    assert all(len(reader.asked) == 2 for reader in readers), "each reads the two steps of the others, no answer"


@pytest.mark.parametrize(("settings", "chosen", "score"), [
    ({"weight": 0.0}, "t0", 0.8), ({"weight": 1.0}, "t1", 0.7 + 0.6), ({"alone": True}, "t1", 0.6),
])  # fmt: skip
def test_student_fit_adds_the_students_probability_to_s(renderer, settings, chosen, score):
    """S prefers alpha by 0.1, the student beta by 0.4. Fails a version that replaces S, or adds logarithms."""
    readers = [Reader(renderer, "alpha"), Reader(renderer, "beta")]
    prover = Reader(renderer, scores={"alpha": math.log(0.8), "beta": math.log(0.7)})
    student = Reader(renderer, likes={"alpha": math.log(0.2), "beta": math.log(0.6)})
    fit = {"model": "./student", **settings}
    made = decoded(
        "cord", ensemble(renderer, readers, prover=prover, student=student, selector="student_fit", student_fit=fit)
    )
    assert [step.teacher for step in made.steps] == [chosen]
    assert made.steps[-1].score == pytest.approx(score)
    assert made.score == pytest.approx({"t0": 0.8, "t1": 0.7}[chosen]), "S stays S"


def test_rank_surprisal_prefers_unlikely_tokens_of_a_high_rank(renderer):
    """Alpha is what the student would say itself, beta is unlikely and among its first guesses, gamma is noise, whose
    rank of 40,000 counts as 100. Fails the student's likelihood (alpha), surprisal (gamma), ranks without a bound."""
    known = {"alpha": (-0.1, 1), "beta": (-2.0, 3), "gamma": (-8.0, 40_000)}
    readers = [Reader(renderer, word) for word in known]

    class Student(Reader):
        async def ranked(self, ids, target_ids):
            text = self.renderer.decode(target_ids)
            self.asked.append(text)
            return [next(pair for word, pair in known.items() if word in text)] * len(target_ids)

    student = Student(renderer)
    settings = {"selector": "rank_surprisal", "student_fit": {"model": "./student"}}
    made = decoded("curation", ensemble(renderer, readers, prover=None, student=student, **settings))
    assert [step.teacher for step in made.steps] == ["t1"] and len(student.asked) == 3
    (column,) = made.candidates
    assert [(c.teacher, round(c.score, 6)) for c in column] == [("t1", -1.5), ("t0", -10.0), ("t2", -12.5)]


def test_gain_is_the_rise_of_log_s_above_its_highest_value_so_far(renderer):
    """Three steps with S 0.8, 0.2, 0.4 after a bare question of 0.5. Fails the difference to the step before, which
    would reward the third step for climbing back, and the version that scores every prefix again at every step."""
    prover = Reader(renderer, scores={"one": math.log(0.8), "two": math.log(0.2), "three": math.log(0.4)})
    made = ensemble(renderer, [Reader(renderer, "x")], prover=prover, selector="gain")
    texts = ["### Step 1. one\n\n", "### Step 2. two\n\n", "### Step 3. three\n\n"]
    steps: tuple[Step, ...] = ()
    for n, text in enumerate(texts, 1):
        step = Step(n, "t0", text, tuple(renderer.encode(text)), 1, None, Stop.STEP)
        rating = asyncio.run(made.rate(PROBLEM, (*steps, step)))
        steps = (*steps, replace(step, score=rating.value))
        assert len(prover.asked) == 2 * n, "the bare question and the candidate"
    assert [step.score for step in steps] == pytest.approx(
        [math.log(0.8 / 0.5), math.log(0.2 / 0.8), math.log(0.4 / 0.8)]
    )


def beam_of(scores, choose):
    search = BeamSearch(beam_size=2, num_teachers=len(scores), max_steps=1, choose=choose)
    for ask in search.expand():
        text = f"s{ask.teacher}"
        search.absorb(ask, Proposal(Step(1, f"t{ask.teacher}", text, (1,), 1, scores[ask.teacher], Stop.STEP)))
    return search


def test_drawn_survivors_come_first_in_the_record_and_best_first(renderer):
    search = beam_of([0.9, 0.5, 0.4, 0.3], lambda scores, count, step: [1, 3])
    assert [beam.score for beam in search.beams] == [0.5, 0.3]
    (column,) = search.candidates()
    assert [(c.score, c.kept) for c in column] == [(0.5, True), (0.3, True), (0.9, False), (0.4, False)]


def test_survivors_are_drawn_in_proportion_to_their_scores():
    """Of scores 0.6, 0.3, 0.1 one is drawn 6, 3 and 1 times in 10. Fails the draw by rank and the uniform one."""
    counts = [0, 0, 0]
    for seed in range(4000):
        (place,) = draw([0.6, 0.3, 0.1], 1, 0, seed=seed)
        counts[place] += 1
    assert [round(count / 4000, 1) for count in counts] == [0.6, 0.3, 0.1]


def test_a_draw_is_the_same_for_the_same_seed_and_step_and_another_at_another_step():
    drawn = [draw([0.5] * 20, 5, step, seed=1) for step in (0, 1)]
    assert drawn[0] == draw([0.5] * 20, 5, 0, seed=1) == sorted(drawn[0]) and drawn[0] != drawn[1]
    assert draw([0.0, 0.0], 2, 0, seed=1) == [0, 1] and draw([], 3, 0, seed=1) == []


@pytest.mark.parametrize(("decode", "said"), [
    ({"selector": "student_fit"}, "decode.student_fit: selector student_fit asks the student"),
    ({"selector": "rank_surprisal", "pipeline": "curation"}, "decode.student_fit: selector rank_surprisal asks"),
    ({"selector": "rank_surprisal"}, "rank_surprisal orders complete traces"),
    ({"selector": "rank_surprisal", "pipeline": "curation",
      "student_fit": {"model": "./x", "engine": "server", "url": "http://x/v1"}}, "decode.student_fit.engine"),
    ({"selector": "gain", "survivors": "sampled"}, "decode.survivors: sampled draws in proportion"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused_before_a_model_starts(tmp_path, random_models, decode, said):
    recipe = load_recipe(write_recipe(tmp_path, random_models, **decode))
    with pytest.raises(CordError, match=said):
        check_decode(recipe)


def test_consensus_needs_another_teacher(tmp_path, random_models):
    recipe = load_recipe(write_recipe(tmp_path, random_models, selector="consensus"))
    alone = recipe.model_copy(update={"teachers": recipe.teachers[:1]})
    with pytest.raises(CordError, match="at least two teachers"):
        check_decode(alone)


# Problems without a known answer.


def unlabelled(tmp_path, random_models, **decode):
    path = write_recipe(tmp_path, random_models, **decode)
    rows = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    (tmp_path / "problems.jsonl").write_text("\n".join(json.dumps({"question": row["question"]}) for row in rows))
    return load_recipe(path, ["problems.answer=null"])


def test_consensus_searches_problems_without_an_answer(tmp_path, random_models):
    """Rows are whole, without S and without a verdict. Fails a version that scores the empty answer."""
    recipe = unlabelled(tmp_path, random_models, selector="consensus", survivors="sampled")
    generate([recipe])
    rows = [json.loads(line) for line in RunFolder.of(recipe).trajectories.read_text().splitlines()]
    assert len(rows) == 7
    for row in rows:
        assert row["error"] is None and row["score"] is None and row["correct"] is None
        assert row["problem"]["answer"] == "" and 0 < row["steps"][-1]["score"] < 1


@pytest.mark.parametrize("decode", [{}, {"pipeline": "mcts"}, {"selector": "gain"}, {"selector": "binary_judgment"}])
def test_a_selector_that_reads_the_answer_is_refused_without_one(tmp_path, random_models, decode):
    recipe = unlabelled(tmp_path, random_models, **decode)
    with pytest.raises(CordError, match=r"problems\.answer: null says"):
        check_decode(recipe)
