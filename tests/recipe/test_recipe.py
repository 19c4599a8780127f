"""Recipe files: what they share, how they are overridden, and that every mistake is named with place and fix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.files import write_atomic
from cord_distill.common.paths import bundled
from cord_distill.recipe.file import dump_recipe, find_recipe, load_recipe, recipe_hash
from cord_distill.run_folder.paths import RunFolder

TEACHER = "{name: %s, engine: scripted, script: 'a.b:c'}"
TEACHERS = f"teachers: [{TEACHER % 'ada'}, {TEACHER % 'bob'}]\n"


@pytest.fixture
def write(tmp_path: Path):
    def one(text: str, name: str = "r.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return one


def refused(source: Path | str, overrides: list[str] | None = None, variant: str | None = None) -> str:
    with pytest.raises(CordError) as error:
        load_recipe(source, overrides or [], variant)
    return str(error.value)


# Mistakes are named.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("decode:\n  beam_sise: 4\n", "r.yaml, line 2: decode.beam_sise: unknown key; did you mean 'beam_size'?"),
        ("decod: {}\n", "r.yaml, line 1: decod: unknown key; did you mean 'decode'?"),
        (
            "decode:\n  beam_size: 4\n  early_start: false\n",
            "r.yaml, line 3: decode.early_start is gone: it gained nothing measurable; remove the key",
        ),
        (
            "data:\n  push_to_hub: me/data\n",
            "r.yaml, line 2: data.push_to_hub is gone: remove the key; `hf upload USER/NAME FOLDER --type dataset --",
        ),
        (
            "decode:\n  process_reward:\n    model: m\n    engine: transformers\n",
            "r.yaml, line 4: decode.process_reward.engine: transformers is gone: vLLM loads the paper's reward model; "
            "write `engine: vllm`",
        ),
        (
            "decode: {process_reward: {model: m, engine: transformer}}\n",
            "decode.process_reward.engine: Input should be 'vllm', 'server' or 'scripted' (got 'transformer')",
        ),
        (
            "\ndecode:\n  budgets:\n    zzz: 1\n",
            "line 4: decode.budgets.zzz: unknown key; known keys here: answer_tokens",
        ),
        ("decode: {beam_size: 0}\n", "line 1: decode.beam_size: Input should be greater than 0 (got 0)"),
        ("seed: many\n", "line 1: seed: 'many' is neither a whole number from 0 to 4294967295 nor a list of"),
        (
            "decode: {pipeline: cor}\n",
            "decode.pipeline: Input should be 'cord', 'curation', 'single', 'mcts' or 'integration' (got 'cor')",
        ),
        ("decode: {answer_suffix: hm}\n", "line 1: decode: answer_suffix has no {A}"),
        ("train:\n  learning_rat: 1\n", "line 2: train.learning_rat: learning_rat is not a key of TRL's SFTConfig"),
        ("teachers:\n  - {name: a, engine: server}\n", "line 2: teachers.0: engine: server needs url"),
        ("teachers:\n  - model: x\n    temprature: 1\n", "line 3: teachers.0.temprature: unknown key; did you mean"),
        ("teachers:\n  - {}\n", "line 2: teachers.0: model is missing"),
        ("problems: {path: ./a, dataset: b}\n", "line 1: problems: path and dataset are both given"),
        ("problems: {builder: nofunction}\n", "'nofunction' is not of the form package.module:function"),
        (f"{TEACHERS}meta_prover: {{same_as: eve}}\n", "meta_prover.same_as 'eve' names no teacher; there are: ['ada'"),
        (f"teachers: [{TEACHER % 'ada'}, {TEACHER % 'ada'}]\n", "two teachers are called 'ada'"),
        ("seed: 1\ndecode: {}\nseed: 2\n", "r.yaml, line 3: seed is given twice; keep one"),
        ("decode:\n  beam_size: 1\n  beam_size: 2\n", "r.yaml, line 3: beam_size is given twice; keep one"),
        ("evaluate: {samples: 0}\n", "line 1: evaluate.samples: Input should be greater than 0 (got 0)"),
        ("name: ../up\n", "line 1: name: '/"),
        ("variants: {a/b: {seed: 1}}\n", "'a/b' names a folder: no slashes, no leading dot"),
        ("variants: {untrained: {seed: 1}}\n", "'untrained' is taken (eval/untrained)"),
        (
            f"{TEACHERS}variants: {{bob: {{seed: 1}}}}\n",
            "'bob' is taken (eval/bob): give the variant or teacher another",
        ),
        ("- a\n- b\n", "a recipe is a mapping of sections"),
        ("", "a recipe is a mapping of sections"),
        ("decode: {beam_size: [\n", "not readable as YAML"),
    ],
)
def test_a_mistake_is_named_with_its_place(write, text: str, said: str) -> None:
    assert said in refused(write(text))


def test_every_mistake_is_told_at_once(write) -> None:
    said = refused(write("decode: {beam_size: 0}\nseed: x\n")).splitlines()
    assert len(said) == 2


def test_a_binary_file_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not readable as YAML" in refused(tmp_path / "r.yaml")


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nothere.yaml")


# extends.


def test_extends_shares_and_the_nearer_file_wins(write) -> None:
    write("seed: 1\ndecode: {beam_size: 2, budgets: {max_steps: 9}}\n", "base.yaml")
    write("extends: base.yaml\ndecode: {beam_size: 3}\n", "middle.yaml")
    recipe = load_recipe(write("extends: middle.yaml\ndecode: {budgets: {answer_tokens: 7}}\n"))
    assert (recipe.seed, recipe.name, recipe.decode.beam_size) == (1, "r", 3)
    assert (recipe.decode.budgets.max_steps, recipe.decode.budgets.answer_tokens) == (9, 7)


def test_a_list_replaces_the_list_of_the_base(write) -> None:
    write(TEACHERS, "base.yaml")
    recipe = load_recipe(write(f"extends: base.yaml\nteachers: [{TEACHER % 'cyd'}]\n"))
    assert [t.label for t in recipe.teachers] == ["cyd"]


def test_a_mistake_in_the_base_names_the_base(write) -> None:
    write("seed: 1\nmood: good\n", "base.yaml")
    assert refused(write("extends: base.yaml\n")).startswith("base.yaml, line 2: mood: unknown key")


def test_extends_in_a_circle(write) -> None:
    write("extends: r.yaml\n", "b.yaml")
    assert "goes round in a circle: r.yaml -> b.yaml -> r.yaml" in refused(write("extends: b.yaml\n"))


def test_extends_of_a_missing_base(write) -> None:
    said = refused(write("extends: gone.yaml\n"))
    assert "r.yaml: extends:" in said and "gone.yaml is not there; the path is relative to this recipe" in said


# Overrides.


def test_overrides_win_over_the_file(write) -> None:
    path = write(f"{TEACHERS}decode: {{beam_size: 2}}\n")
    recipe = load_recipe(
        path,
        ["decode.beam_size=8", "teachers.1.temperature=0.3", "train.learning_rate=5.0e-6", "evaluate.samples={a: 2}"],
    )
    assert (recipe.decode.beam_size, recipe.teachers[0].temperature, recipe.teachers[1].temperature) == (8, 0.6, 0.3)
    assert recipe.train == {"learning_rate": 5e-6}
    assert recipe.evaluate.samples == {"a": 2}


def test_an_override_of_null_takes_a_section_away(write) -> None:
    assert load_recipe(write("problems: {path: ./a}\n"), ["problems=null"]).problems is None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("decode.beam_size", "is not of the form key.sub=value"),
        ("=4", "is not of the form key.sub=value"),
        ("decode.beam_sise=4", "decode.beam_sise: unknown key; did you mean 'beam_size'?"),
        ("seed.x=1", "seed is a plain value, it has no key 'x'"),
        ("teachers.7.temperature=1", "'7' is no index into a list of 2"),
        ("teachers.ada.temperature=1", "'ada' is no index into a list of 2"),
        ("seed=[1", "close what is open"),
    ],
)
def test_a_bad_override_is_named(write, override: str, said: str) -> None:
    assert said in refused(write(f"seed: 3\n{TEACHERS}"), [override])


# Paths.


def test_paths_are_relative_to_the_recipe_and_in_overrides_to_the_working_directory(
    write, tmp_path, monkeypatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = write(
        "output_dir: out\nproblems: {path: ../data/p.jsonl}\nteachers: [{model: ./m}, {model: org/m2}]\n", "sub/r.yaml"
    )
    recipe = load_recipe(path)
    assert recipe.output_dir == str(tmp_path / "sub" / "out")
    assert recipe.problems is not None and recipe.problems.path == str(tmp_path / "data" / "p.jsonl")
    assert [t.model for t in recipe.teachers] == [str(tmp_path / "sub" / "m"), "org/m2"]
    over = load_recipe(path, ["output_dir=out", "evaluate.data.aime=x.jsonl", "teachers.0.model=./m"])
    assert over.output_dir == str(tmp_path / "here" / "out")
    assert over.evaluate.data == {"aime": str(tmp_path / "here" / "x.jsonl")}
    assert over.teachers[0].model == str(tmp_path / "here" / "m")
    columns = load_recipe(path, ["evaluate.data.aime={path: x.jsonl, question: q}"]).evaluate.files["aime"]
    assert (columns.path, columns.question) == (str(tmp_path / "here" / "x.jsonl"), "q")


def test_paths_of_a_base_are_relative_to_the_base(write, tmp_path) -> None:
    write("problems: {path: p.jsonl}\nevaluate: {tasks: [./t.py]}\n", "base/b.yaml")
    recipe = load_recipe(write("extends: base/b.yaml\n"))
    assert recipe.problems is not None and recipe.problems.path == str(tmp_path / "base" / "p.jsonl")
    assert recipe.evaluate.tasks == [str(tmp_path / "base" / "t.py")]


def test_a_bare_file_name_in_a_list_is_a_path_and_a_module_is_not(write, tmp_path) -> None:
    path = write("evaluate: {tasks: [t.py, package.tasks]}\ndata: {decontaminate: [held.jsonl, org/set]}\n")
    recipe = load_recipe(path)
    assert recipe.evaluate.tasks == [str(tmp_path / "t.py"), "package.tasks"]
    assert recipe.data.decontaminate == [str(tmp_path / "held.jsonl"), "org/set"]


def test_paths_inside_an_override_are_paths_too(write, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(write("seed: 1\n"), ["problems={path: x.jsonl}", "teachers=[{model: ./m}]"])
    assert recipe.problems is not None and recipe.problems.path == str(tmp_path / "x.jsonl")
    assert recipe.teachers[0].model == str(tmp_path / "m")


def test_paths_in_a_variant_are_relative_to_the_recipe(write, tmp_path) -> None:
    recipe = load_recipe(write("variants: {a: {problems.path: x.jsonl}}\n", "sub/r.yaml"), variant="a")
    assert recipe.problems is not None and recipe.problems.path == str(tmp_path / "sub" / "x.jsonl")


# Variants.

VARIANTS = """\
decode: {beam_size: 4}
variants:
  greedy: {decode.beam_size: 1}
  plain: {}
  curation: {decode.pipeline: curation}
