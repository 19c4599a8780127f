"""The map of the package (docs/map.md) as a test: folders import from lower rows only, and nothing imports in a circle.

The lazy version reads only the imports at the top of a file and misses those inside functions; these are read too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cord_distill

PACKAGE = Path(cord_distill.__file__).parent
# From the top: a folder imports from itself and from folders in later rows.
ROWS = (
    ("cli",),
    ("ablation",),
    ("run",),
    ("audit",),
    ("report", "worlds"),
    ("view",),
    ("decode", "evaluation"),
    ("training", "grading"),
    ("engines", "data", "tracking"),
    ("prompts", "model_files", "run_folder"),
    ("recipe", "search"),
    ("common", "types", "metrics"),
)
ROW_OF = {name: number for number, row in enumerate(ROWS) for name in row}


@cache
def module_imports() -> dict[str, frozenset[str]]:
    """Each module of the package with those it imports, inside functions too; type-checking blocks are left out."""
    modules = {name_of(path): path for path in PACKAGE.rglob("*.py")}
    return {
        name: frozenset(imported(ast.parse(path.read_text(encoding="utf-8")), set(modules))) - {name}
        for name, path in modules.items()
    }


def name_of(path: Path) -> str:
    parts = ("cord_distill", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.AST, modules: set[str]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.module:
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield from {whole if whole in modules else child.module} & modules
        elif isinstance(child, ast.Import):
            yield from {alias.name for alias in child.names} & modules
        yield from imported(child, modules)


def circle_in(graph: dict[str, frozenset[str]]) -> list[str]:
    """The first circle found by depth-first search, as the names along it; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := walk(other, [*trail, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def folder_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    assert circle_in(module_imports()) == []


def test_a_circle_is_found_where_there_is_one() -> None:
    assert circle_in({"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("b")}) == ["b", "c", "b"]


def test_folders_import_from_lower_rows_only() -> None:
    wrong = sorted(
        f"{module} imports {other}"
        for module, others in module_imports().items()
        for other in others
        if (a := folder_of(module)) and (b := folder_of(other)) and a != b and ROW_OF[a] >= ROW_OF[b]
    )
    assert wrong == []


def test_every_folder_of_the_package_has_a_row() -> None:
    assert {folder_of(module) for module in module_imports()} - {""} == set(ROW_OF)
