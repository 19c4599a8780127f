"""A user's own functions inside the search: which candidates say the same, and which may not be selected."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.plugins import load_plugin, plugin_call
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.search.deduplicate import StateKey, text_key
from cord_distill.types import Beam, Problem, Step

REFUSED = "refused by decode.step_filter"


def state_key(decode: DecodeConfig, problem: Problem) -> StateKey | None:
    """What makes two candidates of one step the same, by `decode.deduplicate`; None where nothing is dropped."""
    spec = decode.deduplicate
    if spec is None or spec == "text":
        return text_key if spec else None
    function = load_plugin(spec, "decode.deduplicate")

    def key(beam: Beam) -> Hashable:
        made = _called(function, "decode.deduplicate", spec, problem, beam.steps)
        if not isinstance(made, Hashable):
            raise CordError(f"decode.deduplicate: {spec!r} gave a {type(made).__name__}; give a str or a tuple of them")
        return made

    return key


def passes_step_filter(decode: DecodeConfig, problem: Problem, steps: tuple[Step, ...]) -> bool:
    """Whether the last of `steps` may be selected, by `decode.step_filter`.

    Raises CordError when the filter fails or gives no bool: a dict of findings would let every step pass.
    """
    spec = decode.step_filter
    if spec is None:
        return True
    function = load_plugin(spec, "decode.step_filter")
    made = _called(function, "decode.step_filter", spec, problem, steps)
    if not isinstance(made, bool):
        raise CordError(f"decode.step_filter: {spec!r} gave a {type(made).__name__}; it must return True or False")
    return made


def check_hooks(decode: DecodeConfig) -> None:
    """Raises CordError when a function that the recipe names is not there."""
    if decode.step_filter:
        load_plugin(decode.step_filter, "decode.step_filter")
    if decode.deduplicate not in (None, "text"):
        load_plugin(str(decode.deduplicate), "decode.deduplicate")


def _called(function: Callable[..., Any], key: str, spec: str, problem: Problem, steps: tuple[Step, ...]) -> Any:
    with plugin_call(f"{key}: {spec!r} on problem {problem.id!r}"):
        return function(problem, [step.text for step in steps])
