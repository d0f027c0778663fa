"""The report as one HTML file: self-contained, printable on A4, from the frozen figures and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.report import charts, words
from guiji.report.figures import INDICATORS, RANKED

if TYPE_CHECKING:
    from guiji.report.freeze import Frozen

TREND_COLORS = {"gathered": charts.BLUE, "timely": charts.AMBER, "qualified": charts.TEAL, "in_time": charts.RED}
MAX_ROWS = 200
"""lines of a long list in the HTML; the workbook has them all"""


def share(figure: dict[str, Any]) -> float | None:
    return figure["a"] / figure["b"] if figure["b"] else None


def render_report(frozen: Frozen) -> str:
    """The page. The same frozen figures give the same bytes."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update({n: getattr(words, n) for n in dir(words) if n.startswith("say_")})
    figures = frozen.figures
    drawn = {name: Markup(svg) for name, svg in _draw(figures).items()}  # noqa: S704  texts are escaped in charts
    return environment.get_template("report.html.j2").render(
        r=figures,
        frozen=frozen,
        frozen_at=frozen.frozen_at.isoformat(),
        charts=drawn,
        indicators=INDICATORS,
        ranked=[i for i in INDICATORS if i.key in RANKED],
        cards=_cards(figures),
        findings=_say_findings(figures),
        trend_colors=TREND_COLORS,
        limit=MAX_ROWS,
    )


def _draw(r: dict[str, Any]) -> dict[str, str]:
    departments, quality = (_list_bars(r, key) for key in ("timely", "qualified"))
    timely = r["headline"]["timely"]
    late, missed = r["totals"]["late"], r["totals"]["missed"]
    return {
        "timely": charts.draw_bars(departments, "各部门更新及时率"),
        "qualified": charts.draw_bars(quality, "各部门数据合格率", color=charts.TEAL),
        "days": charts.draw_columns(
            [(d["day"][8:].lstrip("0"), d["rows_read"] - d["rows_rejected"], d["rows_rejected"]) for d in r["days"]],
            "每日归集数据行数",
        ),
        "trend": charts.draw_lines(
            [t["month"][2:] for t in r["trend"]],
            [
                (i.name, TREND_COLORS[i.key], [share(t["headline"][i.key]) for t in r["trend"]])
                for i in INDICATORS
                if i.key in TREND_COLORS
            ],
            "主要指标月度趋势",
        ),
        "windows": charts.draw_ring(
            [("按期交付", timely["a"], charts.TEAL), ("逾期交付", late, charts.AMBER), ("未交付", missed, charts.RED)],
            words.say_figure(timely),
            "更新及时率",
            "交付周期履约",
        ),
    }


def _list_bars(r: dict[str, Any], key: str) -> list[tuple[str, str, float | None]]:
    """A bar per ranked department, by its name without the city's: there is room for ten characters."""
    ranked = [(d["name"].removeprefix(r["city"]["name"]), d["figures"][key]) for d in r["departments"] if d["rank"]]
    return [(name, words.say_figure(figure), share(figure)) for name, figure in ranked]


def _cards(r: dict[str, Any]) -> list[dict[str, Any]]:
    """The eight headline figures, with the change against the month before where that was frozen."""
    before = r["trend"][-2]["headline"] if len(r["trend"]) > 1 else {}
    cards = []
    for i in INDICATORS:
        figure = r["headline"][i.key]
        now, then = share(figure), share(before[i.key]) if i.key in before else None
        change = None if now is None or then is None else round((now - then) * 10_000)
        cards.append({"name": i.name, "figure": figure, "formula": i.formula, "change": change})
    return cards


def _say_findings(r: dict[str, Any]) -> list[str]:
    """What the month comes to, in sentences made of the figures."""
    t, h = r["totals"], r["headline"]
    said = [
        f"本期共归集 {t['batches']:,} 批、{t['rows_read']:,} 行，其中入库 {t['published']:,} 批；"
        f"新增 {t['rows_new']:,} 行，变更 {t['rows_changed']:,} 行，退出 {t['rows_deleted']:,} 行。"
    ]
    gathered = h["gathered"]
    said.append(
        f"需求清单 {gathered['b']:,} 项资源中，已归集 {gathered['a']:,} 项，归集率 {words.say_figure(gathered)}；"
        f"本月到期的 {h['timely']['b']:,} 个交付周期中，按期 {h['timely']['a']:,} 个，"
        f"逾期 {t['late']:,} 个，未交付 {t['missed']:,} 个。"
    )
    judged = [d for d in r["departments"] if d["rank"] is not None]
    if len(judged) > 1:
        best = "、".join(d["name"] for d in judged if d["rank"] == 1)
        last = "、".join(d["name"] for d in judged if d["score"] == judged[-1]["score"])
        said.append(
            f"综合得分最高的是{best}（{words.say_score(judged[0]['score'])}）"
            + (
                f"，最低的是{last}（{words.say_score(judged[-1]['score'])}）。"
                if judged[0]["score"] != judged[-1]["score"]
                else "。"
            )
        )
    overdue = sum(x["overdue"] for x in r["tickets"])
    if r["tickets"]:
        said.append(f"尚有 {len(r['tickets']):,} 项整改未办结，其中 {overdue:,} 项已逾期。")
    if t["held"] or t["refused"]:
        said.append(
            f"另有 {t['held']:,} 批因变化异常或问题过多暂缓入库，{t['refused']:,} 批因结构不符被退回，均未影响在用数据。"
        )
    return said
