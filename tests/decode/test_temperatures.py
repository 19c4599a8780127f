"""Homogeneous teachers: one section with a list of temperatures."""

import pytest

from cord_distill.common.errors import CordError
from cord_distill.decode.engine_pool import EnginePool
from cord_distill.recipe.file import dump_recipe, load_recipe


@pytest.fixture
def write(tmp_path):
    def one(text: str):
        path = tmp_path / "r.yaml"
        path.write_text(text)
        return path

    return one


def test_a_list_becomes_one_teacher_for_each_in_its_place(write):
    recipe = load_recipe(
        write(
            "teachers:\n"
            "  - {model: org/one}\n"
            "  - {model: Qwen/QwQ-32B, name: qwq, temperature: [0.5, 0.60, 0.7], top_k: 20}\n"
            "  - {model: org/two, temperature: [1]}\n"
            "meta_prover: {same_as: qwq-t0.6}\n"
        )
    )
    assert [(t.label, t.temperature, t.top_k) for t in recipe.teachers] == [
        ("one", 0.6, -1), ("qwq-t0.5", 0.5, 20), ("qwq-t0.6", 0.6, 20), ("qwq-t0.7", 0.7, 20), ("two-t1", 1.0, -1),
    ]  # fmt: skip
    assert {t.model for t in recipe.teachers[1:4]} == {"Qwen/QwQ-32B"}
    assert load_recipe(write(dump_recipe(recipe))) == recipe


def test_an_override_may_give_the_list():
    recipe = load_recipe("quickstart", ["teachers.2.temperature=[0.5, 0.7]"])
    assert [t.label for t in recipe.teachers] == ["adder", "multiplier", "allrounder-t0.5", "allrounder-t0.7"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "teachers.0.temperature: the list is empty: give numbers"),
        ("[0.6, 0.6]", "names one twice: to sample a teacher more than once, set decode.proposals_per_teacher"),
        ("[0.5, -1]", "r.yaml, line 1: teachers.0.temperature: Input should be greater than or equal to 0"),
        ("[0.5, warm]", "teachers.0.temperature: Input should be a valid number"),
        ("[0.5, 0.6], top_pp: 1", "teachers.0.top_pp: unknown key; did you mean 'top_p'?"),
    ],
)
def test_a_list_that_makes_no_teachers_is_refused(write, text, said):
    with pytest.raises(CordError) as refused:
        load_recipe(write(f"teachers: [{{model: a/b, temperature: {text}}}]\n"))
    assert said in str(refused.value)


def test_an_error_behind_a_list_names_the_section_as_it_stands_in_the_file(write):
    """Fails the version that names teachers.3 where the file has two."""
    text = "teachers:\n  - {model: a/b, temperature: [0.5, 0.6, 0.7]}\n  - {model: c/d, top_p: 2}\n"
    with pytest.raises(CordError, match=r"line 3: teachers.1.top_p"):
        load_recipe(write(text))


def test_they_share_one_engine_and_keep_their_own_temperature(random_models):
    """Fails the version that loads the same weights three times."""
    import asyncio

    section = {
        "model": str(random_models["qwq"]), "engine": "scripted", "script": "scripted_world:script",
        "temperature": [0.5, 0.6, 0.7],
    }  # fmt: skip

    async def started():
        pool = EnginePool()
        recipe = load_recipe("quickstart", ["models=null", f"teachers=[{section}]", "meta_prover={same_as: qwq-t0.6}"])
        models = [await pool.model(recipe, t, f"teachers.{i}", []) for i, t in enumerate(recipe.teachers)]
        return pool, models

    pool, models = asyncio.run(started())
    assert len(pool.engines) == 1 and len({id(model.engine) for model in models}) == 1
    assert [(m.name, m.sampling.temperature) for m in models] == [
        ("qwq-t0.5", 0.5),
        ("qwq-t0.6", 0.6),
        ("qwq-t0.7", 0.7),
    ]
