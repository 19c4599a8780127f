"""The stages after SFT before torch is loaded: their keys, their student, their teacher's vocabulary, their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from trainings import training_at

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.evaluation.targets import methods
from cord_distill.prompts.render import load_renderer
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe
from cord_distill.recipe.recipe import Recipe
from cord_distill.recipe.training_stages import section_of, training_runs
from cord_distill.run import stages
from cord_distill.run_folder.paths import RunFolder
from cord_distill.training.arguments import resolved_section
from cord_distill.training.dpo import pair_rows
from cord_distill.training.memory.later_stages import stage_memory
from cord_distill.training.memory.predict import predict
from cord_distill.training.memory.setup import setup_of
from cord_distill.training.memory.shapes import shape_of
from cord_distill.training.plan import plan_training
from cord_distill.training.vocabulary import Vocabulary, difference

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 60, "max_position_embeddings": 512,
}  # fmt: skip
CHARACTERS = set("Start=3; +2. Report?### Step 1\n5*</think>0678")
TEMPLATE = (
    "{%- for message in messages -%}{{- '<|' + message['role'] + '|>' + message['content'] -}}"
    "{%- if message['role'] == 'assistant' -%}{{- '<|end|>' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|><think>\n' -}}{%- endif -%}"
)


def model(folder: Path, change: dict[str, Any] | None = None, swap: bool = False) -> Path:
    """A folder with a tokenizer of single characters and a config, no weights. swap: two of them change places."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
    vocabulary = {word: number for number, word in enumerate([*special, *sorted(CHARACTERS)])}
    if swap:
        vocabulary["="], vocabulary["?"] = vocabulary["?"], vocabulary["="]
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|pad|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|pad|>", "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(change or {})}))
    return folder


def write_recipe(folder: Path, **more: Any) -> Path:
    """Three models of one folder: a student, a teacher of its vocabulary, one of another."""
    for name, swap in (("student", False), ("same", False), ("other", True)):
        model(folder / name, swap=swap)
    values = {
        "output_dir": str(folder / "out"),
        "teachers": [{"model": str(folder / name), "name": name} for name in ("same", "other")],
        "train": {
            "model_name_or_path": str(folder / "student"), "max_length": 200, "learning_rate": 1e-3, "max_steps": 6,
            "global_batch_size": 4, "gradient_checkpointing": False, "packing": False,
        },
        "track": {"wandb": {"mode": "disabled"}},
        **more,
    }  # fmt: skip
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump(values))
    dataset = folder / "out/dataset"
    dataset.mkdir(parents=True, exist_ok=True)
    (dataset / "train.jsonl").write_text("{}\n")
    (dataset / "preferences.jsonl").write_text("{}\n")
    return path


def trained(folder: Path) -> None:
    """What the SFT stage leaves."""
    training_at(folder / "out/checkpoints").begin({"of": "sft"}, 1, 0)
    model(folder / "out/checkpoints/final")


def test_a_later_stage_is_run_as_sft_and_learns_at_its_own_rate(tmp_path: Path) -> None:
    """Fails for one that takes SFT's learning rate over, 50 times too high, or has to be told DeepSpeed again; and for
    one that hands on keys which the later config does not know (packing)."""
    recipe = load_recipe(write_recipe(tmp_path, distil={"beta": 0.5, "global_batch_size": 2}), ["stage=distil"])
    assert section_of(recipe) == {
        "max_length": 200, "global_batch_size": 2, "gradient_checkpointing": False, "beta": 0.5,
    }  # fmt: skip
    section = resolved_section(recipe, {})
    assert section["output_dir"] == str(tmp_path / "out/distil")
    assert (section["gradient_accumulation_steps"], section["seed"]) == (2, 0)
    assert section_of(load_recipe(write_recipe(tmp_path))) == load_recipe(write_recipe(tmp_path)).train


@pytest.mark.parametrize(
    ("stage", "section", "says"),
    [
        (
            "distil",
            {"max_completion_lenght": 1},
            r"distil\.max_completion_lenght: .* is not a key.*'max_completion_length'",
        ),
        ("dpo", {"teacher": "same"}, r"dpo\.teacher: .* is not a key of TRL's DPOConfig"),
        ("distil", {"packing": True}, r"packing is not a key of TRL's DistillationConfig"),
    ],
)
def test_unknown_keys_are_named_with_their_stage(
    tmp_path: Path, stage: str, section: dict[str, Any], says: str
) -> None:
    with pytest.raises(CordError, match=says):
        load_recipe(write_recipe(tmp_path, **{stage: section}))


