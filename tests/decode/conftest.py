"""What the tests of decoding share."""

from __future__ import annotations

from pathlib import Path

import pytest

from cord_distill.prompts.render import Renderer, load_renderer


@pytest.fixture(scope="module")
def renderer(random_models: dict[str, Path]) -> Renderer:
    """The renderer of the random model `r1`."""
    return load_renderer(str(random_models["r1"]), name="r1")
