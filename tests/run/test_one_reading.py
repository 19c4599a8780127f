"""A command reads its problems once, however many of its checks and variants ask for them."""

import yaml
from scripted_world import write_recipe

from cord_distill.cli import main

BUILDER = """
from cord_distill.types import Problem

def problems(n, log):
    with open(log, "a") as file:
        file.write("read\\n")
    return [Problem(f"p{i}", f"What is {i} mod 3?", str(i % 3)) for i in range(n)]
"""


def test_problems_are_read_once_per_command(tmp_path, weightless_models, monkeypatch):
    """A builder that counts. Fails the pass that reads twice per variant, and the decoding that reads once more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "counted.py").write_text(BUILDER)
    recipe = yaml.safe_load(write_recipe(tmp_path, weightless_models).read_text())
    source = {"builder": "counted:problems", "args": {"n": 3, "log": str(tmp_path / "log")}, "grader": "exact"}
    variants = {"wide": {}, "narrow": {"decode.beam_size": 1}, "fewer": {"problems.limit": 2}}
    recipe |= {"problems": source, "variants": variants, "track": {"wandb": {"mode": "disabled"}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def readings(*argv: str) -> int:
        (tmp_path / "log").write_text("")
        main([*argv])
        return (tmp_path / "log").read_text().count("read")

    assert readings("check", "recipe.yaml") == 2  # the variant `fewer` has a source of its own
    assert readings("generate", "recipe.yaml", "--no-check") == 2
    assert (tmp_path / "run/fewer/trajectories.jsonl").read_text().count("\n") == 2
