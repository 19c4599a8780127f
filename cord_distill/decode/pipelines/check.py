"""What the baselines need of a recipe besides their selector (selectors/check.py), known before any model is there."""

from __future__ import annotations

from cord_distill.common.errors import CordError
from cord_distill.recipe.recipe import Recipe


def check_baselines(recipe: Recipe) -> None:
    """Raises CordError naming the key that MCTS or Integration lacks, or that would do nothing there."""
    decode, section = recipe.decode, recipe.decode.integration
    if decode.rival_answers and recipe.meta_prover is None:
        raise CordError("decode.rival_answers: the meta-prover scores them; add a meta_prover, or remove the key")
    if decode.rival_answers and recipe.problems and recipe.problems.grader == "judge":
        raise CordError(
            "decode.rival_answers: a grader tells them from the known answer, and problems.grader is a judge here; "
            "remove the key"
        )
    if decode.pipeline == "mcts" and decode.selector != "predictive_perplexity":
        raise CordError(
            f"decode.selector: {decode.selector}: MCTS is led by S of finished rollouts alone; take the key away, or "
            "set decode.pipeline: cord or curation"
        )
    if decode.pipeline != "integration":
        return
    if section is None:
        raise CordError(
            "decode.integration: the pipeline needs a model that merges traces, e.g. "
            "decode.integration={engine: server, url: http://127.0.0.1:8000/v1, model: Qwen/Qwen3-32B}"
        )
    if section.label in [teacher.label for teacher in recipe.teachers]:
        raise CordError(f"decode.integration: a teacher is called {section.label!r} too; give the integrator a `name`")
