"""`stage=dpo`: preference optimisation on the pairs of preferences.jsonl, by TRL's DPOTrainer.

As in SFT the renderer makes the ids. What both completions begin with is given and not trained: in the loss of DPO it
would cancel. No end of turn is put behind a completion that is no whole turn.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.prompts.render import Renderer
from cord_distill.training.plan import Plan
from cord_distill.training.rows import (
    StageRows,
    check_lengths,
    control_ids,
    left_out,
    read_rows,
    refuse_none_left,
    shown_parts,
)
from cord_distill.types import THINK_CLOSE, THINK_OPEN

COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")


def rows(plan: Plan, renderer: Renderer, args: Any, context: int | None) -> StageRows:
    """Reads and checks the pairs. context: positions of the student, None = unknown. Raises CordError with the fix."""
    return pair_rows(
        plan.data, renderer, max_length=args.max_length, max_tokens=plan.recipe.data.filters.max_tokens, context=context
    )


def pair_rows(
    path: Path, renderer: Renderer, *, max_length: int, max_tokens: int | None, context: int | None
) -> StageRows:
    renderers: dict[str, Renderer] = {"": renderer}
    renderer.check_prompt()
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    dropped: Counter[str] = Counter()
    lengths, total, kinds = [], 0, Counter[str]()
    for number, row in read_rows(path):
        place = f"{path.name}, line {number}"
        system, question, chosen, rejected = _pair(row, place)
        total += 1
        if system not in renderers:
            renderers[system] = renderer.with_system(system)
        one = renderers[system]
        prompt, better, worse = _ids(one, question, chosen, rejected)
        longest = len(prompt) + max(len(better), len(worse))
        reason = None
        if max_tokens is not None and longest > max_tokens:
            reason = f"longer than data.filters.max_tokens {max_tokens}"
        elif not better or not worse:
            reason = "one completion is the beginning of the other"
        elif control_ids(one) & {*better[:-1], *worse[:-1]}:
            reason = "a control token of the student stands in the text and cannot be written out"
        if reason:
            dropped[reason] += 1
            continue
        for name, ids in zip(COLUMNS, (prompt, better, worse), strict=True):
            columns[name].append(ids)
        lengths.append(longest)
        kinds[str(row.get("kind", "pair"))] += 1
    refuse_none_left(path, "pair", len(lengths), dropped)
    check_lengths(lengths, total, max_length, context, "dpo")
    told = ", ".join(f"{count} of {kind}s" for kind, count in sorted(kinds.items()))
    summary = f"{len(lengths)} pairs ({told}), the longest completion ends at token {max(lengths)}{left_out(dropped)}"
    first = (columns[name][0] for name in COLUMNS)
    sample = shown_parts(renderer, dict(zip(("given, no loss", "chosen", "rejected"), first, strict=True)))
    return StageRows(columns, summary, sample, dropped)


def _pair(row: dict[str, Any], place: str) -> tuple[str, str, str, str]:
    """(system message or "", question, better and worse completion, each behind `<think>\\n`)."""
    try:
        given = [(turn["role"], turn["content"]) for turn in row["prompt"]]
        both = [row[key][0]["content"] for key in ("chosen", "rejected")]
        ends = [len(row[key]) for key in ("chosen", "rejected")]
    except (KeyError, TypeError, IndexError):
        raise CordError(
            f"{place}: needs `prompt`, `chosen` and `rejected`, each a list of {{role, content}} messages"
        ) from None
    if [role for role, _ in given] not in (["user"], ["system", "user"]) or ends != [1, 1]:
        raise CordError(f"{place}: a pair is [system,] user, and one message of the assistant on each side")
    if not all(isinstance(text, str) and text.startswith(THINK_OPEN) for text in both):
        raise CordError(f"{place}: the thought is lost: `chosen` and `rejected` have to begin with `<think>\\n`")
    system = given[0][1] if len(given) == 2 else ""
    return system, given[-1][1], *(text.removeprefix(THINK_OPEN) for text in both)


def _ids(renderer: Renderer, question: str, chosen: str, rejected: str) -> tuple[list[int], list[int], list[int]]:
    """(given, better, worse): both completions as one text each, cut where their ids part."""
    better, worse = ([*renderer.encode(renderer.step(text)), *_end(renderer, text)] for text in (chosen, rejected))
    same = 0
    while same < min(len(better), len(worse)) and better[same] == worse[same]:
        same += 1
    return renderer.prompt_ids(question) + better[:same], better[same:], worse[same:]


def _end(renderer: Renderer, completion: str) -> list[int]:
    whole = bool(completion.partition(THINK_CLOSE)[2].strip())
    return [renderer.end_of_turn_id] if whole else []


def trainer(plan: Plan, args: Any, renderer: Renderer, dataset: Any, common: dict[str, Any]) -> Any:
    """Makes the trainer. common: what every stage's trainer is given (model, tokenizer, adapters, callbacks)."""
    from cord_distill.training.pair_trainer import PairTrainer

    return PairTrainer(train_dataset=dataset.shuffle(seed=args.seed), args=args, **common)
