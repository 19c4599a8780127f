"""What a driver refuses before it begins. What drivers do on a cluster: tests/engines/test_ray.py."""

from __future__ import annotations

from collections import Counter

from scripted_world import write_recipe

from cord_distill.decode.admission import EngineShare
from cord_distill.decode.driver import DriverOrder, drive
from cord_distill.engines.ray.spec import Failure, Surroundings
from cord_distill.recipe.file import load_recipe


def test_a_driver_that_does_not_see_the_run_folder_says_so(tmp_path, random_models):
    """Fails the version that makes a folder of that name on its own node, and decodes everything there."""
    recipe = load_recipe(write_recipe(tmp_path, random_models), [f"output_dir={tmp_path / 'elsewhere'}"])
    sign = str(tmp_path / "elsewhere" / "journal" / ".drivers-1")
    found = drive(DriverOrder(recipe, EngineShare(0, 2), sign, Counter(), False, Surroundings.here()), [], None)
    assert isinstance(found, Failure) and "does not see the run folder" in found.reason
    assert "output_dir" in found.reason and not (tmp_path / "elsewhere").exists()
