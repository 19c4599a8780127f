"""A student's scores as the hub reads them: `.eval_results/cord-distill.yaml` beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from cord_distill import __version__
from cord_distill.common.files import write_atomic
from cord_distill.evaluation.figures import SuiteFigures
from cord_distill.evaluation.suite import Suite
from cord_distill.evaluation.suites import find_suites
from cord_distill.recipe.recipe import Recipe

FILE = Path(".eval_results") / "cord-distill.yaml"


def write_eval_results(folder: Path, recipe: Recipe, suites: Mapping[str, SuiteFigures]) -> None:
    """Writes the scores of one student beside its weights, and no file where there is nothing to publish.

    There is an entry, avg@k in percent, for every suite whose problems are a data set of the hub, all of them asked. A
    suite of one's own, a file in place of the hub's rows, and the first N problems alone are no benchmark's score.
    suites: name -> figures of this student.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    asked = recipe.evaluate
    known = find_suites(asked) if suites else {}
    entries = []
    for name, figures in suites.items():
        suite, share = known.get(name), figures.avg_at_k
        hub = suite.hub if isinstance(suite, Suite) else None
        if hub is None or share is None or asked.limit is not None or name in asked.data:
            continue
        notes = f"avg@{figures.k}, T={asked.temperature:g}, top_p={asked.top_p:g}, at most {asked.max_new_tokens} new "
        notes += f"tokens, graded by cord-distill {__version__}"
        task, value = hub.subset if hub.subset != "default" else name, round(100 * share, 2)
        revision = asked.revisions.get(name, hub.revision)
        entries.append(EvalResultEntry(hub.repo, task, value, dataset_revision=revision, notes=notes))
    if not entries:
        (folder / FILE).unlink(missing_ok=True)
        return
    (folder / FILE).parent.mkdir(exist_ok=True)
    write_atomic(folder / FILE, yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False))
