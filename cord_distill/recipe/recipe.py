"""The typed recipe: one YAML is one experiment. Its sections are the stages, and each stage reads its own.

Importing this module loads pydantic and nothing heavier; validating a recipe touches no network and no model.
How a file is read (`extends`, overrides, line numbers in errors) is in `file.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, WrapValidator, model_validator

from cord_distill.common.suggest import did_you_mean
from cord_distill.recipe.base import FolderName, Positive, Section, VariantName
from cord_distill.recipe.cluster import ClusterConfig
from cord_distill.recipe.data import DataConfig
from cord_distill.recipe.decode import DecodeConfig
from cord_distill.recipe.evaluate import EvaluateConfig
from cord_distill.recipe.models import MetaProverConfig, ModelConfig, ModelsConfig
from cord_distill.recipe.problems import ProblemsConfig
from cord_distill.recipe.temperatures import one_teacher_per_temperature
from cord_distill.recipe.train_keys import check_train_keys


def _seed_or_seeds(value: Any) -> int | list[int]:
    given = value if isinstance(value, list) else [value]
    numbers = [x for x in given if isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 2**32]
    if not given or len(set(numbers)) < len(given):
        raise ValueError(f"{value!r} is neither a whole number from 0 to {2**32 - 1} nor a list of different ones")
    return numbers if isinstance(value, list) else numbers[0]


class LaunchConfig(Section):
    """How `cord run` starts training."""

    accelerate_config: str | None = None
    """A name in accelerate_configs/ or a path; null hands accelerate none, as in `accelerate launch train.py RECIPE`.
    """
    args: list[str] = []
    """Further arguments of the launcher."""
    parallel_jobs: Positive = 1
    """How many variants train at once."""


class WandbConfig(Section):
    """Weights & Biases. Offline by default: nothing leaves the machine until `mode: online` says so."""

    project: str = "cord-distill"
    """The W&B project."""
    entity: str | None = None
    """The W&B user or team; null takes the account's own."""
    mode: Literal["offline", "online", "disabled"] = "offline"
    """`offline` writes runs to disk alone, `online` sends them, `disabled` makes none."""
    tags: list[str] = []
    """Tags of every run."""
    log_model: bool = False
    """The finished model's weights become an artifact of their own; otherwise models are known by reference."""


class TrackConfig(Section):
    """Where figures go besides the run folder."""

    wandb: WandbConfig = WandbConfig()
    """The settings of Weights & Biases."""


class AblateConfig(Section):
    """What `cord ablate` compares: every entry of `variants`, once per seed, each against `baseline`."""

    baseline: FolderName
    """The variant that every other one is compared with."""
    seed_key: str = "seed"
    """The recipe key that takes the values of `seeds`, for example `problems.args.seed` for other problems each time.
    """
    seeds: Annotated[list[int], Field(min_length=1)] = [0, 1, 2]
    """The values of `seed_key`; every variant runs once per value."""
    tables: dict[str, list[FolderName]] = {}
    """The tables of the report: a title, and its variants in order."""
    plain_search: list[FolderName] = []
    """The variants that are ordinary CoRD at several beam sizes: the curve of quality against tokens."""
    at_equal_tokens: list[FolderName] = []
    """The variants that are compared with that curve at the tokens that they spend."""
    left_out: dict[str, str] = {}
    """Methods that mean nothing here, each with the reason."""
    paper: dict[FolderName, tuple[float, float]] = {}
    """The published figures of a variant: answer accuracy in percent, and S."""

    @model_validator(mode="after")
    def _seeds_differ(self) -> AblateConfig:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} name one twice")
        return self


