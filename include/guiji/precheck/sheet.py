"""The verdict as a workbook: what it comes to, rule by rule, and every line to mend. Texts are never live (F-68)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from guiji.causes import join_reasons
from guiji.cells import clean_cell, height_of
from guiji.precheck.text import say_header, summarise
from guiji.precheck.verdict import Verdict

_TONES = {"passed": ("#ECFDF3", "#067647"), "warning": ("#FFFAEB", "#B54708")}
_BAD = ("#FEF3F2", "#B42318")
RULES = (
    ("规则", 36),
    ("涉及信息项", 24),
    ("性质", 9),
    ("行数", 10),
    ("占比", 9),
    ("容许", 9),
    ("所在行", 30),
    ("依据", 24),
    ("怎样更正", 44),
)
FINDINGS = (
    ("工作表", 14),
    ("行号", 9),
    ("结果", 12),
    ("规则", 36),
    ("值（已脱敏）", 36),
    ("怎样更正", 44),
    ("更正情况（请填写）", 24),
)


def write_workbook(verdict: Verdict) -> bytes:
    """The workbook as bytes; the same verdict gives the same bytes."""
    import xlsxwriter

    buffer = BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    book = xlsxwriter.Workbook(buffer, options)
    created = verdict.checked_at.replace(tzinfo=None, microsecond=0)
    book.set_properties({"title": "报送前检查结果", "subject": verdict.resource, "created": created})
    formats = _make_formats(book, verdict)
    _write_summary(book.add_worksheet("检查结果"), verdict, formats)
    if verdict.findings:
        _write_findings(book.add_worksheet("逐行清单"), verdict, formats)
    book.close()
    return buffer.getvalue()


def _make_formats(book: Any, verdict: Verdict) -> dict[str, Any]:
    font = {"font_name": "微软雅黑", "font_size": 10, "valign": "top"}
    box = {**font, "border": 1, "border_color": "#D0D5DD", "text_wrap": True}
    outcome = "warning" if verdict.outcome == "passed" and verdict.rows_rejected else verdict.outcome
    background, ink = _TONES.get(outcome, _BAD)
    header = {**box, "bold": True, "bg_color": "#0F3D68", "font_color": "#FFFFFF", "valign": "vcenter"}
    formats = {
        "title": {"font_name": "微软雅黑", "font_size": 16, "bold": True, "font_color": "#0F3D68"},
        "note": {**font, "font_color": "#667085"},
        "wrap": {**font, "text_wrap": True},
        "label": {**font, "font_color": "#667085"},
        "value": font,
        "verdict": {**font, "font_size": 13, "bold": True, "bg_color": background, "font_color": ink, "text_wrap": True,
                    "valign": "vcenter", "indent": 1},
        "header": header,
        "text": box,
        "bold": {**box, "bold": True},
        "number": {**box, "num_format": "#,##0", "bold": True},
        "line": {**box, "num_format": "0"},
        "share": {**box, "num_format": "0.00%"},
        "mask": {**box, "num_format": "@", "font_color": "#B42318"},
        "answer": {**box, "bg_color": "#FFFAEB"},
        "rejected": {**box, "bg_color": "#FEF3F2", "font_color": "#B42318"},
        "suspicious": {**box, "bg_color": "#FFFAEB", "font_color": "#B54708"},
        "mended": {**box, "bg_color": "#EFF8FF", "font_color": "#175CD3"},
        "unjudged": {**box, "bg_color": "#F2F4F7", "font_color": "#475467"},
    }  # fmt: skip
    return {name: book.add_format(form) for name, form in formats.items()}


def _write_summary(page: Any, verdict: Verdict, formats: dict[str, Any]) -> None:
    page.hide_gridlines(2)
    for i, (_, width) in enumerate(RULES):
        page.set_column(i, i, width)
    last = len(RULES) - 1
    page.set_row(0, 28)
    _text(page, 0, 0, f"{verdict.resource}　报送前检查结果", formats["title"])
    said = verdict.conclusion + ("" if not verdict.reasons else "原因：" + join_reasons(verdict.reasons))
    page.merge_range(1, 0, 1, last, "", formats["verdict"])
    _text(page, 1, 0, said, formats["verdict"])
    page.set_row(1, 24.0 * (1 + len(said) // 90))
    facts = [
        ("部门", verdict.department),
        ("资源标识", verdict.resource_id),
        ("文件", f"{verdict.file}（{verdict.size:,} 字节）"),
        ("检查时间", f"{verdict.checked_at:%Y-%m-%d %H:%M}"),
    ]
    if verdict.outcome != "refused":
        facts.append(("行数", summarise(verdict)))
    else:
        facts += [("应有的列", say_header(verdict))] if verdict.header else []
    facts += [("注意", note) for note in verdict.notes]
    if verdict.compared:
        facts.append(("与现有数据", verdict.compared))
    facts.append(("SHA-256", verdict.sha256))
    row = 3
    for label, value in facts:
        _text(page, row, 0, label, formats["label"])
        page.merge_range(row, 1, row, last, "", formats["wrap"])
        _text(page, row, 1, value, formats["wrap"])
        page.set_row(row, height_of([(value, float(sum(width for _, width in RULES[1:])))]))
        row += 1
    row += 1
    if not verdict.failed:
        if verdict.outcome != "refused":
            _text(page, row, 0, f"{len(verdict.rules)} 条规则全部通过。", formats["value"])
        _print_setup(page, row)
        return
    _write_header(page, row, RULES, formats)
    for n, rule in enumerate(verdict.failed, row + 1):
        rejects = rule.severity == "reject" and rule.failed > 0
        count = rule.failed or rule.suspicious
        named, lines = "、".join(verdict.fields.get(f, f) for f in rule.fields), verdict.lines_of(rule.rule_id, 30)
        told = (rule.title, named, "", "", "", "", lines, rule.standard or "", rule.mend)
        page.set_row(n, height_of(zip(told, (float(width) for _, width in RULES), strict=True)))
        _text(page, n, 0, rule.title, formats["bold"])
        _text(page, n, 1, named, formats["text"])
        _text(page, n, 2, "不合格" if rejects else "存疑", formats["rejected" if rejects else "suspicious"])
        page.write_number(n, 3, count, formats["number"])
        page.write_number(n, 4, count / rule.rows if rule.rows else 0, formats["share"])
        page.write_number(n, 5, rule.tolerance, formats["share"])
        _text(page, n, 6, lines, formats["text"])
        _text(page, n, 7, rule.standard or "", formats["text"])
        _text(page, n, 8, rule.mend, formats["text"])
    _print_setup(page, row)


def _write_findings(page: Any, verdict: Verdict, formats: dict[str, Any]) -> None:
    page.hide_gridlines(2)
    for i, (_, width) in enumerate(FINDINGS):
        page.set_column(i, i, width)
    if not any(f.place for f in verdict.findings):  # a file without sheets
        page.set_column(0, 0, None, None, {"hidden": True})
        title_column = 1
    else:
        title_column = 0
    page.set_row(0, 24)
    _text(page, 0, title_column, f"{verdict.resource}　逐行清单", formats["title"])
    more = "（每条规则最多列出一万处，其余请按规则自查）" if verdict.more_findings else ""
    note = f"行号为文件中的行号（含表头）。共 {len(verdict.findings):,} 处{more}，值已脱敏，黄色列供填写更正情况。"
    _text(page, 1, title_column, note, formats["note"])
    _write_header(page, 2, FINDINGS, formats)
    widths = [float(width) for _, width in FINDINGS]
    for n, finding in enumerate(verdict.findings, 3):
        page.set_row(n, height_of(zip(("", "", "", finding.rule, finding.value, finding.mend), widths, strict=False)))
        _text(page, n, 0, finding.place, formats["text"])
        page.write_number(n, 1, finding.line, formats["line"])
        _text(page, n, 2, finding.word, formats[finding.verdict if finding.verdict in formats else "text"])
        _text(page, n, 3, finding.rule, formats["text"])
        _text(page, n, 4, finding.value, formats["mask"])
        _text(page, n, 5, finding.mend, formats["text"])
        page.write_blank(n, 6, None, formats["answer"])
    page.autofilter(2, 0, 2 + len(verdict.findings), len(FINDINGS) - 1)
    page.freeze_panes(3, 2)
    _print_setup(page, 2)


def _write_header(page: Any, row: int, columns: Sequence[tuple[str, int]], formats: dict[str, Any]) -> None:
    for i, (title, _) in enumerate(columns):
        _text(page, row, i, title, formats["header"])


def _print_setup(page: Any, header: int) -> None:
    page.set_landscape()
    page.set_paper(9)
    page.fit_to_pages(1, 0)
    page.repeat_rows(header)


def _text(page: Any, row: int, column: int, text: str, form: Any) -> None:
    if text:
        page.write_string(row, column, clean_cell(text), form)
    else:
        page.write_blank(row, column, None, form)
