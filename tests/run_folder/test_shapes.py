"""Files of figures that were edited, cut or written by another version: read, or named with the value that does not
fit; never a traceback out of a picture."""

import json

import pytest
from made_rows import write_run

from cord_distill.common.errors import CordError
from cord_distill.recipe.experiment import Experiment
from cord_distill.report.summary import build_summary
from cord_distill.run_folder.shapes import read_results, read_stages

SUITE = ("suites", "ledger")
ODD = [
    (("suites",), -1),
    (SUITE, True),
    ((*SUITE, "avg_at_k"), {"a": 1}),
    ((*SUITE, "avg_at_k"), "x"),
    ((*SUITE, "avg_at_k"), 1e400),
    ((*SUITE, "avg_at_k_ci"), 0.5),
    ((*SUITE, "avg_at_k_ci"), []),
    ((*SUITE, "avg_at_k_ci"), [0.1, []]),
    ((*SUITE, "avg_at_k_ci"), [0.1, 0.2, 0.3]),
    ((*SUITE, "step_accuracy"), []),
    ((*SUITE, "k"), "many"),
    (("seconds",), []),
    (("protocol",), 3),
]


@pytest.mark.parametrize(("keys", "value"), ODD, ids=[f"{'.'.join(k)}={v}" for k, v in ODD])
def test_figures_that_do_not_fit_are_named_by_file_and_key(tmp_path, keys, value):
    """Fails the report that hands them on to its tables and pictures."""
    recipe = write_run(tmp_path)
    path = tmp_path / "out/eval/cord/results.json"
    results = json.loads(path.read_text())
    inner = results
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(results))
    with pytest.raises(CordError) as error:
        build_summary(Experiment.load(recipe))
    assert str(error.value).startswith(f"{path}: {'.'.join(keys)}") and "run the stage again" in str(error.value)


def test_a_newer_versions_keys_are_left_alone(tmp_path):
    """Fails the reader that refuses what it does not know."""
    newer = {"label": "x", "schema": 9, "suites": {"a": {"avg_at_k": 0.5, "k": 4, "new": {"x": [1]}}}, "more": None}
    (tmp_path / "results.json").write_text(json.dumps(newer))
    assert read_results(tmp_path / "results.json") == newer
    assert read_results(tmp_path / "none.json") == {}


@pytest.mark.parametrize("entry", [3, {"fingerprint": 5}, {"fingerprint": "f", "seconds": []}])
def test_odd_entries_of_stages_are_named(tmp_path, entry):
    (tmp_path / "stages.json").write_text(json.dumps({"generate": entry}))
    with pytest.raises(CordError, match=r"stages\.json: generate"):
        read_stages(tmp_path / "stages.json")
