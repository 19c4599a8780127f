"""What a run found, in a few sentences: who answers more, on whose data, and what is known about why.

They are the first thing on the report, on the terminal and in Weights & Biases. A sentence whose figures are missing is
left out, and nothing is called a reason unless the interval of the difference lies above zero.
"""

from __future__ import annotations

from cord_distill.report.summary import StudentDifference, Summary

SPELLED = {"cord": "CoRD", "curation": "Curation", "integration": "Integration", "mcts": "MCTS"}


def story(summary: Summary) -> list[str]:
    """Up to three sentences: the students, the data, and why."""
    pair = compared_methods(summary)
    return [text for part in (_students, _data, _why) if pair and (text := part(summary, pair))]


def compared_methods(summary: Summary) -> list[str]:
    """The method that the run is about and the one it is held against: the first CoRD and the first Curation of the
    recipe, or else its first two methods. One name where there is one method, none where there is nothing."""
    names = [name for name in dict.fromkeys([*summary.methods, *summary.students]) if name != "untrained"]
    pipelines = summary.protocol.pipelines
    wanted = [next((n for n in names if pipelines.get(n, n) == kind), None) for kind in ("cord", "curation")]
    first = [name for name in wanted if name]
    return [*first, *(name for name in names if name not in first)][:2]


def spelled(name: str) -> str:
    """A method as a sentence calls it: the paper's spelling of its own methods, the recipe's of any other."""
    return SPELLED.get(name, name)


def difference_of(summary: Summary, pair: list[str]) -> StudentDifference | None:
    """The paired difference of two methods' students, where both answered the same problems."""
    return next((one for one in summary.differences if [one.a, one.b] == pair), None)


def difference_said(one: StudentDifference) -> str:
    """`+44.8 points [36.0, 53.5], p < 0.001`."""
    low, high = (100 * x for x in one.ci)
    p = f"p = {one.p_value:.2g}" if one.p_value >= 0.001 else "p < 0.001"
    return f"{100 * one.difference:+.1f} points [{low:.1f}, {high:.1f}], {p}"


def _students(summary: Summary, pair: list[str]) -> str:
    first = {name: summary.students[name].first for name in [*pair, "untrained"] if name in summary.students}
    known = {name: 100 * figures.avg_at_k for name, figures in first.items() if figures.avg_at_k is not None}
    if pair[0] not in known:
        return ""
    n = first[pair[0]].num_problems
    problems = f"{n} unseen problems" if n else "the unseen problems"
    said = f"The student trained on {spelled(pair[0])}'s traces answers {known[pair[0]]:.1f} % of {problems}"
    if len(pair) > 1 and pair[1] in known:
        said += f", the one trained on {spelled(pair[1])}'s {known[pair[1]]:.1f} %"
        one = difference_of(summary, pair)
        said += f": {difference_said(one)}" if one else ""
    said += "."
    return said + (f" Before fine-tuning it answers {known['untrained']:.1f} %." if "untrained" in known else "")


def _data(summary: Summary, pair: list[str]) -> str:
    methods = {name: summary.methods[name] for name in pair if name in summary.methods}
    graded = {name: method.answer_accuracy for name, method in methods.items() if method.answer_accuracy is not None}
    if not graded:
        return ""
    name, *others = graded
    said = f"{spelled(name)}'s traces end in the right answer for {100 * graded[name]:.0f} %"
    said += f" of {methods[name].num_problems} training problems"
    said += "".join(f", {spelled(other)}'s for {100 * graded[other]:.0f} %" for other in others)
    tokens = [methods[one].tokens_per_problem for one in graded]
    if all(tokens):
        scored = [methods[one].scored_tokens_per_problem for one in graded]
        known = all(one is not None for one in scored)
        said += f"; per problem {tokens[0]:,.0f} tokens were generated"
        said += f" and {scored[0]:,.0f} read for scores" if known else ""
        if len(tokens) > 1:
            said += f", against {tokens[1]:,.0f}" + (f" and {scored[1]:,.0f}" if known else "")
    return said + "."


def _why(summary: Summary, pair: list[str]) -> str:
    shares = [teacher.first.avg_at_k for teacher in summary.teachers.values()]
    alone = [share for share in shares if share is not None]
    parts = []
    if len(alone) > 1:
        parts.append(f"no teacher alone is right in more than {100 * max(alone):.1f} % of the unseen problems")
    method = summary.methods.get(pair[0])
    if method and method.teacher_changes and method.steps_per_trace:
        parts.append(
            f"{spelled(pair[0])} changes teacher {method.teacher_changes:.1f} times "
            f"in a trace of {method.steps_per_trace:.1f} steps"
        )
    if not parts:
        return ""
    one = difference_of(summary, pair)
    reason = one is not None and one.ci[0] > 0
    said = " and ".join(parts)
    said = f"A likely reason: {said}." if reason else f"{said[0].upper()}{said[1:]}."
    listed = [f"{name} {note}" for name, note in summary.protocol.teacher_notes.items() if note]
    return said + (f" The teachers: {'; '.join(listed)}." if listed else "")
