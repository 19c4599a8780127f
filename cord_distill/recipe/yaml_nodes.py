"""YAML of a recipe as plain values: mappings, lists, texts, numbers, booleans and nulls, of a bounded size.

A recipe from elsewhere may hold anything that YAML can say. Whatever is more than plain values is refused in one
sentence, before any of it is expanded: anchors that multiply or hold themselves, tags, deep nesting.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from cord_distill.common.errors import CordError

LONGEST_TEXT = 2**18
MOST_VALUES = 20_000
DEEPEST = 40
_YAML = "tag:yaml.org,2002:"
_PLAIN = {f"{_YAML}{kind}" for kind in ("str", "int", "float", "bool", "null")}
_TAGS = {yaml.ScalarNode: _PLAIN, yaml.MappingNode: {f"{_YAML}map"}, yaml.SequenceNode: {f"{_YAML}seq"}}
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


class Loader(yaml.SafeLoader):
    """YAML 1.1 reads `5e-6` as text; a learning rate written so is a number. A date is a text.

    Deep nesting stops the reading where it becomes too deep: PyYAML would take seconds over a few thousand brackets.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST + 2:
            raise RecursionError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag in _PLAIN]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def compose(text: str, source: str) -> yaml.Node | None:
    """The nodes of a text, looked over; None where it holds nothing. source: what is read, for the CordErrors."""
    if len(text) > LONGEST_TEXT:
        raise CordError(f"{source}: {len(text)} characters are more than any recipe has; give a smaller one")
    try:
        node = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise CordError(f"{source}{_place(error)}") from None
    except RecursionError:
        raise CordError(f"{source}: not readable as YAML: nested deeper than {DEEPEST} levels") from None
    except ValueError as error:
        raise CordError(f"{source}: not readable as YAML: {error}") from None
    if node is not None:
        _look_over(node, source, {}, set(), 1)
    return node


def _place(error: yaml.YAMLError) -> str:
    """Line, column and fault of a file that is no YAML, with the line itself below and a caret under the place."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return f": not readable as YAML: {' '.join(str(error).split())}"
    shown = mark.get_snippet(indent=4, max_length=100) or ""
    return f", line {mark.line + 1}, column {mark.column + 1}: not readable as YAML: {problem}; mend it here:\n{shown}"


def scalar(node: yaml.Node, source: str) -> Any:
    """The value of a node that is neither a mapping nor a list."""
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError, TypeError) as error:
        reason = " ".join(str(error).split()).split(";")[0][:120]
        raise CordError(
            f"{source}, line {_line(node)}: {str(node.value)[:40]!r} is not readable ({reason}); quote it"
        ) from None
    if isinstance(value, str) and _NOT_TEXT.search(value):
        raise CordError(f"{source}, line {_line(node)}: a text holds a NUL or half a character; write it without")
    return value


def values(node: yaml.Node | None, source: str) -> Any:
    """The plain values of a composed node."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): values(value, source) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [values(item, source) for item in node.value]
    return None if node is None else scalar(node, source)


def _look_over(node: yaml.Node, source: str, sizes: dict[int, int], above: set[int], depth: int) -> int:
    """How many values the node expands to. Each node is looked at once, however often it is named."""
    if id(node) in sizes:
        return sizes[id(node)]
    where = f"{source}, line {_line(node)}"
    if id(node) in above:
        raise CordError(f"{where}: the anchor holds itself; write its values out")
    if depth > DEEPEST:
        raise CordError(f"{where}: nested deeper than {DEEPEST} levels, which no section of a recipe is")
    above.add(id(node))
    size = 1
    if node.tag not in _TAGS[type(node)]:
        raise CordError(f"{where}: the tag {node.tag.removeprefix(_YAML)!r} has no place in a recipe")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise CordError(f"{where}: a key is a list or a mapping; keys are names")
            if _NOT_TEXT.search(key.value):
                raise CordError(f"{where}: a key holds a NUL or half a character; keys are names")
            size += _look_over(value, source, sizes, above, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_look_over(item, source, sizes, above, depth + 1) for item in node.value)
    if size > MOST_VALUES:
        raise CordError(f"{where}: its anchors expand to more than {MOST_VALUES} values; write out what is meant")
    above.discard(id(node))
    sizes[id(node)] = size
    return size


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
