"""The report as a workbook: the same tables as the page, every list in full, native charts, no live text."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from guiji.report import words
from guiji.report.figures import INDICATORS
from guiji.report.workbook import Column, Writer
from guiji.settings import TIME_ZONE

if TYPE_CHECKING:
    from guiji.report.freeze import Frozen

LEDGER_COLUMNS: tuple[Column, ...] = (
    ("批次号", 20, "text"),
    ("资源", 24, "text"),
    ("状态", 8, "text"),
    ("时间", 22, "text"),
    ("周期", 48, "text"),
    *(
        (t, 10, "number")
        for t in ("收到", "不合格", "暂缓", "重复", "过时", "删除标记", "新增", "变更", "未变", "退出")
    ),
    ("原因", 22, "text"),
)


def write_workbook(frozen: Frozen) -> bytes:
    """The workbook as bytes; the same frozen figures give the same bytes."""
    import xlsxwriter

    buffer = BytesIO()
    book = xlsxwriter.Workbook(
        buffer,
        {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False},
    )
    r = frozen.figures
    created = frozen.frozen_at.astimezone(TIME_ZONE).replace(tzinfo=None, microsecond=0)
    title = f"{r['city']['name']}公共数据归集月度通报（{words.say_month(r['month'])}）"
    book.set_properties(
        {"title": title, "author": r["city"]["centre"], "company": r["city"]["centre"], "created": created}
    )
    writer = Writer(book)
    _write_overview(writer, frozen, title)
    _write_departments(writer, r)
    _write_groups(writer, r)
    _write_lists(writer, r)
    _write_evidence(writer, r)
    book.close()
    return buffer.getvalue()


def _spread(figures: dict[str, Any], keys: Sequence[str]) -> list[Any]:
    """Share, A and B of each indicator."""
    return [x for k in keys for x in (figures[k], figures[k]["a"], figures[k]["b"])]


def _columns(keys: Sequence[str]) -> list[Column]:
    names = {i.key: i.name for i in INDICATORS}
    return [c for k in keys for c in ((names[k], 12, "share"), ("A", 10, "number"), ("B", 10, "number"))]


ALL_KEYS = [i.key for i in INDICATORS]
RESOURCE_KEYS = [k for k in ALL_KEYS if k not in ("bound", "gathered")]


def _write_overview(w: Writer, frozen: Frozen, title: str) -> None:
    r = frozen.figures
    page = w.book.add_worksheet("概览")
    page.hide_gridlines(2)
    page.set_column(0, 0, 18)
    page.set_column(1, 3, 14)
    page.set_column(4, 4, 62)
    page.set_column(5, 5, 10)
    page.write_string(0, 0, title, w.title)
    lines = [
        f"{r['city']['centre']}　统计期 {words.say_span(r['period'][0], r['period'][2])}　统计时点 {words.say_time(r['period'][3])}"
    ]
    if not r["complete"]:
        lines.append(f"截至 {words.say_date(r['as_of'])}，当月尚未结束。")
    lines.append(f"数字 SHA-256 {frozen.sha256}")
    for n, line in enumerate(lines, 1):
        page.write_string(n, 0, line, w.note)
    top = len(lines) + 2
    for i, name in enumerate(("指标", "结果", "A", "B", "算法", "溯源")):
        page.write_string(top, i, name, w.header)
    for n, indicator in enumerate(INDICATORS, top + 1):
        figure = r["headline"][indicator.key]
        for i, (value, kind) in enumerate(
            (
                (indicator.name, "text"),
                (figure, "share"),
                (figure["a"], "number"),
                (figure["b"], "number"),
                (indicator.formula, "text"),
                (figure["trace"], "text"),
            )
        ):
            w.write(page, n, i, value, kind)
    row = top + 1 + len(INDICATORS)
    for x in r["unmeasurable"]:
        for i, value in enumerate((x["name"], words.CANNOT, "—", "—", f"{x['formula']}；缺少：{x['missing']}", "—")):
            w.write(page, row, i, value, "text")
        row += 1
    page.write_string(row, 0, "B 为 0 时无法评价，不计作 100%；未交付的计入 B。", w.note)
    page.set_landscape()
    page.set_paper(9)
    page.fit_to_pages(1, 0)


def _write_departments(w: Writer, r: dict[str, Any]) -> None:
    columns: list[Column] = [
        ("名次", 7, "number"),
        ("部门", 24, "text"),
        ("综合得分", 10, "score"),
        *_columns(ALL_KEYS),
    ]
    columns += [("资源", 8, "number"), ("批次", 8, "number"), ("收到行数", 12, "number")]
    rows = [
        [
            d["rank"],
            d["name"],
            d["score"],
            *_spread(d["figures"], ALL_KEYS),
            d["resources"],
            d["batches"],
            d["rows_read"],
        ]
        for d in r["departments"]
    ]
    page = w.page(
        "部门指标",
        columns,
        rows,
        "部门排名与各项指标（综合得分为可评价的归集率、更新及时率、数据合格率、按期整改率的平均）",
    )
    if rows:
        chart = w.book.add_chart({"type": "bar"})
        for key, color in (("timely", "#C77700"), ("qualified", "#1A8A72")):
            at = 3 + ALL_KEYS.index(key) * 3
            chart.add_series(
                {
                    "name": next(i.name for i in INDICATORS if i.key == key),
                    "categories": ["部门指标", 2, 1, len(rows) + 1, 1],
                    "values": ["部门指标", 2, at, len(rows) + 1, at],
                    "fill": {"color": color},
                }
            )
        chart.set_title({"name": "各部门更新及时率与数据合格率", "name_font": {"size": 12}})
        chart.set_x_axis({"num_format": "0%", "min": 0, "max": 1})
        chart.set_y_axis({"reverse": True})
        chart.set_legend({"position": "bottom"})
        chart.set_size({"width": 820, "height": 120 + 34 * len(rows)})
        page.insert_chart(len(rows) + 4, 1, chart)


def _write_groups(w: Writer, r: dict[str, Any]) -> None:
    more: list[Column] = [
        ("资源", 8, "number"),
        ("批次", 8, "number"),
        ("收到行数", 12, "number"),
        ("新增", 10, "number"),
        ("变更", 10, "number"),
    ]

    def tail(x: dict[str, Any]) -> list[Any]:
        return [x["resources"], x["batches"], x["rows_read"], x["rows_new"], x["rows_changed"]]

    w.page(
        "基础库与主题库",
        [("库", 20, "text"), ("库内记录", 12, "number"), ("待消解差异", 12, "number"), *_columns(ALL_KEYS), *more],
        [[x["name"], x["rows"], x["conflicts"], *_spread(x["figures"], ALL_KEYS), *tail(x)] for x in r["libraries"]],
        "库内记录与待消解差异为冻结时的数；一项资源可供给多个库",
    )
    w.page(
        "供给方式",
        [("供给方式", 16, "text"), *_columns(ALL_KEYS), *more],
        [[x["name"], *_spread(x["figures"], ALL_KEYS), *tail(x)] for x in r["ways"]],
    )
    w.page(
        "数据由来",
        [("数据由来", 16, "text"), *_columns(ALL_KEYS), *more],
        [[x["name"], *_spread(x["figures"], ALL_KEYS), *tail(x)] for x in r.get("origins", [])],
        "上级回流与社会数据单独统计，不计入其他各表的指标",
    )
    w.page(
        "资源明细",
        [
            ("资源代码", 16, "text"),
            ("资源", 30, "text"),
            ("部门", 22, "text"),
            ("供给方式", 12, "text"),
            ("更新周期", 9, "text"),
            ("在目录", 7, "text"),
            ("在需求清单", 9, "text"),
            ("在用数据行", 12, "number"),
            *_columns(RESOURCE_KEYS),
            *more[1:],
        ],
        [
            [
                x["code"],
                x["name"],
                x["department"],
                x["way"],
                x["cycle"],
                "是" if x["in_catalog"] else "否",
                "是" if x["demanded"] else "否",
                x["serving"],
                *_spread(x["figures"], RESOURCE_KEYS),
                *tail(x)[1:],
            ]
            for x in r["resources"]
        ],
    )
    w.page(
        "国标指标",
        [
            ("代码", 8, "text"),
            ("类别", 12, "text"),
            ("指标", 24, "text"),
            ("规则数", 8, "number"),
            ("结果", 12, "share"),
            ("A", 12, "number"),
            ("B", 12, "number"),
            ("说明", 40, "text"),
        ],
        [
            [
                x["code"],
                x["group"],
                x["name"],
                x["rules"],
                f := x.get("figure", {"a": 0, "b": 0}),
                f["a"],
                f["b"],
                "缺少：" + x["missing"] if "missing" in x else "",
            ]
            for x in r["national"]["lines"]
        ],
        r["national"]["standard"],
    )


def _write_lists(w: Writer, r: dict[str, Any]) -> None:
    w.page(
        "逾期与未交付",
        [
            ("部门", 22, "text"),
            ("资源", 30, "text"),
            ("交付周期", 26, "text"),
            ("约定期限", 18, "text"),
            ("实际入库", 18, "text"),
            ("情况", 10, "text"),
            ("延误小时", 10, "number"),
            ("责任环节", 14, "text"),
        ],
        [
            [
                x["department"],
                x["resource"],
                words.say_span(x["start"], x["end"]),
                words.say_time(x["due_at"]),
                words.say_time(x["met_at"]),
                x["state"],
                x["hours"],
                x["responsible"],
            ]
            for x in r["windows"]
        ],
    )
    w.page(
        "问题规则",
        [
            ("部门", 22, "text"),
            ("资源", 30, "text"),
            ("规则", 40, "text"),
            ("依据", 24, "text"),
            ("指标", 8, "text"),
            ("处理", 10, "text"),
            ("不合格行次", 12, "number"),
            ("校验行次", 12, "number"),
            ("批次", 8, "number"),
        ],
        [
            [
                x["department"],
                x["resource"],
                x["title"],
                x["standard"],
                x["indicator"],
                "存疑" if x["severity"] == "warn" else "不采用",
                x["failed"],
                x["judged"],
                x["batches"],
            ]
            for x in r["rules"]
        ],
    )
    w.page(
        "未办结整改",
        [
            ("工单", 8, "number"),
            ("部门", 22, "text"),
            ("资源", 30, "text"),
            ("整改事项", 40, "text"),
            ("涉及行数", 10, "number"),
            ("通知时间", 18, "text"),
            ("期限", 18, "text"),
            ("状态", 8, "text"),
            ("逾期天数", 10, "number"),
        ],
        [
            [
                x["id"],
                x["department"],
                x["resource"],
                x["rule"],
                x["rows"],
                words.say_time(x["opened_at"]),
                words.say_time(x["due_at"]),
                "逾期" if x["overdue"] else "整改中",
                x["overdue_days"],
            ]
            for x in r["tickets"]
        ],
    )
    trend = w.page(
        "月度趋势",
        [("月份", 12, "text"), ("统计时点", 12, "text"), *_columns(ALL_KEYS)],
        [[x["month"], x["as_of"], *_spread(x["headline"], ALL_KEYS)] for x in r["trend"]],
        "各月冻结的最后一期",
    )
    _add_lines(w, trend, "月度趋势", len(r["trend"]))
    days = w.page(
        "每日归集",
        [
            ("日期", 12, "text"),
            ("批次", 8, "number"),
            ("入库批次", 10, "number"),
            ("收到行数", 12, "number"),
            ("不合格行数", 12, "number"),
        ],
        [[x["day"], x["batches"], x["published"], x["rows_read"], x["rows_rejected"]] for x in r["days"]],
    )
    if r["days"]:
        chart = w.book.add_chart({"type": "column"})
        last = len(r["days"]) + 1
        chart.add_series(
            {
                "name": "收到行数",
                "categories": ["每日归集", 2, 0, last, 0],
                "values": ["每日归集", 2, 3, last, 3],
                "fill": {"color": "#1F5FA8"},
            }
        )
        chart.set_title({"name": "每日归集数据行数", "name_font": {"size": 12}})
        chart.set_legend({"none": True})
        days.insert_chart(1, 6, chart)


def _add_lines(w: Writer, page: Any, name: str, months: int) -> None:
    if not months:
        return
    chart = w.book.add_chart({"type": "line"})
    for key, color in (
        ("gathered", "#1F5FA8"),
        ("timely", "#C77700"),
        ("qualified", "#1A8A72"),
        ("in_time", "#B3261E"),
    ):
        at = 2 + ALL_KEYS.index(key) * 3
        chart.add_series(
            {
                "name": next(i.name for i in INDICATORS if i.key == key),
                "categories": [name, 2, 0, months + 1, 0],
                "values": [name, 2, at, months + 1, at],
                "line": {"color": color, "width": 2.25},
                "marker": {"type": "circle", "size": 6, "fill": {"color": "#FFFFFF"}, "border": {"color": color}},
            }
        )
    chart.set_title({"name": "主要指标月度趋势", "name_font": {"size": 12}})
    chart.set_y_axis({"num_format": "0%", "max": 1})
    chart.set_legend({"position": "bottom"})
    chart.set_size({"width": 760, "height": 320})
    page.insert_chart(months + 4, 0, chart)


def _write_evidence(w: Writer, r: dict[str, Any]) -> None:
    w.page(
        "溯源",
        [
            ("编号", 8, "text"),
            ("范围", 22, "text"),
            ("指标", 16, "text"),
            ("算法", 50, "text"),
            ("A", 12, "number"),
            ("B", 12, "number"),
            ("值", 12, "share"),
            ("查询", 18, "text"),
            ("依据数", 10, "number"),
            ("依据", 10, "text"),
        ],
        [
            [t["id"], t["scope"], t["name"], t["formula"], t["a"], t["b"], t, t["queries"], t["counted"], t["unit"]]
            for t in r["traces"]
        ],
        "每个数字一行：算法、A、B、查询名与所依据的批次（周期、工单）数",
    )
    w.page(
        "批次",
        LEDGER_COLUMNS,
        [[*b[:2], words.STATUS.get(b[2], b[2]), words.say_time(b[3]), *b[4:]] for b in r["ledger"]],
        f"本期共 {r['totals']['batches']:,} 批，此处列出 {len(r['ledger']):,} 批",
    )
    w.page(
        "查询",
        [("名称", 14, "text"), ("含义", 50, "text"), ("SQL", 110, "text")],
        [[q["name"], q["meaning"], q["sql"]] for q in r["queries"]],
        f"参数：start {r['period'][0]}，stop {r['period'][2]}，cutoff {r['period'][3]}",
    )
