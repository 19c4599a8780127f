"""Three costs of vLLM that grow with the prompt and buy nothing here, taken out. Results stay what they were.

Each engine calls `install()`; it is harmless twice, and a vLLM built differently is left as it is.
"""

from __future__ import annotations

from typing import Any

# A character has at most 4 bytes, so at most 4 tokens: 64 prompt tokens hold all that the first new one may complete.
TAIL = 64
ROWS = "cord_rows"
# In a request's extra_args: asks for the detokeniser of vllm_stops.py; text at the end alone, special tokens and all.
BY_BYTES = "cord_stops_by_bytes"


def install() -> None:
    _prime_with_a_tail()
    _keep_the_last_rows()
    _compute_the_last_rows()


def _prime_with_a_tail() -> None:
    """Detokenising begins at the prompt's last tokens, not at its first: 8 ms less per request behind 16k tokens.

    vLLM looks the class up on its module, so that it can be replaced there.
    """
    from tokenizers import decoders

    whole = decoders.DecodeStream
    if getattr(whole, "cord_tail", None):
        return

    def tail_primed(ids: Any = None, skip_special_tokens: bool = False) -> Any:
        # With special tokens skipped, a tail of nothing else would look like the beginning of the text.
        tail = ids if ids is None or skip_special_tokens else ids[-TAIL:]
        return whole(ids=tail, skip_special_tokens=skip_special_tokens)

    tail_primed.cord_tail, tail_primed.cord_whole = TAIL, whole  # type: ignore[attr-defined]
    decoders.DecodeStream = tail_primed  # type: ignore[assignment, misc]


def _keep_the_last_rows() -> None:
    """A request with `extra_args={ROWS: n}` gets its last n prompt log-probs only.

    vLLM's first model runner makes Python objects for every row of the prompt: 60 ms for one score behind 16k tokens.
    """
    from vllm.v1.engine.logprobs import LogprobsProcessor

    make = getattr(LogprobsProcessor, "from_new_request", None)
    update = getattr(LogprobsProcessor, "_update_prompt_logprobs", None)
    if make is None or update is None or getattr(update, "cord_rows", False):
        return

    def from_new_request(cls: Any, tokenizer: Any, request: Any) -> Any:
        processor = make(tokenizer, request)
        processor.cord_rows = (request.sampling_params.extra_args or {}).get(ROWS)
        return processor

    def update_last_rows(self: Any, tensors: Any) -> None:
        count = getattr(self, "cord_rows", None)
        if count:
            tensors = tensors._replace(**{name: getattr(tensors, name)[-count:] for name in tensors._fields[:3]})
        update(self, tensors)

    update_last_rows.cord_rows = True  # type: ignore[attr-defined]
    LogprobsProcessor.from_new_request = classmethod(from_new_request)
    LogprobsProcessor._update_prompt_logprobs = update_last_rows


def _compute_the_last_rows() -> None:
    """The first model runner computes logits for every prompt token that went through the model, and tensors as long as
    the whole prompt; a request with `extra_args={ROWS: n}` gets the n rows of its answer alone.

    Request by request, as vLLM does it: a row may not depend on what else is in the batch.
    """
    from vllm.v1.outputs import LogprobsTensors
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner

    of_all_rows = getattr(GPUModelRunner, "_get_prompt_logprobs_dict", None)
    if of_all_rows is None or getattr(of_all_rows, "cord_rows", False):
        return

    def of_last_rows(self: Any, hidden_states: Any, num_scheduled_tokens: dict[str, int]) -> dict[str, Any]:
        import torch

        found = {}
        for name in list(self.num_prompt_logprobs):
            request, scheduled = self.requests[name], num_scheduled_tokens.get(name)
            params, prompt = request.sampling_params, request.prompt_token_ids
            count = (params.extra_args or {}).get(ROWS) if params else None
            if not count or scheduled is None or prompt is None or params.prompt_logprobs != 0:
                continue
            # Row i of the prompt says token i + 1. They must all go through the model in this step.
            first, begun = len(prompt) - 1 - count, request.num_computed_tokens
            if begun > first or begun + scheduled < len(prompt):
                continue
            row = self.query_start_loc.np[self.input_batch.req_id_to_index[name]].item() + first - begun
            scores = self.sampler.compute_logprobs(self.model.compute_logits(hidden_states[row : row + count]))
            targets = torch.tensor(prompt[-count:], device=scores.device)
            ids, logprobs, ranks, *_ = self.sampler.gather_logprobs(scores, 0, targets)
            found[name] = LogprobsTensors(ids.cpu(), logprobs.cpu(), ranks.cpu())
            del self.num_prompt_logprobs[name]
        return {**found, **of_all_rows(self, hidden_states, num_scheduled_tokens)}

    of_last_rows.cord_rows = True  # type: ignore[attr-defined]
    GPUModelRunner._get_prompt_logprobs_dict = of_last_rows