def test_keys_that_are_ours_to_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CordError, match=r"distil\.teacher_model_name_or_path.* give distil\.teacher"):
        load_recipe(write_recipe(tmp_path, distil={"teacher_model_name_or_path": "x"}))
    shared = {"PARALLELISM_CONFIG_SP_SIZE": "2"}
    with pytest.raises(CordError, match="without sequence parallelism"):
        resolved_section(load_recipe(write_recipe(tmp_path, dpo={}), ["stage=dpo"]), shared)


def test_the_student_is_that_of_the_stage_before(tmp_path: Path) -> None:
    """Fails for one that starts from the base model, and for a finished stage that does not notice another SFT."""
    path = write_recipe(tmp_path, dpo={}, distil={"teacher": "same"})
    with pytest.raises(CordError, match=r"dpo goes on from the student of `train:`.*cord train r\.yaml, or give dpo\."):
        plan_training(load_recipe(path, ["stage=dpo"]), "r.yaml")
    trained(tmp_path)
    made = plan_training(load_recipe(path, ["stage=dpo"]))
    assert made.section["model_name_or_path"] == str(tmp_path / "out/checkpoints/final")
    assert made.data.name == "preferences.jsonl"
    with pytest.raises(CordError, match=r"of `dpo:`.*cord train r\.yaml stage=dpo"):
        plan_training(load_recipe(path, ["stage=distil"]), "r.yaml")
    own = plan_training(load_recipe(path, ["stage=distil", f"distil.model_name_or_path={tmp_path / 'student'}"]))
    assert own.section["model_name_or_path"] == str(tmp_path / "student") and own.teacher is not None
    training_at(tmp_path / "out/checkpoints").begin({"of": "another sft"}, 1, 0)
    assert plan_training(load_recipe(path, ["stage=dpo"])).inputs != made.inputs
    with pytest.raises(CordError, match="has no section `dpo:`"):
        plan_training(load_recipe(path, ["stage=dpo", "dpo=null"]))


def test_other_weights_of_the_same_length_are_another_student_and_another_teacher(tmp_path: Path) -> None:
    """Fails for a version that goes by name and length where a file is large: every fine-tuning of one base model has
    both in common."""
    own = {"teacher": "same", "model_name_or_path": str(tmp_path / "student")}
    recipe = load_recipe(write_recipe(tmp_path, distil=own), ["stage=distil"])
    size = 65 * 2**20

    def inputs(changed: str | None = None) -> dict[str, Any]:
        for name in ("student", "same"):
            with open(tmp_path / name / "model.safetensors", "wb") as file:  # a sparse file
                file.truncate(size)
                if name == changed:
                    file.seek(size - 100)
                    file.write(b"other")
        return plan_training(recipe).inputs

    before = inputs()
    assert inputs() == before
    assert inputs("student") == {**before, "student": inputs("student")["student"]} != before
    assert inputs("same") == {**before, "teacher": inputs("same")["teacher"]} != before


def test_pairs_that_are_not_there_name_their_command(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, dpo={})
    trained(tmp_path)
    (tmp_path / "out/dataset/preferences.jsonl").unlink()
    with pytest.raises(CordError, match=r"add data\.preferences=\{\} to the recipe and make them with cord data r"):
        plan_training(load_recipe(path, ["stage=dpo"]), "r")


