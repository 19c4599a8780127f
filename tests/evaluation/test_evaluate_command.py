"""What people type and read: `cord evaluate --model`, `cord compare`, `--calibrate`, results.md. Lazy versions that
fail here: two models of one folder name overwrite each other, results of two protocols in one column without a mark, a
calibration that holds an interval over problems against a value on the same problems."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cord_distill.cli import main
from cord_distill.common.errors import CordError
from cord_distill.evaluation import over_seeds
from cord_distill.evaluation.calibrate import calibrate, calibration_lines
from cord_distill.evaluation.command import label_of
from cord_distill.evaluation.comparison import compare, comparison_lines
from cord_distill.evaluation.paper import differs_from_paper, paper, paper_row
from cord_distill.evaluation.protocol import differences, protocol_lines
from cord_distill.evaluation.records import judge, sample_figures
from cord_distill.evaluation.samples import Sample
from cord_distill.evaluation.table import results_table
from cord_distill.grading import load_grader
from cord_distill.recipe.evaluate import EvaluateConfig
from cord_distill.types import Problem, Stop

PROTOCOL: dict[str, Any] = {
    **{"engine": "vllm", "script": None, "engine_args": {}, "dtype": "auto", "tensor_parallel_size": 1},
    **{"kv_cache_dtype": "auto", "temperature": 0.6, "top_p": 0.95, "top_k": -1, "min_p": 0.0},
    **{"engine_version": "vllm 0.32.0", "device": "cuda", "system_prompt": "", "chat_template": "the model's own"},
    **{"instruction": "", "answer_in_thought": False, "max_new_tokens": 32768, "max_model_len": 65536, "seed": 0},
    **{"weights": "w", "lighteval_tasks": {}, "judge": None},
}
SUITE = {"suite": "aime24", "version": 1, "grader": "integer", "grader_version": 1, "check": None}
SUITE |= {"source": "aime24.jsonl", "data": "0123456789abcdef", "problems": 30, "samples": 16}


def evaluated(folder: Path, label: str, answers: list[str], suite: str = "aime24", **facts: Any) -> Path:
    """An eval/<label> folder as `cord evaluate` writes it. answers: per problem, one letter per sample (r, w, c)."""
    grade, records = load_grader("integer"), []
    for n, letters in enumerate(answers):
        said = {"r": "</think>\\boxed{7}", "w": "</think>\\boxed{8}", "c": "hm"}
        samples = [
            Sample(suite, f"p{n}", i, 0, said[x], Stop.LENGTH if x == "c" else Stop.EOS, 10 + i, f"{n}{i}")
            for i, x in enumerate(letters)
        ]
        records.append(judge(suite, Problem(f"p{n}", "?", "7"), samples, grade))
    protocol = {**PROTOCOL, "suites": {suite: {**SUITE, "suite": suite, "samples": len(answers[0])}}}
    protocol |= facts.pop("protocol", {})
    results = {"label": label, "protocol": protocol, "suites": {suite: sample_figures(records)}, **facts}
    (folder / label).mkdir(parents=True)
    (folder / label / "results.json").write_text(json.dumps(results))
    rows = "".join(json.dumps(record.to_row()) + "\n" for record in records)
    (folder / label / "problems.jsonl").write_text(rows)
    return folder / label


# The command line


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["evaluate", *arguments]) == 2
    return capsys.readouterr().err


def test_mistakes_are_explained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "give a RECIPE, or --model PATH" in refused(capsys)
    assert "no suite; add --suite NAME" in refused(capsys, "--model", str(tmp_path))
    assert "'x' is not of the form SUITE=FILE" in refused(
        capsys, "--model", "m", "--suite", "aime24", "--data", "x", "evaluate.seed=1"
    )
    assert "there is no suite 'aime42'" in refused(capsys, "--model", "./m", "--suite", "aime42")
    nowhere = ["--model", "m", "--suite", "math", "--data", "aime24=no.jsonl"]
    assert "evaluate.data.aime24: " in refused(capsys, *nowhere)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("Qwen/QwQ-32B", "QwQ-32B"),
        ("outputs/quickstart/cord/checkpoints/final", "cord"),
        ("outputs/run/checkpoints/checkpoint-12/", "run-checkpoint-12"),
        ("/models/r1", "r1"),
    ],
)
def test_a_model_is_called_by_its_folder(path: str, label: str) -> None:
    assert label_of(path) == label


def test_another_model_of_the_same_name_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    evaluated(tmp_path / "out" / "eval", "r1", ["r"], base="/other/r1")
    (tmp_path / "r1").mkdir()
    flags = ["--model", str(tmp_path / "r1"), "--suite", "aime24", "--output", str(tmp_path / "out")]
    assert "holds the results of /other/r1; give --name" in refused(capsys, *flags)


def test_commands_stay_light() -> None:
    code = (
        "import sys; from cord_distill.cli import main; main(['compare', 'no', 'where']); "
        "import cord_distill.evaluation.evaluate; "
        "print([m for m in ('torch', 'vllm', 'lighteval', 'transformers', 'datasets', 'wandb', 'aiohttp') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"
    assert "no: no finished evaluation there" in out.stderr


# Protocols


def test_the_protocol_is_a_few_readable_lines() -> None:
    said = "\n".join(protocol_lines({**PROTOCOL, "suites": {"aime24": SUITE}}))
    assert said == (
        "  sampling  T=0.6, top_p=0.95, up to 32,768 new tokens; own seed per sample, from 0\n"
        "  prompt    no system prompt; chat template: the model's own\n"
        "  engine    vllm 0.32.0, on cuda\n"
        "  suite     aime24: 30 problems x 16 samples from aime24.jsonl (data 01234567), grader integer v1"
    )


@pytest.mark.parametrize("key", sorted({*PROTOCOL} - {"weights", "max_model_len", "lighteval_tasks", "judge"}))
def test_every_value_of_the_protocol_tells_two_apart(key: str) -> None:
    one = {**PROTOCOL, "suites": {"aime24": SUITE}}
    assert differences(one, {**one, "weights": "v"}, "aime24") == []
    assert [d.partition(":")[0] for d in differences(one, {**one, key: "other"}, "aime24")] == [key]


def test_data_and_grader_of_the_suite_count_and_its_samples_do_not() -> None:
    one = {**PROTOCOL, "suites": {"aime24": SUITE, "gsm8k": SUITE}}
    other = {**PROTOCOL, "suites": {"aime24": {**SUITE, "data": "x", "samples": 64}, "gsm8k": SUITE}}
    assert differences(one, other, "aime24") == ["aime24.data: 0123456789abcdef | x"]
    assert differences(one, other, "gsm8k") == []


# Two checkpoints


def test_compare_is_paired_over_the_shared_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = evaluated(tmp_path, "cord", ["rrrr", "rrrw", "rrww", "wwww", "rrrr"])
    b = evaluated(tmp_path, "base", ["rrrw", "rrww", "rwww", "cccc"])
    found = compare(a, b)["aime24"]
    assert (found["a"], found["b"], found["difference"], found["num_problems"]) == (0.5625, 0.375, 0.1875, 4)
    assert found["p_value"] == 0.25  # three problems moved, all one way: 2 of 8 sign flips
    assert (found["same_protocol"], found["samples"]) == (True, [4, 4])
    assert main(["compare", str(a / "results.json"), str(b)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("cord - base, paired over problems")
    assert said[1].startswith("aime24  56.2% - 37.5% = +18.8% [+6.2%, +25.0%], p = 0.25 (4 problems, k = 4)")


def test_a_prediction_may_hold_any_line_separator(tmp_path: Path) -> None:
    """Fails for `str.splitlines`, which cuts a row of problems.jsonl at U+2028."""
    a, b = evaluated(tmp_path, "a", ["rr"]), evaluated(tmp_path, "b", ["rw"])
    rows = [json.loads(line) for line in (a / "problems.jsonl").read_text(encoding="utf-8").split("\n") if line]
    rows[0]["predictions"][0] = "4\u2028\u0085\x0b"
    (a / "problems.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    assert compare(a, b)["aime24"]["difference"] == 0.5


def test_compare_says_when_protocols_differ(tmp_path: Path) -> None:
    a = evaluated(tmp_path, "a", ["rr"])
    b = evaluated(tmp_path, "b", ["rw"], protocol={"max_new_tokens": 8192, "system_prompt": "Think."})
    said = comparison_lines(a, b)
    assert said[1].endswith("! other protocol")
    assert "! aime24: max_new_tokens: 32768 | 8192" in said
    assert "! aime24: system_prompt: none | Think." in said
    with pytest.raises(CordError, match="share no problem"):
        compare(a, evaluated(tmp_path, "c", ["rr"], suite="gsm8k"))


# results.md


def test_results_stand_beside_the_papers_for_the_same_rows(tmp_path: Path) -> None:
    base = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    facts = {"base": base, "student": True, "teachers": 3}
    answers = ["r" * 8 + "w" * 7 + "c"] * 30
    evaluated(tmp_path, "untrained", answers, **facts)
    evaluated(tmp_path, "cord", ["r" * 12 + "w" * 4] * 30, **facts)
    evaluated(tmp_path, "mine", ["rrrw"] * 30, **facts)
    evaluated(tmp_path, "short", ["r" * 16] * 30, protocol={"max_new_tokens": 4096}, base="org/QwQ-32B", teachers=3)
    page = results_table(tmp_path, ["untrained", "cord"])
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert table[0] == "| model | aime24 avg@16 (30 problems) | paper |"
    assert table[2] == "| untrained | 50.0 [32.5, 67.5] | 51.3 |"
    assert table[3].endswith("| 60.8 |")
    assert table[4] == "| mine | 75.0 [56.5, 87.4] (k=4) |  |"
    # Another protocol than the column's and than the paper's: both are marked, and said.
    assert table[5] == "| short | 100.0 [87.8, 100.0] [1] † [2] | 77.9 |"
    assert "[1] not the protocol of untrained: max_new_tokens: 32768 | 4096" in page
    assert "[2] max_new_tokens 4096, the paper's 32768" in page
    assert "| untrained | aime24 | 100.0 % | 100.0 % | 6.2 % | 0.0 % | 18 | 18 / 24 / 25 |  |" in page
    assert "- cord, aime24: 75.0% - 50.0% = +25.0% [+25.0%, +25.0%]" in page


def test_checkpoints_stand_in_the_order_of_their_steps(tmp_path: Path) -> None:
    """Fails for an order by text, in which 16 comes before 8."""
    for label in ("checkpoint-16", "checkpoint-8", "cord"):
        evaluated(tmp_path, label, ["rw"])
    rows = [line.split("|")[1].strip() for line in results_table(tmp_path, ["cord"]).splitlines() if "50.0 [" in line]
    assert rows == ["cord", "checkpoint-8", "checkpoint-16"]


def test_no_paper_column_where_the_paper_has_no_such_row(tmp_path: Path) -> None:
    evaluated(tmp_path, "untrained", ["rw"], suite="ledger", base="built:student", student=True, teachers=3)
    assert "paper" not in results_table(tmp_path)
    assert results_table(tmp_path / "nothing") == ""


def test_paper_rows() -> None:
    seven = "/models/DeepSeek-R1-Distill-Qwen-7B/"
    assert paper_row(seven, "cord", 3) == {"aime24": 60.8, "aime25": 45.6}
    assert paper_row(seven, "cord", 1) == {"aime24": 58.5, "aime25": 42.9}
    assert paper_row(seven, "random", 3) == paper_row("some/model", "cord", 3) == {}
    assert all(0 < x < 100 for rows in paper()["models"].values() for row in rows.values() for x in row.values())
    protocol = {**PROTOCOL, "suites": {"aime24": {**SUITE, "problems": 6, "samples": 4}}, "temperature": 1.0}
    assert differs_from_paper(protocol, "aime24") == [
        "temperature 1.0, the paper's 0.6",
        "samples 4, the paper's 16",
        "problems 6, the paper's 30",
    ]


# Known models


def published(value: float, samples: int | None = 16) -> EvaluateConfig:
    return EvaluateConfig.model_validate({"published": {"m": {"aime24": {"value": value, "samples": samples}}}})


def test_a_known_value_is_held_against_the_noise_within_problems(tmp_path: Path) -> None:
    """Half of 30 problems always right: over problems the interval is 33 to 67, yet a rerun would give 50 again."""
    evaluated(tmp_path, "m", ["r" * 16] * 15 + ["w" * 16] * 15)
    (far,) = calibrate(published(60.0), tmp_path)
    assert not far["agrees"]
    (near,) = calibrate(published(50.5), tmp_path)
    assert near["agrees"]
    low, high = near["ci"]
    assert (low, high) == (pytest.approx(0.491, abs=1e-3), pytest.approx(0.509, abs=1e-3))
    assert "avg@16 50.0% DOES NOT AGREE with the known 60.0%" in calibration_lines([far])[0]
    with pytest.raises(CordError, match=r"evaluate.published is empty"):
        calibrate(EvaluateConfig(), tmp_path)
    with pytest.raises(CordError, match=r"evaluate.published.m.aime24: 'm' was not evaluated on aime24"):
        calibrate(published(50), tmp_path / "else")


def test_too_few_samples_calibrate_nothing(tmp_path: Path) -> None:
    """Fails the version whose noise at small k is its own smoothing: 100 easy problems then agree with any value."""
    evaluated(tmp_path, "m", ["r"] * 98 + ["w"] * 2)
    with pytest.raises(
        CordError, match=r"evaluate\.published\.m\.aime24: 1 samples per problem are too few.* to 4 or more"
    ):
        calibrate(published(97.0), tmp_path)
    evaluated(tmp_path / "four", "m", ["rrrr"] * 480 + ["rrrw"] * 20)
    assert [calibrate(published(x), tmp_path / "four")[0]["agrees"] for x in (98.9, 98.0, 99.8)] == [True, False, False]


@pytest.mark.slow
def test_the_whole_evaluation_gives_the_known_accuracy(
    tmp_path: Path, random_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """recipes/calibrate_ledger.yaml: a model that is right in 60 % of its answers measures 60 %, and not 70 %."""
    models = yaml.safe_dump([{"model": str(random_models["r1"]), "name": "known"}], default_flow_style=True).strip()
    command = ["evaluate", "calibrate_ledger", "--calibrate", f"output_dir={tmp_path}", f"evaluate.models={models}"]
    assert main(command) == 0
    assert "agrees with the known 60.0%" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "eval" / "calibration.json").read_text())
    assert row["agrees"]
    assert row["ci"][1] - row["ci"][0] < 0.08
    assert main([*command, "evaluate.published.known.ledger.value=70"]) == 1
    assert "DOES NOT AGREE" in capsys.readouterr().out
    assert "| known | " in (tmp_path / "eval" / "results.md").read_text()


class Boxed:
    """Thinks of 5 and answers 4."""

    def generate(self, text: str, sampling: Any) -> str:
        return "it may be \\boxed{5}</think>The answer is \\boxed{4}."


def boxed(renderer: Any) -> Boxed:
    return Boxed()


TASK = """
import dataclasses
from lighteval.tasks.tasks.aime import aime24
TASKS_TABLE = [dataclasses.replace(aime24, name="theirs", hf_repo={data!r})]
"""


@pytest.mark.slow
def test_a_task_of_lightevals_own_runs_as_it_is(tmp_path: Path, random_models: dict[str, Path]) -> None:
    (tmp_path / "data").mkdir()
    rows = [{"problem": "2 + 2?", "answer": "4"}, {"problem": "2 + 3?", "answer": "5"}]
    (tmp_path / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "theirs.py").write_text(TASK.format(data=str(tmp_path / "data")))
    engine = f"{{engine: scripted, script: {__name__}:boxed}}"
    flags = ["--model", str(random_models["r1"]), "--suite", "theirs", "--output", str(tmp_path / "out")]
    assert main(["evaluate", *flags, f"evaluate.tasks=[{tmp_path}/theirs.py]", f"evaluate.engine={engine}"]) == 0
    results = json.loads((tmp_path / "out" / "eval" / "r1" / "results.json").read_text())
    # Its metric reads what follows the thought: 4, right once.
    assert results["suites"]["theirs"]["lighteval"]["pass@k:k=1"] == 0.5


@pytest.mark.parametrize("results", ["[]", '{"suites": {}}', '{"protocol": [1], "suites": {}}', "{"])
def test_compare_of_odd_results_is_one_sentence(
    tmp_path: Path, results: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fails the version that picks a protocol apart which is none, and ends in a traceback."""
    a, b = evaluated(tmp_path, "a", ["rr"]), evaluated(tmp_path, "b", ["rw"])
    (b / "results.json").write_text(results)
    assert main(["compare", str(a), str(b)]) == 2
    error = capsys.readouterr().err
    assert "results.json" in error and len(error.splitlines()) == 1


