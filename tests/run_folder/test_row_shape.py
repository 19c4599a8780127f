"""Rows of other tools in `cord view`, `cord report` and the data stage: one sentence with file and line, never a
traceback."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from made_rows import made_row, write_run

from cord_distill.common.errors import CordError
from cord_distill.data.sources import incoming
from cord_distill.decode.figures import method_figures
from cord_distill.recipe.data import FiltersConfig, SourceConfig
from cord_distill.run_folder.shapes import odd_part
from cord_distill.run_folder.trajectories import read_rows
from cord_distill.view.gather import find_run, gather

ODD = [None, True, 1, -1, 10**30, 0.5, float("nan"), float("inf"), "x", "", [], [1], [None], [[]], {}, {"a": 1}]


def places(value: Any, path: tuple = ()):
    if path:
        yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(one, (*path, key))


def mutated(rng: random.Random) -> dict[str, Any]:
    """A row of ours with one part replaced or taken away."""
    row = copy.deepcopy(ROW)
    *above, last = rng.choice(PLACES)
    here = row
    for key in above:
        here = here[key]
    if isinstance(here, dict) and rng.random() < 0.2:
        del here[last]
    else:
        here[last] = rng.choice(ODD)
    return row


ROW = json.loads(json.dumps(made_row(3)))
PLACES = list(places(ROW))


def test_every_odd_row_is_read_or_named(tmp_path: Path) -> None:
    """Fails readers that trust the types: of 403 such rows 65 to 124 ended in a traceback."""
    rng = random.Random(0)
    path = tmp_path / "trajectories.jsonl"
    source = SourceConfig(path=str(path), format="trajectories")
    refused = 0
    for _ in range(300):
        row = mutated(rng)
        path.write_text(json.dumps(row) + "\n")
        for read in (
            lambda: gather(find_run(tmp_path)),
            lambda: method_figures(read_rows(path)),
            lambda: list(incoming(source, FiltersConfig(), None)),
        ):
            try:
                read()
            except CordError as error:
                refused += 1
                assert "\n" not in str(error) and ("line 1" in str(error) or "row 1" in str(error)), row
    assert refused > 100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": [{"text": 5, "teacher": "a", "score": None}]}, "steps[0].text is 5: Input should be a valid string"),
        ({"steps": [{"text": "a"}]}, "steps[0].teacher: Field required"),
        ({"steps": {}}, "steps is {}: Input should be a valid list"),
        (
            {"candidates": [[{**ROW["candidates"][0][0], "kept": 1}]]},
            "candidates[0][0].kept is 1: Input should be a valid boolean",
        ),
        ({"score": "0.5"}, "score is '0.5': Input should be a valid number"),
        (
            {"stop": "never"},
            "stop is 'never': Input should be 'step', 'think_end', 'eos', 'length'",
        ),
        ({"problem": []}, "problem is []: Input should be a valid dictionary"),
        ({"num_tokens": {"reasoning": "5"}}, "num_tokens.reasoning is '5': Input should be a valid number"),
        ({"correct": "false"}, "correct is 'false': Input should be a valid boolean"),
        ({"rivals": [{"answer": "7"}]}, "rivals[0].score: Field required"),
        ({"candidates": [None]}, "candidates[0] is None: Input should be a valid list"),
        ({"id": None}, "no row with an id"),
    ],
)
def test_the_odd_part_is_named(change: dict, said: str) -> None:
    assert str(odd_part({**ROW, **change})).startswith(said)
    assert odd_part(ROW) is None and odd_part({"id": "only"}) is None


def test_files_that_are_no_rows(tmp_path: Path) -> None:
    for number, data in enumerate((b"[" * 5000 + b"\n", b"1\n", b"null\n", b"\xff\xfe{}\n")):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(data)
        with pytest.raises(CordError, match="line 1: not a trajectory row"):
            list(read_rows(path))
    with pytest.raises(CordError, match="cannot be read"):
        list(read_rows(tmp_path))


def test_rows_of_a_made_run_are_as_they_should_be(tmp_path: Path) -> None:
    write_run(tmp_path, rows=5)
    for path in tmp_path.rglob("trajectories.jsonl"):
        assert list(read_rows(path))
