"""What a child of test_kill_stages.py runs: one stage, killed just before its n-th touch of the run folder."""

import os
import signal
import sys

import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401

import cord_distill.data.build
import cord_distill.report.page
import cord_distill.report.summary
from cord_distill.recipe.experiment import Experiment
from cord_distill.recipe.file import load_recipe
from cord_distill.run_folder.paths import RunFolder


def stage(name: str, recipe: str, output_dir: str, at: int | None) -> None:
    """name: data or report. at: the touch (a file opened to write, renamed, removed, a folder made) to die before."""
    resolved = load_recipe(recipe, [f"output_dir={output_dir}"])
    run = RunFolder.of(resolved)
    seen = 0

    def hook(event: str, args: tuple) -> None:
        nonlocal seen
        writing = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if writing or event in ("os.rename", "os.remove", "os.mkdir", "os.truncate"):
            if str(output_dir) not in str(args[0]):
                return
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    if at is not None:
        sys.addaudithook(hook)
    if name == "data":
        cord_distill.data.build.build_dataset(resolved, run.trajectories, run.dataset)
    else:
        cord_distill.report.page.write_report(Experiment.load(recipe, [f"output_dir={output_dir}"]))
