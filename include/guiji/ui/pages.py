"""Renders a template. Autoescape is on; an unknown name in a template is an error, not an empty place."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from guiji.causes import SKIPPED
from guiji.ui import words


def render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("guiji.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.format_number,
        moment=words.format_moment,
        day=words.format_day,
        status=words.describe_status,
        window=words.format_window,
    )
    environment.globals.update(words=words, skipped=SKIPPED, share=words.format_share)
    return environment
