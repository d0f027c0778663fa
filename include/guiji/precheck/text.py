"""The verdict for a terminal, or for a log."""

from __future__ import annotations

from guiji.causes import join_reasons
from guiji.precheck.verdict import Verdict

#: how many findings are listed; the counts are of all
LISTED = 50


def print_verdict(verdict: Verdict) -> None:
    """Prints summary, broken rules, findings and conclusion."""
    from guiji.render import render_table

    if verdict.outcome == "refused":
        print(f"不能接收：{join_reasons(verdict.reasons)}")
        _print_notes(verdict)
        return
    print(f"{verdict.department} · {verdict.resource}（{verdict.resource_id}）")
    print(summarise(verdict))
    if failed := verdict.failed:
        rows = (
            (
                r.title,
                "不合格" if r.severity == "reject" and r.failed else "存疑",
                f"{r.failed or r.suspicious:,}",
                verdict.lines_of(r.rule_id, 4),
                r.standard or "",
                r.mend,
            )
            for r in failed
        )
        print(render_table(("规则", "性质", "行数", "所在行", "依据", "怎样更正"), rows))
    if verdict.findings:
        found = ((f"第{f.line}行", f.word, f.rule, f.value) for f in verdict.findings[:LISTED])
        print(render_table(("位置", "结果", "规则", "值（已脱敏）"), found))
        if len(verdict.findings) > LISTED:
            print(f"……另有 {len(verdict.findings) - LISTED:,} 处，用 --out 检查结果.xlsx 可全部列出")
    _print_notes(verdict)
    why = f"原因：{join_reasons(verdict.reasons)}" if verdict.outcome == "held" else ""
    print(f"结论：{verdict.conclusion}{why}")


def summarise(verdict: Verdict) -> str:
    """The rows in one line."""
    text = (
        f"共 {verdict.rows_read:,} 行：合格 {verdict.rows_good:,}，不合格 {verdict.rows_rejected:,}，"
        f"重复 {verdict.rows_duplicate:,}"
    )
    if total := sum(verdict.skipped.values()):
        reasons = "、".join(f"{reason} {n:,}" for reason, n in verdict.skipped.items())
        text += f"；另有 {total:,} 行不是数据（{reasons}），未计入"
    return text


def _print_notes(verdict: Verdict) -> None:
    for note in verdict.notes:
        print(f"注意：{note}")
