"""Three months of deliveries, replayed straight through ``pipeline`` at the hour they came, and the current ones.

The story has a delivery that comes late, one that never comes, one that is refused and repaired, one that a guard
holds, a front-end that is down for an hour, a month without errors (so that departments get a recovery mail), and
figures that are revised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from guiji.demo import deliveries, figures, nature, newcomers
from guiji.demo.exports import write_csv, write_geojson, write_text, write_xlsx
from guiji.demo.front_ends import deliver_enterprise, deliver_health, deliver_household
from guiji.demo.interfaces import deliver_records
from guiji.demo.running import RunningCity
from guiji.records import Window
from guiji.settings import TIME_ZONE

#: when the demo takes place: the legal calendar is known for it, whatever the machine's clock says
NOW = datetime(2026, 11, 5, 9, 30, tzinfo=TIME_ZONE)
#: month number -> the month it is about, and the day its deliveries come
ABOUT = ((2026, 7), (2026, 8), (2026, 9), (2026, 10))
DAYS = ((2026, 8, 5), (2026, 9, 4), (2026, 10, 9), (2026, 11, 5))


@dataclass(frozen=True)
class Step:
    """One delivery: ``put`` places it; then the resource runs at ``moment``. ``expect``: the status it must end with."""

    moment: datetime
    resource_id: str
    delivery: str
    put: Callable[[], None]
    window: Window | None = None
    expect: str = "published"
    restore: Callable[[], None] | None = None  # mends what ``put`` broke on purpose


def month_window(month: int) -> Window:
    year, number = ABOUT[month]
    start = datetime(year, number, 1, tzinfo=TIME_ZONE)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=TIME_ZONE)
    return Window(start, end)


def day(month: int, hour: int = 9, minute: int = 0) -> datetime:
    return datetime(*DAYS[month], hour, minute, tzinfo=TIME_ZONE)


def story(running: RunningCity) -> list[Step]:
    """Everything before today, in the order in which it came."""
    steps = [*_yearly(running), *_weekly(running), *_newcomers(running)]
    for month in range(3):
        steps += _month(running, month, day(month))
    steps += _incidents(running)
    return sorted(steps, key=lambda s: s.moment)


def current(running: RunningCity) -> list[Step]:
    """Today's deliveries; they go through the scheduler."""
    steps = [s for s in _month(running, 3, NOW) if s.resource_id != "mzj.social_org"]
    steps.append(_marriage(running, 3, NOW))
    steps.append(_social(running, 3, NOW, shrunk=True))
    steps += [_tax_revenue(running, 3, NOW), _inspections(running, 3, NOW)]
    return steps


def _month(running: RunningCity, month: int, at: datetime) -> Iterator[Step]:
    """The monthly deliveries that go as they should."""
    city, (year, number) = running.city, ABOUT[month]
    label, ym = f"{year}-{number:02d}", f"{year}{number:02d}"
    start = datetime(year, number, 1, tzinfo=TIME_ZONE)
    exports = running.root / "exports"
    recent = [ABOUT[m] for m in range(month, -1, -1)] + [(2026, 6), (2026, 5)]

    def step(resource_id: str, put: Callable[[], None]) -> Step:
        return Step(at, resource_id, label, put)

    yield step("gaj.household", lambda: deliver_household(running, month, label))
    yield step("wjw.health_record", lambda: deliver_health(running, month, label, start))
    yield step(
        "rsj.employment",
        lambda: deliver_records(
            running, "rsj.employment", deliveries.employment(city, month, start), label, month * 10, append=True
        ),
    )
    if month != 2:  # in October 市监's front-end is down at first: see the incidents
        yield step("scjg.enterprise", lambda: deliver_enterprise(running, month, label))
    if month != 1:  # the delivery about August is refused at first: see the incidents
        yield step("swj.tax_registration", lambda: _put_tax(running, month, at, clean=month == 2))
    if month != 3:
        yield _social(running, month, at)
    yield step(
        "xzsp.licence",
        lambda: write_csv(
            running,
            running.root / f"xzsp/out/xzxk/xzxk_{ym}28.csv",
            deliveries.licence(city, month, start.replace(day=20)),
            "xzsp.licence",
            label,
            at,
            delimiter="|",
            seed=month * 10 + 3,
        ),
    )
    yield step(
        "cgj.facility",
        lambda: deliver_records(running, "cgj.facility", nature.facilities(city, month), label, month * 10 + 4),
    )
    yield step(
        "qxj.station",
        lambda: deliver_records(running, "qxj.station", nature.stations(city, month), label, month * 10 + 5),
    )
    yield step(
        "tjj.monthly_indicator",
        lambda: write_text(
            exports / f"tjj/月度数据_{ym}.csv", figures.monthly_csv(city, recent[:3], month > 0), "gb18030", at
        ),
    )
    if month != 1:  # the report about August comes late: see the incidents
        yield step("czj.fiscal_revenue", lambda: _put_revenue(running, month, at))
    if month != 1:  # the prices of August never come
        yield step("fgw.price_index", lambda: _put_prices(running, recent))
    if month == 2:
        yield step("jtj.road", lambda: _put_roads(running, month, at))