def test_compare_names_a_file_whose_rows_are_of_another_tool(tmp_path: Path) -> None:
    a, b = evaluated(tmp_path, "a", ["rr"]), evaluated(tmp_path, "b", ["rw"])
    (b / "problems.jsonl").write_text('{"id": "p0", "score": 1}\n')
    with pytest.raises(CordError, match=r"problems\.jsonl: a row is not one of an evaluation"):
        compare(a, b)


def test_results_md_has_a_row_for_the_mean_and_the_papers_figure_beside_it(tmp_path: Path) -> None:
    base = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    facts = {"base": base, "student": True, "teachers": 3}
    evaluated(tmp_path, "untrained", ["rrww"] * 30, **facts)
    for seed, answers in enumerate(["rrrw", "rrrr"]):
        evaluated(tmp_path, f"cord-seed-{seed}", [answers] * 30, **facts, method="cord", seed=seed)
    page = results_table(tmp_path, ["untrained", "cord-seed-0", "cord-seed-1"])
    lines = [line for line in page.splitlines() if line.startswith("| cord")]
    assert lines[0].startswith("| cord-seed-0 | 75.0 [")
    assert lines[1].startswith("| cord-seed-1 | 100.0 [")
    assert lines[2].startswith("| cord, mean of 2 seeds | 87.5 [0.0, 100.0]")  # t = 12.7 at one degree of freedom
    assert [line.split("|")[-2].strip() for line in lines[:3]] == ["", "", "60.8"]
    assert over_seeds.NOTE in page
