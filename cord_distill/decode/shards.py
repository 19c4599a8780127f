"""Shards: `cord generate --shard 3/8` decodes its part of the problems alone; `merge.py` makes one run of all parts.

Each shard has a folder with a journal, a lock and rows of its own, so that any number of them may run at once, on any
machines that share the run folder.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from difflib import get_close_matches

from cord_distill.common.errors import CordError
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.paths import RunFolder
from cord_distill.types import Problem

FORM = re.compile(r"(\d+)/(\d+)")
FOLDER = re.compile(r"\d+-of-(\d+)")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` (from 1) of `count`. A problem belongs to a shard by the hash of its id alone: adding, dropping or
    sorting problems moves no other problem to another shard."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads `3/8`. Raises CordError on anything else, and on a number outside 1..count."""
        match = FORM.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise CordError(f"--shard {text!r}: give NUMBER/COUNT with NUMBER from 1 to COUNT, e.g. --shard 3/8")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, problem_id: str) -> bool:
        return shard_number(problem_id, self.count) == self.number

    def folder(self, run: RunFolder) -> RunFolder:
        """Where this part is decoded: `shards/3-of-8/` of the run's folder, laid out as a run folder is."""
        return RunFolder(run.folder / "shards" / f"{self.number}-of-{self.count}", run.method, False)


@dataclass(frozen=True, slots=True)
class Subset:
    """Which problems one call of `cord generate` decodes. shard: its own, in a folder of its own. only: these ids.
    limit: the first so many."""

    shard: Shard | None = None
    only: tuple[str, ...] = ()
    limit: int | None = None

    def folder(self, recipe: Recipe) -> RunFolder:
        run = RunFolder.of(recipe)
        return self.shard.folder(run) if self.shard else run

    def of_shard(self, problems: list[Problem]) -> list[Problem]:
        return [p for p in problems if self.shard.holds(p.id)] if self.shard else problems

    def chosen(self, problems: list[Problem]) -> list[Problem]:
        """The problems that `only` and `limit` leave. Raises CordError on an id that is not among them."""
        known = {problem.id for problem in problems}
        for name in self.only:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                where = f"in shard {self.shard}" if self.shard else "in the recipe's problems"
                raise CordError(f"--only {name}: {where} there is no problem of this id{hint}")
        return [problem for problem in problems if not self.only or problem.id in self.only][: self.limit]


WHOLE = Subset()


def shard_number(problem_id: str, count: int) -> int:
    """1..count, by the first 8 bytes of the id's sha256: the same in every process, on every machine."""
    digest = hashlib.sha256(problem_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % count + 1


def shard_counts(run: RunFolder) -> list[int]:
    """Into how many shards this run was cut, by the folders that are there: several after another `--shard i/n`."""
    folders = (FOLDER.fullmatch(path.parent.name) for path in run.folder.glob(f"shards/*/{run.journal.name}"))
    return sorted({int(match[1]) for match in folders if match})
