"""A user's own selector, pipeline or segmentation (`decode.selector: my_package:rate`), called as ours are."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.plugins import load_plugin, plugin_call, takes
from cord_distill.decode.selectors import SELECTORS
from cord_distill.decode.selectors.base import Rating, Selector
from cord_distill.engines.base import EngineError
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.search.line_break import LineBreak
from cord_distill.search.prefix_phrases import PrefixPhrases
from cord_distill.search.segment import Segmentation, StepMarker


def selector_of(decode: DecodeConfig) -> Selector:
    """Returns the selector that the recipe names. A plug-in is a `rate` function, or a `Selector` of one."""
    if decode.selector in SELECTORS:
        return SELECTORS[decode.selector]
    key, spec, given = "decode.selector", decode.selector, decode.selector_args
    found = load_plugin(spec, key)
    own = found if isinstance(found, Selector) else Selector(found)
    takes(own.rate, 4, given, key, spec, "decode.selector_args")

    async def rate(*asked: Any) -> Rating:
        made = await called(own.rate, key, spec, asked[0].id, *asked, **given)
        if not isinstance(made, Rating):
            raise CordError(f"{key}: {spec!r} gave a {type(made).__name__}; return a Rating(value)")
        if made.value is not None and not math.isfinite(made.value):
            raise CordError(f"{key}: {spec!r} rated a step {made.value}; give a number, or None for one that has none")
        return made

    return Selector(rate, own.of_prefixes)


def segmentation_of(decode: DecodeConfig) -> Segmentation:
    """Returns what says where steps begin and end, by `decode.segmentation`."""
    if decode.segmentation == "step_marker":
        return StepMarker(decode.step_marker)
    if decode.segmentation == "line_break":
        return LineBreak()
    if decode.segmentation == "prefix_phrases":
        return PrefixPhrases(tuple(decode.phrases))
    key, spec = "decode.segmentation", decode.segmentation
    make = load_plugin(spec, key)
    takes(make, 0, decode.segmentation_args, key, spec, "decode.segmentation_args")
    with plugin_call(f"{key}: {spec!r}"):
        made = make(**decode.segmentation_args)
    if not isinstance(made, Segmentation):
        raise CordError(
            f"{key}: {spec!r} gave a {type(made).__name__}; return a cord_distill.search.segment.Segmentation"
        )
    return made


def check_own(decode: DecodeConfig) -> None:
    """Raises CordError when a function that the recipe names is not there, or does not take what it is given."""
    selector_of(decode)
    segmentation_of(decode)


async def called(
    function: Callable[..., Awaitable[Any]], key: str, spec: str, problem: str, *asked: Any, **given: Any
) -> Any:
    """Calls a user's function. Its own mistakes become CordErrors that name the key; an engine's stay what they are."""
    with plugin_call(f"{key}: {spec!r} on problem {problem!r}", EngineError):
        return await function(*asked, **given)
