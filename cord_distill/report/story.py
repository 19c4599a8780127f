"""What a run found, in a few sentences: who answers more, on whose data, and what is known about why.

They are the first thing on the report, on the terminal and in Weights & Biases. A sentence whose figures are missing is
left out, and nothing is called a reason unless the interval of the difference lies above zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SPELLED = {"cord": "CoRD", "curation": "Curation", "integration": "Integration", "mcts": "MCTS"}


@dataclass(frozen=True, slots=True)
class Story:
    """found: the students, or the data where there are no students. data, why: more sentences, or ""."""

    found: str = ""
    data: str = ""
    why: str = ""

    @property
    def sentences(self) -> list[str]:
        return [text for text in (self.found, self.data, self.why) if text]


def story(summary: dict[str, Any]) -> Story:
    """Of `build_summary`'s dict."""
    pair = compared_methods(summary)
    if not pair:
        return Story()
    found = _students(summary, pair)
    data = _data(summary, pair)
    return Story(found, data, _why(summary, pair)) if found else Story(data, "", _why(summary, pair))


def compared_methods(summary: dict[str, Any]) -> list[str]:
    """The method that the run is about and the one it is held against: the first CoRD and the first Curation of the
    recipe, or else its first two methods. One name where there is one method, none where there is nothing."""
    known = list(dict.fromkeys([*(summary.get("methods") or {}), *(summary.get("students") or {})]))
    names = [name for name in known if name != "untrained"]
    pipelines = (summary.get("protocol") or {}).get("pipelines") or {}
    wanted = [next((n for n in names if pipelines.get(n, n) == kind), None) for kind in ("cord", "curation")]
    first = [name for name in wanted if name]
    return [*first, *(name for name in names if name not in first)][:2]


def spelled(name: str) -> str:
    """A method as a sentence calls it: the paper's spelling of its own methods, the recipe's of any other."""
    return SPELLED.get(name, name)


def difference_of(summary: dict[str, Any], pair: list[str]) -> dict[str, Any] | None:
    """The paired difference of two methods' students, where both answered the same problems."""
    found = summary.get("differences") or []
    return next((one for one in found if [one["a"], one["b"]] == pair), None)


def difference_said(one: dict[str, Any]) -> str:
    """`+44.8 points [36.0, 53.5], p < 0.001`."""
    low, high = (100 * x for x in one["ci"])
    p = f"p = {one['p_value']:.2g}" if one["p_value"] >= 0.001 else "p < 0.001"
    return f"{100 * one['difference']:+.1f} points [{low:.1f}, {high:.1f}], {p}"


def _students(summary: dict[str, Any], pair: list[str]) -> str:
    students = summary.get("students") or {}
    shares = {name: _share(students[name]) for name in [*pair, "untrained"] if name in students}
    known = {name: share for name, share in shares.items() if share is not None}
    if pair[0] not in known:
        return ""
    n = students[pair[0]].get("num_problems")
    problems = f"{n} unseen problems" if n else "the unseen problems"
    said = f"The student trained on {spelled(pair[0])}'s traces answers {known[pair[0]]:.1f} % of {problems}"
    if len(pair) > 1 and pair[1] in known:
        said += f", the one trained on {spelled(pair[1])}'s {known[pair[1]]:.1f} %"
        one = difference_of(summary, pair)
        said += f": {difference_said(one)}" if one else ""
    said += "."
    return said + (f" Untrained, it answers {known['untrained']:.1f} %." if "untrained" in known else "")


def _data(summary: dict[str, Any], pair: list[str]) -> str:
    methods = summary.get("methods") or {}
    graded = [name for name in pair if (methods.get(name) or {}).get("answer_accuracy") is not None]
    if not graded:
        return ""
    tokens = [methods[name].get("tokens_per_problem") for name in graded]
    shares = [f"{100 * methods[name]['answer_accuracy']:.0f} %" for name in graded]
    said = f"{spelled(graded[0])}'s traces end in the right answer for {shares[0]}"
    said += f" of {methods[graded[0]]['num_problems']} training problems"
    if len(graded) > 1:
        said += f", {spelled(graded[1])}'s for {shares[1]}"
    if all(tokens) and len(tokens) > 1:
        said += f"; they took {tokens[0]:,.0f} generated tokens per problem against {tokens[1]:,.0f}"
    elif all(tokens):
        said += f"; they took {tokens[0]:,.0f} generated tokens per problem"
    return said + "."


def _why(summary: dict[str, Any], pair: list[str]) -> str:
    protocol, methods = (summary.get(key) or {} for key in ("protocol", "methods"))
    alone = [
        t["answer_accuracy"] for t in (summary.get("teachers") or {}).values() if t.get("answer_accuracy") is not None
    ]
    parts = []
    if len(alone) > 1:
        parts.append(f"no teacher alone is right in more than {100 * max(alone):.1f} % of the unseen problems")
    method = methods.get(pair[0]) or {}
    if method.get("teacher_changes"):
        parts.append(
            f"{spelled(pair[0])} changes teacher {method['teacher_changes']:.1f} times "
            f"in a trace of {method['steps_per_trace']:.1f} steps"
        )
    if not parts:
        return ""
    one = difference_of(summary, pair)
    reason = one is not None and one["ci"][0] > 0
    said = " and ".join(parts)
    said = f"Why: {said}." if reason else f"{said[0].upper()}{said[1:]}."
    notes = protocol.get("teacher_notes") or {}
    listed = [f"{name} {note}" for name, note in notes.items() if note]
    return said + (f" The teachers: {'; '.join(listed)}." if listed else "")


def _share(student: dict[str, Any]) -> float | None:
    share = student.get(f"avg_at_{student.get('k')}")
    return None if share is None else 100 * share
