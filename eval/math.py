"""MATH-500, GSM8K and AMC23, judged by mathematical equality."""

from cord_distill.evaluation.task_file import Hub, Suite, tasks_table

SUITES = {
    "math_500": Suite("math_500", group="math", hub=Hub("HuggingFaceH4/MATH-500", id="unique_id")),
    "gsm8k": Suite(
        "gsm8k", group="math", hub=Hub("openai/gsm8k", subset="main", problem="question", answer_mark="####")
    ),
    # The hub's columns are read off the data set's card; not run here.
    "amc23": Suite("amc23", group="math", hub=Hub("math-ai/amc23", id="id", problem="question")),
}

__getattr__ = tasks_table(SUITES)
