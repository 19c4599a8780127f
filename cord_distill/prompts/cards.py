"""Finds the system prompt that a model's card recommends (cards.yaml), by the name of the model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml


@cache
def _cards() -> dict[str, dict[str, str]]:
    return yaml.safe_load((Path(__file__).parent / "cards.yaml").read_text(encoding="utf-8"))


def recommended_system_prompt(model: str) -> str:
    """The card's system prompt for a hub id or local path whose last part names the model, else "" (none)."""
    name = model.rstrip("/").rsplit("/", 1)[-1].lower()
    return next((card["system_prompt"] for key, card in _cards().items() if key.lower() in name), "")
