"""The environment of the processes that `cord run` starts."""

import os

from cord_distill.common.die_with_parent import PARENT, child_environment


def test_a_child_names_its_parent_and_starts_a_wandb_service_of_its_own():
    """Fails the version that hands the parent's service on: a trainer that is killed would leave its run in use there,
    and the evaluation could not take it up again."""
    made = child_environment({"WANDB_SERVICE": "3-1-unix-/tmp/x", "WANDB_MODE": "offline"})
    assert made == {"WANDB_MODE": "offline", PARENT: str(os.getpid())}
