"""The `evaluate` section: which suites run on which checkpoints, and who judges open-ended answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cord_distill.recipe.base import FolderName, Positive, Section
from cord_distill.recipe.models import ChatModelConfig, ModelConfig


class JudgeConfig(ChatModelConfig):
    """The model that decides whether an open-ended answer is right.

    engine: `server` asks the chat completions of an OpenAI-compatible `url`, `vllm` runs it in process once the
    students' engines are closed.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.0


class PublishedConfig(Section):
    """A published avg@k that `cord evaluate --calibrate` holds ours against. value: in percent, as papers print it.

    samples: its k; null = the value is exact. decimals: how far it was rounded.
    """

    value: Annotated[float, Field(ge=0, le=100)]
    samples: Positive | None = None
    decimals: Annotated[int, Field(ge=0)] = 1


class EvaluateConfig(Section):
    """Which suites run on which checkpoints.

    suites: names of `eval/` suites, of their groups (`math`), or of `tasks` entries. tasks: extra lighteval task files
    by path, or modules, that export TASKS_TABLE. data: suite name -> local JSONL file. samples: n per problem, or
    {suite: n}. models: checkpoints to evaluate besides the run's own. instruction: put behind every question of a suite
    that has none of its own. answer_in_thought: where no answer follows `</think>`, the last one in the thought counts.
    engine: keys of a `Model` section that say how vLLM runs the checkpoint. judge: for suites of open-ended answers.
    checkpoints: evaluate those in the middle of training too. when: `after` training, or `with_training` (`cord run`
    then starts `cord evaluate --watch` beside it). devices: the GPUs that evaluation takes, by number.
    published: label -> suite -> a known value, for `--calibrate`.
    """

    suites: list[str] = []
    tasks: list[str] = []
    data: dict[str, str] = {}
    samples: Positive | dict[str, Positive] = 16
    teacher_samples: Positive | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_new_tokens: Positive = 32768
    limit: Positive | None = None
    untrained: bool = True
    teachers: bool = False
    models: list[ModelConfig] = []
    instruction: str = ""
    answer_in_thought: bool = False
    seed: int = 0
    engine: dict[str, Any] = {}
    judge: JudgeConfig | None = None
    checkpoints: bool = False
    when: Literal["after", "with_training"] = "after"
    devices: list[Annotated[int, Field(ge=0)]] | None = None
    published: dict[FolderName, dict[str, PublishedConfig]] = {}

    @model_validator(mode="after")
    def _watching_is_asked_for(self) -> EvaluateConfig:
        if self.when == "with_training" and not self.checkpoints:
            raise ValueError("when: with_training evaluates checkpoints: add checkpoints: true, or remove it")
        if self.devices == []:
            raise ValueError("devices: [] leaves none: name GPUs, e.g. [7], or remove the key")
        return self
