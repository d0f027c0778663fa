"""Instants that a database writes in its session's zone, where that was not the resource's offset (F-08).

A session is given the offset that the resource's zone has now: named zones are not loaded everywhere. An instant of a
summer under other clocks (China: 1986 to 1991) is thus written an hour away from what the clocks showed, and would be
taken for another instant. Such texts get the session's offset, so that they say which instant they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from guiji.local_time import find_last_change

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.sources.database import Reading

Cells = Iterator[tuple[Sequence["pa.Array"], "pa.Array | None"]]


def keep_instants(cells: Cells, instants: Sequence[bool], reading: Reading) -> Cells:
    """The blocks of cells with the session's offset behind each instant of other clocks; ``instants``: which columns."""
    settled = find_last_change(reading.zone.key)
    until = None if settled is None else settled.strftime("%Y-%m-%d")
    for arrays, broken in cells:
        yield (
            [
                _name_offsets(array, reading, until) if is_instant else array
                for array, is_instant in zip(arrays, instants, strict=False)
            ],
            broken,
        )


def _name_offsets(texts: pa.StringArray, reading: Reading, until: str | None) -> pa.StringArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if until is not None:
        # texts that begin with a day sort as the days do; nearly none is that old
        least = pc.min(texts).as_py()
        if least is None or least >= until:
            return texts
    now = reading.now.astimezone(reading.zone)
    offset, behind = now.utcoffset(), now.strftime("%z")
    assert offset is not None
    session = timezone(offset)

    def name(text: str | None) -> str | None:
        if text is None or (until is not None and text >= until):
            return text
        try:
            instant = datetime.fromisoformat(text).replace(tzinfo=session)
        except ValueError:  # a zero date: it is judged as it stands
            return text
        return text if instant.astimezone(reading.zone).utcoffset() == offset else f"{text}{behind[:3]}:{behind[3:]}"

    return pa.array([name(text) for text in texts.to_pylist()], pa.string())
