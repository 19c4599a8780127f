"""The `evaluate` section: which suites run on which checkpoints, and who judges open-ended answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from cord_distill.recipe.base import AnswerPattern, FolderName, Positive, Section
from cord_distill.recipe.models import ChatModelConfig, ModelConfig


class JudgeConfig(ChatModelConfig):
    """The model that decides whether an open-ended answer is right.

    engine: `server` asks the chat completions of an OpenAI-compatible `url`, `vllm` runs it in process once the
    students' engines are closed.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """The judge's sampling temperature."""
    form: Literal["verdict", "json"] = "verdict"
    """How the judge says its verdict: `verdict` = a last line `Verdict: correct`, `json` = the paper's
    `{"correctness": "True"}`."""


class PublishedConfig(Section):
    """A published avg@k that `cord evaluate --calibrate` holds ours against."""

    value: Annotated[float, Field(ge=0, le=100)]
    """The published avg@k in percent, as papers print it."""
    samples: Positive | None = None
    """The k behind the published value; null takes the value as exact."""
    decimals: Annotated[int, Field(ge=0)] = 1
    """How many decimals the value was rounded to."""


class DataFileConfig(Section):
    """A local file of a suite whose columns are called otherwise."""

    path: str
    """The file: JSONL, JSON, CSV or Parquet, also gzipped."""
    question: str | None = None
    """The column of the question; null takes `problem`, or else what the suite's hub data calls it."""
    answer: str | None = None
    """The column of the known answer; null takes `answer`, or else what the suite's hub data calls it."""
    id: str | None = None
    """The column of the problem's id; null takes `id`, or else what the suite's hub data calls it."""
    answer_pattern: AnswerPattern | None = None
    """As in `problems`."""
    grader: str | None = None
    """The grader of a suite that is this file alone, as in `problems`; null takes `math`. Others have their own."""


class EvaluateConfig(Section):
    """Which suites run on which checkpoints."""

    suites: list[str] = []
    """The suites to run: names of suites in `eval/`, of their groups (`math`), or of entries of `tasks`."""
    tasks: list[str] = []
    """Further lighteval task files by path, or modules, that export TASKS_TABLE."""
    data: dict[str, str | DataFileConfig] = {}
    """Local files that take the place of a suite's hub data set, by the suite's name: a path, or a section that names
    the columns too. A name that no suite has makes a suite of the file; null takes the file of a base recipe
    away."""
    revisions: dict[str, str] = {}
    """The commit or tag of a suite's hub data set, by the suite's name; without one the newest is taken. The commit is
    in `results.json` either way."""
    samples: Positive | dict[str, Positive] = 16
    """n, the answers per problem; a mapping gives each suite its own."""
    teacher_samples: Positive | None = None
    """n for teachers; null takes `samples`."""
    temperature: Annotated[float, Field(ge=0)] = 0.6
    """The sampling temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The nucleus of sampling."""
    max_new_tokens: Positive = 32768
    """The longest answer, its thought included."""
    limit: Positive | None = None
    """Only the first so many problems of each suite are asked; null asks all."""
    untrained: bool = True
    """The student is evaluated before training too."""
    teachers: bool = False
    """The teachers are evaluated too."""
    models: list[ModelConfig] = []
    """Checkpoints to evaluate besides the run's own."""
    instruction: str = ""
    """A text behind every question of a suite that has none of its own."""
    answer_in_thought: bool = False
    """Where no answer follows `</think>`, the last one in the thought counts."""
    seed: int = 0
    """The seed of sampling."""
    engine: dict[str, Any] = {}
    """Keys of a `Model` section that say how vLLM runs the checkpoint, such as `gpu_memory_utilization`,
    or `replicas` on a `cluster`."""
    judge: JudgeConfig | None = None
    """The model that grades suites of open-ended answers."""
    checkpoints: bool = False
    """Checkpoints in the middle of training are evaluated too."""
    when: Literal["after", "with_training"] = "after"
    """Checkpoints are evaluated `after` training, or `with_training`, where `cord run` starts `cord evaluate --watch`
    beside it."""
    devices: list[Annotated[int, Field(ge=0)]] | None = None
    """The GPUs that evaluation takes, by number; null takes all. With them it runs in the process of the command, also
    where the recipe has a `cluster`."""
    published: dict[FolderName, dict[str, PublishedConfig]] = {}
    """Known values for `--calibrate`: label, then suite, then value."""

    @field_validator("data", "revisions", "published", mode="before")
    @classmethod
    def _null_takes_away(cls, given: Any) -> Any:
        given = {} if given is None else given
        return {name: one for name, one in given.items() if one is not None} if isinstance(given, dict) else given

    @property
    def files(self) -> dict[str, DataFileConfig]:
        """`data`, with a bare path as the section that it stands for."""
        return {x: DataFileConfig(path=file) if isinstance(file, str) else file for x, file in self.data.items()}

    @model_validator(mode="after")
    def _watching_is_asked_for(self) -> EvaluateConfig:
        if self.when == "with_training" and not self.checkpoints:
            raise ValueError("when: with_training evaluates checkpoints: add checkpoints: true, or remove it")
        if self.devices == []:
            raise ValueError("devices: [] leaves none: name GPUs, e.g. [7], or remove the key")
        return self
