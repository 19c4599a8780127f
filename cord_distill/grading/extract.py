"""Where the final answer stands in a text. Standard library, linear in the length of the text.

`answer_of` is for model output (`reasoning </think> answer`): the last \\boxed{}, else what an "answer is" phrase
announces, else the text behind the thought when that is one formula and no more, else nothing. A number that merely
stands last is never taken for an answer: that turns cut-off texts into right ones. `loose_answer` is for files of
answer pairs, where a whole text may be the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cord_distill.grading.latex import DATE, LONGEST_FORMULA, is_quantity, spelled, squeezed
from cord_distill.grading.number_words import anywhere

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
BOX_OR_BRACE = re.compile(r"\\{1,2}(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
UNBRACED_BOX = re.compile(r"\\boxed\s+([^\s{}$]{1,40})")
JOINS_BOXES = re.compile(r"(?:\\?,|\b(?:and|or)\b)")
# "\\boxed{4}, so the answer is \\boxed{5}" and "not \\boxed{4}, but \\boxed{5}" are no lists.
CONCLUDES = re.compile(r"(?i)\b(?:so|thus|hence|therefore|but|not|instead|answer|which|meaning|wait|actually|i\.e)\b")
HASHES = re.compile(r"\s*####\s*(\S.*)")
ANSWER_TAGS = "<answer>", "</answer>"
WHOLE_BOLD = re.compile(r"(?:\*\*|__)([^*_\n]+)(?:\*\*|__)\.?")
CONCLUSION = re.compile(
    r"(?i)\W*(?:therefore|thus|hence|so|consequently|finally|in (?:conclusion|total|summary)|we conclude)\b"
)
SUPPOSED = re.compile(r"(?i)\b(?:if|unless|suppose|assume|assuming|whether|when)\b")
CONDITIONAL = re.compile(r"(?i)\b(?:if|unless|suppose|assume|assuming|not|cannot|except|whether|when)\b")
HEADING = re.compile(r"(?:^|\n)[ \t]*(?:#{1,6}|\*\*|__)[ \t#*_]*(?:the[ \t]+)?$", re.IGNORECASE)
BEHIND_HEADING = re.compile(r"[ \t*_]*\n\s*(?=\S)")
ANCHOR = re.compile(
    r"(?i)\b(?:final\s+)?answer\b|\bcorrect\s+(?:option|choice)\b(?=[^\n]{0,20}?\bis\b[\s:*(]*[A-J]\b)|\br[ée]ponse\b|答案"
)
FINAL = re.compile(r"(?i)\bfinal\s+answer\b[^\n]{0,60}?(?:\bis\b|:)")
ANCHOR_LINK = re.compile(
    r"(?i)[\s*_\"'\\]*(?:\b(?:is|are|est|equals|(?:should|must|would) be)\b|[:：=为是])(?:[\s*_:：]|\\?\")*(?=\S)"
)
# "5, since 2+3 = 5", "B, not C": what stands behind says why, or what it is not.
REASON = re.compile(r"(?:,\s+(?:not|which)|,?\s+(?:since|because))\b.*", re.DOTALL)
COMPUTATION = re.compile(r"\(?[-+*/×÷().\d\s]+=\s*(-?[\d.,/]+)\)?")
MATH_OPEN = {"$$": "$$", "$": "$", "\\(": "\\)", "\\[": "\\]"}
MATH_ENV = re.compile(r"(?<!\\)\$\$?|\\[()\[\]]")
# A period ends an answer only where a sentence ends: 7.78 and "1. x" hold periods too.
SENTENCE_END = re.compile(r"[.。;](?=\s|$)|\n|。|\bI hope\b|</?[a-z|]")
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.\\^])-?(?:\d+ \d+(?=/\d)|\d{1,3}(?:[, \u00a0\u202f]\d{3})+(?!\d)(?:\.\d+)?|\d+[.,]\d+|\.\d+|\d+)"
    r"(?:/-?\d+)?(?:\s*(?:\\?%|percent(?:age)?\b|pct\b))?"
)
PLAIN_FRACTION = re.compile(r"-?\\[dt]?frac\{-?[\d.]{1,30}\}\{-?[\d.]{1,30}\}")
# "**Alice** wins with best play", "No, there is none".
LEADING = re.compile(r"\*\*([^*\n]{1,60}?)[.,:;]?\*\*[,.]?\s(?!.*\*\*)|((?i:Yes|No|True|False))[,.;:]\s", re.DOTALL)
# "$f(x)=kx$, where $k$ is a constant": a tail that bounds nothing.
WHERE = re.compile(
    r"(?<=\$),?\s+(?:where|for)\s+(?:(?:all|any|every|each|some)\s+)?(?:[a-z]+\s+)?\$[A-Za-z]\$[^$\d<>]{0,80}$"
)
# "The statement is true." "The curve is a parabola."
ONE_WORD = re.compile(r"\b(?:is|are|on)\s+(?:an?\s+|the\s+)?(?!one\b)([A-Za-z]{3,})\s*\.?$")
BOLD = re.compile(r"\*\*([^*]{1,60})\*\*\W*$")
LATEX_NAME = re.compile(r"\\[A-Za-z]+")
WORD = re.compile(r"[A-Za-zÀ-ÿ]{2,}|[\u0600-\u06ff\u3040-\u9fff\uac00-\ud7af]")
MATH_WORDS = set(
    (
        "sqrt sin cos tan log ln exp pi percent percentage pct mod or and infty fraction arcsin arccos arctan "
        "asin acos atan sinh cosh tanh cot sec csc max min gcd lcm rad"
    ).split()
)
# "It is about 9", "not 9", "between 3 and 9", "9 or more": a number of such a sentence is no answer.
HEDGE = re.compile(
    r"(?i)\b(?:not|no|about|around|roughly|approximately|nearly|almost|between|than|least|most|more|less|fewer|over|"
    r"under|above|below|and an?|tried|fail\w*|wrong|instead|seem\w*|maybe|perhaps|plausibl[ey]|guess\w*|probably|"
    r"likely|might|could|if|unless|except|without|exceeds?|cannot|never|neither|nor|or)\b|n't\b"
)
LINK = re.compile(
    r"(?:\b(?:is|are|be|was|were|equals?|gives?|gets?|got|obtains?|takes?|costs?|totals?|makes?|has|have|yields?)\b|[:=：是为])"
    r"(?:\s+(?:equal\s+to|at|to\s+be|us|a\s+total\s+of|exactly|therefore|thus|then|so|given\s+by|simply|just|by))*\s*"
)
RAISED = re.compile(r"[⁰-⁹⁺⁻₀-₉²³¹]")
WINDOW = 400
LONGEST_BARE = 100
LONGEST_NAME = 4
SHORT_WORDS = set("is it so we to of in at as by be he no on an am my me us up do go if".split())


def after_thought(text: str) -> str:
    """The part of a completion outside the thought: "" when it was never closed. Later <think> blocks are cut too."""
    _, *later = text.split(THINK_CLOSE)
    return "".join(piece.split(THINK_OPEN)[0] for piece in later)


def answer_of(text: str, *, in_thought: bool = False) -> str | None:
    """The final answer that `text` (the completion after `<think>\\n`) gives, as written, or None.

    in_thought: when nothing follows the thought, or no answer stands there, take the last one of the thought.
    """
    spoken = after_thought(text).strip()
    found = stated_answer(spoken)
    if found is None and spoken and "boxed" not in spoken:
        found = _bare(spoken) or _concluded(spoken)
    return stated_answer(text) if found is None and in_thought else found


def _bare(spoken: str) -> str | None:
    """The whole text where it is one short formula, be it set apart on lines of its own or in bold."""
    bold = WHOLE_BOLD.fullmatch(spoken)
    formula = bold[1] if bold else _one_formula(spoken) or ""
    apart = bold is not None or formula != spoken or "\n" not in spoken
    return formula if apart and len(formula) <= LONGEST_BARE and is_bare(formula) else None


def _concluded(spoken: str) -> str | None:
    """The formula that the last sentence ends in, where that sentence says that it concludes or is the only one."""
    pieces = [piece.strip() for piece in SENTENCE_END.split(spoken[-2 * WINDOW :]) if piece.strip(" *")]
    sentence = pieces[-1] if pieces and spoken[-1] in ".。$)]*" else ""
    only = len(pieces) == 1 and len(spoken) <= LONGEST_FORMULA
    if not sentence or not (only or CONCLUSION.match(sentence)):
        return None
    runs = math_runs(sentence)
    if runs and not sentence[runs[-1][1] :].strip(" .*"):
        return None if CONDITIONAL.search(sentence) or HEDGE.search(sentence) else runs[-1][2] or None
    for before, rest in _behind_links(sentence):
        if not CONDITIONAL.search(before) and not HEDGE.search(rest) and re.search(r"[\d\\([{$^_]", rest):
            return rest
    return None


def _behind_links(sentence: str) -> Iterator[tuple[str, str]]:
    """(what stands before it, what follows) each `is`, `=` or `gives` of a sentence that a formula follows."""
    for link in LINK.finditer(sentence):
        rest = sentence[link.end() :].strip(" *\"'")
        if rest and rest.count("$") % 2 == 0 and is_bare(rest):
            yield sentence[: link.start()], rest


def stated_answer(text: str) -> str | None:
    """The last \\boxed{} (several joined by "and" or commas are one answer), else what follows "the answer is".

    A "final answer is" behind the last box wins when a formula follows it: it is the later word. Prose there ("the
    final answer is correct since ...", "see the box") speaks about the box and is no answer.
    """
    found = boxes(text)
    if not found:
        return _tagged(text) or after_anchor(text) or last_boxed(text) or _after_hashes(text)
    behind = text[found[-1][1] :]
    if FINAL.search(behind) and (later := after_anchor(behind)) is not None and is_bare(later):
        return later
    return last_boxed(text)


def _after_hashes(text: str) -> str | None:
    """GSM8K's way: the number behind #### on the last line. A heading `#### 2. Then` is longer, or not the last."""
    last = text.rstrip().rpartition("\n")[2]
    match = HASHES.fullmatch(last)
    answer = match[1].strip().removesuffix(".") if match else ""
    return answer if answer and len(answer) <= LONGEST_BARE and is_bare(answer) else None


def _tagged(text: str) -> str | None:
    """What stands in the last <answer> tags, as R1-Zero's template asks for it."""
    before, _, closed = text.rpartition(ANSWER_TAGS[1])
    inside = before.rpartition(ANSWER_TAGS[0])[2].strip() if closed != text and ANSWER_TAGS[0] in before else ""
    return inside if inside and len(inside) <= LONGEST_FORMULA else None


def boxes(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of every outermost closed \\boxed{...}, in one pass over the text."""
    found: list[tuple[int, int, str]] = []
    stack: list[tuple[int, int] | None] = []
    for token in BOX_OR_BRACE.finditer(text):
        piece = token.group()
        if piece == "{":
            stack.append(None)
        elif piece == "}":
            opened = stack.pop() if stack else None
            if opened is not None:
                while found and found[-1][0] > opened[0]:
                    found.pop()
                found.append((opened[0], token.end(), text[opened[1] : token.start()]))
        elif piece.endswith("{") and len(piece) > 2:
            stack.append((token.start(), token.end()))
    return found


def last_boxed(text: str) -> str | None:
    found = boxes(text)
    if not found:
        unbraced = UNBRACED_BOX.findall(text)
        return unbraced[-1].rstrip(".,") if unbraced else None
    group = _last_group(text, found)
    different = {_spelling(content): content for _, _, content in reversed(group)}
    answer = ", ".join(content.strip() for content in reversed(different.values())).strip()
    tail = text[group[-1][1] : group[-1][1] + 20]
    return (answer + "\\%" if re.match(r"\s*\$?\s*(\\?%|percent|pct)", tail) else answer) or None


def _spelling(content: str) -> str:
    """By which a box counts as said again: 031 twice, or 31 after 031, is one answer."""
    core = squeezed(spelled(content))
    return core.lstrip("0") or "0" if core.isdigit() else core


def last_boxes(text: str) -> list[str]:
    """The contents of the last \\boxed{} and of those that "and" or a comma joins to it; [] where there is none."""
    found = boxes(text)
    return [content.strip() for _, _, content in _last_group(text, found)] if found else []


def _last_group(text: str, found: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    group = [found[-1]]
    for box in reversed(found[:-1]):
        gap = text[box[1] : group[0][0]]
        if len(gap) > 50 or "\n\n" in gap or ". " in gap or not JOINS_BOXES.search(gap) or CONCLUDES.search(gap):
            break
        group.insert(0, box)
    return group


def after_anchor(text: str) -> str | None:
    """What the last "answer is ..." or "Answer: ..." announces: a formula, else the rest of the sentence."""
    for anchor in reversed(list(ANCHOR.finditer(text))):
        window = text[anchor.end() : anchor.end() + WINDOW]
        link = ANCHOR_LINK.match(window) or ANCHOR_LINK.search(window[:60].partition("\n\n")[0])
        heading = None if link and not window[: link.start()].strip(" \t*_") else _heading(text, anchor, window)
        if heading is not None and (below := _below(heading)) is not None:
            return below
        if link:
            rest = window[link.end() :]
            formulas = math_runs(rest)
            if formulas and not WORD.search(rest[: formulas[0][0]]):
                return formulas[0][2].strip() or None
            end = SENTENCE_END.search(rest)
            sentence = rest[: end.start() if end else len(rest)]
            inside = math_runs(sentence)
            if len(inside) == 1 and not NUMBER.search(sentence, inside[0][1]):
                return inside[0][2].strip() or None
            return REASON.sub("", sentence).strip(" *$`\"'") or None
    return None


def _heading(text: str, anchor: re.Match[str], window: str) -> str | None:
    """What stands under `**Final Answer**` or `# Answer` on a line of its own; None where it is no heading."""
    behind = BEHIND_HEADING.match(window)
    if behind is None or not HEADING.search(text[max(0, anchor.start() - 20) : anchor.start()]):
        return None
    return window[behind.end() :]


def _below(rest: str) -> str | None:
    """The formula that the text under a heading begins with, None where it begins with prose."""
    formulas = math_runs(rest)
    if formulas and not rest[: formulas[0][0]].strip(" *_\n>"):
        return formulas[0][2].strip() or None
    line = rest.partition("\n")[0].strip(" *_\t>").removesuffix(".")
    return line if line and len(line) <= LONGEST_BARE and is_bare(line) else None


def math_runs(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of each $...$, $$...$$, \\(...\\), \\[...\\]; neighbours joined by and/or are one."""
    runs: list[tuple[int, int, str]] = []
    opened: re.Match[str] | None = None
    for mark in MATH_ENV.finditer(text):
        if opened is None:
            opened = mark if mark.group() in MATH_OPEN else None
        elif mark.group() == MATH_OPEN[opened.group()]:
            run = (opened.start(), mark.end(), text[opened.end() : mark.start()].strip())
            joined = bool(runs) and re.fullmatch(r"\s*(?:,|and|or|,\s*and)\s*", text[runs[-1][1] : run[0]])
            if joined:
                run = (runs[-1][0], run[1], f"{runs.pop()[2]}, {run[2]}")
            runs.append(run)
            opened = None
    return runs


def is_bare(text: str) -> bool:
    """Whether the whole text is a formula rather than prose. `2RC+R+C`, a matrix and \\$18.90 are formulas."""
    if "\n\n" in text:
        return False
    plain = re.sub(r"\\(?:text\w*|mathrm|mbox|operatorname|begin|end)\s*\{[^{}]*\}", " ", text)
    words = WORD.findall(LATEX_NAME.sub(" ", plain))
    return not any(_is_prose(word) for word in words)


def _is_prose(word: str) -> bool:
    """Letters that are no product of names: three or more of them, or one of the short words of a sentence."""
    if word.lower() in MATH_WORDS or (word.isascii() and word.isupper() and len(word) <= LONGEST_NAME):
        return False
    return not word.isascii() or len(word) > 2 or word.lower() in SHORT_WORDS


def loose_answer(text: str) -> str | None:
    """The answer in a text that may be a formula alone, prose that ends in one, or prose that says a number.

    A formula is always read as a whole, by the rules that `answer_of` has; so is a number with its unit.
    """
    text = text.strip()
    if boxes(text):
        return stated_answer(text)
    if marked := WHOLE_BOLD.fullmatch(text) or HASHES.fullmatch(text):
        text = marked[1]
    inside = _one_formula(text)
    if inside is not None and (is_bare(inside) or inside != text):
        return inside if 0 < len(inside) <= LONGEST_FORMULA else None
    if is_quantity(text):
        return text
    text = WHERE.sub("", text)
    found = after_anchor(text)
    if found is not None and is_bare(found):
        computed = COMPUTATION.fullmatch(found)
        return computed.group(1) if computed else found
    runs = math_runs(text)
    last_formula = runs[-1] if runs else None
    if found is not None and last_formula is None and len(found) <= 40:
        return _number_of_prose(found) or found
    if last_formula is not None and (len(text) - last_formula[1] < 3 or not NUMBER.search(text, last_formula[1])):
        tail = text[last_formula[1] :].strip(" .")
        unit = re.fullmatch(r"(?:\\?%|pct|percent)", tail)
        return last_formula[2] + ("\\%" if unit else "")
    if DATE.match(text):
        return text
    leading = LEADING.match(text)
    word = None if HEDGE.search(text) else ONE_WORD.search(text)
    alone = (leading[1] or leading[2]) if leading else word[1] if word else text if len(text) <= LONGEST_BARE else None
    return _number_of_prose(text) or alone


def _number_of_prose(text: str) -> str | None:
    """What the last sentence with a number says: the formula or number (with its unit) behind `is`, `=`, `gives`,
    one in bold at its end, or its only number. Not what it hedges: "about 9" and "9 or more" are no 9.
    """
    digits = text if NUMBER.search(text) else anywhere(text[-2 * WINDOW :])
    pieces = (piece.strip() for piece in reversed(SENTENCE_END.split(digits)))
    sentence = next((x for x in pieces if any(p.search(x) for p in (NUMBER, PLAIN_FRACTION, RAISED))), "")
    if len(sentence) > WINDOW:
        # Not the second half of a number.
        sentence = sentence[-WINDOW:].partition(" ")[2]
    for before, rest in _behind_links(sentence):
        if not SUPPOSED.search(before) and (NUMBER.search(rest) or rest[0] in "([\\{" or RAISED.search(rest)):
            return rest.strip("$")
    if HEDGE.search(sentence):
        return None
    bold = BOLD.search(sentence)
    links = list(LINK.finditer(sentence))
    rest = bold[1] if bold else sentence[links[-1].end() :].strip(" *$\"'") if links else sentence
    return _only_number(rest if NUMBER.match(rest) else sentence, NUMBER.match(rest) is not None)


def _only_number(rest: str, leads: bool) -> str | None:
    """The number that `rest` begins with (leads), else the only one in it, with the unit behind it."""
    found = [*NUMBER.finditer(rest), *PLAIN_FRACTION.finditer(rest)]
    fractions = [number for number in found if number[0].startswith(("\\", "-\\"))]
    numbers = fractions or found
    if numbers and len(numbers) > 1 and is_quantity(whole := rest[numbers[0].start() :].rstrip(" .*")):
        return whole
    if not numbers or (not leads and len({number[0] for number in numbers}) > 1):
        return None
    number = numbers[0]
    words = rest[number.start() :].split()
    with_unit = " ".join(words[:2]).rstrip(",;")
    return with_unit if len(words) > 1 and is_quantity(with_unit) else number[0]


def gold_answer(text: str) -> str | None:
    """The gold of a pair: read as `loose_answer` reads, but a text without any formula stays whole.

    "12 ducks and 9 goats" is not the answer 9.
    """
    text = text.strip()
    announces = bool(boxes(text)) or after_anchor(text) is not None or math_runs(text)
    return loose_answer(text) if announces or len(text) > LONGEST_BARE else text or None


def _one_formula(text: str) -> str | None:
    """The whole text where it is one formula, with or without its own $; a $ in front of a number is money."""
    runs = math_runs(text)
    if len(runs) == 1 and runs[0][:2] == (0, len(text)):
        return runs[0][2]
    return text if not re.search(r"(?<!\\)\$(?!\s*\.?\d)", text) and text.count("$") < 2 else None