def _weekly(running: RunningCity) -> Iterator[Step]:
    """民政's file of every Friday, but for one that never came."""
    friday = datetime(2026, 7, 10, 16, 30, tzinfo=TIME_ZONE)
    while friday < NOW:
        if friday.date() != date(2026, 8, 14):
            yield _marriage(running, friday.month - 7, friday)
        friday += timedelta(7)


def _yearly(running: RunningCity) -> Iterator[Step]:
    """What comes once or twice a year."""
    exports = running.root / "exports"
    city = running.city
    february = datetime(2026, 2, 10, 10, tzinfo=TIME_ZONE)
    yield Step(
        february,
        "lcj.forest_parcel",
        "2025",
        lambda: write_geojson(
            running,
            exports / "lcj/林地小班_2025.geojson",
            nature.forest_parcels(city, 0),
            "lcj.forest_parcel",
            "2025",
            february,
        ),
    )
    march = datetime(2026, 3, 15, 10, tzinfo=TIME_ZONE)
    yield Step(
        march,
        "tjj.annual_indicator",
        "2025",
        lambda: write_text(
            exports / "tjj/分地区年度数据_65岁及以上人口_20251231.csv", figures.annual_csv(city), "gb18030", march
        ),
    )
    july = datetime(2026, 7, 20, 10, tzinfo=TIME_ZONE)
    yield Step(
        july,
        "yjj.shelter",
        "2026H1",
        lambda: write_xlsx(
            running,
            exports / "yjj/应急避难场所_20260630.xlsx",
            nature.shelters(city, 0),
            "yjj.shelter",
            "2026H1",
            july,
            title="鄂尔多斯市应急避难场所台账",
            numeric=("有效面积（平方米）", "可容纳人数"),
            total="合计",
            footnote="填报人：应急指挥中心",
        ),
    )


def _incidents(running: RunningCity) -> Iterator[Step]:
    """What went wrong in the three months, and how it was mended."""
    september = day(1, 10)
    path = running.root / "swj/swdj/swdj_202608.csv"

    def without_a_column() -> None:
        table = deliveries.tax_registration(running.city, 1).drop_columns(["纳税人类型"])
        write_csv(running, path, table, "swj.tax_registration", "2026-08 refused", september, clean=True)

    yield Step(september, "swj.tax_registration", "2026-08 refused", without_a_column, expect="refused")
    repaired = datetime(2026, 9, 8, 11, tzinfo=TIME_ZONE)
    yield Step(repaired, "swj.tax_registration", "2026-08", lambda: _put_tax(running, 1, repaired))
    late = datetime(2026, 9, 25, 15, tzinfo=TIME_ZONE)
    yield Step(late, "czj.fiscal_revenue", "2026-08", lambda: _put_revenue(running, 1, late), month_window(1))
    october = day(2, 8)
    yield Step(
        october,
        "scjg.enterprise",
        "2026-09 down",
        running.stop_front_ends,
        expect="failed",
        restore=running.start_front_ends,
    )
    yield Step(day(2, 9, 30), "scjg.enterprise", "2026-09", lambda: deliver_enterprise(running, 2, "2026-09"))


