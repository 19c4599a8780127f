"""What README and docs say holds: links lead somewhere, recipes resolve, commands exist, keys are keys."""

import re
from pathlib import Path

import pytest
import yaml

from cord_distill.cli import _parser
from cord_distill.recipe import Recipe
from cord_distill.recipe_file import find_recipe, load_recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    """Indented or fenced lines that start with a command of ours."""
    lines = re.findall(r"^(?: {4}|\$ )?((?:cord|make|accelerate) [^\n#]*)", page.read_text(), re.M)
    return [part.strip() for line in lines for part in line.split("&&")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_and_names_a_recipe_that_resolves(page):
    """Fails the page that shows a command which was renamed."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in commands(page):
        words = line.split()
        if words[0] == "make":
            assert words[1] in targets, line
        elif words[0] == "accelerate":
            recipe = next((word for word in words if word.endswith(".yaml") and "recipes/" in word), None)
            assert "train.py" in line and (recipe is None or (ROOT / recipe).is_file()), line
        elif not re.search(r"RECIPE|FILE|PATH|\.\.\.|\|", line):
            arguments, rest = _parser().parse_known_args(words[1:])
            assert not [word for word in rest if "=" not in word], line
            if getattr(arguments, "recipe", None) and Path(arguments.recipe).stem not in ("my", "x"):
                find_recipe(arguments.recipe)


def test_the_recipe_in_the_readme_is_one(tmp_path):
    """Fails a README whose recipe has a key that no longer exists."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    path = tmp_path / "readme.yaml"
    path.write_text(block)
    recipe = load_recipe(path, variant="curation")
    assert recipe.decode.pipeline == "curation"
    assert set(yaml.safe_load(block)) <= set(Recipe.model_fields)


def test_every_key_in_the_decisions_is_a_key():
    """Fails docs/decisions.md when a key is renamed."""
    for key in re.findall(r"`((?:decode|data|meta_prover)\.[\w.]+)`", (ROOT / "docs/decisions.md").read_text()):
        here = Recipe
        for part in key.split("."):
            field = here.model_fields[part]
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            here = next((k for k in kinds if hasattr(k, "model_fields")), None)


def test_nothing_in_the_project_names_a_machine_or_a_registry():
    """No absolute path of a build machine, no package registry's host."""
    forbidden = re.compile(r"/root/|/work/(?:main|shared)|\bpypi\.(?:org|io)|files\.pythonhosted|registry\.npmjs")
    for path in ROOT.rglob("*"):
        hidden = any(part.startswith(".") and part != ".ci" for part in path.relative_to(ROOT).parts)
        if hidden or not path.is_file() or path.suffix in (".png", ".pyc") or "outputs" in path.parts:
            continue
        if path != Path(__file__).resolve():
            found = forbidden.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found.group() if found else ''}"
