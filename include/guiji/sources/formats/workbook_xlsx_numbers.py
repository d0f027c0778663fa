"""Numbers of an xlsx sheet as they stand in its XML, where the reader's value does not tell which it was."""

from __future__ import annotations

import re
from collections.abc import Iterable

from guiji.sources.formats.cell_formats import column_number
from guiji.sources.formats.leap_day import is_leap_day
from guiji.sources.formats.workbook import Cell


def find_leap_days(chunks: Iterable[bytes]) -> frozenset[Cell]:
    """The cells whose number is that of the day (``leap_day``). Raises what an XML parser raises."""
    from xml.parsers import expat

    found: set[Cell] = set()
    row = column = -1
    is_number = in_value = False
    value = ""

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal row, column, is_number, in_value, value
        tag = name.rpartition(":")[2]
        if tag == "row":
            row = int(attributes["r"]) - 1 if "r" in attributes else row + 1
            column = -1
        elif tag == "c":
            if m := re.fullmatch(r"([A-Za-z]{1,3})(\d{1,7})", attributes.get("r", "")):
                row, column = int(m[2]) - 1, column_number(m[1]) - 1
            else:
                row, column = max(row, 0), column + 1
            is_number = attributes.get("t", "n") == "n"
        elif tag == "v":
            in_value, value = is_number, ""

    def end(name: str) -> None:
        nonlocal in_value
        if in_value and name.rpartition(":")[2] == "v":
            in_value = False
            if value.startswith("6") and is_leap_day(float(value)):
                found.add((row, column))

    def text(data: str) -> None:
        nonlocal value
        if in_value:
            value += data

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    for chunk in chunks:
        parser.Parse(chunk, False)
    return frozenset(found)
