"""What the integrator is asked (integration.txt), and how its JSON is read: with patience, but never half a trace."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cord_distill.common.errors import CordError
from cord_distill.search.segment import StepMarker
from cord_distill.types import THINK_CLOSE

CATEGORIES = ("progressive", "verification", "multi-method validation", "error correction")

# Commands that begin like a JSON escape for a line break or a tab. `\ne`, `\nu` and `\ni` are left out: a line that
# begins with one letter is as likely.
_COMMANDS = (
    "nabla|natural|nearrow|neg|neq|newline|nexists|ngeq|nleq|nmid|nolimits|not|notin|nparallel|nsubseteq|"
    "tan|tanh|tau|text|textbf|textit|textrm|tfrac|therefore|theta|tilde|times|to|top|triangle|triangleq|"
    "underbrace|underline|uparrow|upsilon"
)
# A backslash that its writer forgot to double; backspace, form feed and a lone carriage return are meant by nobody.
_SINGLE = re.compile(rf'\\\\|\\(?=[bfr][A-Za-z]|u(?![0-9a-fA-F]{{4}})|(?:{_COMMANDS})(?![A-Za-z])|[^"\\/bfnrtu])')
# Our form, and the paper's: `integrated_step1` ..., each an object, and `answer_part`.
_KEYS = r"steps|final_answer|integrated_step_?\d+|answer_part"
_BEGIN = re.compile(rf'\{{\s*"(?:{_KEYS})"\s*:')
_LAST_KEY = re.compile(rf'"({_KEYS})"\s*:')
# What follows the last key of an object that is whole.
_END = {
    "steps": re.compile(r".*\]\s*,?\s*\}", re.DOTALL),
    "numbered": re.compile(r".*\}\s*,?\s*\}", re.DOTALL),
    "final_answer": re.compile(r'\s*-?[\d.]+\s*,?\s*\}|.*"\s*,?\s*\}', re.DOTALL),
}
_KEY = re.compile(_KEYS)
_NUMBERED = re.compile(r"integrated_step_?(\d+)")
_HALF = re.compile("[\ud800-\udfff]")
# What a single backslash of LaTeX becomes in JSON: for certain, and where the writer doubles none.
_TAIL = "|".join(sorted((name[1:] for name in _COMMANDS.split("|") if name[0] == "t"), key=len, reverse=True))
_LOST = re.compile(rf"[\b\f]|\r(?!\n)|\t(?:{_TAIL})(?![A-Za-z])")
_PERHAPS_LOST = re.compile(
    rf"\n(?:{'|'.join(name[1:] for name in _COMMANDS.split('|') if name[0] == 'n')})(?![A-Za-z])"
)
_DOUBLED = re.compile(r"\\\\[A-Za-z]")
_THINK_TAGS = re.compile(r"</?think>")


@dataclass(frozen=True, slots=True)
class IntegratedTrace:
    """A merged trace as it was read. steps: (category or None where it is none of CATEGORIES, text with its marker and
    a blank line behind)."""

    steps: tuple[tuple[str | None, str], ...]
    final_answer: str


def integration_prompt(question: str, traces: Sequence[str], marker: StepMarker, prompt: str | None = None) -> str:
    """Makes the prompt of the integrator. traces: complete completions (what follows `<think>`, answer included).
    prompt: `decode.integration.prompt`."""
    parts = [trace.partition(THINK_CLOSE) for trace in traces]
    solutions = [f"{thought.strip()}\n\nFinal answer: {answer.strip()}" for thought, _, answer in parts]
    values = {
        "count": str(len(traces)),
        "marker": marker.marker(1),
        "question": question,
        "solutions": "\n\n".join(f"<solution {n}>\n{s}\n</solution {n}>" for n, s in enumerate(solutions, 1)),
    }
    template = prompt_text(prompt)
    # In one go: a question that holds `{solutions}` stays as it is.
    return re.sub(r"\{(count|marker|question|solutions)\}", lambda found: values[found[1]], template)


def prompt_text(prompt: str | None) -> str:
    """Reads the template of our prompt, or that of a file. Raises CordError: not there, no UTF-8, without the place of
    question or traces."""
    path = Path(prompt) if prompt else Path(__file__).parent / "integration.txt"
    try:
        template = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CordError(f"decode.integration.prompt: {path.name} cannot be read ({error}); give a UTF-8 text") from None
    lacking = [name for name in ("{question}", "{solutions}") if name not in template]
    if lacking:
        raise CordError(f"decode.integration.prompt: {path.name} has no {lacking[0]}; the model is to read it there")
    return template


def read_reply(reply: str, marker: StepMarker) -> IntegratedTrace:
    """Reads the trace in an integrator's reply. Raises ValueError saying what is wrong with one that cannot be used.

    Read all the same: code fences, words around the JSON, a thought before it, trailing commas, unescaped quotes and
    line breaks, single backslashes of LaTeX, unknown categories. Refused: no JSON, no steps or an empty one, no final
    answer, and JSON that was cut: its last complete step is not the end of the trace.
    """
    spoken = reply.partition(THINK_CLOSE)[2]
    text = spoken if _BEGIN.search(spoken) else reply  # a step may hold `</think>` too
    found = _BEGIN.search(text)
    if not found:
        raise ValueError("no JSON object with `steps` in the reply" if text.strip() else "an empty reply")
    text = text[found.start() :]
    data = _in_our_form(_loads(text))
    steps, answer = data.get("steps"), data.get("final_answer")
    last = list(_LAST_KEY.finditer(text))[-1]
    if not _end_of(last[1]).match(text, last.end()):
        raise ValueError("the JSON is cut")
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError("no `final_answer`")
    if not isinstance(steps, list) or not steps:
        raise ValueError("no `steps`")
    pieces: list[tuple[str | None, str]] = []
    for number, step in enumerate(steps, 1):
        said = step.get("text") if isinstance(step, dict) else step
        said = _THINK_TAGS.sub("", said).strip() if isinstance(said, str) else ""
        category = _category(step.get("category")) if isinstance(step, dict) else None
        split = [piece for piece in marker.split(said) if marker.said(piece)]
        if not split:
            raise ValueError(f"step {number} says nothing")
        pieces += [(category, piece) for piece in split]
    if _HALF.search(answer) or any(_HALF.search(piece) for _, piece in pieces):
        raise ValueError("half a surrogate pair in a text")
    numbered = tuple((category, _marked(piece, n, marker)) for n, (category, piece) in enumerate(pieces, 1))
    return IntegratedTrace(numbered, _THINK_TAGS.sub("", answer).strip())


def _loads(text: str) -> dict[str, Any]:
    """Parses the object, as it is where it is valid JSON whose writer doubles backslashes, else mended."""
    import json_repair

    try:
        data, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        data = None
    if data is None or _has_lost_a_backslash(data, text):
        data = json_repair.loads(_SINGLE.sub(r"\\\\", text))
    several = data if isinstance(data, list) else [data]
    return next((one for one in several if isinstance(one, dict) and any(map(_KEY.fullmatch, one))), {})


def _has_lost_a_backslash(data: Any, text: str) -> bool:
    """Whether valid JSON holds what nobody means: a form feed, a tab before `imes`; or, of a writer who doubles no
    backslash at all, a line break before `eq` and the like."""
    if isinstance(data, dict | list):
        return any(_has_lost_a_backslash(one, text) for one in (data.values() if isinstance(data, dict) else data))
    if not isinstance(data, str):
        return False
    return bool(_LOST.search(data)) or (not _DOUBLED.search(text) and bool(_PERHAPS_LOST.search(data)))


def _in_our_form(data: dict[str, Any]) -> dict[str, Any]:
    """Turns the paper's form of a reply into ours; any other stays as it is."""
    numbered = {int(found[1]): data[key] for key in data if (found := _NUMBERED.fullmatch(key))}
    if not numbered:
        return data
    steps = [
        {"category": one.get("category"), "text": one.get("content", one.get("text"))} if isinstance(one, dict) else one
        for _, one in sorted(numbered.items(), key=lambda item: item[0])
    ]
    answer = data.get("answer_part", data.get("final_answer"))
    if isinstance(answer, dict):
        answer = answer.get("content")
    return {"steps": steps, "final_answer": answer}


def _end_of(key: str) -> re.Pattern[str]:
    return _END["final_answer" if key in ("final_answer", "answer_part") else "steps" if key == "steps" else "numbered"]


def _category(value: Any) -> str | None:
    words = re.sub(r"[\s_-]+", " ", value).strip().lower() if isinstance(value, str) else ""
    return next((name for name in CATEGORIES if name.replace("-", " ") == words), None)


def _marked(piece: str, number: int, marker: StepMarker) -> str:
    """Puts the step under our marker; what stood between its own marker and its words stays as it was."""
    said = marker.said(piece)
    head = piece[: piece.index(said)]
    gap = "" if head and not head[-1].isspace() else " "
    return f"{marker.marker(number)}{gap}{said}\n\n"
