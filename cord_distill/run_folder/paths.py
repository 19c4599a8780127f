"""The run folder: where each stage of one recipe writes. Paths only; nothing is created by asking for a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cord_distill.recipe.recipe import Recipe

# Of an evaluated model: its figures, one row per problem, one per sample, and the judge's verdicts.
RESULTS, PROBLEMS = "results.json", "problems.jsonl"
SAMPLES, JUDGEMENTS = "samples.jsonl", "judgements.jsonl"
AUDIT_FILE = "audit.json"
TRAIN_FILE = "train.jsonl"
STATS_FILE = "stats.json"
PREFERENCES_FILE = "preferences.jsonl"
STEP_VALUES_FILE = "step_values.jsonl"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """`outputs/<recipe name>/`; a recipe with variants has one folder per variant inside it.

    Shared by all variants: recipe.yaml, problems.jsonl, summary.json, report.html, eval/<label>/. Per method: the rest.
    Of a list of seeds each run has its own checkpoints/seed-N/ and eval/<method>-seed-N/; seed is None where there is
    no list. A later stage of training has dpo/ or distil/ in place of checkpoints/, and eval/<method>-<stage>/.
    """

    root: Path
    method: str
    has_variants: bool
    seed: int | None = None
    stage: str = "train"

    @classmethod
    def of(cls, recipe: Recipe) -> RunFolder:
        root = Path(recipe.output_dir) if recipe.output_dir else Path("outputs") / recipe.name
        return cls(root.absolute(), method_name(recipe), recipe.variant is not None, recipe.train_seed, recipe.stage)

    @property
    def student(self) -> str:
        """What the tables call the students of this method and stage, whatever their seed."""
        return self.method if self.stage == "train" else f"{self.method}-{self.stage}"

    @property
    def label(self) -> str:
        """What the tables and eval/ call the student that is trained here."""
        return self.student if self.seed is None else f"{self.student}-seed-{self.seed}"

    @property
    def folder(self) -> Path:
        return self.root / self.method if self.has_variants else self.root

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def trajectories(self) -> Path:
        return self.folder / "trajectories.jsonl"

    @property
    def generate_stats(self) -> Path:
        """Seconds, cache hits, tokens per teacher, discarded work: all that depends on timing."""
        return self.folder / "generate_stats.json"

    @property
    def audit(self) -> Path:
        """What `cord audit` found: figures per teacher and kind of step."""
        return self.folder / AUDIT_FILE

    @property
    def hard_problems(self) -> Path:
        """What `cord problems` kept, one problem per line."""
        return self.root / "problems.jsonl"

    @property
    def problem_filter(self) -> Path:
        """How they were found: the journal of the tries, the judge's replies, the counts (stats.json)."""
        return self.root / "problem_filter"

    @property
    def dataset(self) -> Path:
        return self.folder / "dataset"

    @property
    def checkpoints(self) -> Path:
        return _of_seed(self.folder / ("checkpoints" if self.stage == "train" else self.stage), self.seed)

    @property
    def final_model(self) -> Path:
        return self.checkpoints / "final"

    @property
    def eval(self) -> Path:
        return self.root / "eval"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def wandb(self) -> Path:
        return self.root


def training_folder(recipe: Recipe) -> Path:
    """Where training writes its checkpoints: `output_dir` of the stage's section, else the run folder's."""
    given = recipe.stage_section.get("output_dir")
    return _of_seed(Path(given), recipe.train_seed) if given else RunFolder.of(recipe).checkpoints


def _of_seed(folder: Path, seed: int | None) -> Path:
    return folder if seed is None else folder / f"seed-{seed}"


def method_name(recipe: Recipe) -> str:
    """What tables call this way of making data: the variant's name, else the pipeline's; `sft` where none was run."""
    decoded = bool(recipe.teachers) or not recipe.data.sources
    return recipe.variant or (recipe.decode.pipeline.rpartition(":")[2] if decoded else "sft")


def checkpoint_label(run: RunFolder, name: str) -> str:
    """`checkpoint-N`, after the run's label where a recipe has several trainings: `cord-seed-1-checkpoint-N`."""
    several = run.has_variants or run.seed is not None or run.stage != "train"
    return f"{run.label}-{name}" if several else name
