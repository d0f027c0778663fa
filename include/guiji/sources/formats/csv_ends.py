"""Ends of lines, and of the file, that programs write by mistake and that can be told from text all the same."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected
from guiji.sources.formats.encoding import RawBlock
from guiji.sources.formats.layout import find_header
from guiji.sources.formats.tokenizer import Dialect, split_cells

if TYPE_CHECKING:
    from guiji.catalog.models import Layout

_TWICE = b"\r\r\n"
#: the mark with which programs of the time of DOS end a text, on a line of its own
_END_LINE = re.compile(rb"(?<![^\n])\x1a+(?=\r*\n\Z)")


def mend_ends(blocks: Generator[RawBlock]) -> Generator[RawBlock]:
    """The blocks without what stands at the ends of their lines by mistake.

    A line end whose line feed was written as a line end once more (``\\r\\r\\n``: Python's csv on Windows without
    ``newline=""``) is one, in a file whose first line ends so and none of whose first lines ends with ``\\n`` alone. A last
    line that is only the end mark of DOS is blank.
    """
    twice: bool | None = None
    held: RawBlock | None = None  # only the next block shows that it is the last with lines
    with closing(blocks):
        for block in blocks:
            if twice is None:
                twice = _ends_twice(block.data)
            if held is not None:
                is_last = block.final and not block.data
                yield replace(held, data=_END_LINE.sub(b"", held.data)) if is_last else held
            held = replace(block, data=block.data.replace(_TWICE, b"\r\n")) if twice else block
    if held is not None:
        yield replace(held, data=_END_LINE.sub(b"", held.data))


def _ends_twice(data: bytes) -> bool:
    first = data[: data.find(b"\n") + 1]
    return first.endswith(_TWICE) and data.count(b"\n") == data.count(b"\r\n")


def refuse_mixed_ends(expected: Expected, layout: Layout, lines: Sequence[str], dialect: Dialect, what: str) -> None:
    """Raises DeliveryRefused where a header stands among the first ``lines`` once carriage returns end lines as well."""
    parts = [split_cells(part, dialect) for line in lines for part in re.split(r"\r+", line)]
    records = [[] if isinstance(cells, str) else [c or "" for c in cells] for cells in parts]
    if any("\r" in line for line in lines) and find_header(expected, layout, records) is not None:
        raise DeliveryRefused(
            f"{what}：换行方式前后不一（CR 与 LF 混用），无法判断行从哪里断开。现有数据继续有效；请统一换行后重新提供。",
            rule_id="delivery.structure",
        )
