"""Recipes from elsewhere: whatever YAML, names and addresses hold, one sentence, in a bounded time and memory."""

import tracemalloc
from pathlib import Path

import pytest

from cord_distill.common.errors import CordError
from cord_distill.recipe.base import IN_THE_RUN_FOLDER
from cord_distill.recipe.file import load_recipe

BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "bomb": (BOMB, "expand to more than"),
    "itself": ("name: r\ndata: &x {a: *x}", "holds itself"),
    "itself in a list": ("name: &x [*x]", "holds itself"),
    "own tag": ("name: !foo bar", "'!foo' has no place"),
    "python tag": ("name: !!python/name:os.system", "has no place"),
    "python object": ("name: !!python/object/apply:os.system [id]", "has no place"),
    "binary": ("name: !!binary aGk=", "has no place"),
    "set": ("data: !!set {a, b}", "has no place"),
    "no number": ("seed: !!int abc", "not readable"),
    "long number": ("seed: " + "9" * 5000, "not readable"),
    "NUL": ('output_dir: "a\\0b"', "NUL"),
    "half a character": ('name: "a\\ud835"', "half a character"),
    "deep": ("a: " + "[" * 3000 + "]" * 3000, "nested deeper"),
    "a bit deep": ("a: " + "[" * 60 + "]" * 60, "nested deeper"),
    "long": ("name: " + "x" * 2**20, "more than any recipe has"),
    "a list as key": ("? [a, b]\n: c", "keys are names"),
    "control characters": ("name: a\x07b", "not readable as YAML"),
    "two documents": ("name: a\n---\nname: b", "not readable as YAML"),
}


def refused(path: Path, overrides: list[str] = []) -> str:  # noqa: B006
    with pytest.raises(CordError) as error:
        load_recipe(path, overrides)
    return str(error.value)


