"""HMMT February 2025: 30 problems with formulas for answers, judged by mathematical equality."""

from cord_distill.evaluation.task_file import Hub, Suite, tasks_table

SUITES = {
    # Later than LIMO-v1 and s1K. The hub's columns are read off the data set's card; not run here.
    "hmmt_feb25": Suite(
        "hmmt_feb25", group="recent", hub=Hub("MathArena/hmmt_feb_2025", split="train", id="problem_idx")
    ),
}

__getattr__ = tasks_table(SUITES)
