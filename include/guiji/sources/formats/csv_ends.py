"""Ends of lines that programs write by mistake and that can be told from text all the same."""

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


def mend_ends(blocks: Generator[RawBlock]) -> Generator[RawBlock]:
    """The blocks without what stands at the ends of their lines by mistake.

    A line end whose line feed was written as a line end once more (``\\r\\r\\n``: Python's csv on Windows without
    ``newline=""``) is one, in a file whose first line ends so and none of whose first lines ends with ``\\n`` alone.
    """
    twice: bool | None = None
    with closing(blocks):
        for block in blocks:
            if twice is None:
                twice = _ends_twice(block.data)
            yield replace(block, data=block.data.replace(_TWICE, b"\r\n")) if twice else block


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