@pytest.mark.parametrize("text, said", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_yaml_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """Fails the reader that expands what it reads: nine to the ninth values of a 400-byte file, or a RecursionError."""
    path = tmp_path / "r.yaml"
    path.write_text(text)
    tracemalloc.start()
    try:
        assert said in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


def test_what_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    for data in (b"\xff\xfe\x00", "name: ü".encode("latin-1")):
        (tmp_path / "r.yaml").write_bytes(data)
        assert "not readable as YAML" in refused(tmp_path / "r.yaml")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfname: fine\n")
    assert load_recipe(tmp_path / "bom.yaml").name == "fine"


@pytest.mark.parametrize("text", ["2020-01-01", "2020-99-99", "2001-12-14t21:59:43.10-05:00", "12:30:45"])
def test_dates_are_texts(tmp_path: Path, text: str) -> None:
    """A run may be called after its day. Fails the reader that makes a date of it, or a ValueError of a wrong one."""
    (tmp_path / "r.yaml").write_text(f"name: '{text}'\n")
    assert load_recipe(tmp_path / "r.yaml").name == text
    (tmp_path / "r.yaml").write_text(f"track: {{wandb: {{project: {text}}}}}\n")
    if ":" not in text:
        assert load_recipe(tmp_path / "r.yaml").track.wandb.project == text


@pytest.mark.parametrize(
    "override",
    [
        "variant=[a]",
        "variant={a: 1}",
        "teachers.²=x",
        "teachers.٣.temperature=1",
        "teachers.-1.temperature=1",
        "teachers.99999999999999999999=1",
        "..=1",
        "decode.=1",
        ".decode=1",
        "=",
        "a" + ".a" * 5000 + "=1",
        "decode=&x [*x]",
        "decode.beam_size=!!python/name:os.system",
        "decode.beam_size=" + "[" * 3000,
        "seed=" + "9" * 5000,
        "name=\0",
        "decode.beam_size=2020-99-99",
        "decode.beam_size: 4=1",
    ],
)
def test_odd_overrides_are_one_sentence(tmp_path: Path, override: str) -> None:
    (tmp_path / "r.yaml").write_text("teachers: [{name: a, model: ./m}]\n")
    said = refused(tmp_path / "r.yaml", [override])
    assert len(said) < 500 and "\n" not in said


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", " a", "a ", "a/b", "a\\b", "a\nb", "a\x1b[m", "a\u202eb", "a\u200bb", "a\u2028b", "x" * 300],
)
def test_labels_are_plain_file_names(tmp_path: Path, name: str) -> None:
    """Teachers, variants and runs name folders, columns and lines on a terminal."""
    quoted = '"' + name.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    for text in (
        f"teachers: [{{name: {quoted}, model: m}}]",
        f"variants: {{{quoted}: {{seed: 1}}}}",
        f"name: {quoted}",
    ):
        (tmp_path / "r.yaml").write_text(text)
        assert "names a folder" in refused(tmp_path / "r.yaml"), text


@pytest.mark.parametrize("model", ["/x/m/sub/..", "/x/.hidden", "$HOME/..", "/x/a\\tb"])
def test_a_label_from_a_path_is_a_plain_name_too(tmp_path: Path, model: str) -> None:
    """Fails the version that evaluates a model called `..` into the run folder."""
    (tmp_path / "r.yaml").write_text(f'teachers: [{{model: "{model}"}}]')
    assert "give `name`" in refused(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text(f'teachers: [{{model: "{model}", name: fine}}]')
    assert load_recipe(tmp_path / "r.yaml").teachers[0].label == "fine"


@pytest.mark.parametrize("name", ["summary.json", "Report.html", "stale", "wandb", "shards", "stages.json"])
def test_a_variant_is_called_like_nothing_in_the_run_folder(tmp_path: Path, name: str) -> None:
    """Fails the version that ends in IsADirectoryError when all stages are done."""
    (tmp_path / "r.yaml").write_text(f"variants: {{{name}: {{seed: 1}}}}")
    assert "give the variant another name" in refused(tmp_path / "r.yaml")
    assert name.lower() in IN_THE_RUN_FOLDER


def test_a_home_that_nobody_knows_is_a_sentence(tmp_path: Path) -> None:
    """In a container whose user has no entry and no HOME. Fails `Path.expanduser`, which raises RuntimeError."""
    (tmp_path / "r.yaml").write_text("output_dir: ~nobody-of-this-name/run")
    assert "no home folder is known here" in refused(tmp_path / "r.yaml")


@pytest.mark.parametrize("names", [("Cord", "cord"), ("stra\u00dfe", "STRASSE"), ("\u00e9", "e\u0301")])
def test_two_names_that_are_one_folder_elsewhere_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """Fails the version that compares them letter by letter: on a file system without cases the second variant is
    refused as another recipe's run, when the first is done."""
    (tmp_path / "r.yaml").write_text(f"variants: {{{names[0]}: {{seed: 1}}, {names[1]}: {{seed: 2}}}}")
    assert "differ in case alone" in refused(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://user:SECRET@host:8000", "name and password"),
        ("https://SECRET@host", "name and password"),
        ("http://host/v1?api_key=SECRET", "query"),
        ("ftp://host", "no address"),
        ("http://ho st", "no address"),
        ("http://host\\x1b[31m", "no address"),
    ],
)
def test_an_address_holds_no_secret(tmp_path: Path, url: str, said: str) -> None:
    """It stands in reports, cards and errors. Fails the version that takes it and prints it."""
    (tmp_path / "r.yaml").write_text(f'teachers: [{{model: m, engine: server, url: "{url}"}}]')
    message = refused(tmp_path / "r.yaml")
    assert said in message and "SECRET" not in message


def test_a_long_chain_of_recipes_is_one_sentence(tmp_path: Path) -> None:
    """Found by an attack: 2,000 files that extend each other ended in a RecursionError."""
    for i in range(60):
        (tmp_path / f"r{i}.yaml").write_text(f"extends: r{i + 1}.yaml\n")
    (tmp_path / "r60.yaml").write_text("seed: 1\n")
    assert "leads over more than" in refused(tmp_path / "r0.yaml")
    assert load_recipe(tmp_path / "r40.yaml").seed == 1


@pytest.mark.parametrize("override", ["seed.0.x=1", "data.decontaminate.0.x=1", "data.decontaminate.0.x.y=1"])
def test_a_plain_item_of_a_list_has_no_keys(tmp_path: Path, override: str) -> None:
    """Fails the version that looks for plain values in mappings alone: a TypeError of `0["x"] = 1`."""
    (tmp_path / "r.yaml").write_text("seed: [0, 1]\ndata: {decontaminate: [questions.jsonl]}\n")
    said = refused(tmp_path / "r.yaml", [override])
    assert said.startswith(f"override {override!r}: {override.partition('.x')[0]} is a plain value, it has no key 'x'")


def test_a_switch_picks_no_seed(tmp_path: Path) -> None:
    """Fails the version that takes true for the number 1 and trains seed 1 of the list."""
    (tmp_path / "r.yaml").write_text("seed: [0, 1]\n")
    assert "seed: True is neither a whole number" in refused(tmp_path / "r.yaml", ["seed=true"])


@pytest.mark.parametrize("value", [".inf", ".nan"])
@pytest.mark.parametrize("key", ["decode.request_timeout", "evaluate.temperature", "data.preferences.min_margin"])
def test_numbers_are_finite(tmp_path: Path, key: str, value: str) -> None:
    """Fails the version that refuses nan alone: infinity is above every bound, and no JSON file can hold it."""
    (tmp_path / "r.yaml").write_text("name: r\n")
    assert "Input should be a finite number" in refused(tmp_path / "r.yaml", [f"{key}={value}"])
