"""All that an ablation found, as `ablations.json` holds it and as the tables are drawn from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from cord_distill.ablation.figures import AtEqualTokens, VariantFigures
from cord_distill.ablation.students import StudentFigures


@dataclass(frozen=True, slots=True)
class AblationFigures:
    """Figures by variant; comparisons at equal tokens by variant and measure. seed_key: what the seeds are values of.

    missing: per variant the seeds that it has not finished. The rest is of the recipe: which tables hold which
    variants, the sizes of the plain search, what was left out and why, the paper's figures (right answers %, S).
    """

    name: str
    baseline: str
    seed_key: str
    seeds: list[int]
    variants: dict[str, VariantFigures]
    students: dict[str, StudentFigures]
    tables: dict[str, list[str]]
    plain_search: list[str]
    at_equal_tokens: dict[str, dict[str, AtEqualTokens | None]]
    missing: dict[str, list[int]]
    left_out: dict[str, str]
    paper: dict[str, list[float]]

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
