"""The verdict as one HTML page: self-contained, printable on A4, every text escaped."""

from __future__ import annotations

from pathlib import Path

from guiji.precheck.verdict import Verdict

#: findings in the page; the workbook has them all
LISTED = 1000


def render_page(verdict: Verdict) -> str:
    """The page. The same verdict gives the same bytes."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["share"] = lambda n, of: f"{n / of:.2%}" if of else "—"
    return environment.get_template("verdict.html.j2").render(
        v=verdict,
        tone={"passed": "ok", "warning": "warn"}.get(verdict.outcome, "bad")
        if not (verdict.outcome == "passed" and verdict.rows_rejected)
        else "warn",
        failed=verdict.failed,
        clean=[r for r in verdict.rules if not r.failed and not r.suspicious],
        findings=verdict.findings[:LISTED],
        listed=LISTED,
        has_places=any(f.place for f in verdict.findings),
    )
