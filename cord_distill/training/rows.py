"""SFT rows to `input_ids` and `labels`, with the renderer of decoding and evaluation; the checks before training.

TRL's own rendering of messages drops the thought (R1 templates cut everything up to `</think>`), doubles BOS on strings
and cuts long rows in silence; here each of these is an error, or a count that is printed and kept.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.prompts.foreign import uncut
from cord_distill.prompts.render import Renderer
from cord_distill.types import THINK_CLOSE, THINK_OPEN

IGNORED = -100


@dataclass(frozen=True)
class StageRows:
    """What a stage trains on. columns: those that its trainer takes, all as long. summary: one line about them.

    sample: the first row as a person reads it. dropped: rows that were left out, by reason.
    """

    columns: dict[str, list[Any]]
    summary: str
    sample: str
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one row trains: an optional system message, one question, one completion (what follows `<think>\\n`)."""

    system: str
    question: str
    completion: str


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of a JSONL file. Raises CordError naming the line."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError:
                    raise CordError(f"{path}, line {number}: not readable as JSON; make the data set anew") from None


def exchange(row: dict[str, Any], place: str) -> Exchange:
    """Reads one row. place: for errors. Raises CordError when it is not one question with one whole thought."""
    try:
        turns = [*row["prompt"], *row["completion"]]
        roles, contents = [t["role"] for t in turns], [t["content"] for t in turns]
    except (KeyError, TypeError):
        raise CordError(
            f"{place}: needs `prompt` and `completion`, each a list of {{role, content}} messages"
        ) from None
    if roles[-2:] != ["user", "assistant"] or roles[:-2] not in ([], ["system"]):
        raise CordError(f"{place}: roles are {', '.join(roles)}; a row is [system,] user, assistant")
    question, answer = contents[-2], contents[-1]
    if not isinstance(question, str) or not question.strip():
        raise CordError(f"{place}: the question is empty")
    if not answer.startswith(THINK_OPEN) or answer.count(THINK_CLOSE) != 1:
        raise CordError(
            f"{place}: the thought is lost: the completion has to be `<think>\\n` ... `</think>` and the answer"
        )
    return Exchange(contents[0] if len(turns) == 3 else "", question, answer.removeprefix(THINK_OPEN))


def read_exchanges(path: Path, renderer: Renderer) -> Iterator[tuple[str, Exchange, Renderer]]:
    """(place for errors, what the row trains, the renderer under the row's own system message) of every row."""
    renderers = {"": renderer}
    renderer.check_prompt()
    for number, row in read_rows(path):
        place = f"{path.name}, line {number}"
        one = exchange(row, place)
        if one.system not in renderers:
            renderers[one.system] = renderer.with_system(one.system)
        yield place, one, renderers[one.system]


def render(
    path: Path,
    renderer: Renderer,
    *,
    max_length: int,
    max_tokens: int | None,
    context: int | None,
    limit: int | None = None,
) -> StageRows:
    """All rows of train.jsonl as `input_ids` and `labels`, or the first `limit` that can be trained.

    max_length: TRL's limit, beyond which rows would be cut. max_tokens: `data.filters.max_tokens`, the explicit key
    that drops longer rows. context: positions that the model knows, None = unknown. Raises CordError with the fix.
    """
    inputs: list[list[int]] = []
    targets: list[list[int]] = []
    dropped = Counter[str]()
    spelled = total = 0
    for place, one, own in read_exchanges(path, renderer):
        total += 1
        ids, labels = own.training_ids(one.question, one.completion)
        if max_tokens is not None and len(ids) > max_tokens:
            reason: str | None = f"longer than data.filters.max_tokens {max_tokens}"
        else:
            reason = check_ids(own, one, ids, labels, place)
        if reason:
            dropped[reason] += 1
            continue
        spelled += own.spells_control_tokens(one.question, one.completion)
        if not inputs:
            renderer.check_seams(one.question, renderer.step(one.completion))
        inputs.append(ids)
        targets.append(labels)
        if len(inputs) == limit:
            break
    refuse_none_left(path, "row", len(inputs), dropped)
    lengths = [len(ids) for ids in inputs]
    check_lengths(lengths, total, max_length, context)
    trained = sum(len(labels) - labels.count(IGNORED) for labels in targets)
    summary = (
        f"{len(inputs)} rows, {sum(lengths)} tokens, {trained} of them trained, longest row {max(lengths)}"
        + (f", {spelled} with a control token written out as text" if spelled else "")
        + left_out(dropped)
    )
    return StageRows(
        {"input_ids": inputs, "labels": targets}, summary, sample_row(renderer, inputs[0], targets[0]), dropped
    )


def refuse_none_left(path: Path, what: str, left: int, dropped: Mapping[str, int]) -> None:
    """Raises CordError where no row is left to train on."""
    if not left:
        why = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "the file is empty"
        raise CordError(f"{path}: no {what} is left to train on ({why})")


def left_out(dropped: Mapping[str, int]) -> str:
    """The end of a summary: how many rows were dropped, by reason."""
    return "".join(f", {count} dropped ({reason})" for reason, count in sorted(dropped.items()))


