"""Questions that a drafted catalog file leaves to a person: the word ``待填`` stands where an answer is needed.

``./guiji catalog new`` and ``catalog import`` write it; a file that still holds one is refused, each place with what
may be written there, and nothing else is said about that place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guiji.catalog.problems import Problem
from guiji.catalog.strict_yaml import Node

#: stands for an answer; may be followed by a hint (``待填：每日/每月``)
OPEN = "待填"


def is_open(value: object) -> bool:
    """True for a text that still asks for its answer."""
    return isinstance(value, str) and value.strip().startswith(OPEN)


def list_open(tree: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """(dotted path, node) of every question in a file, in its order."""
    if isinstance(tree.value, dict):
        for key, child in tree.value.items():
            yield from list_open(child, f"{path}.{key}" if path else key)
    elif isinstance(tree.value, list):
        for i, child in enumerate(tree.value):
            yield from list_open(child, f"{path}[{i}]")
    elif is_open(tree.value):
        yield path, tree


def check_open(tree: Node, others: Sequence[Problem]) -> list[Problem]:
    """``others`` with every question in its place: what was said about an open place gives its allowed words, and is
    not said twice."""
    asked = list(list_open(tree))
    if not asked:
        return list(others)
    places = {(node.file, node.line, node.column) for _, node in asked}
    allowed = {(p.file, p.line, p.column): p.allowed for p in others if p.allowed}
    found = [
        Problem(
            node.file,
            node.line,
            node.column,
            f"{path} is not answered yet ({OPEN})",
            allowed.get((node.file, node.line, node.column), ()),
            mend="Write the answer in its place.",
        )
        for path, node in asked
    ]
    found += [p for p in others if (p.file, p.line, p.column) not in places]
    return sorted(found, key=lambda p: (p.file, p.line, p.column))
