"""Models that mark their thought otherwise: each reads and writes its own text, and traces hold one spelling.

Tokenizers of four kinds, trained on the spot: `[THINK]` as Magistral's, `◁think▷` as Kimi's, gpt-oss's channels, whose
closing text is several control tokens and two words, and our own `<think>`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripted_world import Script

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.decode.inputs import decode_inputs
from cord_distill.decode.model import Model
from cord_distill.engines.base import Generation, Sampling, stop_of
from cord_distill.evaluation.targets import targets
from cord_distill.prompts.render import Renderer, renderer_of
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.models import ModelConfig
from cord_distill.recipe.recipe import Recipe
from cord_distill.search.segment import StepMarker
from cord_distill.types import Step, Stop
from cord_distill.worlds.random_models import CHATML_TEMPLATE, ONE_DIGIT, Family, build_tokenizer

CHANNELS = ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>")
KINDS = {
    "mistral": (("[THINK]", "[/THINK]"), ("[THINK]", "[/THINK]")),
    "kimi": (("◁think▷", "◁/think▷"), ("◁think▷", "◁/think▷")),
    "gpt_oss": (CHANNELS, ("<|channel|>", "<|message|>", "<|end|>", "<|start|>")),
    "ours": (("<think>\n", "</think>"), ()),
}
QUESTION = "What is 1 + 1?"
SUFFIX = "\nPlease reason step by step."


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for kind, (_, tokens) in KINDS.items():
        special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *tokens)
        family = Family(
            vocab=660, split=ONE_DIGIT, template=CHATML_TEMPLATE, architecture="qwen3", special=special,
            eos="<|im_end|>", pad="<|endoftext|>", thought_tokens=kind == "ours",
        )  # fmt: skip
        made[kind] = tmp_path_factory.mktemp(kind)
        build_tokenizer(family, kind).save_pretrained(made[kind])
        (made[kind] / "config.json").write_text(json.dumps({"model_type": "qwen3", "max_position_embeddings": 4096}))
    return made


def section(folders: dict[str, Path], kind: str, **more: Any) -> ModelConfig:
    (opens, closes), _ = KINDS[kind]
    return ModelConfig(model=str(folders[kind]), name=kind, think_open=opens, think_close=closes, **more)


def renderer(folders: dict[str, Path], kind: str, **more: Any) -> Renderer:
    made = renderer_of(section(folders, kind, **more), str(folders[kind]))
    made.check_prompt()
    return made


class Writer:
    """Writes one text, in the model's own tokens, up to the first stop string that is complete in it."""

    max_model_len = kv_tokens = None

    def __init__(self, renderer: Renderer, text: str) -> None:
        self.renderer, self.text = renderer, text
        self.asked: list[Sampling] = []

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        self.asked.append(sampling)
        matched = min((s for s in sampling.stop if s in self.text), key=self.text.index, default=None)
        text = self.text if matched is None else self.text[: self.text.index(matched)]
        made = self.renderer.coder.encode(text + (matched or ""))
        assert not set(made) & set(sampling.banned_ids)
        return Generation(tuple(made), text, stop_of(matched, ended_by_eos=matched is None), matched)

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        raise AssertionError

    async def close(self) -> None:
        pass


