"""What README and docs say holds: links lead somewhere, commands exist and are run, errors are ours, no page is old."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from cord_distill.cli import _parser
from cord_distill.recipe import reference as recipe_reference
from cord_distill.recipe.file import find_recipe, load_recipe
from cord_distill.recipe.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
# Recipes of large models: nobody runs them on a CPU. The others are toys, a user's own or placeholders.
LARGE = re.compile(r"^(r1_|sft_|limo_|s1k|pubmedqa|calibrate_r1|gsm8k_1gpu)")
NEEDS_GPU = re.compile(r"\bGPUs?\b|\bSlurm\b")
# Commands by subcommand and options, and the test that runs them so: a file and words that stand in it.
RUN_BY = {
    "make quickstart": ("tests/run/test_quickstart.py", '"run", "quickstart"'),
    "make test": (".ci/run", "part test"),
    "make install": (".ci/run", "part install"),
    "cord check": ("tests/test_cli.py", 'main(["check", "quickstart"'),
    "cord check --gpu-memory --gpus": ("tests/training/test_memory.py", '"--gpus", "8", "--gpu-memory", "80"'),
    "cord show": ("tests/run/test_show.py", 'main(["show", recipe'),
    "cord run": ("tests/run/test_quickstart.py", '"run"'),
    "cord generate": ("tests/evaluation/test_your_own_task.py", "main("),
    "cord generate --limit": ("tests/run_folder/test_many_writers.py", '"--limit"'),
    "cord models": ("tests/evaluation/test_your_own_task.py", "main("),
    "cord data": ("tests/evaluation/test_your_own_task.py", "main("),
    "cord train": ("tests/training/test_sft_launch.py", '"cord_distill.cli", "run"'),
    "cord evaluate": ("tests/evaluation/test_your_own_task.py", "main("),
    "cord evaluate --calibrate": ("tests/evaluation/test_evaluate_command.py", '"--calibrate"'),
    "cord evaluate --data --model --suite": ("tests/evaluation/test_evaluate_command.py", 'main(["evaluate", *flags'),
    "cord evaluate --watch": ("tests/evaluation/test_watch.py", '"--watch"]'),
    "cord init --gpus --questions --student --teachers": ("tests/run/test_commands.py", '"--gpus", str(gpus)'),
    "cord recipes": ("tests/run/test_commands.py", 'main(["recipes"'),
    "cord recipes --copy": ("tests/run/test_commands.py", '"--copy", "mine.yaml"'),
    "cord status": ("tests/run/test_commands.py", 'main(["status"'),
    "cord schema": ("tests/run/test_commands.py", 'main(["schema"'),
    "cord env": ("tests/run/test_commands.py", 'main(["env"'),
    "cord compare": ("tests/evaluation/test_evaluate_command.py", 'main(["compare"'),
    "cord audit": ("tests/audit/test_audit.py", 'main(["audit"'),
    "cord report": ("tests/report/test_report.py", 'main(["report"'),
    "cord problems": ("tests/decode/test_hard_problems.py", 'main(["problems"'),
    "cord ablate": ("tests/ablation/test_ablate.py", 'main(["ablate"'),
    "cord ablate --students": ("tests/ablation/test_ablate.py", '"--students"'),
    "cord export": ("tests/training/test_sft.py", 'main(["export"'),
    "cord grade": ("tests/evaluation/test_rescore.py", 'main(["grade"'),
    "cord view": ("tests/view/test_view.py", 'main(["view", str('),
    "cord view --output --text": ("tests/view/test_view.py", '"--output", str('),
    "cord view --open": ("tests/test_cli.py", '"--open"'),
    "accelerate": ("tests/training/test_sft_launch.py", "accelerate"),
}


def commands(page: Path) -> list[tuple[str, str]]:
    """(command, text of its section) for all indented or fenced lines that start with a command of ours."""
    found = []
    for section in re.split(r"^(?=#+ )", _without_yaml(page.read_text()), flags=re.M):
        lines = re.findall(r"^(?: {4}|\$ )?((?:cord|make|accelerate|sbatch) [^\n#]*)", section, re.M)
        found += [(part.strip(), section) for line in lines for part in line.split("&&")]
    return found


def _without_yaml(text: str) -> str:
    return re.sub(r"```(?:yaml|python|jinja)\n.*?```", "", text, flags=re.S)


def headings(page: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", _without_yaml(page.read_text())):
        if not target.startswith(("http://", "https://", "mailto:")):
            file = (page.parent / target) if target else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in headings(file), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_and_names_a_recipe_that_resolves(page):
    """Fails the page that shows a command which was renamed."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for line, _ in commands(page):
        words = line.split()
        if words[0] == "make":
            assert words[1] in targets, line
        elif words[0] == "sbatch":
            assert (ROOT / words[1]).is_file() and (ROOT / words[2]).is_file(), line
        elif words[0] == "accelerate":
            for word in words:
                assert "/" not in word or (ROOT / word).is_file(), line
            assert "train.py" in line and (ROOT / "train.py").is_file(), line
        elif not re.search(r"FILE|PATH|\.\.\.|\|", line):
            arguments, rest = _parser().parse_known_args(words[1:])
            assert not [word for word in rest if "=" not in word], line
            named = getattr(arguments, "recipe", None)
            theirs = Path(named or "").stem in ("RECIPE", "my", "x", "weekday", "own")
            if named and not theirs and not named.startswith("outputs/"):
                find_recipe(named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_run_by_a_test_or_says_that_it_needs_a_gpu(page):
    """Fails a page that shows what nobody ever ran as if it had been. `cord check` and what only reads files do not
    depend on the size of the models."""
    for line, section in commands(page):
        words = line.split()
        large = any(LARGE.match(Path(word).stem) for word in words[1:])
        reads = words[1] in ("check", "data", "report", "view")
        if words[0] == "sbatch" or "EXTRA=gpu" in line or (large and not reads):
            assert NEEDS_GPU.search(section), f"{page.name}: {line}: say in its section that it needs a GPU"
            continue
        shape = " ".join(words[:1] if words[0] == "accelerate" else words[:2])
        shape = " ".join([shape, *sorted(w for w in words if w.startswith("--"))]) if words[0] == "cord" else shape
        assert shape in RUN_BY, f"{page.name}: {line}: name the test that runs `{shape}`, or mark it"
        file, said = RUN_BY[shape]
        assert said in (ROOT / file).read_text(), f"{page.name}: {line}: {file} no longer runs it"


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


# The recipe reference.


def test_the_recipe_reference_is_what_the_recipe_says():
    """Fails a key, a default or an explanation that changed in recipe.py alone."""
    assert recipe_reference.FILE.read_text() == recipe_reference.reference(), (
        "recipe.py changed: python -m cord_distill.recipe.reference"
    )


def test_every_key_is_explained_in_a_sentence():
    """Fails a key without a text, and a text that is a fragment."""
    page = recipe_reference.reference()
    rows = [re.split(r"(?<!\\)\|", line) for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    for row in rows:
        text = row[4].strip()
        assert text.endswith(".") and (text[0].isupper() or text[0] in "`n"), f"{row[1]}: {text!r}"
    assert page.count("\n## Model\n") == 1 and "Every key of [Model](#model), and:" in page
    assert "| `beam_size` | whole number | `4` | B, the number of traces that live on after each step;" in page


# The FAQ.


@cache
def messages() -> frozenset[str]:
    """The fixed parts of every text in the package that is no docstring: what is raised, found and printed."""
    found = set()
    for path in (ROOT / "cord_distill").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                found.add(node.value)
    return frozenset(found)


def test_every_error_in_the_faq_is_one_that_is_raised():
    """Fails an entry about a message that was reworded, an invented one, and a question that quotes none."""
    headings = re.findall(r"^### (.*)$", (ROOT / "docs/faq.md").read_text(), re.M)
    assert len(headings) > 40
    for heading in headings:
        quoted = re.findall(r"`([^`]+)`", heading)
        assert quoted and not re.sub(r"`[^`]+`| or ", "", heading).strip(), heading
        for text in quoted:
            assert any(text in part for part in messages()), text


# Examples.


def test_the_slurm_example_starts_one_launcher_per_node_that_finds_the_first(tmp_path):
    """Fails a script that reads SLURM_NODEID once, on the first node, and one that hands overrides on unquoted."""
    for name, text in {
        "scontrol": 'echo node-1; echo node-2; test "$*" = "show hostnames node-[1-2]"',
        "srun": 'for i in 0 1; do SLURM_NODEID=$i "$@"; done',
        "accelerate": f'printf "%s\\n" "$@" - >> {tmp_path}/said',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "12345", "SLURM_NODEID": "0",
    }  # fmt: skip
    script = ROOT / "docs/examples/slurm_train.sh"
    subprocess.run(["bash", script, "my.yaml", "name=two words"], env=slurm, check=True)
    calls = [call.splitlines() for call in (tmp_path / "said").read_text().split("\n-\n")[:2]]
    for rank, call in enumerate(calls):
        assert call == [
            "launch", "--config_file", "accelerate_configs/multi_node.yaml", "--num_machines", "2",
            "--num_processes", "16", "--machine_rank", str(rank), "--main_process_ip", "node-1",
            "--main_process_port", "32345", "train.py", "my.yaml", "name=two words",
        ]  # fmt: skip


def test_the_cluster_example_runs_the_same_command_on_every_node_with_a_token_of_its_own(tmp_path):
    """Fails a script that shows its token, reports usage, or hands overrides on unquoted."""
    said = tmp_path / "said"
    for name, text in {
        "scontrol": 'echo node-1; echo node-2; test "$*" = "show hostnames node-[1-2]"',
        "srun": 'for i in 0 1; do "$@"; done',
        "ray": f'printf "%s\\n" "$RAY_AUTH_MODE" ${{#RAY_AUTH_TOKEN}} "$RAY_USAGE_STATS_ENABLED" "$@" - >> {said}',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_NNODES": "2"}
    script = ROOT / "docs/examples/slurm_cluster.sh"
    done = subprocess.run(["bash", script, "my.yaml", "name=two words"], env=slurm, check=True, capture_output=True)
    node = [
        "token", "64", "0", "symmetric-run", "--address", "node-1:6379", "--min-nodes", "2",
        "--", "cord", "generate", "my.yaml", "name=two words",
    ]  # fmt: skip
    assert [call.splitlines() for call in said.read_text().split("\n-\n")[:2]] == [node, node]
    assert done.stdout == done.stderr == b""


def test_the_kubernetes_example_starts_the_same_command_with_a_token_on_every_pod():
    """Read, not run: no Kubernetes is at hand. Fails a pod without the token, and one that reports usage."""
    job = yaml.safe_load((ROOT / "docs/examples/kuberay_generate.yaml").read_text())["spec"]
    assert job["entrypoint"].startswith("cord generate ")
    cluster = job["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        (pod,) = group["template"]["spec"]["containers"]
        known = {entry["name"]: entry.get("value") for entry in pod["env"]}
        assert known["RAY_AUTH_MODE"] == "token" and known["RAY_USAGE_STATS_ENABLED"] == "0"
        assert {"RAY_AUTH_TOKEN"} == {entry["name"] for entry in pod["env"] if "valueFrom" in entry}


# Spelling, and the site.


def test_nothing_is_misspelt():
    said = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *(str(p.relative_to(ROOT)) for p in PAGES), "cord_distill", "recipes"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_page_is_in_the_site():
    index = (ROOT / "docs/index.md").read_text()
    listed = re.findall(r"^(\w+)$", "".join(re.findall(r"```\{toctree\}\n(.*?)```", index, re.S)), re.M)
    assert sorted(listed) == sorted(page.stem for page in (ROOT / "docs").glob("*.md") if page.stem != "index")


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_a_dead_link_stops_it(tmp_path):
    """Twelve seconds each, without a network."""

    def build(docs: Path) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(tmp_path / "trees")]
        return subprocess.run([*command, str(docs), str(tmp_path / "site")], capture_output=True, text=True)

    made = build(ROOT / "docs")
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "site/method.html").read_text()
    assert "<msubsup>" in page or "<munderover>" in page
    assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)', page)
    assert "BeamSearch" in (tmp_path / "site/api.html").read_text()
    # Files of benchmarks/ are pages, and links to them lead there.
    assert "The world with tails" in (tmp_path / "site/ablations.html").read_text()
    assert 'href="ablations.html"><span' in page
    dead = tmp_path / "docs"
    dead.mkdir()
    (dead / "conf.py").write_text((ROOT / "docs/conf.py").read_text())
    (dead / "index.md").write_text("# A page\n\n[gone](nowhere.md)\n")
    made = build(dead)
    assert made.returncode == 1 and "nowhere.md" in made.stderr


def test_nothing_in_the_project_names_a_machine_or_a_registry():
    """No absolute path of a build machine, no package registry's host."""
    forbidden = re.compile(r"/root/|/work/(?:main|shared)|\bpypi\.(?:org|io)|files\.pythonhosted|registry\.npmjs")
    for path in ROOT.rglob("*"):
        hidden = any(part.startswith(".") and part != ".ci" for part in path.relative_to(ROOT).parts)
        if hidden or not path.is_file() or path.suffix in (".png", ".pyc") or {"outputs", "build"} & {*path.parts}:
            continue
        if path != Path(__file__).resolve():
            found = forbidden.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found.group() if found else ''}"
