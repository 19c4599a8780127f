"""Which problems one call of `cord generate` decodes: `--only` and `--limit`."""

from __future__ import annotations

from dataclasses import dataclass

from cord_distill.common.errors import CordError
from cord_distill.common.suggest import did_you_mean
from cord_distill.types import Problem


@dataclass(frozen=True, slots=True)
class Subset:
    """The part of the problems that is decoded. only: these ids. limit: the first so many. Without either: all."""

    only: tuple[str, ...] = ()
    limit: int | None = None

    def chosen(self, problems: list[Problem]) -> list[Problem]:
        """The problems that are left. Raises CordError on an id that is not among them."""
        known = {problem.id for problem in problems}
        for name in self.only:
            if name not in known:
                near = did_you_mean(name, known, "")
                raise CordError(
                    f"--only {name}: in the recipe's problems there is no problem of this id{near and f'; {near}'}"
                )
        return [problem for problem in problems if not self.only or problem.id in self.only][: self.limit]


WHOLE = Subset()
