"""What a child of test_kill.py runs. Imported once by the fork server, so that a start costs milliseconds, not
imports."""

import os

from journals import keep_calls
from transformers import AutoTokenizer  # noqa: F401

import cord_distill.decode.generate
import cord_distill.decode.pipelines
from cord_distill.recipe.file import load_recipe


def decode(recipe: str, output_dir: str) -> None:
    os.setsid()
    keep_calls()
    cord_distill.decode.generate.generate([load_recipe(recipe, [f"output_dir={output_dir}"])])


def decode_on_a_cluster(environment: dict[str, str], recipe: str, overrides: list[str], log: str) -> None:
    os.setsid()
    keep_calls()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    cord_distill.decode.generate.generate([load_recipe(recipe, overrides)])
