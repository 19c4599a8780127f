"""Data sets of the hub by their commit; here from a folder, since no network is asked for in tests."""

import json

import pytest

from cord_distill.common.errors import CordError
from cord_distill.common.hub import hub_rows, resolved_commit
from cord_distill.types import HUB_COMMIT, Problem


def test_rows_of_a_folder_have_no_commit(tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"question": f"q{i}"}) + "\n" for i in range(3)))
    rows, commit = hub_rows("problems.dataset", str(tmp_path), None, "train", None, "give a file")
    assert [row["question"] for row in rows] == ["q0", "q1", "q2"] and commit is None


def test_a_commit_is_its_own_and_no_network_gives_none():
    assert resolved_commit("somebody/something", "0" * 40) == "0" * 40
    assert resolved_commit("somebody/something", "main") is None


def test_a_data_set_that_cannot_be_had_is_one_sentence(tmp_path):
    with pytest.raises(CordError, match=r"problems\.dataset: '.*gone' at revision 'v2' could not .*give a file"):
        hub_rows("problems.dataset", str(tmp_path / "gone"), None, "train", "v2", "give a file")


def test_the_commit_is_recorded_and_binds_no_row():
    """A new commit with the same question is the same problem; fails the version that decodes it anew."""
    plain, read = Problem("a", "q", "1"), Problem("a", "q", "1", {HUB_COMMIT: "x/y@abc"})
    assert plain.content == read.content != Problem("a", "q", "2").content
