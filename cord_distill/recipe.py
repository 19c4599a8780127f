"""The typed recipe: one YAML is one experiment. Its sections are the stages, and each stage reads its own.

Importing this module loads pydantic and nothing heavier; validating a recipe touches no network and no model.
How a file is read (`extends`, overrides, line numbers in errors) is in `recipe_file.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cord_distill.train_keys import check_train_keys


def _module_function(value: str) -> str:
    module, _, function = value.partition(":")
    if not module or not function.isidentifier():
        raise ValueError(f"{value!r} is not of the form package.module:function")
    return value


def _folder_name(value: str) -> str:
    if not value or value.startswith(".") or set(value) & set("/\\\0"):
        raise ValueError(f"{value!r} names a folder: no slashes, no leading dot")
    return value


FolderName = Annotated[str, AfterValidator(_folder_name)]
PlugIn = Annotated[str, AfterValidator(_module_function)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, protected_namespaces=())


class Models(Section):
    """Models that a stage builds before anything else; they are named `built:NAME` in the rest of the recipe.

    builder is called as `builder(folder, **args)` and writes one folder per model under `folder`. Results are cached
    by the hash of builder and args under `cache_dir` (default: `outputs/models`).
    """

    builder: PlugIn
    args: dict[str, Any] = {}
    cache_dir: str | None = None


class Model(Section):
    """A model that decodes or scores: where it is, how it runs, how it samples.

    model: hub id, local path (starting with ./, ../, ~ or /), or `built:NAME`. system_prompt: null takes what the
    model's card recommends (prompts/cards.yaml), "" means none. engine: `vllm` (in process), `server` (an
    OpenAI-compatible URL that continues token ids), `scripted` (answers by a plug-in function; needs no weights).
    """

    model: str = ""
    name: FolderName | None = None
    revision: str | None = None
    engine: Literal["vllm", "server", "scripted"] = "vllm"
    script: PlugIn | None = None
    url: str | list[str] | None = None
    temperature: Annotated[float, Field(ge=0)] = 0.6
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    top_k: int = -1
    min_p: Share = 0.0
    system_prompt: str | None = None
    chat_template: str | None = None
    trust_remote_code: bool = False
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    devices: list[int] | None = None
    tensor_parallel_size: Positive = 1
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    kv_cache_dtype: str = "auto"
    kv_cache_gib: Annotated[float, Field(gt=0)] | None = None
    max_model_len: Positive | None = None
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    engine_args: dict[str, Any] = {}

    @property
    def label(self) -> str:
        """The name that records and tables show: `name`, else the last part of `model`."""
        return self.name or self.model.removeprefix("built:").rstrip("/").rsplit("/", 1)[-1] or self.engine

    @model_validator(mode="after")
    def _has_what_its_engine_needs(self) -> Model:
        if self.engine == "scripted" and not self.script:
            raise ValueError("engine: scripted needs script: package.module:function")
        if self.engine == "server" and not self.url:
            raise ValueError("engine: server needs url: http://127.0.0.1:8000")
        if self.engine != "scripted" and not self.model and not getattr(self, "same_as", None):
            raise ValueError("model is missing: give a hub id, a local path (./x, /x) or built:NAME")
        return self


class MetaProver(Model):
    """The model that only scores. `same_as: NAME` shares a teacher's engine, by the teacher's name."""

    same_as: str | None = None


class Problems(Section):
    """Where questions and known answers come from: a local JSONL `path`, a hub `dataset`, or a `builder` plug-in.

    question, answer, id, context name columns (id: null numbers the rows). builder is called as `builder(**args)` and
    yields `Problem`s. grader: `math`, `integer`, `exact`, or a plug-in `grade(text, problem) -> (prediction | None,
    bool)`. process_check: a plug-in `check(problem, step_texts) -> dict` whose `steps_right` is a list of bools.
    """

    builder: PlugIn | None = None
    args: dict[str, Any] = {}
    path: str | None = None
    dataset: str | None = None
    subset: str | None = None
    split: str = "train"
    question: str = "question"
    answer: str = "answer"
    id: str | None = None
    context: str | None = None
    limit: Positive | None = None
    grader: str = "math"
    process_check: PlugIn | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Problems:
        given = [key for key in ("builder", "path", "dataset") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given: keep one source of problems")
        if self.grader not in ("math", "integer", "exact"):
            _module_function(self.grader)
        return self


class Budgets(Section):
    """Token budgets, counted in the meta-prover's tokens (sampling limits: the proposer's own).

    max_steps bounds the search for teachers that end steps but never the thought; null = no bound but the tokens.
    """

    reasoning_tokens: Positive = 16384
    answer_tokens: Positive = 4096
    max_step_tokens: Positive = 2048
    max_steps: Positive | None = None


class Curation(Section):
    """traces_per_teacher: complete traces sampled from each teacher; the one with the best S is kept."""

    traces_per_teacher: Positive = 4


class Decode(Section):
    """How trajectories are made. docs/decisions.md says what the paper leaves open and what each key decides."""

    pipeline: Literal["cord", "curation", "single"] = "cord"
    beam_size: Positive = 4
    segmentation: Literal["step_marker"] = "step_marker"
    step_marker: str = "### Step {t}."
    selector: Literal["predictive_perplexity"] = "predictive_perplexity"
    proposals_per_teacher: Positive = 1
    fill_first_step: bool = True
    answer_suffix: str = " </think> The final answer is {A}."
    curation: Curation = Curation()
    budgets: Budgets = Budgets()
    early_start: bool = False
    deterministic: bool | None = None
    problems_in_flight: Positive | None = None
    request_timeout: Annotated[float, Field(gt=0)] = 3600.0

    @model_validator(mode="after")
    def _templates_have_their_fields(self) -> Decode:
        if "{A}" not in self.answer_suffix:
            raise ValueError("answer_suffix has no {A}: it must hold the place of the known answer")
        if "{t}" not in self.step_marker or not self.step_marker.partition("{t}")[0].strip():
            raise ValueError("step_marker needs some text and then {t}, e.g. '### Step {t}.'")
        return self


class Filters(Section):
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


class Source(Section):
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
    def _one_place(self) -> Source:
        if bool(self.path) == bool(self.dataset):
            raise ValueError("give either path (a JSONL file) or dataset (a hub id)")
        return self


class Data(Section):
    """Trajectories, and rows of others, to SFT rows. keep_markers: leave `### Step N.` in the training text.

    near_duplicates: drop a question that shares at least this part of its three-word runs with one before it (Jaccard)
    and has the same numbers; null = equal rows only. push_to_hub: `user/name` uploads the finished data set, privately.
    """

    filters: Filters = Filters()
    keep_markers: bool = True
    decontaminate: list[str] = []
    sources: list[Source] = []
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    push_to_hub: str | None = None

    @model_validator(mode="after")
    def _sources_have_names(self) -> Data:
        labels = [source.label for source in self.sources]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}: give each its own `name`")
        return self


class Launch(Section):
    """How `cord run` starts training: an accelerate config (a name in accelerate_configs/ or a path; null = none, as
    in `accelerate launch train.py RECIPE`), extra launcher arguments, and how many variants train at once."""

    accelerate_config: str | None = None
    args: list[str] = []
    parallel_jobs: Positive = 1


class Judge(Model):
    """The model that decides whether an open-ended answer is right.

    engine: `server` asks an OpenAI-compatible `url` (its chat completions; the key is read from the environment
    variable `api_key_env`), `vllm` runs it in process once the students' engines are closed. concurrency: requests
    under way at once at a URL.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.0
    max_tokens: Positive = 8192
    concurrency: Positive = 16
    api_key_env: str = "OPENAI_API_KEY"


