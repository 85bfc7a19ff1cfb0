"""Line plots as SVG, for the pages in `docs/`: one function, no library.

Both axes are logarithmic, as what is plotted here grows over decades; a value that is not positive is left
out. Colours are told apart by people who see no red or green, and each line is named at its end.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points (x, y) by the name of their line."""

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 40, 48
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_APART = 14
"""Pixels between two names."""


def plot(file: Path, title: str, x_name: str, y_name: str, series: Series) -> None:
    """Write the plot to `file`. Raises ValueError when there is nothing to plot."""
    kept = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    xs = [x for points in kept.values() for x, _ in points]
    ys = [y for points in kept.values() for _, y in points]
    if not xs:
        raise ValueError(f"{title}: there is nothing to plot")
    across, up = _Axis(xs, _LEFT, _WIDTH - _RIGHT), _Axis(ys, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, title, "start", size=14),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, x_name, "middle"),
        f'<g transform="translate(16 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)">'
        f"{_text(0, 0, y_name, 'middle')}</g>",
    ]
    for value in across.ticks():
        x = across.at(value)
        parts.append(_line(x, _TOP, x, _HEIGHT - _BOTTOM))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 16, _figure(value), "middle"))
    for value in up.ticks():
        y = up.at(value)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y))
        parts.append(_text(_LEFT - 6, y + 4, _figure(value), "end"))
    ends = {name: up.at(points[-1][1]) for name, points in kept.items() if points}
    places = _spread(ends)
    for index, (name, points) in enumerate(kept.items()):
        if points:
            colour = _COLOURS[index % len(_COLOURS)]
            found = [(across.at(x), up.at(y)) for x, y in points]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in found)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in found]
            parts.append(_text(found[-1][0] + 8, places[name] + 4, name, "start", colour=colour))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*parts, "</svg>", ""]))


class _Axis:
    """Values from the least to the greatest, on pixels."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, self._high = math.log10(min(values)), math.log10(max(values))
        if self._high - self._low < 0.1:
            self._low, self._high = self._low - 0.5, self._high + 0.5
        margin = (self._high - self._low) * 0.04
        self._low, self._high = self._low - margin, self._high + margin
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + (self._end - self._start) * share

    def ticks(self) -> list[float]:
        """Round values, at least two, at most eight or so."""
        steps: tuple[float, ...] = (1.0,) if self._high - self._low > 2.5 else (1.0, 2.0, 5.0)
        decades = range(math.floor(self._low), math.ceil(self._high) + 1)
        return [
            step * 10.0**decade
            for decade in decades
            for step in steps
            if self._low <= math.log10(step) + decade <= self._high
        ]


def _spread(places: Mapping[str, float]) -> dict[str, float]:
    """Names' heights, moved apart downwards where they would cover each other."""
    spread: dict[str, float] = {}
    last = -math.inf
    for name, y in sorted(places.items(), key=lambda item: item[1]):
        last = spread[name] = max(y, last + _APART)
    return spread


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str, *, size: int = 12, colour: str = "#333") -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {where}>{escape(text)}</text>"
