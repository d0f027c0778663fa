"""The window in the texts that an interface is asked with: ``{window_start}``, ``{window_end:%Y-%m-%d %H:%M:%S}``, ….

A form is strftime's, or a unit since 1970; without one it is ISO 8601. Clocks are those of the resource's zone, and of UTC
where the form ends in ``Z``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Any

UNITS = {"seconds": 1, "milliseconds": 1000}
_WORD = re.compile(r"\{window_(start|end)(?::([^{}]+))?\}")
_MEANT = re.compile(r"\{\s*window[^{}]*\}?", re.IGNORECASE)
#: what strftime knows on every system, and the ways to leave out zeros; %s would be seconds of this machine's zone
_DIRECTIVE = re.compile(r"%(?:-?[aAbBdeHIjmMpSUuVwWyYGfFTDRzZ%]|:z)")
_IN_UTC = re.compile(r"(?<!%)(?:Z|UTC|GMT|[+]00:?00)$")


def fill_in(value: Any, start: datetime, end: datetime, zone: tzinfo) -> Any:
    """``value`` with the window in its texts, however deep they stand."""
    if isinstance(value, str):
        moments = {"start": start.astimezone(zone), "end": end.astimezone(zone)}
        return _WORD.sub(lambda m: _write(moments[m[1]], m[2]), value)
    if isinstance(value, dict):
        return {k: fill_in(v, start, end, zone) for k, v in value.items()}
    return [fill_in(v, start, end, zone) for v in value] if isinstance(value, list) else value


def asks_since(value: Any) -> bool:
    """Whether the texts of ``value`` ask for what came since a moment."""
    return any(m[1] == "start" for m in _WORD.finditer(str(value)))


def _write(moment: datetime, form: str | None) -> str:
    if form is None:
        return moment.isoformat()
    if form in UNITS:
        return str(int(moment.timestamp() * UNITS[form]))
    return (moment.astimezone(UTC) if _IN_UTC.search(form) else moment).strftime(form)


def find_faults(text: str) -> list[str]:
    """What is meant for a word of the window and would be sent as it stands, each with the reason."""
    faults = []
    for meant in _MEANT.findall(text):
        m = _WORD.fullmatch(meant)
        if m is None:
            faults.append(f"{meant!r} is no word of the window")
        elif m[2] is not None and m[2] not in UNITS:
            rest = _DIRECTIVE.sub("", m[2])
            if rest == m[2]:
                faults.append(f"{meant!r} has the form {m[2]!r}, which is neither strftime's nor a unit")
            elif "%" in rest:
                faults.append(f"{meant!r} has a form that strftime does not know from {rest[rest.index('%') :]!r} on")
    return faults