def _newcomers(running: RunningCity) -> Iterator[Step]:
    """The sources that joined in the autumn: their first deliveries, about September or the third quarter."""
    at, (year, number) = day(2, 11), ABOUT[2]
    label, quarter = f"{year}-{number:02d}", f"{year}Q3"
    start = datetime(year, number, 1, tzinfo=TIME_ZONE)

    def step(resource_id: str, delivery: str, put: Callable[[], None], moment: datetime = at) -> Step:
        return Step(moment, resource_id, delivery, put)

    yield _tax_revenue(running, 2, at + timedelta(1))  # 税务 is told the day before that its register is mended
    yield _inspections(running, 2, at)
    n = newcomers
    yield step("fgw.penalty", label, lambda: n.put_penalties(running, 2, start, label, at))
    yield step("swt.foreign_trade", label, lambda: n.put_foreign_trade(running, year, number, at))
    yield step("gxj.energy_use", label, lambda: n.put_energy_use(running, year, number, label, at))
    yield step("fgw.key_project", quarter, lambda: n.put_key_projects(running, year, number))
    yield step("rsj.insurance", quarter, lambda: n.put_insured(running, 2, quarter, at))
    yield step("mzj.relief", quarter, lambda: n.put_relief(running, 2, quarter, at))
    yield step("sthj.permit", quarter, lambda: n.put_permits(running, 2, quarter))
    yield step("gzw.enterprise", quarter, lambda: n.put_state_enterprises(running, 2, quarter, at))
    counted = datetime(2026, 3, 15, 11, tzinfo=TIME_ZONE)
    yield step("tjj.census", "2020", lambda: n.put_census(running, counted), counted)


# --- single deliveries -------------------------------------------------------------------------------


def _marriage(running: RunningCity, month: int, at: datetime) -> Step:
    name = running.root / f"mzj/upload/hydj/hydj_{at:%Y%m%d}.csv"
    label = f"{at:%Y-%m-%d}"

    def put() -> None:
        table = deliveries.marriage(running.city, month, at)
        write_csv(running, name, table, "mzj.marriage", label, at, encoding="gb18030", seed=at.toordinal() % 100)
        write_text(name.with_name(name.name + ".ok"), "", "utf-8", at)

    return Step(at, "mzj.marriage", label, put)


def _social(running: RunningCity, month: int, at: datetime, shrunk: bool = False) -> Step:
    """The list of social organisations; ``shrunk``: somebody exported one county only, a guard must hold it."""
    year, number = ABOUT[month]

    def put() -> None:
        table = deliveries.social_org(running.city, month)
        write_xlsx(
            running,
            running.root / f"exports/mzj/社会组织_{year}{number:02d}.xlsx",
            table.slice(0, 40) if shrunk else table,
            "mzj.social_org",
            f"{year}-{number:02d}",
            at,
            title="鄂尔多斯市社会组织登记情况表",
            total="合计",
        )

    return Step(at, "mzj.social_org", f"{year}-{number:02d}", put, expect="held" if shrunk else "published")


def _put_tax(running: RunningCity, month: int, at: datetime, clean: bool = False) -> None:
    year, number = ABOUT[month]
    write_csv(
        running,
        running.root / f"swj/swdj/swdj_{year}{number:02d}.csv",
        deliveries.tax_registration(running.city, month),
        "swj.tax_registration",
        f"{year}-{number:02d}",
        at,
        clean=clean,
        seed=month * 10 + 6,
    )


def _tax_revenue(running: RunningCity, month: int, at: datetime) -> Step:
    year, number = ABOUT[month]
    label = f"{year}-{number:02d}"
    return Step(at, "swj.tax_revenue", label, lambda: newcomers.put_tax_revenue(running, year, number, label, at))


def _inspections(running: RunningCity, month: int, at: datetime) -> Step:
    year, number = ABOUT[month]
    label, start = f"{year}-{number:02d}", datetime(year, number, 1, tzinfo=TIME_ZONE)
    return Step(at, "scjg.inspection", label, lambda: newcomers.put_inspections(running, month, start, label))


def _put_revenue(running: RunningCity, month: int, at: datetime) -> None:
    import pyarrow as pa

    year, number = ABOUT[month]
    table = pa.Table.from_pylist(figures.revenue_rows(running.city, year, number))
    write_xlsx(
        running,
        running.root / f"exports/czj/财政收入月报_{year}{number:02d}.xlsx",
        table,
        "czj.fiscal_revenue",
        f"{year}-{number:02d}",
        at,
        title=f"鄂尔多斯市{year}年{number}月财政收入完成情况",
        numeric=("金额",),
        total="合计",
        footnote="注：本表金额单位为万元。",
        seed=month * 10 + 7,
        rename={"金额": "金额（万元）"},
    )


def _put_prices(running: RunningCity, months: list[tuple[int, int]]) -> None:
    rows = figures.price_rows(running.city, months)
    running.records["fgw.price_index"] = [{**row, "_spoilt": False} for row in rows]


def _put_roads(running: RunningCity, month: int, at: datetime) -> None:
    write_csv(
        running,
        running.root / "jtj/share/road/road_20260930.csv",
        nature.roads(running.city, month),
        "jtj.road",
        "2026Q3",
        at,
    )