def test_a_teacher_of_another_vocabulary_is_refused_before_anything_loads(tmp_path: Path) -> None:
    """Fails for TRL's own check, the number of words: both have 60. No weights lie in these folders at all."""
    trained(tmp_path)
    with pytest.raises(CordError, match=r"id \d+ is '[=?]' to the teacher and '[=?]' to .*these do: same"):
        plan_training(load_recipe(write_recipe(tmp_path, distil={"teacher": "other"}), ["stage=distil"]))
    made = plan_training(load_recipe(write_recipe(tmp_path, distil={}), ["stage=distil"]))
    assert made.teacher is not None and made.teacher.label == "same"
    assert "teacher" not in made.section
    model(tmp_path / "same", {"vocab_size": 64})
    from cord_distill.training.vocabulary import vocabulary

    vocabulary.cache_clear()
    with pytest.raises(CordError, match="none of the recipe's teachers shares"):
        plan_training(load_recipe(tmp_path / "r.yaml", ["stage=distil"]))


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        (Vocabulary({0: "a", 1: "b"}, 2), None),
        (Vocabulary({0: "a", 1: "b", 5: "<tool>"}, 2), None),
        (Vocabulary({0: "a"}, 2), None),
        (Vocabulary({0: "b", 1: "a"}, 2), "id 0 is 'b' to the teacher and 'a' to the student"),
        (Vocabulary({0: "a", 7: "b"}, 2), "'b' is id 7 to the teacher and 1 to the student"),
        (Vocabulary({0: "a", 1: "b"}, 4), "4 words and the student's 2"),
        (Vocabulary({0: "a", 1: "b"}, None), None),
    ],
    ids=["equal", "one more at a free id", "one less", "exchanged", "moved", "a wider head", "no size said"],
)
def test_vocabularies(teacher: Vocabulary, says: str | None) -> None:
    """Fails for a comparison of sizes, and for one of whole files, which a further unused token would tell apart."""
    found = difference(Vocabulary({0: "a", 1: "b"}, 2), teacher)
    assert found is None if says is None else found is not None and says in found


def pair(chosen: str, rejected: str, kind: str = "step") -> dict[str, Any]:
    sides = {
        key: [{"role": "assistant", "content": text}] for key, text in (("chosen", chosen), ("rejected", rejected))
    }
    return {"prompt": [{"role": "user", "content": "Start=3; +2. Report?"}], **sides, "kind": kind}


def test_pairs_are_trained_where_they_part(tmp_path: Path) -> None:
    """Fails for a prompt of the question alone (the shared prefix would be trained on both sides), for an end of turn
    behind a step in the middle of a thought, and for one that is missing behind a whole turn."""
    renderer = load_renderer(str(model(tmp_path / "m")))
    shared = "<think>\n### Step 1. 3+2=5\n"
    rows = [
        pair(shared + "### Step 2. 5*3=5\n", shared + "### Step 2. 5*3=1\n"),
        pair("<think>\n5</think>\n\n5", "<think>\n6</think>\n\n6", "trace"),
        pair(shared + "7", shared),
        pair(shared + "7<|end|>8", shared + "8"),
    ]
    path = tmp_path / "preferences.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = pair_rows(path, renderer, max_length=200, max_tokens=None, context=512)
    text = {name: [renderer.decode(ids) for ids in column] for name, column in made.columns.items()}
    prompt = renderer.prompt_text("Start=3; +2. Report?")
    assert text["prompt_ids"] == [prompt + "### Step 1. 3+2=5\n### Step 2. 5*3=", prompt]
    assert text["chosen_ids"] == ["5\n", "5</think>\n\n5<|end|>"]
    assert text["rejected_ids"] == ["1\n", "6</think>\n\n6<|end|>"]
    assert sorted(made.dropped) == [
        "a control token of the student stands in the text and cannot be written out",
        "one completion is the beginning of the other",
    ]
    assert made.summary.startswith("2 pairs (1 of steps, 1 of traces)")
    with pytest.raises(CordError, match=r"longer than dpo\.max_length 30"):
        pair_rows(path, renderer, max_length=30, max_tokens=None, context=512)
    path.write_text(json.dumps({"prompt": "text", "chosen": "a", "rejected": "b"}) + "\n")
    with pytest.raises(CordError, match="line 1: needs `prompt`, `chosen` and `rejected`"):
        pair_rows(path, renderer, max_length=30, max_tokens=None, context=512)


