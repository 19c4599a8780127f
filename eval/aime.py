"""AIME 2024 and 2025: 30 problems each, answers 0..999, judged as exact integers."""

from cord_distill.evaluation.task_file import Hub, Suite, tasks_table

SUITES = {
    "aime24": Suite(
        "aime24", grader="integer", group="math", hub=Hub("HuggingFaceH4/aime_2024", split="train", id="id")
    ),
    "aime25": Suite("aime25", grader="integer", group="math", hub=Hub("yentinglin/aime_2025", split="train", id="id")),
}

__getattr__ = tasks_table(SUITES)