def model(renderer: Renderer, text: str = "") -> Model:
    return Model(renderer.name, renderer.name, Writer(renderer, text), renderer, Sampling(0, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_prompt_opens_the_thought_in_the_models_own_way(folders, kind):
    """Fails the constant `<think>`, and a suffix that stands behind the turn in place of the question."""
    (opens, _), _ = KINDS[kind]
    said = renderer(folders, kind, prompt_suffix=SUFFIX).prompt_text(QUESTION)
    assert said == f"<|im_start|>user\n{QUESTION}{SUFFIX}<|im_end|>\n<|im_start|>assistant\n{opens}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_proposal_ends_at_the_models_own_close_and_is_kept_in_our_spelling(folders, kind):
    """Fails the stop string `</think>` for all: the model would write its answer into the last step."""
    (_, closes), _ = KINDS[kind]
    one = model(renderer(folders, kind), f" Add 1.\nIt is 2.\n{closes}The answer")
    marker = StepMarker("### Step {t}.")
    made = asyncio.run(one.propose(QUESTION, (), marker, max_tokens=99, seed=0))
    assert (made.text, made.stop) == ("### Step 1. Add 1.\nIt is 2.\n</think>", Stop.THINK_END)
    assert one.renderer.decode_as_is(made.ids) == f"### Step 1. Add 1.\nIt is 2.\n{closes}"
    step = Step(1, kind, made.text, made.ids, len(made.ids), None, made.stop)
    one.vocabularies[kind] = kind
    own = one.renderer.decode_as_is(one.context_ids(QUESTION, (step,)))
    other = one.renderer.decode_as_is(one.context_ids(QUESTION, (Step(1, "x", made.text, (), 9, None, made.stop),)))
    assert own == other and own.endswith(f"It is 2.\n{closes}")
    assert one.renderer.decode_as_is(one.open_ids(step)) == "### Step 1. Add 1.\nIt is 2.\n"
    # An answer may not open or close a thought again.
    asyncio.run(model(one.renderer, "2").answer(QUESTION, (step,), max_tokens=9, seed=0))
    closing = set(one.close_ids)
    assert closing and not closing & set(one.banned_ids)


def test_a_close_that_a_model_spells_in_our_way_ends_its_thought_too(folders):
    """Fails the version whose trace has `</think>` in the middle, and is dropped from the data for that."""
    one = model(renderer(folders, "mistral"), " Add 1.</think>so 2[/THINK]2")
    made = asyncio.run(one.propose(QUESTION, (), StepMarker("### Step {t}."), max_tokens=99, seed=0))
    assert (made.text, made.stop) == ("### Step 1. Add 1.</think>", Stop.THINK_END)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scored_text_closes_the_thought_as_the_prover_does(folders, kind):
    (_, closes), _ = KINDS[kind]
    one = model(renderer(folders, kind))
    steps = (Step(1, "x", "### Step 1. Add 1.\n", (), 9, None, Stop.STEP),)
    suffix = " </think> The final answer is {A}."
    ids, _ = one.reading(QUESTION, steps, suffix.partition("{A}")[0])
    before, target = one.answer_ids(suffix, "42")
    told = one.renderer.decode_as_is([*ids, *before, *target])
    assert told.endswith(f"### Step 1. Add 1.\n {closes} The final answer is 42")
    assert one.renderer.decode_as_is(target).strip() == "42"


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_row_is_written_with_the_students_own(folders, kind, tmp_path):
    """Rows hold `<think>` and `</think>`; what the student learns is its own. A row that spells another's closing text
    is trained as the text that it is. Fails a row with the constants, and one whose spelled tag closes the thought."""
    from cord_distill.training.rows import render

    (opens, closes), _ = KINDS[kind]
    student = renderer(folders, kind)
    thoughts = ["2", f"they write {'[/THINK]' if kind == 'ours' else closes} there"]
    answers = [{"role": "assistant", "content": f"<think>\n{thought}\n</think>\n\nIt is 2."} for thought in thoughts]
    users = [{"role": "user", "content": QUESTION}, {"role": "user", "content": f"What does {closes} do?"}]
    file = tmp_path / "train.jsonl"
    rows = [{"prompt": [user], "completion": [answer]} for user, answer in zip(users, answers, strict=True)]
    rows.append({**rows[0], "prompt": [{"role": "system", "content": f"Close with {closes}."}, users[0]]})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = render(file, student, max_length=999, max_tokens=None, context=None)
    head = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n{opens}"
    assert student.decode_as_is(made.columns["input_ids"][0]) == f"{head}2\n{closes}\n\nIt is 2.<|im_end|>"
    assert student.decode_as_is(made.columns["input_ids"][1]).endswith(f"{thoughts[1]}\n{closes}\n\nIt is 2.<|im_end|>")
    assert not made.dropped and made.columns["labels"][0].count(-100) == len(student.prompt_ids(QUESTION))
    control = set(student.encode("</think>")) & set(student.control_tokens.values())
    once = sum(i in control for i in student.encode("</think>"))
    assert [sum(i in control for i in ids) for ids in made.columns["labels"][:2]] == [once, once]
    assert closes in made.sample


class Own(Script):
    """Closes its thought as its model does, and never in another way."""

    def generate(self, text: str, sampling: Any) -> str:
        return super().generate(text, sampling).replace("</think>", self.renderer.thought.close)


def own(renderer: Renderer) -> Own:
    return Own(renderer)


def test_teachers_of_four_kinds_write_one_trace(folders, tmp_path, monkeypatch, capsys):
    """Decoding, the data set and `cord show` together. Fails where another's closing text stays in a trace."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    rows = [{"id": f"p{i}", "question": f"What is {i} mod 3?", "answer": i % 3} for i in range(6)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scripted = {"engine": "scripted", "script": "test_thought_tags:own"}
    teachers = [
        section(folders, kind, **scripted).model_dump(exclude_defaults=True) | {"engine": "scripted"} for kind in KINDS
    ]
    recipe = {
        "output_dir": "run",
        "teachers": teachers,
        "meta_prover": {"same_as": "gpt_oss"},
        "problems": {"path": "q.jsonl", "grader": "exact"},
        "decode": {"beam_size": 2, "budgets": {"reasoning_tokens": 400, "answer_tokens": 40, "max_step_tokens": 60}},
        "data": {"filters": {"correct": False}},
        "train": {"model_name_or_path": str(folders["kimi"]), "max_length": 2048}
        | dict(zip(("think_open", "think_close"), KINDS["kimi"][0], strict=True)),
        "track": {"wandb": {"mode": "disabled"}},
    }
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert not main(["generate", str(path), "--no-check"]) and not main(["data", str(path)])
    made = [json.loads(line) for line in (tmp_path / "run/trajectories.jsonl").open()]
    texts = [c["text"] for row in made for level in row["candidates"] for c in level]
    writers = {c["teacher"] for row in made for level in row["candidates"] for c in level if "</think>" in c["text"]}
    assert writers == set(KINDS) and not any(row["error"] for row in made)
    spelled = [tag for (opens, closes), _ in KINDS.values() for tag in (opens, closes) if tag != "</think>"]
    assert not [text for text in texts for tag in spelled if tag in text]
    assert {c["stop"] for row in made for level in row["candidates"] for c in level} >= {"think_end", "step"}
    kept = [json.loads(line) for line in (tmp_path / "run/dataset/train.jsonl").open()]
    assert len(kept) == 6 and all(row["completion"][0]["content"].count("</think>") == 1 for row in kept)
    capsys.readouterr()
    assert not main(["show", str(path)])
    said = capsys.readouterr().out
    assert "[THINK] (" in said and "◁/think▷" in said.partition("# train")[2] and "<think>" in said


def test_a_tokenizer_without_the_token_is_named_before_anything_starts(folders, tmp_path, capsys):
    """Fails the check that takes any text: the model would be opened a thought that it has never seen."""
    (tmp_path / "q.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    tags = {"think_open": "[THINK]", "think_close": "[/THINK]"}
    recipe = {
        "teachers": [{"model": str(folders["kimi"]), **tags}],
        "problems": {"path": "q.jsonl"},
        "decode": {"pipeline": "single", "budgets": {"reasoning_tokens": 64, "answer_tokens": 32}},
        "train": {"model_name_or_path": str(folders["ours"]), **tags},
        "output_dir": str(tmp_path / "run"),
    }
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert main(["check", str(path)]) == 2
    said = capsys.readouterr().err
    for key, name in (("teachers.0", folders["kimi"].name), ("train", folders["ours"].name)):
        told = f"{key}: {name}: think_open: neither its tokenizer nor its chat template knows '[THINK]'"
        assert told in said
    with pytest.raises(CordError, match=r"think_close: neither .* knows '<\|chnl\|>'"):
        renderer_of(
            ModelConfig(model="m", think_open=CHANNELS[0], think_close="<|chnl|>final"), str(folders["gpt_oss"])
        ).check_prompt()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"think_open": "[THINK]"}, "think_close] is missing"),
        ({"think_close": "[/THINK]"}, "think_open] is missing"),
        ({"think_open": " ", "think_close": "x"}, "is empty"),
        ({"think_open": "##", "think_close": "##"}, "could not be told apart"),
        ({"think_open": ["THINK"], "think_close": "x"}, "brackets are a list in YAML; put the text in quotes"),
    ],
)
@pytest.mark.parametrize("where", ["teachers", "train"])
def test_half_a_pair_is_refused(keys, said, where):
    given = {"teachers": [{"model": "a/b", **keys}], "train": {"model_name_or_path": "a/b", **keys}}
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate({"name": "r", where: given[where]})


def test_the_students_prompt_is_the_evaluations_and_results_are_bound_to_it(folders, tmp_path):
    """Fails where a journal of before the keys existed is refused, or one with other tags goes on."""
    (opens, closes), _ = KINDS["kimi"]
    tags = {"think_open": opens, "think_close": closes, "prompt_suffix": SUFFIX}
    model = {"model": str(folders["kimi"]), "name": "t"}
    path = tmp_path / "r.yaml"

    def made(**keys: Any) -> Recipe:
        train = {"model_name_or_path": str(folders["kimi"]), **keys}
        path.write_text(yaml.safe_dump({"teachers": [{**model, **keys}], "train": train}))
        return load_recipe(path)

    told, plain = made(**tags), made()
    (untrained,) = targets(told, ["untrained"])
    assert (untrained.model.think_close, untrained.model.prompt_suffix) == (closes, SUFFIX)
    ours = {key for key, value in decode_inputs(told).items() if decode_inputs(plain).get(key) != value}
    assert ours == {"teachers.0.think_open", "teachers.0.think_close", "teachers.0.prompt_suffix"}
