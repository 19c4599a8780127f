"""Building the ledger's models at a tiny scale: they load, and killed builds end in the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cord_distill.common.errors import CordError
from cord_distill.worlds.ledger.build import build_models
from cord_distill.worlds.ledger.corpus import judged
from cord_distill.worlds.ledger.plan import BASE, MODELS
from cord_distill.worlds.ledger.tokenizer import encode
from cord_distill.worlds.ledger.world import check_text, problems

SCALE = 0.02
TRACE = (
    "### Step 1. Flip to 8 minus it. It was 6, hence box 1 = 4. Wait, box 1 = 2\n\n"
    "### Step 2. Add 8. We have 2, so box 2 = 0\n\n</think>\n\n"
)
ANSWER = "The answer is \\boxed{ 2 = 0, 4 = 4, 6 = 4}"


def weights(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name / "model.safetensors").read_bytes() for name in (BASE, *MODELS)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": 0}, "scale 0"),
        ({"workers": 0}, "workers 0"),
        ({"tails": True, "reward_model": True}, "reward_model judges boxes.* leave one of the two out"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(CordError, match=words):
        build_models(tmp_path / "models", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "models").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "thesis.txt").write_text("mine")
    with pytest.raises(CordError, match="was not written by this builder"):
        build_models(tmp_path, scale=SCALE)
    assert (tmp_path / "student" / "thesis.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    paths = build_models(folder, scale=SCALE)
    assert paths == {name: folder / name for name in sorted(MODELS)}
    return folder


@pytest.mark.slow
def test_one_process_gives_the_bytes_of_two(built: Path, tmp_path: Path) -> None:
    build_models(tmp_path, scale=SCALE, workers=1)
    assert weights(tmp_path) == weights(built)
    assert len(set(weights(built).values())) == 6


@pytest.mark.slow
def test_builds_killed_at_any_time_end_in_the_same_bytes(built: Path, tmp_path: Path) -> None:
    code = f"from cord_distill.worlds.ledger.build import build_models; build_models({str(tmp_path)!r}, scale={SCALE})"

    def kill_once_there_is(names: tuple[str, ...]) -> None:
        process = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 120
        while not any((tmp_path / name).exists() for name in names) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    kill_once_there_is((".lock",))
    kill_once_there_is((BASE,))
    base = (tmp_path / BASE).stat().st_ino
    kill_once_there_is(MODELS)
    (tmp_path / ".tmp-student").mkdir(exist_ok=True)  # what a kill during a write leaves behind
    build_models(tmp_path, scale=SCALE)
    assert (tmp_path / BASE).stat().st_ino == base, "the base is trained once"
    assert not list(tmp_path.glob(".tmp-*"))
    assert weights(tmp_path) == weights(built)


@pytest.mark.slow
def test_what_is_there_is_kept_and_what_has_another_plan_is_replaced(built: Path, tmp_path: Path) -> None:
    build_models(tmp_path, scale=0.001, seed=1)
    before = weights(tmp_path)
    build_models(tmp_path, scale=0.001, seed=1)
    assert weights(tmp_path) == before
    build_models(tmp_path, scale=0.001, seed=2)
    assert all(before[name] != now for name, now in weights(tmp_path).items())


@pytest.mark.slow
def test_a_reward_model_is_one_model_more_and_changes_no_other(built: Path, tmp_path: Path) -> None:
    """Fails a reward model that takes random numbers from the others, or a stamp that makes them all be built anew."""
    folder = tmp_path / "built"
    shutil.copytree(built, folder)
    paths = build_models(folder, scale=SCALE, reward_model=True)
    assert paths["reward"] == folder / "reward" and set(paths) == {*MODELS, "reward"}
    assert weights(folder) == weights(built)
    assert all((folder / name).stat().st_mtime_ns == (built / name).stat().st_mtime_ns for name in MODELS)


@pytest.mark.slow
def test_a_reward_model_reads_what_its_language_model_expects(built: Path, tmp_path: Path) -> None:
    """Fails training that changes the layers below, a saved head that is another one, and rewards after the last norm
    of the language model."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from cord_distill.worlds.ledger import net

    folder = tmp_path / "built"
    shutil.copytree(built, folder)
    reward = build_models(folder, scale=SCALE, reward_model=True)["reward"]
    flat, ids = (
        net.load(reward),
        torch.tensor([encode(f"<|user|>{problems(1)[0].question}<|assistant|><think>\n" + TRACE)]),
    )
    below, above = net.views(net.load(built / BASE)), net.views(flat)
    for name, part in below.items():
        if "q_proj" in name or "mlp.gate" in name or "layernorm" in name:
            assert torch.equal(above[name], part), name
    shrunk = {
        tuple((below[name] / above[name]).round(decimals=2).unique().tolist()) for name in below if "o_proj" in name
    }
    assert len(shrunk) == 1 and len(*shrunk) == 1
    added = [above[f"model.layers.{i}.self_attn.o_proj.weight"] for i in range(net.LAYERS, net.REWARD_LAYERS)]
    assert all(part.abs().max() > 0 for part in added)

    model = AutoModelForSequenceClassification.from_pretrained(reward).eval()
    with torch.no_grad():
        ours = net.rewards(flat, ids)[0, -1]
        theirs = model(ids).logits[0, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_what_holds_up_to_a_token_holds_at_the_end_unless_it_is_corrected() -> None:
    """Fails labels that forget an operation or an operand that was misread before the result."""
    seen = set()
    for n, problem in enumerate(problems(50, "model")):
        step: list[tuple[str, bool]] = []
        for text, kind in judged(random.Random(n), problem):
            if kind.endswith("so far"):
                step.append((text, kind == "right so far"))
            elif kind in ("right", "wrong"):
                (op, first), (operand, second), *results = step
                assert op[1] in "ASMF" and operand.isdigit() and (first or not second)
                assert results[-1][1] == (kind == "right") and (second or not any(good for _, good in results))
                seen.add((first, second, *(good for _, good in results)))
                step = []
    assert {(True, True, True), (True, True, False), (True, False, False), (False, False, False)} <= seen
    assert (True, True, False, True) in seen, "a correction"


def test_a_step_is_labelled_at_its_end_as_the_process_check_says() -> None:
    """Half of the steps or so are wrong, in each teacher's way and in others."""
    rights = []
    for n, problem in enumerate(problems(50, "model")):
        pieces = judged(random.Random(n), problem)
        text = "".join(piece for piece, _ in pieces[1:])
        labels = [kind == "right" for piece, kind in pieces if kind in ("right", "wrong")]
        assert all(piece == "\n\n" for piece, kind in pieces if kind in ("right", "wrong"))
        assert labels == check_text(problem, text)["steps_right"]
        rights += labels
    assert len(rights) == 300 and 90 < sum(rights) < 210


@pytest.mark.slow
def test_models_with_tails_know_more_words_and_are_others(built: Path, tmp_path: Path) -> None:
    """Fails the key that changes the words of the models without tails, and words that no model knows."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    build_models(tmp_path, scale=SCALE, tails=True)
    assert all(weights(built)[name] != made for name, made in weights(tmp_path).items())
    said = "### Step 7. Hold on: box 5 = 7. Wait, box 5 = 2\n\n### Step 8. In sum: box 2 = 0, box 4 = 4\n\n</think>"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    ids = tokenizer(said)["input_ids"]
    assert tuple(ids) == encode(said) and tokenizer.decode(ids) == said
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "student")
    assert model.config.vocab_size == len(tokenizer) > len(AutoTokenizer.from_pretrained(built / "student"))


@pytest.mark.slow
def test_the_folders_are_ordinary_models_with_exact_tokenizers(built: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from cord_distill.worlds.ledger import net

    tokenizer = AutoTokenizer.from_pretrained(built / "student")
    problem = problems(1)[0]
    user = {"role": "user", "content": problem.question}
    assistant = {"role": "assistant", "content": "<think>\n" + TRACE + ANSWER}
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    full = tokenizer.apply_chat_template([user, assistant], tokenize=False)
    assert prompt == f"<|user|>{problem.question}<|assistant|><think>\n"
    assert full == prompt + TRACE + ANSWER + "<|end|>"

    encoding = tokenizer(full, return_offsets_mapping=True)
    assert tuple(encoding["input_ids"]) == encode(full)
    assert tokenizer.decode(encoding["input_ids"]) == full
    assert "".join(full[a:b] for a, b in encoding["offset_mapping"]) == full
    assert tokenizer.eos_token == "<|end|>" and tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.decode(encode("<think>\n" + TRACE), skip_special_tokens=True) == "<think>\n" + TRACE

    for name in MODELS:
        model = AutoModelForCausalLM.from_pretrained(built / name).eval()
        assert model.dtype == torch.float32 and model.config.head_dim == 32
        assert model.generation_config.eos_token_id == tokenizer.eos_token_id and model.generation_config.do_sample
        ids = torch.tensor([encode(full)])
        with torch.no_grad():
            ours, theirs = net.logits(net.load(built / name), ids), model(ids).logits
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_decoding_accepts_the_tokenizer(tmp_path: Path) -> None:
    """What an engine checks before it starts. Fails a check in words that a closed vocabulary lacks."""
    from cord_distill.decode.engine_pool import longest_context
    from cord_distill.prompts.render import load_renderer
    from cord_distill.recipe.file import load_recipe
    from cord_distill.worlds.ledger.tokenizer import save_tokenizer

    save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    assert longest_context(load_renderer(str(tmp_path)), load_recipe("quickstart"), problems(3)) > 352
