"""Ratios as a picture (SVG): a line per workload, a dot per library, right of 1 where kgraph is faster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_LEFT, _WIDTH, _ROW, _TOP = 210, 520, 22, 60
_TICKS = (0.1, 0.25, 0.5, 1, 2, 4, 10, 25, 100)


def svg(title: str, rows: dict[str, dict[str, float]], libraries: Sequence[str]) -> str:
    """`rows` maps a workload to a library's time over kgraph's; `libraries` gives their order."""
    values = [v for row in rows.values() for v in row.values()]
    low, high = min([0.5, *values]) / 1.1, max([2.0, *values]) * 1.1
    bottom = _TOP + _ROW * len(rows)

    def place(ratio: float) -> float:
        return round(_LEFT + _WIDTH * math.log(ratio / low) / math.log(high / low), 1)

    parts = [_text(_LEFT, 20, title, "start", 'font-weight="bold"')]
    for tick in (t for t in _TICKS if low <= t <= high):
        x = place(tick)
        colour = "#000" if tick == 1 else "#ccc"
        parts.append(f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}" stroke="{colour}"/>')
        parts.append(_text(x, bottom + 16, f"{tick:g}", "middle"))
    for number, (workload, row) in enumerate(rows.items()):
        y = _TOP + _ROW * number + _ROW // 2
        parts.append(_text(_LEFT - 10, y + 4, workload, "end"))
        for library, ratio in row.items():
            colour = _COLOURS[libraries.index(library) % len(_COLOURS)]
            tip = f"<title>{escape(library)}: {ratio:.2f}</title>"
            dot = f'cx="{place(ratio)}" cy="{y}" r="5" fill="{colour}" fill-opacity="0.8"'
            parts.append(f"<circle {dot}>{tip}</circle>")
    for number, library in enumerate(libraries):
        x = _LEFT + 110 * number
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<circle cx="{x + 5}" cy="{_TOP - 20}" r="5" fill="{colour}"/>')
        parts.append(_text(x + 14, _TOP - 16, library, "start"))
    parts.append(_text(_LEFT + _WIDTH / 2, bottom + 34, "time / kgraph's time (logarithmic)", "middle"))
    width, height = _LEFT + _WIDTH + 30, bottom + 46
    size = f'width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {style}>{escape(text)}</text>'
