"""The typed recipe: one YAML is one experiment. Its sections are the stages, and each stage reads its own.

Importing this module loads pydantic and nothing heavier; validating a recipe touches no network and no model.
How a file is read (`extends`, overrides, line numbers in errors) is in `recipe_file.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WrapValidator, model_validator

from cord_distill.search.prefix_phrases import PHRASES
from cord_distill.temperatures import one_teacher_per_temperature
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


def _seed_or_seeds(value: Any) -> int | list[int]:
    given = value if isinstance(value, list) else [value]
    numbers = [x for x in given if isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 2**32]
    if not given or len(set(numbers)) < len(given):
        raise ValueError(f"{value!r} is neither a whole number from 0 to {2**32 - 1} nor a list of different ones")
    return numbers if isinstance(value, list) else numbers[0]


def _text_or_function(value: str) -> str:
    return value if value == "text" else _module_function(value)


FolderName = Annotated[str, AfterValidator(_folder_name)]
PlugIn = Annotated[str, AfterValidator(_module_function)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, protected_namespaces=())


class Models(Section):
    """Models that a stage builds before anything else; they are named `built:NAME` in the rest of the recipe.

    builder: a plug-in, called as `builder(folder, **args)`, that writes one folder per model under `folder`. args: for
    it. cache_dir: results are cached there by the hash of builder and args; null = `outputs/models`.
    """

    builder: PlugIn
    args: dict[str, Any] = {}
    cache_dir: str | None = None


class Model(Section):
    """A model that decodes or scores: where it is, how it runs, how it samples.

    model: hub id, local path (starting with ./, ../, ~ or /), or `built:NAME`. system_prompt: null takes what the
    model's card recommends (prompts/cards.yaml), "" means none. engine: `vllm` (in process), `server` (an
    OpenAI-compatible URL that continues token ids), `scripted` (answers by a plug-in function; needs no weights).
    url: of the server, or a list of replicas. served_model_name: its name for the model, where it has several.
    api_key_env: the environment variable that holds the key.

    name: what records and tables call it; null = the last part of `model`. revision: of a hub id. script: the function
    of `scripted`. chat_template: a Jinja file in place of the tokenizer's own. top_k: -1 = all. devices: GPUs, by
    number; null = all. kv_cache_gib: size of the KV cache; null = what gpu_memory_utilization leaves. max_model_len:
    tokens; null = what prompt and budgets need. dtype, tensor_parallel_size, gpu_memory_utilization, kv_cache_dtype,
    max_num_seqs, max_num_batched_tokens: vLLM's own. engine_args: any other of vLLM's.
    """

    model: str = ""
    name: FolderName | None = None
    revision: str | None = None
    engine: Literal["vllm", "server", "scripted"] = "vllm"
    script: PlugIn | None = None
    url: str | list[str] | None = None
    served_model_name: str | None = None
    api_key_env: str | None = None
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

    @property
    def urls(self) -> list[str]:
        return [self.url] if isinstance(self.url, str) else list(self.url or [])

    @model_validator(mode="after")
    def _has_what_its_engine_needs(self) -> Model:
        if self.engine == "scripted" and not self.script:
            raise ValueError("engine: scripted needs script: package.module:function")
        if self.engine == "server" and not self.url:
            raise ValueError("engine: server needs url: http://127.0.0.1:8000")
        bad = [url for url in self.urls if not url.startswith(("http://", "https://"))]
        if bad:
            raise ValueError(f"url: {bad[0]!r} is no address; write it like http://127.0.0.1:8000")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("url: one replica is named twice")
        if self.engine != "scripted" and not self.model and not getattr(self, "same_as", None):
            raise ValueError("model is missing: give a hub id, a local path (./x, /x) or built:NAME")
        return self


class MetaProver(Model):
    """The model that only scores. `same_as: NAME` shares a teacher's engine, by the teacher's name."""

    same_as: str | None = None


class ChatModel(Model):
    """A model that is asked in words and answers in words: at a `server` by its chat completions.

    max_tokens: of one answer. concurrency: requests under way at once at a URL.
    """

    max_tokens: Positive = 8192
    concurrency: Positive = 16
    api_key_env: str | None = "OPENAI_API_KEY"


class HardFor(Model):
    """A small model that problems must be too hard for: kept are those whose `tries` are all wrong and whose reasoning
    is longer than min_reasoning_tokens (the small model's tokens), by the mean, the shortest or the longest try.

    reasoning_tokens, answer_tokens: the budgets of a try; one that is cut off is wrong. seed: of the tries alone.
    """

    tries: Positive = 3
    min_reasoning_tokens: Annotated[int, Field(ge=0)] = 1000
    reasoning_length: Literal["mean", "min", "max"] = "mean"
    reasoning_tokens: Positive = 16384
    answer_tokens: Positive = 4096
    seed: int = 0


class Problems(Section):
    """Where questions and known answers come from: a local JSONL `path`, a hub `dataset`, or a `builder` plug-in.

    builder: called as `builder(**args)`, yields `Problem`s. subset, split: of the hub data set. question, answer: names
    of columns; `a.b` is the field b of the column a. id: a column; null numbers the rows. context: a column that stands
    before the question; a list of texts is joined by blank lines. grader: `math`, `integer`, `exact`, `judge`
    (open-ended: `evaluate.judge` decides for `cord problems`; trajectories stay ungraded), or a plug-in
    `grade(text, problem) -> (prediction | None, bool)`. process_check: a plug-in `check(problem, step_texts) -> dict`
    whose `steps_right` is a list of bools.
    limit: the first so many. hard_for: of these only the hard ones, which `cord problems` finds.
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
    hard_for: HardFor | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Problems:
        given = [key for key in ("builder", "path", "dataset") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given: keep one source of problems")
        if self.grader not in ("math", "integer", "exact", "judge"):
            _module_function(self.grader)
        return self


class Budgets(Section):
    """Token budgets, counted in the meta-prover's tokens (sampling limits: the proposer's own).

    reasoning_tokens: of a whole thought. answer_tokens: of what follows it. max_step_tokens: a longer step is cut there
    and goes on as the next. max_steps: bounds the search for teachers that end steps but never the thought; null = no
    bound but the tokens.
    """

    reasoning_tokens: Positive = 16384
    answer_tokens: Positive = 4096
    max_step_tokens: Positive = 2048
    max_steps: Positive | None = None


class AdaptiveBeam(Section):
    """Keeps more than beam_size candidates of a step while they are close to the best one.

    max_beam: at most so many. spread: the best score minus theirs has to be smaller than this.
    """

    max_beam: Positive
    spread: Annotated[float, Field(ge=0)]


class Curation(Section):
    """`pipeline: curation`: the complete trace with the best S is kept.

    traces_per_teacher: complete traces sampled from each teacher.
    """

    traces_per_teacher: Positive = 4


class ProcessReward(Model):
    """The model that rewards each step of a trace (`selector: process_reward`), and how it reads one (reward.py).

    engine: `vllm` (its pooling), `server` (the `/pooling` of a vLLM at `url`), `transformers`, `scripted`.
    step_separator: text behind every step, at whose last token its reward is read; "" reads it at the step's own last
    token; null takes `<extra_0>` where the tokenizer has it (Qwen2.5-Math-PRM), else "". activation: what makes a
    reward of the head's outputs: softmax, sigmoid or none of output `head_output` (of the only one, where there is
    one); auto = softmax for several, sigmoid for one. aggregation: of the steps' rewards.
    """

    engine: Literal["vllm", "server", "transformers", "scripted"] = "vllm"  # type: ignore[assignment]
    step_separator: str | None = None
    activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto"
    head_output: Annotated[int, Field(ge=0)] = 1
    aggregation: Literal["last", "min", "mean"] = "last"


class BinaryJudgment(Section):
    """`selector: binary_judgment`: a judge is told that time is up and finishes from the prefix.

    judge: null = the meta-prover; else a model of its own, or `same_as` a teacher. runs: completions per prefix, the
    share of which that is right is the value. conclusion: what is written behind the prefix. max_tokens: for each.
    """

    judge: MetaProver | None = None
    runs: Positive = 10
    conclusion: str = (
        "\n\nTime is up. I have to give the final answer with what I have.\n</think>\n\nThe final answer is \\boxed{"
    )
    max_tokens: Positive = 64


class Mcts(Section):
    """Monte Carlo tree search (`pipeline: mcts`).

    rollouts: finished traces per problem; null = beam_size x teachers, as many as the beam has proposals per step.
    exploration: c of UCB1, sqrt(2) for rewards in [0, 1].
    """

    rollouts: Positive | None = None
    exploration: Annotated[float, Field(ge=0)] = 1.414


class Integration(ChatModel):
    """`pipeline: integration`: a model merges complete traces of the teachers into one trace (prompts/integration.txt).

    A chat model like any: `server` asks the chat completions of an OpenAI-compatible `url`, `vllm` runs in process,
    `scripted` is a function `reply(prompt, sampling) -> text`. traces_per_teacher: how many it is given of each. tries:
    how often it is asked, each time with another seed, until its reply can be read.
    """

    max_tokens: Positive = 32768
    traces_per_teacher: Positive = 1
    tries: Positive = 3


class Decode(Section):
    """How trajectories are made. docs/decisions.md says what the paper leaves open and what each key decides.

    beam_size: B, the traces that live on after each step; 1 is greedy. step_marker: how a step begins; {t} is its
    number. proposals_per_teacher: next steps that each teacher proposes for each live trace. fill_first_step: more of
    them at step 1, where there is one trace, until there are beam_size. answer_suffix: what stands between a trace and
    the known answer {A} when it is scored. selector: what candidates are ordered by. early_start: let certain survivors
    begin their next step before the stragglers are in. deterministic: no chunked prefill and no cache reads, for
    the same bytes in every run; null = on for CPU engines in process. problems_in_flight: searches at once; null = as
    many as the KV caches hold. request_timeout, server_wait: seconds (docs/engines.md).

    phrases: what begins a step with `segmentation: prefix_phrases`. deduplicate: `text`, or a plug-in `key(problem,
    step_texts) -> hashable`: of the candidates of one step with equal keys only the best takes part. step_filter: a
    plug-in `check(problem, step_texts) -> bool`; a candidate that fails is recorded and never selected.
    """

    pipeline: Literal["cord", "curation", "single", "mcts", "integration"] = "cord"
    beam_size: Positive = 4
    segmentation: Literal["step_marker", "line_break", "prefix_phrases"] = "step_marker"
    step_marker: str = "### Step {t}."
    phrases: list[str] = list(PHRASES)
    adaptive_beam: AdaptiveBeam | None = None
    deduplicate: Annotated[str, AfterValidator(_text_or_function)] | None = None
    step_filter: PlugIn | None = None
    selector: Literal["predictive_perplexity", "process_reward", "binary_judgment", "random", "longest"] = (
        "predictive_perplexity"
    )
    process_reward: ProcessReward | None = None
    binary_judgment: BinaryJudgment = BinaryJudgment()
    proposals_per_teacher: Positive = 1
    fill_first_step: bool = False
    answer_suffix: str = " </think> The final answer is {A}."
    curation: Curation = Curation()
    mcts: Mcts = Mcts()
    integration: Integration | None = None
    budgets: Budgets = Budgets()
    early_start: bool = False
    deterministic: bool | None = None
    problems_in_flight: Positive | None = None
    request_timeout: Annotated[float, Field(gt=0)] = 3600.0
    server_wait: Annotated[float, Field(ge=0)] = 600.0

    @model_validator(mode="after")
    def _templates_have_their_fields(self) -> Decode:
        if "{A}" not in self.answer_suffix:
            raise ValueError("answer_suffix has no {A}: it must hold the place of the known answer")
        if "{t}" not in self.step_marker or not self.step_marker.partition("{t}")[0].strip():
            raise ValueError("step_marker needs some text and then {t}, e.g. '### Step {t}.'")
        if not self.phrases or not all(phrase.strip() for phrase in self.phrases):
            raise ValueError("phrases needs at least one phrase and no empty one, e.g. [wait, alternatively]")
        if self.adaptive_beam and self.adaptive_beam.max_beam < self.beam_size:
            raise ValueError(
                f"adaptive_beam.max_beam {self.adaptive_beam.max_beam} is less than beam_size {self.beam_size}, which "
                "is always kept: raise it, or lower beam_size"
            )
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
    """Trajectories, and rows of others, to SFT rows.

    keep_markers: leave `### Step N.` in the training text. decontaminate: JSONL files of questions not to train on.
    sources: rows from elsewhere that are trained on too.

    near_duplicates: drop a question that shares at least this part of its three-word runs with one before it (Jaccard)
    and has the same numbers; null = equal rows only. push_to_hub: `user/name` uploads the finished data set, privately.
    licence: of the data set, for its card, e.g. `apache-2.0`; "" says `other`.
    """

    filters: Filters = Filters()
    keep_markers: bool = True
    decontaminate: list[str] = []
    sources: list[Source] = []
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    push_to_hub: str | None = None
    licence: str = ""

    @model_validator(mode="after")
    def _sources_have_names(self) -> Data:
        labels = [source.label for source in self.sources]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}: give each its own `name`")
        return self


class Launch(Section):
    """How `cord run` starts training.

    accelerate_config: a name in accelerate_configs/ or a path; null = none, as in `accelerate launch train.py RECIPE`.
    args: extra launcher arguments. parallel_jobs: how many variants train at once.
    """

    accelerate_config: str | None = None
    args: list[str] = []
    parallel_jobs: Positive = 1


class Judge(ChatModel):
    """The model that decides whether an open-ended answer is right.

    engine: `server` asks the chat completions of an OpenAI-compatible `url`, `vllm` runs it in process once the
    students' engines are closed.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.0


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
    models: list[Model] = []
    instruction: str = ""
    answer_in_thought: bool = False
    seed: int = 0
    engine: dict[str, Any] = {}
    judge: Judge | None = None
    checkpoints: bool = False
    when: Literal["after", "with_training"] = "after"
    devices: list[Annotated[int, Field(ge=0)]] | None = None
    published: dict[FolderName, dict[str, Published]] = {}

    @model_validator(mode="after")
    def _watching_is_asked_for(self) -> Evaluate:
        if self.when == "with_training" and not self.checkpoints:
            raise ValueError("when: with_training evaluates checkpoints: add checkpoints: true, or remove it")
        if self.devices == []:
            raise ValueError("devices: [] leaves none: name GPUs, e.g. [7], or remove the key")
        return self


class Wandb(Section):
    """Weights & Biases. Offline by default: nothing leaves the machine until `mode: online` says so.

    log_model: put the finished model's weights into an artifact of their own; otherwise models are known by reference.
    """

    project: str = "cord-distill"
    entity: str | None = None
    mode: Literal["offline", "online", "disabled"] = "offline"
    tags: list[str] = []
    log_model: bool = False


class Track(Section):
    """Where figures go besides the run folder."""

    wandb: Wandb = Wandb()


class Ablate(Section):
    """What `cord ablate` compares: every entry of `variants`, once per seed, each against `baseline`.

    seed_key: the recipe key that takes the values of `seeds`, e.g. `problems.args.seed` for other problems each time.
    tables: title -> variants, in order. plain_search: variants that are the plain search at several sizes; those of
    `at_equal_tokens` are held against the best mixture of the others of them that spends no more generated tokens.
    left_out: name -> why it means nothing here. paper: variant -> [answer accuracy in percent, S] as published.
    """

    baseline: FolderName
    seed_key: str = "seed"
    seeds: Annotated[list[int], Field(min_length=1)] = [0, 1, 2]
    tables: dict[str, list[FolderName]] = {}
    plain_search: list[FolderName] = []
    at_equal_tokens: list[FolderName] = []
    left_out: dict[str, str] = {}
    paper: dict[FolderName, tuple[float, float]] = {}

    @model_validator(mode="after")
    def _seeds_differ(self) -> Ablate:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} name one twice")
        return self


class Recipe(Section):
    """The whole recipe, resolved. `variants` maps a name to overrides ({"decode.pipeline": "curation"}): each
    variant is decoded, trained and evaluated on its own, over shared models and problems.

    name: of the run; where it is left out, the file's. seed: a number, or a list ([0, 1, 2]): the first decodes, and
    each makes one training run on the same data. train_seed: the run that `seed=N` on the command line picks from a
    list. output_dir: the run folder; null = `outputs/NAME`. teachers: `temperature: [0.5, 0.6, 0.7]` makes one teacher
    for each, called NAME-tTEMPERATURE. problems: null where nothing is decoded. train: keys of TRL's SFTConfig and
    ModelConfig, and `global_batch_size`. variant: the one that `variant=NAME` on the command line picks.
    """

    name: FolderName
    seed: Annotated[int | list[int], PlainValidator(_seed_or_seeds)] = 0
    train_seed: int | None = None
    output_dir: str | None = None
    models: Models | None = None
    teachers: Annotated[list[Model], WrapValidator(one_teacher_per_temperature)] = []
    meta_prover: MetaProver | None = None
    problems: Problems | None = None
    decode: Decode = Decode()
    data: Data = Data()
    train: Annotated[dict[str, Any], AfterValidator(check_train_keys)] = {}
    launch: Launch = Launch()
    evaluate: Evaluate = Evaluate()
    track: Track = Track()
    ablate: Ablate | None = None
    variants: dict[FolderName, dict[str, Any]] = {}
    variant: FolderName | None = None

    @property
    def decode_seed(self) -> int:
        """The seed of decoding and of the data set; the first of a list, so that all its runs train on the same."""
        return self.seed if isinstance(self.seed, int) else self.seed[0]

    @property
    def training_seed(self) -> int:
        return self.decode_seed if self.train_seed is None else self.train_seed

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
        if seeds and "seed" in self.train:
            raise ValueError("train.seed would give every run of the list `seed` the same seed: remove train.seed")
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
    def _names_agree(self) -> Recipe:
        labels = [t.label for t in self.teachers]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice:
            raise ValueError(f"two teachers are called {twice[0]!r}: give each its own `name`")
        methods = [*self.variants, self.variant or self.decode.pipeline]
        methods += [f"{name}-seed-{run.train_seed}" for run in self.seed_runs() for name in methods]
        taken = sorted({"eval", "untrained"} & {*self.variants}) or sorted({"untrained", *methods} & {*labels})
        if taken:
            raise ValueError(f"{taken[0]!r} is taken (eval/{taken[0]}): give the variant or teacher another name")
        if self.meta_prover and self.meta_prover.same_as and self.meta_prover.same_as not in labels:
            raise ValueError(f"meta_prover.same_as {self.meta_prover.same_as!r} names no teacher; there are: {labels}")
        return self
