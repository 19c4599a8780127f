"""AIME 2024, 2025 and 2026: 30 problems each, answers 0..999, judged as exact integers."""

from cord_distill.evaluation.task_file import Hub, Suite, tasks_table

SUITES = {
    "aime24": Suite(
        "aime24", grader="integer", group="math", hub=Hub("HuggingFaceH4/aime_2024", split="train", id="id")
    ),
    "aime25": Suite("aime25", grader="integer", group="math", hub=Hub("yentinglin/aime_2025", split="train", id="id")),
    # Later than LIMO, s1K and the teachers. The hub's columns are read off the data set's card; not run here.
    "aime26": Suite(
        "aime26", grader="integer", group="recent", hub=Hub("MathArena/aime_2026", split="train", id="problem_idx")
    ),
}

__getattr__ = tasks_table(SUITES)
