"""A vLLM scheduler whose prefix cache ends at a token, where vLLM's own ends at a block.

A search asks for every prefix again as soon as it has grown: its score, then K proposals behind it. vLLM's cache holds
full blocks, so each of those requests computes the last, unfilled block anew: half a block of tokens on average, a
quarter of all that a search computes with blocks of 32 and steps of 64 tokens. Here the unfilled block of a finished
request stays in the cache too, and a request that begins with its tokens starts from a copy of it. The copy is vLLM's
own copy-on-write, which it has for hybrid models; blocks are evicted in its own order.

Results may differ from stock vLLM's as with any cache read: in the last bits.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from vllm.v1.core.kv_cache_utils import BlockHash, make_block_hash_with_group_id
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager

# Of one prefix; the newest stay. A step asks for some dozen proposals behind a prefix.
MOST_TAILS = 64


class Tails:
    """The unfilled last blocks of finished requests, by the hash of the full blocks before them.

    Each tail's block carries a hash of its own, so that vLLM keeps it like any cached block; one that no longer carries
    it was evicted, and its tail is forgotten.
    """

    def __init__(self, manager: Any) -> None:
        self._pool = manager.block_pool
        self._size: int = self._pool.hash_block_size
        (group,) = manager.coordinator.single_type_managers
        self._blocks_of: dict[str, Any] = group.req_to_blocks
        self._of_block: dict[int, tuple[Any, list[int], Any]] = {}
        self._behind: dict[Any, list[int]] = {}
        self._numbers = count()

    @staticmethod
    def possible_in(manager: Any) -> bool:
        """Sliding windows, Mamba and several groups of layers have other rules for what a block may hold."""
        groups = manager.coordinator.single_type_managers
        return (
            manager.enable_caching
            and [type(group) for group in groups] == [FullAttentionManager]
            and groups[0].block_size == manager.block_pool.hash_block_size
        )

    def keep(self, request: Any) -> None:
        """Before a request's blocks are freed. A score's own tail ends in its answer, which nothing goes on from."""
        params = request.sampling_params
        if params is None or params.prompt_logprobs is not None or not _is_plain(request):
            return
        full, rest = divmod(request.num_computed_tokens, self._size)
        blocks = self._blocks_of.get(request.request_id, ())
        if not rest or len(blocks) <= full or len(request.block_hashes) < full or blocks[full].block_hash is not None:
            return
        before = _hash_of(request, full)
        tokens = list(request.all_token_ids[full * self._size : full * self._size + rest])
        if self._longest(before, tokens)[0] == rest:
            return
        block = blocks[full]
        self._forget(block.block_id)
        key = make_block_hash_with_group_id(BlockHash(b"cord tail %d" % next(self._numbers)), 0)
        self._pool._insert_block_hash(key, block, num_tokens=None)
        self._of_block[block.block_id] = (before, tokens, key)
        behind = self._behind.setdefault(before, [])
        behind.append(block.block_id)
        if len(behind) > MOST_TAILS:
            self._forget(behind[0])

    def find(self, request: Any, cached: int) -> tuple[Any, int]:
        """The block whose tail goes on furthest from the request's `cached` tokens (all in full blocks), and how many
        tokens it adds. At least one token of the request is left to compute. (None, 0) without any.
        """
        if not _is_plain(request):
            return None, 0
        before = _hash_of(request, cached // self._size)
        wanted = list(request.all_token_ids[cached : min(cached + self._size, request.num_tokens) - 1])
        shared, block_id = self._longest(before, wanted)
        return (self._pool.blocks[block_id], shared) if shared else (None, 0)

    def _longest(self, before: Any, wanted: list[int]) -> tuple[int, int]:
        best = (0, -1)
        for block_id in list(self._behind.get(before, ())):
            _, tokens, key = self._of_block[block_id]
            if self._pool.blocks[block_id].block_hash != key:
                self._forget(block_id)
                continue
            best = max(best, (_in_common(tokens, wanted), block_id))
        return best

    def _forget(self, block_id: int) -> None:
        if block_id not in self._of_block:
            return
        before, _, _ = self._of_block.pop(block_id)
        behind = self._behind[before]
        behind.remove(block_id)
        if not behind:
            del self._behind[before]


def _hash_of(request: Any, blocks: int) -> Any:
    """The hash of the request's first full blocks; None of none."""
    return request.block_hashes[blocks - 1] if blocks else None


def _in_common(some: list[int], others: list[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((i for i, (one, other) in pairs if one != other), min(len(some), len(others)))


def _is_plain(request: Any) -> bool:
    """Tokens say all that its keys and values depend on: no adapter, no image, no salt."""
    return not (request.lora_request or request.mm_features or request.cache_salt or request.skip_reading_prefix_cache)


class TailScheduler(Scheduler):
    """vLLM's scheduler, for `EngineArgs(scheduler_cls=...)`. uses_tails: false = stock vLLM."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        possible = Tails.possible_in(self.kv_cache_manager) and self.connector is None and not self.num_spec_tokens
        self.tails = Tails(self.kv_cache_manager) if possible else None
        self.uses_tails = possible

    def _get_local_prefix_cache_hit(self, request: Any) -> Any:
        blocks, cached, boundary, diverged = super()._get_local_prefix_cache_hit(request)
        if self.uses_tails and self.tails is not None and cached % self.block_size == 0:
            block, shared = self.tails.find(request, cached)
            if shared:
                blocks = self.kv_cache_manager.create_kv_cache_blocks(([*blocks.blocks[0], block],))
                cached += shared
        return blocks, cached, boundary, diverged

    def _free_blocks(self, request: Any) -> None:
        if self.uses_tails and self.tails is not None:
            self.tails.keep(request)
        super()._free_blocks(request)
