"""The `data` section: which trajectories, and which rows of others, become training rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cord_distill.recipe.base import FolderName, Positive, Section, Share, check_source


class FiltersConfig(Section):
    """Which trajectories become training rows. Every dropped row is counted by its reason."""

    correct: bool = True
    """Only traces with a right answer are kept."""
    finished: bool = False
    """Only traces whose teacher closed the thought itself are kept."""
    boxed: bool = False
    """Only traces whose final answer holds \\boxed{} are kept."""
    max_repetition: Share | None = None
    """Traces in which one line makes up more than this share of the lines are dropped; null drops none."""
    max_tokens: Positive | None = None
    """Rows that are longer than this, in the student's tokens, are left out by the training, which counts them; they
    stay in the data set. null leaves none out."""
    steps_right: bool = False
    """Only traces that pass the process check (`problems.process_check`) are kept."""


class SourceConfig(Section):
    """Rows from elsewhere that are trained on too: a local JSONL `path` or a hub `dataset`."""

    path: str | None = None
    """The file of the rows (JSONL, JSON, CSV or Parquet); give this or `dataset`."""
    dataset: str | None = None
    """The hub id of the rows; give this or `path`."""
    subset: str | None = None
    """The configuration of the hub data set, where it has several."""
    revision: str | None = None
    """The commit, tag or branch of the hub data set; the commit that it stood for goes into stats.json and card."""
    split: str = "train"
    """The split of the hub data set."""
    format: Literal["trajectories", "rows", "messages", "limo", "s1k"]
    """How the rows are written: `trajectories` (another run's), `rows` (another data set's train.jsonl), `messages` (a
    chat whose last turn holds the thought), `limo` (question, solution, answer) or `s1k` (thinking trajectory and
    attempt)."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often a row is trained per epoch: 0.5 takes half of the rows, 2 takes each twice."""
    limit: Positive | None = None
    """Only the first so many rows are read; null reads all."""
    name: FolderName | None = None
    """What the card calls the source; null takes the last part of `path` or `dataset`."""
    licence: str = ""
    """The licence that the card names."""
    origin: str = ""
    """Where the rows come from, in the card's words."""

    @property
    def label(self) -> str:
        return self.name or (self.dataset or self.path or "").rstrip("/").rsplit("/", 1)[-1].partition(".jsonl")[0]

    @model_validator(mode="after")
    def _one_place(self) -> SourceConfig:
        if bool(self.path) == bool(self.dataset):
            raise ValueError("give either path (a JSONL file) or dataset (a hub id)")
        check_source(self)
        return self


class PreferencesConfig(Section):
    """Pairs of a better and a worse continuation of one prefix, written to `preferences.jsonl` for `dpo`."""

    kinds: Annotated[list[Literal["steps", "traces"]], Field(min_length=1)] = ["steps", "traces"]
    """`steps` pairs what lived on behind a prefix with a sibling that was pruned, `traces` the winner with another
    complete trace."""
    min_margin: Annotated[float, Field(gt=0)] = 0.1
    """The least difference of their scores, in the units of `decode.selector`."""
    per_problem: Positive | None = 8
    """At most so many pairs of each kind are taken from a problem, those of the largest margins; null takes all."""


class DataConfig(Section):
    """How trajectories, and rows of others, become SFT rows."""

    filters: FiltersConfig = FiltersConfig()
    """Which trajectories become training rows."""
    keep_markers: bool = True
    """The step markers (`### Step N.`) stay in the training text."""
    decontaminate: list[str] = []
    """Files of questions that must not be trained on, such as the benchmarks'."""
    decontaminate_coverage: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A question counts as one of them when it holds at least this share of its three-word runs (set phrases of the
    files count little) and no other numbers; 1 asks for all of them."""
    sources: list[SourceConfig] = []
    """Rows from elsewhere that are trained on too."""
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    """A question is dropped that shares at least this part of its three-word runs with one before it (Jaccard) and has
    the same numbers; null drops only equal rows."""
    licence: str = ""
    """The licence that the data set's card names, such as `apache-2.0`; "" writes `other`."""
    rows_per_problem: Positive = 1
    """Up to so many traces of each own problem become rows: the beams that were kept at the end, or Curation's other
    complete traces. Near-equal ones are dropped."""
    cut_tail: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A trace ends with the first step from which S stays above this value; `</think>` and the answer follow. null cuts
    nothing."""
    preferences: PreferencesConfig | None = None
    """Writes `preferences.jsonl`, the pairs that `dpo` trains on; `{}` takes its defaults, null writes none."""
    step_values: bool = False
    """Writes `step_values.jsonl`, the score of every step and of its siblings."""

    @model_validator(mode="after")
    def _sources_have_names(self) -> DataConfig:
        labels = [source.label for source in self.sources]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}: give each its own `name`")
        return self
