"""Finds out what the server at a URL can do, by a few tiny requests: `cord check` shows it, decoding needs it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cord_distill.common.errors import CordError
from cord_distill.engines.base import EngineDead, EngineError
from cord_distill.engines.server.http import HttpClient
from cord_distill.engines.server.scoring import ScoringWay, scoring
from cord_distill.recipe.models import ModelConfig

# Ids that every vocabulary has.
PROBE_IDS = [10, 11, 12]
# One token twice: the log-probs among the allowed tokens would both be 0.
TARGET_IDS = [13, 13]
# Two ways of one server differ by the rounding of its number format alone.
AGREED = 0.2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that continues token ids. served: the name that it knows the model by. max_model_len: in tokens, None =
    it does not say. scores: how it gives log-probs of given tokens, None = not at all. kv_tokens: what its KV cache
    holds, None = it does not say."""

    url: str
    served: str
    max_model_len: int | None
    scores: ScoringWay | None
    kv_tokens: int | None = None

    def __str__(self) -> str:
        gives = "gives log-probs of given tokens"
        scores = {
            "prompt_logprob_token_ids": f"{gives} (each prompt is sent once)",
            "prompt_logprobs": f"{gives} (each time for the whole prompt)",
            None: "gives no log-probs of given tokens (a teacher, never the meta-prover)",
        }.get(self.scores, gives)
        length = f", holds {self.max_model_len} tokens" if self.max_model_len else ""
        cache = f", caches {self.kv_tokens}" if self.kv_tokens else ""
        return f"{self.url} serves {self.served!r}, continues token ids, {scores}{length}{cache}"


def server_root(url: str) -> str:
    """The part of `url` that every route of a server stands behind: without `/v1` and what may follow it."""
    return url.rstrip("/").removesuffix("/completions").removesuffix("/chat").removesuffix("/v1")


async def probe(section: ModelConfig, key: str, *, wait: float, timeout: float) -> list[Endpoint]:
    """One Endpoint per `url` of a recipe section. key: its dotted name, for errors. wait: seconds for one to come up.

    Raises CordError: not there, no such model, does not continue token ids; each with what to do.
    """
    return [await _probe_one(url, section, key, wait, timeout) for url in section.urls]


def check_scores(endpoints: list[Endpoint], key: str) -> None:
    """Raises CordError when one of them cannot be the meta-prover."""
    for endpoint in endpoints:
        if endpoint.scores is None:
            raise CordError(
                f"{key}: {endpoint.url} gives no log-probs of given tokens (neither logprob_token_ids nor "
                "prompt_logprobs), so it can be a teacher and not the meta-prover: serve the model with vllm serve, or "
                "run the meta-prover in process (engine: vllm)"
            )


async def _probe_one(url: str, section: ModelConfig, key: str, wait: float, timeout: float) -> Endpoint:
    root = server_root(url)
    client = HttpClient(root, api_key_env=section.api_key_env, wait=wait, timeout=timeout)
    # What a server need not have: a gateway may answer such a route like a server that is away.
    optional = HttpClient(root, api_key_env=section.api_key_env, wait=0.0, timeout=timeout)
    try:
        served, length = await model_name(client, section, key, root)
        await _continues_ids(client, served, key, root)
        if section.repetition_detection:
            await _knows_repetition(client, served, key, root)
        scores = await _scores(client, optional, served)
        return Endpoint(root, served, length, scores, await _kv_tokens(optional))
    except EngineDead as error:
        raise CordError(f"{key}.url: {error}. Is it up? Start it with: {start_command(section, root)}") from error
    finally:
        await client.close()
        await optional.close()


async def model_name(client: HttpClient, section: ModelConfig, key: str, root: str) -> tuple[str, int | None]:
    """(the name to send, the longest context) by the server's own list of models."""
    try:
        cards = {str(card["id"]): card for card in (await client.get("/v1/models"))["data"]}
    except EngineDead:
        raise
    except EngineError as error:
        raise CordError(f"{key}.url: {error}; an OpenAI-compatible server lists its models there") from error
    except (KeyError, TypeError) as error:
        raise CordError(
            f"{key}.url: {root}/v1/models gave no list of models; is it an OpenAI-compatible server?"
        ) from error
    asked = section.served_model_name or section.model
    name = asked if asked in cards or section.served_model_name or len(cards) != 1 else next(iter(cards))
    if name not in cards:
        names = ", ".join(sorted(cards)) or "none"
        raise CordError(f"{key}.served_model_name: {root} does not serve {name!r}; it serves: {names}")
    length = cards[name].get("max_model_len")
    return name, length if type(length) is int and length > 0 else None


