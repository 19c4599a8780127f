"""A model behind a server that continues token ids (`vllm serve`): the Engine seam over HTTP.

Tokens, stop strings and scores are those of vLLM in process (engines/vllm); http.py says what happens when a server is
busy or away, probe.py what it must be able to do, scoring.py how it is asked for scores.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.engines.answers import count_in
from cord_distill.engines.base import EngineError, Generation, Sampling, vllm_ending
from cord_distill.engines.server.http import HttpClient
from cord_distill.engines.server.probe import Endpoint, probe
from cord_distill.engines.server.scoring import TARGETS_AT_ONCE, WAYS, ScoringWay, scoring
from cord_distill.prompts.render import Renderer
from cord_distill.recipe.models import ModelConfig

# For one request of the probe: a server that has just come up may be slow at first.
PROBE_SECONDS = 120.0
SAMPLE = "So \\(x^{2}=\\boxed{7}\\), wait.\n\n### Step 2."


class ServerEngine:
    """One model at one or several URLs. home: keeps the requests of one problem on one of them, where its prefix is
    cached; another one answers only while that one is down."""

    keeps_time = True

    def __init__(self, client: HttpClient, endpoints: list[Endpoint]) -> None:
        lengths = [endpoint.max_model_len for endpoint in endpoints if endpoint.max_model_len]
        self.client = client
        self.endpoints = endpoints
        self.home = ""
        self.served = endpoints[0].served
        ways = [endpoint.scores for endpoint in endpoints]
        # What all of them know: a server that knows one way knows those behind it too.
        self.scores: ScoringWay | None = None if None in ways else max((way for way in ways if way), key=WAYS.index)
        self.max_model_len: int | None = min(lengths, default=None)
        sizes = [endpoint.kv_tokens for endpoint in endpoints]
        self.kv_tokens: int | None = min((size for size in sizes if size), default=None)
        self.homes = client.homes

    @classmethod
    async def start(
        cls, section: ModelConfig, key: str, renderer: Renderer, *, timeout: float, wait: float
    ) -> ServerEngine:
        """Probes every URL of `section`. key: its dotted name, for errors. timeout: seconds for one request. wait:
        seconds that the servers may be away, now and later.

        Raises CordError: not there, unfit, serving under two names, or with another tokenizer than `model`'s.
        """
        endpoints = await probe(section, key, wait=wait, timeout=min(timeout, PROBE_SECONDS))
        if len({endpoint.served for endpoint in endpoints}) > 1:
            names = "; ".join(f"{endpoint.url}: {endpoint.served}" for endpoint in endpoints)
            raise CordError(f"{key}.url: replicas serve one model under one name, but: {names}")
        urls = [endpoint.url for endpoint in endpoints]
        engine = cls(HttpClient(urls, api_key_env=section.api_key_env, timeout=timeout, wait=wait), endpoints)
        try:
            for endpoint in endpoints:
                await _same_tokenizer(endpoint, section, key, renderer)
        except BaseException:
            await engine.close()
            raise
        return engine

    def for_problem(self, problem_id: str) -> ServerEngine:
        """The same engine, whose requests stay on one replica."""
        view = copy.copy(self)
        view.home = problem_id
        return view

    async def generate(self, ids: list[int], sampling: Sampling) -> Generation:
        page = await self.client.post("/v1/completions", self.body(ids, sampling), self.home)
        return self._read(page, lambda page: read_generation(page, ids))

    def body(self, ids: list[int], sampling: Sampling) -> dict[str, Any]:
        """A sampling request; all that a server might fill in from the model's generation_config is said."""
        # In process vLLM ends at the longest context by itself; its server refuses what could grow beyond.
        room = self.max_model_len - len(ids) if self.max_model_len else sampling.max_tokens
        return {
            "model": self.served,
            "prompt": ids,
            "max_tokens": max(1, min(sampling.max_tokens, room)),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            **({"repetition_detection": sampling.repetition.model_dump()} if sampling.repetition else {}),
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": sampling.seed,
            "stop": list(sampling.stop),
            "stop_token_ids": list(sampling.stop_ids),
            "logit_bias": {str(token): -100.0 for token in sampling.banned_ids} or None,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            "return_token_ids": True,
        }

    async def logprobs(self, ids: list[int], target_ids: list[int]) -> list[float]:
        if self.scores is None:
            raise EngineError(f"{self.endpoints[0].url}: gives no log-probs of given tokens")
        found: list[float] = []
        way: ScoringWay = self.scores
        while len(found) < len(target_ids):
            asked = target_ids[len(found) :]
            if way != "prompt_logprobs":
                asked = asked[:TARGETS_AT_ONCE]
            request = scoring(way, self.served, ids + target_ids[: len(found)], asked)
            given = self._read(await self.client.post(request.path, request.body, self.home), request.read)
            if len(given) < len(asked):
                way = "logprob_token_ids"
            found += given
        return found

    async def ranked(self, ids: list[int], target_ids: list[int]) -> list[tuple[float, int]]:
        raise EngineError(f"{self.endpoints[0].url}: a server gives no ranks of tokens")

    async def close(self) -> None:
        await self.client.close()

    def _read(self, page: Any, read: Callable[[Any], Any]) -> Any:
        try:
            return read(page)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            urls = ", ".join(endpoint.url for endpoint in self.endpoints)
            raise EngineError(
                f"{urls}: an answer that cannot be read ({type(error).__name__}: {error}): {str(page)[:200]}"
            ) from error


def read_generation(page: Any, asked: list[int]) -> Generation:
    """vLLM's completion as a Generation. Raises EngineError when the request was not brought to its end, or when the
    server read another prompt than `asked`: one with a BOS of its own, a cut one, somebody else's."""
    choice = page["choices"][0]
    read = choice.get("prompt_token_ids")
    if read is not None and read != asked:
        raise EngineError(
            f"the server answered another prompt than it was sent: {len(read)} token ids in place of {len(asked)}; "
            "look for a proxy between, or for an option of the server that cuts prompts or adds tokens"
        )
    stop, matched = vllm_ending(choice["finish_reason"], choice["stop_reason"])
    usage = page.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return Generation(
        ids=tuple(choice["token_ids"]),
        text=choice["text"],
        stop=stop,
        matched=matched,
        cached=count_in(details, "cached_tokens"),
    )


async def _same_tokenizer(endpoint: Endpoint, section: ModelConfig, key: str, renderer: Renderer) -> None:
    """Raises CordError when the server reads a text as other ids than the tokenizer of `model`."""
    text = renderer.prompt_text("What is $2 + 2$?") + SAMPLE
    client = HttpClient(endpoint.url, api_key_env=section.api_key_env, wait=0.0, timeout=PROBE_SECONDS)
    try:
        body = {"model": endpoint.served, "prompt": text, "add_special_tokens": False}
        found = (await client.post("/tokenize", body))["tokens"]
    except (EngineError, LookupError, TypeError):
        return  # a server need not have this route
    finally:
        await client.close()
    if found != renderer.coder.encode_first(text):
        raise CordError(
            f"{key}: {endpoint.url} serves {endpoint.served!r} with another tokenizer than that of model: "
            f"{section.model}; name the model that it serves, or another url"
        )