class Published(Section):
    """A published avg@k that `cord evaluate --calibrate` holds ours against. value: in percent, as papers print it.

    samples: its k; null = the value is exact. decimals: how far it was rounded.
    """

    value: Annotated[float, Field(ge=0, le=100)]
    samples: Positive | None = None
    decimals: Annotated[int, Field(ge=0)] = 1


class Evaluate(Section):
    """Which suites run on which checkpoints.

    suites: names of `eval/` suites, of their groups (`math`), or of `tasks` entries. tasks: extra lighteval task files
    by path, or modules, that export TASKS_TABLE. data: suite name -> local JSONL file. samples: n per problem, or
    {suite: n}. models: checkpoints to evaluate besides the run's own. instruction: put behind every question of a suite
    that has none of its own. answer_in_thought: where no answer follows `</think>`, the last one in the thought counts.
    engine: keys of a `Model` section that say how vLLM runs the checkpoint. judge: for suites of open-ended answers.
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
    models: list[Model] = []
    instruction: str = ""
    answer_in_thought: bool = False
    seed: int = 0
    engine: dict[str, Any] = {}
    judge: Judge | None = None
    published: dict[FolderName, dict[str, Published]] = {}


class Wandb(Section):
    """Weights & Biases. Offline by default: nothing leaves the machine until `mode: online` says so."""

    project: str = "cord-distill"
    entity: str | None = None
    mode: Literal["offline", "online", "disabled"] = "offline"
    tags: list[str] = []


class Track(Section):
    wandb: Wandb = Wandb()


class Recipe(Section):
    """The whole recipe, resolved. `variants` maps a name to overrides ({"decode.pipeline": "curation"}): each
    variant is decoded, trained and evaluated on its own, over shared models and problems."""

    name: FolderName
    seed: int = 0
    output_dir: str | None = None
    models: Models | None = None
    teachers: list[Model] = []
    meta_prover: MetaProver | None = None
    problems: Problems | None = None
    decode: Decode = Decode()
    data: Data = Data()
    train: Annotated[dict[str, Any], AfterValidator(check_train_keys)] = {}
    launch: Launch = Launch()
    evaluate: Evaluate = Evaluate()
    track: Track = Track()
    variants: dict[FolderName, dict[str, Any]] = {}
    variant: FolderName | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> Recipe:
        labels = [t.label for t in self.teachers]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice:
            raise ValueError(f"two teachers are called {twice[0]!r}: give each its own `name`")
        methods = [*self.variants, self.variant or self.decode.pipeline]
        taken = sorted({"eval", "untrained"} & {*self.variants}) or sorted({"untrained", *methods} & {*labels})
        if taken:
            raise ValueError(f"{taken[0]!r} is taken (eval/{taken[0]}): give the variant or teacher another name")
        if self.meta_prover and self.meta_prover.same_as and self.meta_prover.same_as not in labels:
            raise ValueError(f"meta_prover.same_as {self.meta_prover.same_as!r} names no teacher; there are: {labels}")
        return self