def test_a_run_has_its_stages_in_order_and_evaluates_each_student(tmp_path: Path) -> None:
    """Fails for one that evaluates the last student only, or trains a stage beside the one that it goes on from."""
    more = {"data": {"preferences": {}}, "dpo": {}, "distil": {"teacher": "same"}, "evaluate": {"suites": ["aime24"]}}
    path = write_recipe(tmp_path, seed=[3, 4], meta_prover={"model": str(tmp_path / "same")}, **more)
    keys = [stage.key for stage in stages.plan_stages(Experiment.load(path))]
    both = ["cord-seed-3", "cord-seed-4"]
    assert keys[2:] == [f"{stage}/{run}" for stage in ("train", "dpo", "distil") for run in both] + ["evaluate"]
    assert [run.label for run in methods(load_recipe(path))] == [
        "cord-seed-3", "cord-seed-4", "cord-dpo-seed-3", "cord-dpo-seed-4", "cord-distil-seed-3", "cord-distil-seed-4",
    ]  # fmt: skip
    planned = {stage.key: stage for stage in stages.plan_stages(Experiment.load(path))}
    argv, environment = planned["distil/cord-seed-4"].command()  # type: ignore[misc]
    assert argv[-2:] == ["seed=4", "stage=distil"] and environment["WANDB_JOB_TYPE"] == "distil"
    folder = RunFolder.of(training_runs(load_recipe(path))[-1])
    assert folder.final_model == tmp_path / "out/distil/seed-4/final"


def test_variants_bring_or_leave_out_a_stage() -> None:
    """Fails for a list of students that is read off the recipe alone: two variants differ in nothing else."""
    recipe = Recipe.model_validate(
        {
            "name": "r", "train": {"model_name_or_path": "m"}, "distil": {"teacher": "t"},
            "variants": {"sft": {"distil": None}, "long": {"distil.beta": 0.5}, "pairs": {"distil": None, "dpo": {}}},
        }
    )  # fmt: skip
    assert [run.label for run in methods(recipe)] == ["sft", "long", "long-distil", "pairs", "pairs-dpo"]
    with pytest.raises(ValueError, match="'a-dpo' would be taken for a stage's student"):
        Recipe.model_validate({"name": "r", "dpo": {}, "variants": {"a": {}, "a-dpo": {}}})


def test_the_check_says_what_a_later_stage_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_recipe(tmp_path, dpo={}, distil={"teacher": "other"}, teachers=[])
    (tmp_path / "out/dataset/preferences.jsonl").unlink()
    assert main(["check", str(path), f"distil.teacher={tmp_path / 'other'}", "--gpus", "8"]) == 2
    page, said = capsys.readouterr()
    assert "missing: dpo: there are no preference pairs: add data.preferences={}" in said
    assert "does not share the student's vocabulary" in said
    assert "distil/" in page and "the student of dpo, corrected by" in page
    main(["check", str(path), "dpo=null", f"distil.teacher={tmp_path / 'same'}", "--gpus", "4"])
    assert "memory of distil, predicted (not verified on a GPU):" in capsys.readouterr().out


def test_memory_of_the_later_stages(tmp_path: Path) -> None:
    """Fails for one that forgets the reference or the teacher, or that ZeRO-3 alone shares them out."""
    path = write_recipe(tmp_path, dpo={}, distil={"teacher": "same"})
    shape = shape_of(str(tmp_path / "student"))
    pairs, distil = (load_recipe(path, [f"stage={name}"]) for name in ("dpo", "distil"))
    assert stage_memory(pairs, shape, None, 8).training["reference"] == 2 * shape.parameters
    lora = load_recipe(path, ["stage=dpo", "dpo.use_peft=true"])
    assert stage_memory(lora, shape, None, 8).training["reference"] == 0
    zero3 = load_recipe(path, ["stage=distil", "launch.accelerate_config=zero3"])
    held = stage_memory(zero3, shape, shape, 8)
    assert held.training["teacher"] == -(-2 * shape.parameters // 8)
    assert held.sampling["gathered weights"] == 2 * shape.parameters
    plain = stage_memory(distil, shape, shape, 1)
    # 4 samples of 200 tokens: keys and values, 2 layers, 2 heads of 16, bf16.
    assert plain.sampling["keys and values of 4 samples"] == 2 * 2 * 32 * 2 * 4 * 200
    assert plain.training["student"] >= predict(shape, setup_of(distil, shape, 1)).gpu
    assert plain.gpu == max(sum(plain.training.values()), sum(plain.sampling.values()))
