"""The verdict for a terminal, or for a log."""

from __future__ import annotations

from guiji.causes import join_reasons
from guiji.precheck.verdict import Verdict

#: how many findings are listed; the counts are of all
LISTED = 50


def print_verdict(verdict: Verdict) -> None:
    """Prints summary, broken rules, findings and conclusion; no line depends on how wide the terminal is."""
    print(f"{verdict.department} · {verdict.resource}（{verdict.resource_id}）")
    if verdict.outcome == "refused":
        print(f"不能接收：{join_reasons(verdict.reasons)}")
        if verdict.header:
            print(f"应有的列：{say_header(verdict)}")
        _print_notes(verdict)
        return
    print(summarise(verdict))
    for n, r in enumerate(verdict.failed, 1):
        kind = "不合格" if r.severity == "reject" and r.failed else "存疑"
        lines = verdict.lines_of(r.rule_id, 8)
        print(f"{n}. {r.title}：{kind} {r.failed or r.suspicious:,} 行" + (f"（第 {lines} 行）" if lines else ""))
        print(f"   怎样更正：{r.mend}" + (f"（依据：{r.standard}）" if r.standard else ""))
    if verdict.findings:
        print("逐行：")
        for f in verdict.findings[:LISTED]:
            place = f"{f.place} " if f.place else ""
            print(f"  {place}第{f.line}行 {f.word}：{f.rule}" + (f" → {f.value}" if f.value else ""))
        if len(verdict.findings) > LISTED:
            print(f"  ……另有 {len(verdict.findings) - LISTED:,} 处，用 --out 检查结果.xlsx 可全部列出")
    _print_notes(verdict)
    why = f"原因：{join_reasons(verdict.reasons)}" if verdict.outcome == "held" else ""
    print(f"结论：{verdict.conclusion}{why}")
    print(f"说明：{verdict.compared}")


def say_header(verdict: Verdict) -> str:
    """The columns that the file should have, in one line."""
    return "、".join(name + ("" if must else "（可缺）") for name, must in verdict.header)


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