async def _continues_ids(client: HttpClient, served: str, key: str, root: str) -> None:
    body = {"model": served, "prompt": PROBE_IDS, "max_tokens": 1, "temperature": 0, "return_token_ids": True}
    fix = (
        "A teacher and a meta-prover need a server that continues token ids (vllm serve); a plain chat API can be "
        "the integrator or the judge"
    )
    try:
        choice = (await client.post("/v1/completions", body))["choices"][0]
        given, made = choice.get("prompt_token_ids"), choice.get("token_ids")
    except EngineDead:
        raise
    except EngineError as error:
        raise CordError(f"{key}.url: {error}. {fix}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise CordError(f"{key}.url: {root}/v1/completions gave no completion. {fix}") from error
    if given != PROBE_IDS or not made:
        raise CordError(f"{key}.url: {root} does not give back the token ids that it reads and writes. {fix}")


async def _knows_repetition(client: HttpClient, served: str, key: str, root: str) -> None:
    """Raises CordError where the server would ignore `repetition_detection`: it takes one that cannot be."""
    impossible = {"max_pattern_size": 1, "min_pattern_size": 2, "min_count": 2}
    body = {"model": served, "prompt": PROBE_IDS, "max_tokens": 1, "repetition_detection": impossible}
    try:
        await client.post("/v1/completions", body)
    except EngineDead:
        raise
    except EngineError:
        return
    raise CordError(
        f"{key}.repetition_detection: {root} ignores it; serve the model with vLLM 0.32 or later, or remove the key"
    )


async def _scores(client: HttpClient, optional: HttpClient, served: str) -> ScoringWay | None:
    """The cheapest way that gives a number for each target. A server ignores or refuses what it does not know.

    The two cheap ways are held against the sure one: a server may leave `allowed_token_ids` aside, or give log-probs
    among these tokens alone (--logprobs-mode processed_logprobs).
    """
    sure = await _found(client, served, "logprob_token_ids")
    if len(sure) < len(TARGET_IDS):
        whole = await _found(client, served, "prompt_logprobs")
        return "prompt_logprobs" if len(whole) == len(TARGET_IDS) else None
    cheap: tuple[ScoringWay, ...] = ("prompt_logprob_token_ids", "allowed_token_ids")
    for way in cheap:
        try:
            found = await _found(optional, served, way)
        except EngineDead:
            continue
        if found and all(abs(a - b) < AGREED for a, b in zip(found, sure, strict=False)):
            return way
    return "logprob_token_ids"


async def _found(client: HttpClient, served: str, way: ScoringWay) -> list[float]:
    """The log-probs of TARGET_IDS by this way, [] where the server does not know it."""
    request = scoring(way, served, PROBE_IDS, TARGET_IDS)
    try:
        found = request.read(await client.post(request.path, request.body))
    except EngineDead:
        raise
    except (EngineError, LookupError, TypeError, ValueError, AttributeError):
        return []
    # Above 0 they are logits: the server was started with --logprobs-mode raw_logits.
    return found if all(value <= 1e-6 for value in found) else []


async def _kv_tokens(client: HttpClient) -> int | None:
    """The size of a vLLM server's KV cache, by its metrics; None where it has none or says nothing of it."""
    try:
        return kv_tokens_in(await client.text("/metrics"))
    except EngineError:
        return None


def kv_tokens_in(metrics: str) -> int | None:
    """Tokens, by the labels of `vllm:cache_config_info`; of the smallest, where several engines stand behind it."""
    sizes = []
    for labels in re.findall(r"^vllm:cache_config_info\{(.*)\}", metrics, re.M):
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        whole, blocks, size = (
            int(found[name]) if found.get(name, "").isdigit() else 0
            for name in ("kv_cache_size_tokens", "num_gpu_blocks", "block_size")
        )
        sizes.append(whole or blocks * size)
    return min((size for size in sizes if size), default=None)


def start_command(section: ModelConfig, root: str) -> str:
    """A command line that serves the section's model at this address."""
    port = root.rpartition(":")[2] if root.count(":") > 1 else "8000"
    return f"vllm serve {section.model} --port {port} --generation-config vllm --enable-prompt-tokens-details"
