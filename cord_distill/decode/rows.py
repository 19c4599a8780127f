"""Makes the row of a problem in trajectories.jsonl: graded, its steps checked where the recipe names a check."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import PluginError
from cord_distill.common.files import replacing
from cord_distill.common.jsonl import LONE_SURROGATE, fault
from cord_distill.common.plugins import load_plugin, plugin_call
from cord_distill.common.terminal import one_line
from cord_distill.decode.failures import error_text
from cord_distill.decode.pipelines import Outcome
from cord_distill.decode.row_schema import validate_row
from cord_distill.grading import Grader, load_grader, ungraded
from cord_distill.recipe.recipe import Recipe
from cord_distill.run_folder.journal import Journal
from cord_distill.run_folder.shapes import odd_part
from cord_distill.types import Problem, Stop, Trajectory


@dataclass(frozen=True)
class RowMaker:
    """Makes the validated row of a problem from what came of it: an Outcome, or the error that ended it."""

    recipe: Recipe
    fingerprint: str
    grade: Grader
    check: Callable[[Problem, list[str]], dict[str, Any]] | None

    @classmethod
    def of(cls, recipe: Recipe, fingerprint: str) -> RowMaker:
        assert recipe.problems is not None
        nobody = recipe.problems.grader == "judge" or recipe.problems.answer is None
        grade = ungraded if nobody else load_grader(recipe.problems.grader)
        verifier = recipe.problems.process_check
        return cls(recipe, fingerprint, grade, load_plugin(verifier, "problems.process_check") if verifier else None)

    @property
    def graders(self) -> tuple[Any, ...]:
        return (self.grade, self.check) if self.check else (self.grade,)

    def __call__(self, problem: Problem, outcome: Outcome | Exception) -> dict[str, Any]:
        base: dict[str, Any] = {
            "id": problem.id,
            "problem": problem,
            "pipeline": self.recipe.decode.pipeline,
            "recipe_hash": self.fingerprint,
            "seed": self.recipe.decode_seed,
        }
        if isinstance(outcome, Exception):
            empty = {"reasoning": 0, "answer": 0, "generated_total": 0, "scored_total": 0}
            trajectory = Trajectory(
                **base, steps=(), final_answer_text="", prediction=None, correct=None, score=None, stop=Stop.ABORT,
                num_tokens=empty, error=error_text(outcome),
            )  # fmt: skip
            return trajectory.to_row()
        prediction, correct = self._graded(outcome.text, problem)
        trajectory = Trajectory(
            **base,
            steps=outcome.steps,
            final_answer_text=outcome.final_answer_text,
            prediction=prediction,
            correct=correct,
            score=outcome.score,
            stop=outcome.stop,
            num_tokens={
                "reasoning": sum(step.num_tokens for step in outcome.steps),
                "answer": outcome.answer_tokens,
                "generated_total": outcome.generated,
                "scored_total": outcome.scored,
            },
            candidates=outcome.candidates,
            answer_rule=outcome.answer_rule,
            rivals=outcome.rivals,
            checks=self._checked(problem, [step.text for step in outcome.steps]) if self.check else {},
        )
        made = json.loads(json.dumps(trajectory.to_row()))
        validate_row(made)
        return made

    def _graded(self, text: str, problem: Problem) -> tuple[str | None, bool | None]:
        """Asks the grader. A plug-in's fault costs this problem alone."""
        said = f"problems.grader: {self.recipe.problems and self.recipe.problems.grader!r}"
        with plugin_call(said, raises=PluginError):
            made = self.grade(text, problem)
        pair = isinstance(made, (tuple, list)) and len(made) == 2
        if not pair or not isinstance(made[0], str | None) or not isinstance(made[1], bool | None):
            raise PluginError(f"{said} gave {one_line(repr(made), 60)}; give (the answer or None, True or False)")
        if fault(made[0]) == LONE_SURROGATE:
            raise PluginError(
                f"{said} gave {one_line(repr(made), 60)}, {LONE_SURROGATE}; give a text of whole characters"
            )
        return made[0], made[1]

    def _checked(self, problem: Problem, steps: list[str]) -> dict[str, Any]:
        assert self.check is not None and self.recipe.problems is not None
        said = f"problems.process_check: {self.recipe.problems.process_check!r}"
        with plugin_call(said, raises=PluginError):
            made = self.check(problem, steps)
        if not isinstance(made, dict):
            raise PluginError(f"{said} gave {one_line(repr(made), 60)}; give a dict of findings")
        # Whoever reads the file later would refuse all of it for one odd finding.
        odd = odd_part({"id": problem.id, "checks": made}) or fault(made)
        if odd:
            raise PluginError(f"{said} gave {one_line(repr(made), 60)}: {odd}")
        return made


def write_rows(journal: Journal, problems: list[Problem], path: Path) -> None:
    """Writes trajectories.jsonl: the row of each problem that has one, in the problems' order."""
    with replacing(path) as file:
        for row in journal.rows(problems):
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
