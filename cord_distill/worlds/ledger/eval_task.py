"""The ledger as an evaluation suite: held-out problems; answers and steps are judged. See `evaluate.tasks`."""

from cord_distill.evaluation.suite import Suite

WORLD = "cord_distill.worlds.ledger.world"

SUITES = {
    "ledger": Suite(
        "ledger",
        grader=f"{WORLD}:grade",
        builder=f"{WORLD}:problems",
        args={"n": 100, "split": "test", "seed": 0},
        check=f"{WORLD}:check_text",
    )
}
