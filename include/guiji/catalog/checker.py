"""Collects what is wrong with one catalog file, each problem at its line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from guiji.catalog.expressions import check_expression
from guiji.catalog.problems import Problem, find_nearest
from guiji.catalog.strict_yaml import Node
from guiji.catalog.validate import locate
from guiji.errors import CatalogError


class Checker:
    """Collects problems of one file; every ``add`` names a path in the tree."""

    def __init__(self, tree: Node, *, expressions: bool = True) -> None:
        self.tree = tree
        self.expressions = expressions
        self.problems: list[Problem] = []

    def add(
        self,
        path: Sequence[int | str],
        message: str,
        *,
        allowed: Iterable[str] = (),
        word: str | None = None,
        nearest: str | None = None,
        mend: str = "",
        warning: bool = False,
    ) -> None:
        file, line, column = locate(self.tree, path)
        words = tuple(allowed)
        near = nearest or (find_nearest(word, words) if word is not None else None)
        self.problems.append(Problem(file, line, column, message, words, near, mend, warning))

    def check_names(self, path: Sequence[int | str], given: Iterable[str], allowed: Collection[str], what: str) -> None:
        """Every word of a list is allowed, and none stands twice."""
        seen: set[str] = set()
        for i, word in enumerate(given):
            if word not in allowed:
                self.add((*path, i), f"{dotted(path)} names {word!r}, which is no {what}", allowed=allowed, word=word)
            elif word in seen:
                self.add((*path, i), f"{dotted(path)} names {word!r} twice")
            seen.add(word)

    def check_expression(self, path: Sequence[int | str], text: str, columns: Collection[str]) -> None:
        if not self.expressions:
            return
        try:
            check_expression(text, columns)
        except CatalogError as exc:
            allowed, nearest = exc.context.get("allowed", ()), exc.context.get("nearest")
            assert isinstance(allowed, tuple)
            self.add(
                path,
                f"{dotted(path)}: {exc.message}",
                allowed=allowed,
                nearest=nearest if isinstance(nearest, str) else None,
            )

    def check_regex(self, path: Sequence[int | str], text: str) -> re.Pattern[str] | None:
        try:
            return re.compile(text)
        except re.error as exc:
            self.add(path, f"{dotted(path)} is no regular expression: {exc}")
            return None


def dotted(path: Sequence[int | str]) -> str:
    """``fields[2].codes`` for a path in the tree."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else step)
    return text
