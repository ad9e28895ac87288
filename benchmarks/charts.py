"""Plots as small SVG files: the same figures give the same bytes, and they follow the reader's light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 760
LABELS = 170
"""Pixels left of the bars, at least."""
LETTER = 7.2
"""Pixels of a letter in a label, about."""

FIGURES = 90
"""Pixels right of the bars."""

STYLE = """<style>
text{font:13px system-ui,sans-serif;fill:#1f2937}.s{font-size:11px;fill:#6b7280}.t{font-size:15px;font-weight:600}
.a{fill:#94a3b8}.b{fill:#cbd5e1}.a.o{fill:#2563eb}.b.o{fill:#93c5fd}.w{stroke:#475569}.g{stroke:#e5e7eb}
@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.s{fill:#9ca3af}.a{fill:#64748b}.b{fill:#334155}.a.o{fill:#3b82f6}
.b.o{fill:#1e40af}.w{stroke:#cbd5e1}.g{stroke:#374151}}
</style>"""

COLOURS = (
    *("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2"),
    *("#65a30d", "#dc2626", "#a16207", "#9333ea", "#0d9488", "#78716c"),
)


class Bar(NamedTuple):
    """One value and how far it went over the rounds."""

    value: float
    least: float
    most: float


class Row(NamedTuple):
    """A label and its bars, one for each series; None where there is no figure."""

    label: str
    bars: Sequence[Bar | None]
    ours: bool = False
    note: str = ""


class Curve(NamedTuple):
    """A named series of points."""

    name: str
    points: Sequence[tuple[float, float]]


def bars(title: str, unit: str, rows: Sequence[Row], series: Sequence[str] = (), *, log: bool = False) -> str:
    """Horizontal bars with a whisker from the least to the most.

    Args:
        title: What is shown.
        unit: Of the values.
        rows: From top to bottom.
        series: Names of the bars in each row, if there are several.
        log: A logarithmic scale.
    """
    known = [bar for row in rows for bar in row.bars if bar]
    top = max((bar.most for bar in known), default=1.0)
    bottom = min((bar.least for bar in known if bar.least > 0), default=1.0) / 2
    left = max(LABELS, 16 + round(LETTER * max((len(row.label) for row in rows), default=0)))
    span = WIDTH - left - FIGURES

    def at(value: float) -> float:
        if not log:
            return span * value / top
        return span * max(0.0, math.log(max(value, bottom) / bottom)) / math.log(top / bottom)

    parts, y = [_text(0, 16, title, "t"), _text(0, 34, " · ".join([unit, *series]), "s")], 48
    for row in rows:
        height = 11 if len(row.bars) > 1 else 16
        parts.append(_text(left - 8, y + height * len(row.bars) / 2 + 5, row.label, anchor="end"))
        for position, bar in enumerate(row.bars):
            kind = f"{'ab'[position % 2]}{' o' * row.ours}"
            parts += _bar(bar, left, y + position * height, height - 2, at, kind, row.note)
        y += height * len(row.bars) + 8
    return _svg(y + 4, parts)


def _bar(bar: Bar | None, left: float, y: float, height: int, at: object, kind: str, note: str) -> list[str]:
    assert callable(at)
    middle = y + height / 2
    if bar is None:
        return [_text(left, middle + 4, note or "no figure", "s")]
    parts = [f'<rect class="{kind}" x="{left}" y="{y:g}" width="{at(bar.value):.1f}" height="{height}"/>']
    if bar.most > bar.least:
        ends = f'x1="{left + at(bar.least):.1f}" x2="{left + at(bar.most):.1f}"'
        parts.append(f'<line class="w" {ends} y1="{middle:g}" y2="{middle:g}"/>')
    return [*parts, _text(left + at(max(bar.value, bar.most)) + 6, middle + 4, number(bar.value), "s")]


def lines(title: str, across: str, up: str, series: Sequence[Curve]) -> str:
    """Curves over two logarithmic axes, labelled at their right ends."""
    left, top, width, height = 60, 48, WIDTH - 60 - 110, 300
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points if y > 0]
    if not xs or not ys:
        return _svg(60, [_text(0, 16, title, "t"), _text(0, 34, "no figures", "s")])

    def scale(value: float, values: Sequence[float], length: float) -> float:
        low, high = math.log(min(values) * 0.8), math.log(max(values) * 1.2)
        return length * (math.log(value) - low) / (high - low)

    def point(x: float, y: float) -> tuple[float, float]:
        return left + scale(x, xs, width), top + height - scale(y, ys, height)

    parts = [_text(0, 16, title, "t"), _text(0, 34, f"{up}, over {across}", "s")]
    for x in sorted(set(xs)):
        parts += [
            _rule(point(x, min(ys))[0], top, 0, height),
            _text(point(x, min(ys))[0], top + height + 18, number(x), "s", "middle"),
        ]
    for power in range(math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys))) + 1):
        if min(ys) * 0.8 <= 10**power <= max(ys) * 1.2:
            parts += [
                _rule(left, point(xs[0], 10**power)[1], width, 0),
                _text(left - 6, point(xs[0], 10**power)[1] + 4, number(10**power), "s", "end"),
            ]
    ends: list[float] = []
    for line in sorted(series, key=lambda each: -each.points[-1][1]):
        colour = COLOURS[[each.name for each in series].index(line.name) % len(COLOURS)]
        thick = 3 if line is series[0] else 1.5
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (point(*each) for each in line.points))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="{thick}" points="{path}"/>')
        end = max(point(*line.points[-1])[1] + 4, *(each + 13 for each in ends[-1:] or [0.0]))
        ends.append(end)
        parts.append(f'<text x="{left + width + 8}" y="{end:.1f}" style="fill:{colour}">{escape(line.name)}</text>')
    return _svg(max(top + height + 30, *(end + 10 for end in ends)), parts)


def number(value: float) -> str:
    """Three digits that matter, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    attributes = f' class="{kind}"' * bool(kind) + f' text-anchor="{anchor}"' * bool(anchor)
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(text)}</text>'


def _rule(x: float, y: float, width: float, height: float) -> str:
    return f'<line class="g" x1="{x:.1f}" y1="{y:.1f}" x2="{x + width:.1f}" y2="{y + height:.1f}"/>'


def _svg(height: float, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{STYLE}\n' + "\n".join(parts) + "\n</svg>\n"