def check_ids(renderer: Renderer, one: Exchange, ids: list[int], labels: list[int], place: str) -> str | None:
    """Why this row cannot be trained because of control tokens among its ids, or None.

    Raises CordError for what the tokenizer or the template does wrong to every row: an empty mask, a thought opened
    twice or never, BOS twice, an end of turn that is not trained, text that does not come back.
    """
    start = next((i for i, label in enumerate(labels) if label != IGNORED), len(labels))
    if len(labels) - start < 2:
        raise CordError(f"{place}: nothing is trained: the mask covers no token of the completion")
    if labels[-1] != renderer.end_of_turn_id or renderer.end_of_turn_id is None:
        raise CordError(
            f"{place}: the end of turn {renderer.end_of_turn!r} is not trained, so the student would not stop"
        )
    thought = renderer.thought
    if control_ids(renderer) & set(ids[start:-1]):
        return "a control token of the student stands in the text and cannot be written out"
    prompt = renderer.decode_as_is(ids[:start])
    if one.system.strip() not in prompt:
        raise CordError(
            f"{place}: the student's chat template leaves the system message {one.system[:40]!r} out: put it into the "
            "question, or give train.chat_template_path a template that keeps it"
        )
    # After the question only: Phi-4's own system prompt speaks of <think>.
    behind = prompt.rpartition((one.question + renderer.suffix).strip())[2]
    if behind.count(thought.tag) != 1 or not prompt.endswith(thought.open):
        raise CordError(f"{place}: the prompt has to open the thought once, at its end; it ends with {prompt[-40:]!r}")
    _check_bos(renderer, renderer.prompt_with_cuts(one.question), ids[:start], place)
    trained, given = renderer.decode_as_is(ids[start:-1]), uncut(renderer.written(renderer.step(one.completion)))
    if trained != given:
        at = next((i for i, (a, b) in enumerate(zip(trained, given, strict=False)) if a != b), 0)
        raise CordError(
            f"{place}: the tokenizer gives back {trained[at : at + 30]!r} for {given[at : at + 30]!r}; it was "
            "loaded as another class than the model's own (put config.json beside the tokenizer files)"
        )
    return None


def _check_bos(renderer: Renderer, written: str, prompt: list[int], place: str) -> None:
    """Raises CordError unless the prompt's ids hold BOS where the template writes it, and nowhere twice in a row.

    How often it stands there says nothing: SmolLM2's BOS `<|im_start|>` opens every turn.
    """
    tokenizer = renderer.tokenizer
    bos = tokenizer.bos_token
    if not bos:
        return
    if written.startswith(bos + bos):
        raise CordError(
            f"{place}: BOS stands 2 times: the chat template writes {bos!r} twice at its beginning; give "
            "train.chat_template_path a template that writes it once"
        )
    stands, wanted = prompt.count(tokenizer.bos_token_id), written.count(bos)
    if stands != wanted:
        raise CordError(
            f"{place}: BOS {bos!r} stands {stands} times in the prompt's ids and {wanted} times in what the chat "
            "template writes: the tokenizer adds or loses it; give train.chat_template_path a template that leaves it "
            "to one of them"
        )


def control_ids(renderer: Renderer) -> set[int]:
    """Ids of the tokens that steer a conversation (BOS, end of turn, roles), which are never part of a thought.

    `</think>`, or what the student has for it, is not among them, special or not: every thought ends with it.
    """
    return (set(renderer.tokenizer.all_special_ids) | {renderer.end_of_turn_id}) - set(renderer.encode(THINK_CLOSE))


def check_lengths(lengths: list[int], total: int, max_length: int, context: int | None, stage: str = "train") -> None:
    """Raises CordError where a row is longer than the stage's max_length, or than the student's positions."""
    cut = sum(length > max_length for length in lengths)
    if cut:
        raise CordError(
            f"{cut} of {total} rows ({100 * cut / total:.1f} %) are longer than {stage}.max_length {max_length} (the "
            f"longest has {max(lengths)} tokens) and would lose their end: raise {stage}.max_length, or drop them "
            f"with data.filters.max_tokens={max_length}"
        )
    if context is not None and max(lengths) > context:
        beyond = sum(length > context for length in lengths)
        raise CordError(
            f"{beyond} of {total} rows are longer than the {context} positions that the student knows (the longest has "
            f"{max(lengths)} tokens): drop them with data.filters.max_tokens={context}"
        )


def sample_row(renderer: Renderer, ids: list[int], labels: list[int]) -> str:
    """One row as a person reads it: what is given, then what is trained. Control characters are escaped."""
    start = sum(label == IGNORED for label in labels)
    return shown_parts(renderer, {"given, no loss": ids[:start], "trained": ids[start:]})


def shown_parts(renderer: Renderer, parts: Mapping[str, list[int]]) -> str:
    """The parts of a row, each under its name and its number of tokens."""
    return "".join(
        f"--- {name} ({len(ids)} tokens)\n{visible(renderer.decode_as_is(ids))}\n" for name, ids in parts.items()
    )


def visible(text: str) -> str:
    """`text` for a terminal, its control characters escaped."""
    # A model's text could move the cursor or set the title of a terminal.
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda m: f"\\x{ord(m[0]):02x}", text)


def shortened(sample: str) -> str:
    """Head and tail of each part, at most 5 lines of at most 110 characters, for the terminal."""
    lines, width = 5, 110
    parts = re.split(r"(?m)^(--- .*)$\n", sample)[1:]
    out = []
    for head, text in zip(parts[::2], parts[1::2], strict=True):
        shown = [line for line in text.split("\n") if line]
        if len(shown) > lines:
            front, back = shown[: lines // 2], shown[lines // 2 + 1 - lines :]
            shown = [*front, f"[... {len(shown) - len(front) - len(back)} lines]", *back]
        if shown and len(shown[-1]) > width:  # how a part ends is what a reader looks for
            shown[-1] = f"... {shown[-1][4 - width :]}"
        out += [head, *(line if len(line) <= width else f"{line[: width - 4]} ..." for line in shown)]
    return "\n".join(out)
