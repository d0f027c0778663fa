"""Charts as inline SVG, written by hand: no library, no font, no clock, so the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from guiji.report.words import say_short

BLUE, TEAL, AMBER, RED, GREY = "#1f5fa8", "#1a8a72", "#c77700", "#b3261e", "#98a2b3"
GRID, TEXT, MUTED = "#e7ebf0", "#1d2939", "#667085"


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", fill: str = TEXT, bold: bool = False
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{weight}>{escape(text)}</text>'


def _svg(width: int, height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" width="100%" role="img" aria-label="{escape(label)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def draw_bars(rows: Sequence[tuple[str, str, float | None]], label: str, *, color: str = BLUE) -> str:
    """Horizontal bars of shares 0..1: (name, value as text, share); None is drawn as an empty track."""
    width, left, right, line = 440, 138, 74, 27
    track = width - left - right
    parts = []
    for i, (name, value, share) in enumerate(rows):
        y = 4 + i * line
        parts.append(_text(left - 12, y + 15, _cut(name, 10), anchor="end"))
        parts.append(f'<rect x="{left}" y="{y + 4}" width="{track}" height="14" rx="3" fill="#f1f4f8"/>')
        if share is not None:
            shade = color if share >= 0.9 else AMBER if share >= 0.6 else RED
            length = max(track * min(share, 1.0), 2.0)
            parts.append(f'<rect x="{left}" y="{y + 4}" width="{length:.1f}" height="14" rx="3" fill="{shade}"/>')
        parts.append(
            _text(width - right + 12, y + 15, value, fill=MUTED if share is None else TEXT, bold=share is not None)
        )
    return _svg(width, 8 + max(1, len(rows)) * line, label, parts)


def draw_columns(days: Sequence[tuple[str, int, int]], label: str) -> str:
    """A column per day: (label, accepted rows, rejected rows), rejected on top."""
    width, height, left, bottom, top = 440, 214, 54, 28, 14
    peak = _nice(max((a + r for _, a, r in days), default=1))
    area, step = height - bottom - top, (width - left - 8) / max(1, len(days))
    parts = _grid(width, left, top, area, [(say_short(peak * n // 4), n / 4) for n in range(5)])
    for i, (day, accepted, rejected) in enumerate(days):
        x, w = left + i * step + step * 0.18, step * 0.64
        good, bad = accepted / peak * area, rejected / peak * area
        base = top + area
        parts.append(
            f'<rect x="{x:.1f}" y="{base - good:.1f}" width="{w:.1f}" height="{good:.1f}" rx="2" fill="{BLUE}"/>'
        )
        if rejected:
            tall = max(bad, 1.5)
            parts.append(
                f'<rect x="{x:.1f}" y="{base - good - tall:.1f}" width="{w:.1f}" height="{tall:.1f}" fill="{RED}"/>'
            )
        if len(days) <= 12 or i % 3 == 0:
            parts.append(_text(x + w / 2, height - 10, day, size=11, anchor="middle", fill=MUTED))
    return _svg(width, height, label, parts)


def draw_lines(months: Sequence[str], series: Sequence[tuple[str, str, Sequence[float | None]]], label: str) -> str:
    """Shares over months: (name, colour, values); a gap stays a gap."""
    width, height, left, bottom, top, right = 900, 260, 48, 30, 16, 30
    area, step = height - bottom - top, (width - left - right) / max(1, len(months) - 1)
    known = [v for _, _, values in series for v in values if v is not None]
    low = 0.0 if not known or min(known) < 0.5 else 0.5 if min(known) < 0.8 else 0.8
    ticks = [(f"{(low + (1 - low) * n / 5) * 100:.0f}%", n / 5) for n in range(6)]
    parts = _grid(width, left, top, area, ticks)
    middle = (width - left - right) / 2 if len(months) == 1 else 0.0
    for i, month in enumerate(months):
        parts.append(_text(left + middle + i * step, height - 10, month, size=11, anchor="middle", fill=MUTED))
    for _, color, values in series:
        run: list[tuple[float, float]] = []
        runs = [run]
        for i, v in enumerate(values):
            if v is None:
                run = []
                runs.append(run)
            else:
                run.append((left + middle + i * step, top + area * (1 - (v - low) / (1 - low))))
        for points in runs:
            if len(points) > 1:
                path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
                parts.append(
                    f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2.5" stroke-linejoin="round"/>'
                )
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#fff" stroke="{color}" stroke-width="2"/>'
                for x, y in points
            ]
    return _svg(width, height, label, parts)


def draw_ring(slices: Sequence[tuple[str, int, str]], middle: str, caption: str, label: str) -> str:
    """A ring of counts (name, count, colour) with a legend; nothing to show is an empty ring."""
    from math import pi

    radius, stroke = 70, 26
    around, total = 2 * pi * radius, sum(n for _, n, _ in slices)
    parts = [f'<circle cx="110" cy="110" r="{radius}" fill="none" stroke="#f1f4f8" stroke-width="{stroke}"/>']
    turned = 0.0
    for _, n, color in slices:
        if n:
            arc = around * n / total
            parts.append(
                f'<circle cx="110" cy="110" r="{radius}" fill="none" stroke="{color}" stroke-width="{stroke}" '
                f'stroke-dasharray="{arc:.2f} {around - arc:.2f}" stroke-dashoffset="{-turned:.2f}" '
                'transform="rotate(-90 110 110)"/>'
            )
            turned += arc
    parts += [
        _text(110, 112, middle, size=24, anchor="middle", bold=True),
        _text(110, 132, caption, anchor="middle", fill=MUTED),
    ]
    for i, (name, n, color) in enumerate(slices):
        y = 78 + i * 30
        parts.append(f'<rect x="224" y="{y - 10}" width="12" height="12" rx="2" fill="{color}"/>')
        parts += [_text(244, y, name), _text(344, y, f"{n:,}", anchor="end", bold=True)]
    return _svg(360, 220, label, parts)


def _grid(width: int, left: int, top: int, area: float, ticks: Sequence[tuple[str, float]]) -> list[str]:
    parts = []
    for text, share in ticks:
        y = top + area * (1 - share)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - 8}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(_text(left - 8, y + 4, text, size=11, anchor="end", fill=MUTED))
    return parts


def _nice(peak: int) -> int:
    """The next round number at or above ``peak`` that quarters evenly."""
    size = 4
    while size < peak:
        for factor in (2, 5, 10):
            if size * factor >= peak:
                return size * factor
        size *= 10
    return size


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
