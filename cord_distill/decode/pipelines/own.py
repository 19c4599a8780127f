"""The pipeline that a recipe names: one of ours, or a plug-in `search(problem, ensemble, **pipeline_args)`."""

from __future__ import annotations

from cord_distill.common.errors import CordError
from cord_distill.common.plugins import load_plugin, takes
from cord_distill.decode.ensemble import Ensemble
from cord_distill.decode.own import called
from cord_distill.decode.pipelines import PIPELINES
from cord_distill.decode.pipelines.base import Outcome, Pipeline
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.types import Problem

KEY = "decode.pipeline"


def pipeline_of(decode: DecodeConfig) -> Pipeline:
    """Returns the pipeline. Raises CordError when a plug-in is not there, or does not take its arguments."""
    if decode.pipeline in PIPELINES:
        return PIPELINES[decode.pipeline]
    spec, given = decode.pipeline, decode.pipeline_args
    search = load_plugin(spec, KEY)
    takes(search, 2, given, KEY, spec, "decode.pipeline_args")

    async def own(problem: Problem, ensemble: Ensemble) -> Outcome:
        made = await called(search, KEY, spec, problem.id, problem, ensemble, **given)
        if not isinstance(made, Outcome):
            raise CordError(f"{KEY}: {spec!r} gave a {type(made).__name__}; return an Outcome (pipelines/base.py)")
        return made

    return own
