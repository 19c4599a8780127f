"""The `data` section: which trajectories, and which rows of others, become training rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cord_distill.recipe.base import FolderName, Positive, Section, Share


class FiltersConfig(Section):
    """Which trajectories become training rows. Every dropped row is counted by its reason.

    correct: keep only right answers. finished: keep only traces whose teacher closed the thought itself. boxed: keep
    only final answers with \\boxed{}. max_repetition: drop traces in which one line makes up more than this share of
    the lines. max_tokens: drop longer rows (student's tokens). steps_right: keep only traces that pass the process
    check.
    """

    correct: bool = True
    finished: bool = False
    boxed: bool = False
    max_repetition: Share | None = None
    max_tokens: Positive | None = None
    steps_right: bool = False


class SourceConfig(Section):
    """Rows from elsewhere that are trained on too: a local JSONL `path` or a hub `dataset`.

    format: `trajectories` (another run's), `rows` (another data set's train.jsonl), `messages` (a chat whose last turn
    holds the thought), `limo` (question, solution, answer), `s1k` (thinking trajectory and attempt). weight: how often
    a row is trained per epoch; 0.5 takes half of the rows, 2 each twice. name, licence, origin: for the card.
    """

    path: str | None = None
    dataset: str | None = None
    subset: str | None = None
    split: str = "train"
    format: Literal["trajectories", "rows", "messages", "limo", "s1k"]
    weight: Annotated[float, Field(gt=0)] = 1.0
    limit: Positive | None = None
    name: FolderName | None = None
    licence: str = ""
    origin: str = ""

    @property
    def label(self) -> str:
        return self.name or (self.dataset or self.path or "").rstrip("/").rsplit("/", 1)[-1].partition(".jsonl")[0]

    @model_validator(mode="after")
    def _one_place(self) -> SourceConfig:
        if bool(self.path) == bool(self.dataset):
            raise ValueError("give either path (a JSONL file) or dataset (a hub id)")
        return self


class DataConfig(Section):
    """Trajectories, and rows of others, to SFT rows.

    keep_markers: leave `### Step N.` in the training text. decontaminate: files of questions not to train on.
    decontaminate_coverage: a question is one of them when it holds at least this share of its three-word runs (set
    phrases of the files count little) and no other numbers; 1 = all of them.
    sources: rows from elsewhere that are trained on too.

    near_duplicates: drop a question that shares at least this part of its three-word runs with one before it (Jaccard)
    and has the same numbers; null = equal rows only. licence: of the data set, for its card, e.g.
    `apache-2.0`; "" says `other`.
    """

    filters: FiltersConfig = FiltersConfig()
    keep_markers: bool = True
    decontaminate: list[str] = []
    decontaminate_coverage: Annotated[float, Field(gt=0, le=1)] = 0.5
    sources: list[SourceConfig] = []
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    licence: str = ""

    @model_validator(mode="after")
    def _sources_have_names(self) -> DataConfig:
        labels = [source.label for source in self.sources]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}: give each its own `name`")
        return self
