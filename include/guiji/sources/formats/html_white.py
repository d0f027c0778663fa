"""White space in the cells of a web page: one blank for all of it, unless the page says that it is kept.

What keeps it is ``<pre>`` and the style ``white-space`` of a table, its rows and cells, and of what stands within a cell;
``pre-line`` keeps line breaks alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

White = Literal["collapsed", "kept", "lines"]
_MODES: dict[str, White] = {"pre": "kept", "pre-wrap": "kept", "break-spaces": "kept", "pre-line": "lines"}
_STYLE = re.compile(r"(?<![\w-])white-space\s*:\s*([\w-]+)", re.I)
_WHITE = re.compile(r"[ \t\r\n\f]+")
#: lines without text at both ends
_EDGES = re.compile(r"\A(?:[ \t]*\n)+|(?:\n[ \t]*)+\Z")


class Kept(str):
    """Text whose white space counts."""

    __slots__ = ()


def find_white(tag: str, attributes: Mapping[str, str | None], inherited: White) -> White:
    """How white space counts within an element; ``inherited``: how it does around it."""
    said = _STYLE.findall(attributes.get("style") or "")
    if said and said[-1].lower() != "inherit":
        return _MODES.get(said[-1].lower(), "collapsed")
    return "kept" if tag == "pre" and not said else inherited


def part_text(data: str, white: White) -> list[str]:
    """Text of a cell as pieces for ``show_text``."""
    if white == "collapsed":
        return [_WHITE.sub(" ", data)]
    if white == "kept":
        return [Kept(data)]
    lines = [_WHITE.sub(" ", line) for line in data.split("\n")]
    return [lines[0], *(piece for line in lines[1:] for piece in (Kept("\n"), line))]


def show_text(pieces: Sequence[str]) -> str:
    """The text as it stands on the page; a piece that is a line break begins a line, unless it stands at the beginning of
    one. No blanks around lines and no blank lines but those that are kept."""
    if not any(isinstance(piece, Kept) for piece in pieces):
        lines = (re.sub(" +", " ", line).strip(" ") for line in "".join(pieces).split("\n"))
        return "\n".join(line for line in lines if line)
    text = ""
    is_loose = False  # the last character is a blank that does not count where a line ends or another blank follows
    for piece in pieces:
        if isinstance(piece, Kept):
            text = (text[:-1] if is_loose and piece[:1] == "\n" else text) + piece
            is_loose = False
        elif piece == "\n":
            text = text[:-1] if is_loose else text
            text += "" if text[-1:] in ("", "\n") else "\n"
            is_loose = False
        elif said := piece.removeprefix(" ") if is_loose or text[-1:] in ("", "\n") else piece:
            text += said
            is_loose = said.endswith(" ")
    text = _EDGES.sub("", text[:-1] if is_loose else text)
    return text if text.strip(" \t\n") else ""
