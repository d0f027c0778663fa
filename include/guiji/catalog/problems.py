"""One place in a catalog file that is wrong, said so that its author can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """``str()`` is one line: ``file:line: message. Allowed: …. Did you mean …? mend``."""

    file: str
    line: int  # 1-based
    column: int  # 1-based
    message: str  # without a final stop
    allowed: tuple[str, ...] = ()
    nearest: str | None = None
    mend: str = ""
    #: a warning is shown, but doesn't make the file unusable
    warning: bool = False

    def __str__(self) -> str:
        parts = [f"{self.file}:{self.line}: {'warning: ' if self.warning else ''}{self.message}."]
        if self.allowed:
            parts.append(f"Allowed: {_shorten(self.allowed)}.")
        if self.nearest:
            parts.append(f"Did you mean {self.nearest!r}?")
        if self.mend:
            parts.append(self.mend)
        return " ".join(parts)


def find_nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that looks most like ``word``, or None where nothing does."""
    return next(iter(difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)), None)


def _shorten(words: tuple[str, ...], most: int = 40) -> str:
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown}, … ({len(words)} in all)"