"""


def test_a_variant_is_the_recipe_with_its_overrides(write) -> None:
    path = write(VARIANTS)
    assert list(load_recipe(path).variants) == ["greedy", "plain", "curation"]
    greedy, plain = load_recipe(path, variant="greedy"), load_recipe(path, ["variant=plain"])
    assert (greedy.decode.beam_size, plain.decode.beam_size) == (1, 4)
    assert (greedy.variant, greedy.variants) == ("greedy", {})


def test_variants_share_the_run_folder_and_have_their_own_inside(write, tmp_path) -> None:
    path = write("output_dir: out\n" + VARIANTS)
    greedy, whole = RunFolder.of(load_recipe(path, variant="greedy")), RunFolder.of(load_recipe(path))
    assert greedy.trajectories == tmp_path / "out" / "greedy" / "trajectories.jsonl"
    assert greedy.summary == whole.summary == tmp_path / "out" / "summary.json"
    assert whole.trajectories == tmp_path / "out" / "trajectories.jsonl"


def test_an_unknown_variant(write) -> None:
    assert "variant 'gredy' is not among its variants: greedy, plain, curation" in refused(
        write(VARIANTS), variant="gredy"
    )


def test_a_mistake_in_a_variant_is_named(write) -> None:
    said = refused(write("variants:\n  a:\n    decode.beam_sise: 1\n"), variant="a")
    assert "r.yaml, line 3: decode.beam_sise: unknown key; did you mean 'beam_size'?" in said


@pytest.mark.parametrize("text", ["variants: [a]\n", "variants: {a: 3}\n"])
def test_variants_of_the_wrong_shape(write, text: str) -> None:
    assert "variants: each is a name with a mapping of overrides" in refused(write(text), variant="a")


# Whole recipes.


def test_the_resolved_recipe_reads_back_the_same(write) -> None:
    text = f"seed: 5\noutput_dir: ./out\n{TEACHERS}meta_prover: {{same_as: bob}}\n{VARIANTS}train: {{seed: 2}}\n"
    for variant in (None, "greedy"):
        recipe = load_recipe(write(text), variant=variant)
        again = load_recipe(write(dump_recipe(recipe), "sub/dumped.yaml"))
        assert again == recipe
        assert recipe_hash(again) == recipe_hash(recipe)


def test_the_hash_is_of_values_not_of_spelling(write) -> None:
    one = load_recipe(write("seed: 1\ndecode: {beam_size: 4}\n"))
    same = load_recipe(write("decode:\n  # the default\n  beam_size: 4\nseed: 1\n"))
    assert recipe_hash(one) == recipe_hash(same) != recipe_hash(load_recipe(write("seed: 2\n")))


FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_bundled_recipe_loads_with_every_variant(name: str) -> None:
    recipe = load_recipe(bundled("recipes") / name)
    assert recipe.name
    for variant in recipe.variants:
        assert load_recipe(name, variant=variant).variant == variant
    first = (bundled("recipes") / name).read_text().splitlines()[0]
    assert first.startswith("#"), "the first line says how to run it"


def test_a_bundled_recipe_is_found_by_its_name_and_a_near_one_is_named() -> None:
    if "quickstart.yaml" not in RECIPES:
        pytest.skip("no quickstart recipe")
    assert (
        find_recipe("quickstart")
        == find_recipe("quickstart.yaml")
        == find_recipe(bundled("recipes") / "quickstart.yaml")
    )
    assert "did you mean 'quickstart'?" in refused("quikstart")


# Train keys.


@pytest.mark.parametrize("text", ["5e-6", "5.0e-6", "5E-6", "0.000005"])
def test_a_learning_rate_is_a_number_however_it_is_written(write, text: str) -> None:
    path = write(f"train: {{learning_rate: {text}, run_name: '5e-6'}}\n")
    assert load_recipe(path).train == {"learning_rate": 5e-6, "run_name": "5e-6"}
    assert load_recipe(path, [f"train.weight_decay={text}"]).train["weight_decay"] == 5e-6


# Light imports, safe writes.


def loaded_by(code: str) -> set[str]:
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_reading_a_recipe_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "vllm", "trl", "datasets", "numpy", "matplotlib", "rich", "lighteval", "wandb"}
    assert not heavy & loaded_by("import cord_distill.recipe.file, cord_distill.run_folder.paths")


def test_importing_the_package_loads_nothing_else() -> None:
    assert not {"pydantic", "yaml", "torch"} & loaded_by("import cord_distill")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "summary.json"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"


def test_a_data_set_that_is_taken_back_takes_its_subset_along():
    """Fails the refusal of keys beside `path` that the recipe brought, and the resolved recipe that keeps them."""
    own = ["problems.dataset=null", "problems.path=/x.jsonl"]
    recipe = load_recipe("gsm8k_1gpu", own)
    assert load_recipe("gsm8k_1gpu").problems.subset == "main" and recipe.problems.subset is None
    assert "subset" not in dump_recipe(recipe)
    toy = load_recipe("quickstart", ["problems.builder=null", "problems.path=/x.jsonl", "variants=null"])
    assert toy.problems.args == {}