class Recipe(Section):
    """The whole recipe, resolved. `variants` maps a name to overrides ({"decode.pipeline": "curation"}): each variant
    is decoded, trained and evaluated on its own, over shared models and problems; those that decode the same are
    decoded once.
    """

    name: FolderName
    """The name of the run; where it is left out, the file's name is taken."""
    seed: Annotated[int | list[int], PlainValidator(_seed_or_seeds)] = 0
    """A number, or a list ([0, 1, 2]): the first one decodes, and each makes one training run on the same data."""
    train_seed: int | None = None
    """The run that `seed=N` on the command line picks from a list."""
    output_dir: str | None = None
    """The run folder; null takes `outputs/NAME`."""
    models: ModelsConfig | None = None
    """Models that are built before anything else."""
    teachers: Annotated[list[ModelConfig], WrapValidator(one_teacher_per_temperature)] = []
    """The models that propose steps. `temperature: [0.5, 0.6, 0.7]` makes one teacher for each, called
    NAME-tTEMPERATURE."""
    meta_prover: MetaProverConfig | None = None
    """The model that scores how well the known answer is predicted from a trace."""
    problems: ProblemsConfig | None = None
    """The questions and known answers; null where nothing is decoded."""
    cluster: ClusterConfig | None = None
    """The Ray cluster that engines run on; null runs them in the process of the command."""
    decode: DecodeConfig = DecodeConfig()
    """How trajectories are made."""
    data: DataConfig = DataConfig()
    """Which trajectories, and which rows of others, become training rows."""
    train: Annotated[dict[str, Any], AfterValidator(check_train_keys)] = {}
    """Keys of TRL's SFTConfig and ModelConfig, `global_batch_size`, and `chat_template_kwargs`, `think_open`,
    `think_close` and `prompt_suffix` (as in a `Model` section; evaluation takes them too)."""
    dpo: Annotated[dict[str, Any], AfterValidator(partial(check_train_keys, stage="dpo"))] | None = None
    """Keys of TRL's DPOConfig for the stage that trains the student on `data.preferences`; `{}` takes the defaults and
    null leaves the stage out. Keys of `train` that say how a training is run hold here too."""
    distil: Annotated[dict[str, Any], AfterValidator(partial(check_train_keys, stage="distil"))] | None = None
    """Keys of TRL's DistillationConfig for the stage in which the student samples and a teacher of its vocabulary
    corrects it, and `teacher`: the name of one of `teachers`, or a model; null leaves the stage out."""
    launch: LaunchConfig = LaunchConfig()
    """How `cord run` starts training."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Which suites run on which checkpoints."""
    track: TrackConfig = TrackConfig()
    """Where figures go besides the run folder."""
    ablate: AblateConfig | None = None
    """What `cord ablate` compares."""
    variants: dict[VariantName, dict[str, Any]] = {}
    """The methods that are compared: each name maps to its overrides, such as `decode.pipeline: curation`."""
    variant: VariantName | None = None
    """The variant that `variant=NAME` on the command line picks."""
    stage: Literal["train", "dpo", "distil"] = "train"
    """The training that `stage=NAME` on the command line picks."""

    @property
    def decode_seed(self) -> int:
        """The seed of decoding and of the data set; the first of a list, so that all its runs train on the same."""
        return self.seed if isinstance(self.seed, int) else self.seed[0]

    @property
    def training_seed(self) -> int:
        return self.decode_seed if self.train_seed is None else self.train_seed

    @property
    def stage_section(self) -> dict[str, Any]:
        """The section of the training that is picked, as it was written."""
        return {"train": self.train, "dpo": self.dpo, "distil": self.distil}[self.stage] or {}

    def seed_runs(self) -> list[Recipe]:
        """One recipe per training run: per seed of a list from which none is picked, else the recipe itself."""
        if isinstance(self.seed, int) or self.train_seed is not None:
            return [self]
        return [self.model_copy(update={"train_seed": seed}) for seed in self.seed]

    @model_validator(mode="after")
    def _seeds_agree(self) -> Recipe:
        seeds = self.seed if isinstance(self.seed, list) else []
        if self.train_seed is not None and self.train_seed not in seeds:
            among = ", ".join(map(str, seeds)) or "none: seed is no list"
            raise ValueError(
                f"seed {self.train_seed} is not among the recipe's ({among}): pick one of them, or replace the list "
                f"with seed=[{self.train_seed}]"
            )
        for key, section in (("train", self.train), ("dpo", self.dpo), ("distil", self.distil)):
            if seeds and "seed" in (section or {}):
                raise ValueError(f"{key}.seed would give every run of the list `seed` the same seed: remove {key}.seed")
        return self

    @model_validator(mode="after")
    def _the_ablation_names_variants(self) -> Recipe:
        if self.ablate is None or not self.variants:  # one variant is picked, or `cord ablate` says that there are none
            return self
        named = {"ablate.baseline": [self.ablate.baseline]}
        named |= {f"ablate.tables.{title}": names for title, names in self.ablate.tables.items()}
        named |= {f"ablate.{key}": list(getattr(self.ablate, key)) for key in ("plain_search", "at_equal_tokens")}
        named["ablate.paper"] = list(self.ablate.paper)
        for key, names in named.items():
            known_variants(names, self.variants, key)
        return self

    @model_validator(mode="after")
    def _no_bytes_are_promised_for_servers(self) -> Recipe:
        decoding = [*self.teachers, *([self.meta_prover] if self.meta_prover else [])]
        served = next((model.label for model in decoding if model.engine == "server"), None)
        if self.decode.deterministic and served:
            raise ValueError(
                f"decode.deterministic promises the same bytes, and {served} is on a server, which batches and caches "
                "as it likes: remove the key, or run it in process (engine: vllm)"
            )
        return self

    @model_validator(mode="after")
    def _scores_say_what_the_data_reads(self) -> Recipe:
        data, selector, pipeline = self.data, self.decode.selector, self.decode.pipeline
        if not self.teachers:
            return self
        siblings = {"preferences": data.preferences is not None, "rows_per_problem": data.rows_per_problem > 1}
        alone = next((key for key, given in siblings.items() if given), None)
        if alone and pipeline not in ("cord", "curation"):
            raise ValueError(
                f"data.{alone} needs several rated traces of a problem, and decode.pipeline {pipeline} leaves one: "
                f"take cord or curation, or remove data.{alone}"
            )
        if selector == "predictive_perplexity":
            return self
        of_s = {"cut_tail": data.cut_tail is not None, "rows_per_problem": data.rows_per_problem > 1}
        of_worth = {"preferences": data.preferences is not None, "step_values": data.step_values}
        wrong = next((key for key, given in of_s.items() if given), None)
        if wrong is None and selector in ("random", "longest"):
            wrong = next((key for key, given in of_worth.items() if given), None)
        if wrong:
            raise ValueError(
                f"data.{wrong} reads how good each step is, and decode.selector {selector} does not say it: take "
                f"decode.selector predictive_perplexity, or remove data.{wrong}"
            )
        return self

    @property
    def evaluation_cluster(self) -> ClusterConfig | None:
        """Where `cord evaluate` starts engines; None = in its own process, on `evaluate.devices` if given."""
        return self.cluster if self.evaluate.devices is None else None

    @model_validator(mode="after")
    def _replicas_and_devices_fit_the_cluster(self) -> Recipe:
        sections: dict[str, ModelConfig | None] = {f"teachers.{i}": teacher for i, teacher in enumerate(self.teachers)}
        sections |= {
            "meta_prover": self.meta_prover,
            "decode.process_reward": self.decode.process_reward,
            "decode.integration": self.decode.integration,
            "decode.binary_judgment.judge": self.decode.binary_judgment.judge,
            "decode.student_fit": self.decode.student_fit,
            "problems.hard_for": self.problems.hard_for if self.problems else None,
        }
        evaluated = {f"evaluate.models.{i}": model for i, model in enumerate(self.evaluate.models)}
        sections |= evaluated
        engine = self.evaluate.engine
        more = [key for key, model in evaluated.items() if model.replicas > 1]
        more += ["evaluate.engine"] if engine.get("replicas", 1) != 1 else []
        if more and self.evaluation_cluster is None:
            why = "with evaluate.devices" if self.cluster else "without a cluster"
            mend = "remove evaluate.devices" if self.cluster else "add `cluster: {address: auto}` (or local)"
            raise ValueError(f"{more[0]}.replicas: {why} there is one engine of a model; {mend}, or remove replicas")
        if engine.get("devices") is not None and self.evaluation_cluster:
            raise ValueError("evaluate.engine.devices: on a cluster Ray gives each engine its GPUs; remove devices")
        for key, section in sections.items():
            if section and section.replicas > 1 and not self.cluster:
                raise ValueError(
                    f"{key}.replicas {section.replicas}: without a cluster there is one engine of a model; add "
                    "`cluster: {address: auto}` (or local), or remove replicas"
                )
            if section and section.devices is not None and self.cluster:
                raise ValueError(f"{key}.devices: on a cluster Ray gives each engine its GPUs; remove devices")
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> Recipe:
        labels = [t.label for t in self.teachers]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice:
            raise ValueError(f"two teachers are called {twice[0]!r}: give each its own `name`")
        same = _same_but_for_case([*self.variants]) or _same_but_for_case(labels)
        if same:
            raise ValueError(
                f"{same[0]!r} and {same[1]!r} differ in case alone, and are one folder on many file systems: give one "
                "another name"
            )
        methods = [*self.variants, self.variant or self.decode.pipeline.rpartition(":")[2]]
        later = [key for key, section in (("dpo", self.dpo), ("distil", self.distil)) if section is not None]
        named = [f"{name}-{stage}" for name in methods for stage in later]
        twice = sorted({*named} & {*methods})
        if twice:
            raise ValueError(f"the variant {twice[0]!r} would be taken for a stage's student: give it another name")
        methods += named
        methods += [f"{name}-seed-{run.train_seed}" for run in self.seed_runs() for name in methods]
        taken = sorted({"eval", "untrained"} & {*self.variants}) or sorted({"untrained", *methods} & {*labels})
        if taken:
            raise ValueError(f"{taken[0]!r} is taken (eval/{taken[0]}): give the variant or teacher another name")
        if self.meta_prover and self.meta_prover.same_as and self.meta_prover.same_as not in labels:
            raise ValueError(f"meta_prover.same_as {self.meta_prover.same_as!r} names no teacher; there are: {labels}")
        return self


def known_variants(names: Iterable[str], variants: Iterable[str], key: str) -> list[str]:
    """The names, each once. Raises ValueError at one that is none of the variants."""
    known = list(variants)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known, f"there are: {', '.join(known) or 'none'}")
            raise ValueError(f"{key}: no variant is called {name!r}; {hint}")
    return list(dict.fromkeys(names))


def _same_but_for_case(names: list[str]) -> tuple[str, str] | None:
    """Two names of which some file systems (macOS, SMB) make one."""
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            return seen[folded], name
        seen[folded] = name
    return None
