"""The resource file as text: what is known in its place, ``待填`` where a person must answer, ``# ？`` where one should look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guiji.authoring.guess import FieldGuess
from guiji.catalog.questions import OPEN
from guiji.catalog.write_yaml import write_comment, write_flow, write_key, write_scalar

SCHEMA = "# yaml-language-server: $schema=../../guiji/catalog/schema/{kind}.json"
#: top-level keys of a resource file in the order in which they are written, with what to ask where they are open
METADATA: tuple[tuple[str, str], ...] = (
    ("id", "部门.资源名，与文件位置一致，如 gaj.household"),
    ("code", "信息资源代码：分类代码/顺序号"),
    ("name", "信息资源名称"),
    ("summary", "信息资源摘要：一行是什么、范围、已知的局限"),
    ("category", "信息资源分类：类、项（、目、细目）"),
    ("format", ""),
    ("system", "来源信息系统"),
    ("sharing", "无条件共享；有条件共享（另写 condition、scope、purpose）；不予共享（另写 legal_basis）"),
    ("opening", ""),
    ("update_cycle", "实时、每日、每周、每月、每季度、每半年、每年、不定期、不更新"),
    ("published", "发布日期，默认为生成当日"),
    ("related", ""),
)


def write_question(text: str, indent: int = 0) -> str:
    """A question on a line of its own."""
    return write_comment(f"？ {text}", indent)


def write_resource(
    metadata: Mapping[str, Any],
    source: Mapping[str, Any],
    fields: Sequence[FieldGuess],
    key: Sequence[str],
    *,
    heading: Sequence[str] = (),
    source_questions: Sequence[str] = (),
    key_questions: Sequence[str] = (),
    field_questions: Sequence[str] = (),
    load_question: str = "",
    extra: Mapping[str, Any] | None = None,
) -> str:
    """The whole file. Keys of ``metadata`` that are None are left out: the department's defaults have them."""
    lines = [SCHEMA.format(kind="resource"), *(write_comment(h) for h in heading)]
    for name, question in METADATA:
        value = metadata.get(name)
        if value is None:
            continue
        if question and _has_open(value):
            lines.append(write_question(question))
        lines += _write_entry(name, value)
    for name, value in (extra or {}).items():
        lines += _write_entry(name, value)
    lines += ["", *(write_question(q) for q in source_questions), "source:", *_write_block(source, 2)]
    if load_question:
        lines.append(write_question(load_question))
    lines += [
        "load: snapshot",
        "",
        *(write_question(q) for q in key_questions),
        f"key: {write_flow(list(key))}",
        *(write_question(q) for q in field_questions),
        "fields:",
    ]
    for guess in fields:
        lines += [write_question(q, 2) for q in guess.questions]
        remark = f"  # {guess.remark}" if guess.remark else ""
        lines.append(f"  - {write_flow(guess.keys)}{remark}")
    return "\n".join(lines) + "\n"


def _has_open(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_open(v) for v in value.values())
    return bool(value == OPEN)


def _write_entry(name: str, value: Any) -> list[str]:
    text = write_flow(value)
    if isinstance(value, Mapping) and len(text) > 100:
        return [f"{name}:", *_write_block(value, 2)]
    return [f"{name}: {text}"]


def _write_block(value: Mapping[str, Any], indent: int) -> list[str]:
    lines = []
    for key, inner in value.items():
        flow = write_flow(inner) if isinstance(inner, Mapping | list | tuple) else write_scalar(inner)
        lines.append(f"{' ' * indent}{write_key(str(key))}: {flow}")
    return lines


def count_questions(text: str) -> tuple[int, int]:
    """(places that must be answered, places that should be looked at) of a draft."""
    lines = text.splitlines()
    open_places = sum(line.count(OPEN) for line in lines if not line.lstrip().startswith("#"))
    return open_places, sum(line.lstrip().startswith("# ？") for line in lines)
