"""Starting engines for a recipe: one engine per distinct model and settings, shared by all that decode with it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.common.plugins import load_plugin
from cord_distill.common.task_group import tasks_cancelled_on_exit
from cord_distill.common.terminal import warn
from cord_distill.decode.model import Model
from cord_distill.decode.replay import Meter
from cord_distill.decode.selectors.check import ASKS_THE_STUDENT, JUDGE, STUDENT, judge_section
from cord_distill.engines.base import sampling_of
from cord_distill.engines.chat import Chat, ChatModel, EngineChat, ScriptedChat, ServedChat
from cord_distill.engines.ray.cluster import Cluster
from cord_distill.engines.ray.lent import LentCluster
from cord_distill.engines.ray.spec import EngineSpec
from cord_distill.engines.restart import RestartingEngine
from cord_distill.engines.server.probe import check_scores
from cord_distill.model_files.content import by_content
from cord_distill.model_files.context import context_of, read_config
from cord_distill.model_files.locate import model_path
from cord_distill.prompts.render import Renderer, renderer_of
from cord_distill.recipe.decode import ProcessRewardConfig
from cord_distill.recipe.file import recipe_hash
from cord_distill.recipe.models import ChatModelConfig, MetaProverConfig, ModelConfig
from cord_distill.recipe.prompt_keys import PROMPT_DEFAULTS
from cord_distill.recipe.recipe import Recipe
from cord_distill.types import THINK_CLOSE, Problem

ROUND_TRIPS_CHECKED = 50
# What may differ between two models of one recipe that still share an engine.
PER_REQUEST = {
    *("name", "temperature", "top_p", "top_k", "min_p", "repetition_detection"),
    *("system_prompt", "chat_template", "chat_template_kwargs", "same_as", *PROMPT_DEFAULTS),
}
# Nor is the engine's how a trace is read for its rewards, and what is made of them.
NOT_THE_ENGINES = PER_REQUEST | {"step_separator", "aggregation"}


@dataclass
class EnginePool:
    """Engines by their settings, and what each model did (`meters`, by the model's name)."""

    engines: dict[str, Any] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    cluster: Cluster | LentCluster | None = None

    async def together(self, recipe: Recipe, starts: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """What the starts give, in order. Here engines start one after the other; on a cluster side by side, and when
        each has its place further replicas are asked for, while engines of earlier recipes that are not wanted now
        make room."""
        if recipe.cluster is None:
            return [await start() for start in starts]
        if self.cluster is None:
            decode = recipe.decode
            self.cluster = Cluster(recipe.cluster, timeout=decode.request_timeout, wait=decode.server_wait)
        self.cluster.wanted.clear()
        async with tasks_cancelled_on_exit() as tasks:
            ordered = [asyncio.ensure_future(start()) for start in starts]
            tasks.update(ordered)
            await asyncio.sleep(0)  # now each has said which engine it wants
            await self.cluster.fill()
            return list(await asyncio.gather(*ordered))

    async def model(self, recipe: Recipe, section: ModelConfig, key: str, problems: list[Problem]) -> Model:
        """The started model of one recipe section. key: its dotted name, for errors. problems: what it must hold.

        Raises CordError: no such model, a tokenizer that garbles the questions, a context too short for the budgets.
        """
        path = path_of(recipe, section, key)
        with named(key):
            renderer = renderer_of(section, path)
        renderer.check_prompt()
        length = longest_context(renderer, recipe, problems)
        engine = await self.engine(section, path, renderer, key, recipe, length)
        longest = engine.max_model_len
        if longest is not None and longest < length:
            where = "--max-model-len of its server" if section.engine == "server" else f"{key}.max_model_len"
            raise CordError(
                f"{key}: {section.label} holds {longest} tokens, but prompt and budgets need {length}: lower "
                f"decode.budgets, or raise {where} if the model allows it"
            )
        consensus = recipe.decode.selector == "consensus" and key.startswith("teachers.")
        if section.engine == "server" and (key in ("meta_prover", STUDENT) or consensus):
            check_scores(engine.endpoints, key)
        self.meters.setdefault(section.label, Meter())
        # Ids are handed on with the thought closed by them, so models that close it otherwise hand on text.
        closes = "" if renderer.thought.ours else f"@{section.think_close}"
        vocabulary = f"{by_content(path)}@{section.revision}{closes}"
        return Model(
            section.label,
            vocabulary,
            engine,
            renderer,
            sampling_of(section),
            longest,
            instructions=step_instructions(recipe),
            score_ending=recipe.decode.score_ending,
        )

    async def chat(self, recipe: Recipe, section: ChatModelConfig, key: str, length: int) -> ChatModel:
        """The started chat model of one recipe section. length: tokens of prompt and answer that it should hold."""
        path = ""
        if section.engine == "server":
            settings = recipe_hash(section.model_dump())
            if settings not in self.engines:
                decode = recipe.decode
                self.engines[settings] = ServedChat(section, timeout=decode.request_timeout, wait=decode.server_wait)
            engine: Chat = self.engines[settings]
        elif section.engine == "scripted":
            engine = ScriptedChat(load_plugin(str(section.script), f"{key}.script"))
        else:
            path = model_path(recipe, section.model, f"{key}.model")
            renderer = renderer_of(section, path)
            renderer.check_prompt(thinks=False)
            plain = ModelConfig(**section.model_dump(include=set(ModelConfig.model_fields)))
            engine = EngineChat(await self.engine(plain, path, renderer, key, recipe, length), renderer)
        self.meters.setdefault(section.label, Meter())
        identity = f"{by_content(path) or section.model or section.script}@{section.revision}@{section.system_prompt}"
        if section.prompt_keys:
            identity += f"@{recipe_hash(section.prompt_keys)}"
        return ChatModel(section.label, identity, engine, sampling_of(section, section.max_tokens))

    async def engine(
        self, section: ModelConfig, path: str, renderer: Renderer, key: str, recipe: Recipe, length: int
    ) -> Any:
        """The engine of a recipe section's weights and settings, started where none runs yet. length: tokens that it
        has to hold."""
        reward = isinstance(section, ProcessRewardConfig)
        identity = recipe_hash({**section.model_dump(exclude=NOT_THE_ENGINES), "path": path, "reward": reward})
        if identity in self.engines:
            return self.engines[identity]
        timeout, wait = recipe.decode.request_timeout, recipe.decode.server_wait
        with named(key):
            options = vllm_options(section, path, recipe, length) if section.engine == "vllm" else {}
            if self.cluster and section.engine in ("vllm", "scripted"):
                return await self.cluster.engine(identity, EngineSpec.of(section, key, path, options, reward))
            engine: Any
            if section.engine == "scripted":
                from cord_distill.engines.scripted import ScriptedEngine

                engine = ScriptedEngine.of(section, key, renderer)
            elif section.engine == "vllm":
                from cord_distill.engines.vllm.engine import VllmEngine
                from cord_distill.engines.vllm.reward import VllmRewardEngine

                kind: Any = VllmRewardEngine if reward else VllmEngine
                start = functools.partial(kind.start, section, path, **options)
                engine = await RestartingEngine.begin(start, timeout=timeout)
            elif isinstance(section, ProcessRewardConfig):
                from cord_distill.engines.server.reward import ServerRewardEngine

                engine = await ServerRewardEngine.start(section, key, timeout=timeout, wait=wait)
            else:
                from cord_distill.engines.server.engine import ServerEngine

                engine = await ServerEngine.start(section, key, renderer, timeout=timeout, wait=wait)
        self.engines[identity] = engine
        return engine

    def leave(self, problem: str) -> None:
        """Says that no more requests of this problem will come: engines of several replicas forget its home."""
        for engine in [*self.engines.values(), *(self.cluster.engines if self.cluster else [])]:
            homes = getattr(engine, "homes", None)
            if homes is not None:
                homes.leave(problem)

    async def close(self) -> None:
        """Closes every engine; one that fails while it closes keeps no other from being closed."""
        for engine in [*([self.cluster] if self.cluster else []), *self.engines.values()]:
            try:
                await engine.close()
            except Exception as error:
                warn(f"an engine did not close well ({type(error).__name__}: {error}); what it answered is kept")
        self.engines.clear()


@contextlib.contextmanager
def named(key: str) -> Iterator[None]:
    """Puts the model's key in the recipe before the text of a CordError. A subclass keeps its own words and exit
    code."""
    try:
        yield
    except CordError as error:
        if type(error) is not CordError or str(error).startswith(key):
            raise
        raise CordError(f"{key}: {error}") from error


def meta_prover_section(recipe: Recipe) -> ModelConfig | None:
    """The meta-prover's own section, or the teacher's that it shares."""
    prover = recipe.meta_prover
    if prover is None:
        return None
    if isinstance(prover, MetaProverConfig) and prover.same_as:
        return next(teacher for teacher in recipe.teachers if teacher.label == prover.same_as)
    return prover


def decoding_sections(recipe: Recipe) -> dict[str, ModelConfig]:
    """The models that decode or score, by their dotted names: teachers, meta-prover, a judge, the student."""
    sections = {f"teachers.{i}": section for i, section in enumerate(recipe.teachers)}
    student = recipe.decode.student_fit if recipe.decode.selector in ASKS_THE_STUDENT else None
    alone = {"meta_prover": meta_prover_section(recipe), JUDGE: judge_section(recipe), STUDENT: student}
    return sections | {key: section for key, section in alone.items() if section is not None}


def longest_context(renderer: Renderer, recipe: Recipe, problems: list[Problem]) -> int:
    """Returns the tokens that a model must hold: the longest prompt, the budgets, and the known answer with its
    suffix."""
    budgets = recipe.decode.budgets
    suffix = recipe.decode.answer_suffix
    longest = 0
    for number, problem in enumerate(problems):
        question = problem.question + step_instructions(recipe)
        answer = suffix.replace("{A}", renderer.foreign(problem.answer))
        longest = max(longest, len(renderer.prompt_ids(question)) + len(renderer.encode(answer)))
        if number < ROUND_TRIPS_CHECKED:
            steps = [recipe.decode.step_marker.replace("{t}", str(t)) + " Add 2." for t in (1, 2)]
            # Words that a closed vocabulary like the toy world's has too.
            renderer.check_seams(question, *steps, " 2", "\n\n", steps[0], f"\n{THINK_CLOSE}", answer)
    closing = budgets.answer_tokens
    if recipe.decode.selector == "binary_judgment":
        judgment = recipe.decode.binary_judgment
        closing = max(closing, len(renderer.encode(judgment.conclusion)) + judgment.max_tokens)
    return longest + budgets.reasoning_tokens + closing + recipe.decode.score_ending


def step_instructions(recipe: Recipe) -> str:
    """Returns `decode.step_instructions` as it stands behind every question that a model reads; "" for none."""
    said = recipe.decode.step_instructions.strip()
    return f"\n\n{said}" if said else ""


def vllm_options(section: ModelConfig, path: str, recipe: Recipe, length: int) -> dict[str, Any]:
    """Keyword arguments of VllmEngine.start. length: tokens that it has to hold."""
    # Some room, so that a second recipe with slightly longer questions can share the engine; and for a reward model's
    # separators, and its vocabulary, which may need more tokens than the budget's unit.
    cap = min(math.ceil(length * 1.25 / 64) * 64, model_positions(path, section))
    return {
        "deterministic": recipe.decode.deterministic,
        "max_model_len": cap,
        "step_timeout": recipe.decode.request_timeout,
    }


def model_positions(path: str, section: ModelConfig) -> int:
    """Longest context that the model's config allows."""
    config = read_config(path, revision=section.revision, trust_remote_code=section.trust_remote_code)
    return context_of(config).positions or 1 << 30


def path_of(recipe: Recipe, section: ModelConfig, key: str) -> str:
    """The model's folder or hub id. Raises CordError where a section of no weights names no tokenizer either."""
    if not section.model:
        raise CordError(f"{key}.model: {section.engine} still needs a model folder or hub id, for its tokenizer")
    return model_path(recipe, section.model, f"{key}.model")
