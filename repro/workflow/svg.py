"""A diagram as an SVG of its own: no script, no font, no style sheet from elsewhere."""

from __future__ import annotations

import itertools
import unicodedata
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from repro.dataclass import dataclass
from repro.workflow.layout import lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from repro.workflow.diagram import Box, Diagram
    from repro.workflow.layout import Layout

_CHARACTER = 7.3  # pixels of a character of 12 pixels in a monospaced font
_LONGEST = 44  # characters of a label
_PADDING, _GAP, _LAYER_GAP, _MARGIN = 10.0, 22.0, 46.0, 20.0
_ONE_LINE, _TWO_LINES = 30.0, 44.0  # heights of a box
_LEGEND = 22.0
# fills that stay apart for the colour-blind (after Okabe and Ito, lightened), with dark text on them
_FILLS = ("#dbeafa", "#fde9c9", "#d5efe3", "#f7dcea", "#fbf5c4", "#e3e3e3", "#e6ddf5", "#f9dccf")
_STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1b1f24;text-anchor:middle}"
    ".n{font-size:11px;fill:#57606a}.b{stroke:#57606a}.e{fill:none;stroke:#8c959f;stroke-width:1.3}"
    ".open{stroke-dasharray:4 3}.l{text-anchor:start}"
)
_TIP_OF_ARROW = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0.5 8 4 0 7.5z" fill="#8c959f"/></marker></defs>'
)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """Sizes of boxes and layers; ``down`` says that layers follow each other downwards, else to the right.

    Along: in the direction of the arrows. Across: at right angles to it.
    """

    down: bool
    sizes: tuple[tuple[float, float], ...]  # width and height of each box
    layout: Layout
    starts: tuple[float, ...]  # of each layer, along
    depths: tuple[float, ...]  # of each layer, along
    offset: float  # what is added across, so that nothing is left of the margin
    breadth: float  # across, margins included

    def point(self, along: float, across: float) -> tuple[float, float]:
        """Return x and y."""
        return (across, along) if self.down else (along, across)

    def across(self, point: int) -> float:
        """Return the middle of a point across."""
        return self.layout.across[point] + self.offset


def svg(drawn: Diagram, *, down: bool) -> str:
    """Return the drawing, layers one below the other or, not ``down``, side by side."""
    canvas = _canvas(drawn, down=down)
    length = canvas.starts[-1] + canvas.depths[-1] + _MARGIN if canvas.starts else 2 * _MARGIN
    width, height = canvas.point(length, canvas.breadth)
    environments = tuple(dict.fromkeys(box.environment for box in drawn.boxes))
    legend = environments if len(environments) > 1 else ()
    width = max(width, _MARGIN * 2 + sum(_width(name) + 40 for name in legend))
    height += _LEGEND if legend else 0
    size = f'width="{width:.0f}" height="{height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{_text(drawn.title)}</title>",
        f"<style>{_STYLE}</style>",
        _TIP_OF_ARROW,
        f'<rect {size} fill="#fff"/>',
        *_arrows(drawn, canvas),
        *_boxes(drawn, canvas, {name: _FILLS[number % len(_FILLS)] for number, name in enumerate(environments)}),
        *_legend(legend, height),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _canvas(drawn: Diagram, *, down: bool) -> _Canvas:
    sizes = tuple(
        (
            max(_width(_cut(box.name)), _width(_cut(box.note)) * 0.92) + 2 * _PADDING,
            _TWO_LINES if box.note else _ONE_LINE,
        )
        for box in drawn.boxes
    )
    layout = lay_out([box.needs for box in drawn.boxes], [size[0 if down else 1] for size in sizes], _GAP)
    depths = tuple(
        max((sizes[point][1 if down else 0] for point in layer if point < len(sizes)), default=0.0)
        for layer in layout.layers
    )
    starts: list[float] = []
    for number in range(len(depths)):
        starts.append(starts[-1] + depths[number - 1] + _LAYER_GAP if starts else _MARGIN)
    edges = [
        (at - _extent(sizes, point, down=down) / 2, at + _extent(sizes, point, down=down) / 2)
        for point, at in enumerate(layout.across)
    ]
    lowest = min((low for low, _ in edges), default=0.0)
    highest = max((high for _, high in edges), default=0.0)
    return _Canvas(down, sizes, layout, tuple(starts), depths, _MARGIN - lowest, highest - lowest + 2 * _MARGIN)


def _extent(sizes: Sequence[tuple[float, float]], point: int, *, down: bool) -> float:
    return sizes[point][0 if down else 1] if point < len(sizes) else 0.0


def _boxes(drawn: Diagram, canvas: _Canvas, fills: dict[str, str]) -> Iterator[str]:
    for number, layer in enumerate(canvas.layout.layers):
        for point in layer:
            if point >= len(drawn.boxes):
                continue
            box, (width, height) = drawn.boxes[point], canvas.sizes[point]
            x, y = canvas.point(canvas.starts[number] + canvas.depths[number] / 2, canvas.across(point))
            kind = "b" if box.settled else "b open"
            corner = f'x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}"'
            frame = f'<rect class="{kind}" {corner} rx="5" fill="{fills[box.environment]}"/>'
            yield f"<g>{_tip(box)}{frame}{_label(box, x, y)}</g>"


def _tip(box: Box) -> str:
    return f"<title>{_text(' · '.join(part for part in (box.name, box.note, box.environment) if part))}</title>"


def _label(box: Box, x: float, y: float) -> str:
    if not box.note:
        return f'<text x="{x:.1f}" y="{y + 4:.1f}">{_text(_cut(box.name))}</text>'
    return (
        f'<text x="{x:.1f}" y="{y - 4:.1f}">{_text(_cut(box.name))}</text>'
        f'<text class="n" x="{x:.1f}" y="{y + 13:.1f}">{_text(_cut(box.note))}</text>'
    )


def _arrows(drawn: Diagram, canvas: _Canvas) -> Iterator[str]:
    layer_of = {point: number for number, layer in enumerate(canvas.layout.layers) for point in layer}
    for way in canvas.layout.ways:
        parts: list[str] = []
        for one, other in itertools.pairwise(way):
            start, end = _end(canvas, layer_of[one], one), _start(canvas, layer_of[other], other)
            if not parts:
                parts.append(f"M{_spelled(canvas.point(start, canvas.across(one)))}")
            elif one >= len(drawn.boxes):
                parts.append(f"L{_spelled(canvas.point(start, canvas.across(one)))}")
            middle = (start + end) / 2
            bends = (canvas.point(middle, canvas.across(one)), canvas.point(middle, canvas.across(other)))
            parts.append(f"C{' '.join(_spelled(at) for at in (*bends, canvas.point(end, canvas.across(other))))}")
        kind = "e" if drawn.boxes[way[-1]].settled else "e open"
        yield f'<path class="{kind}" d="{"".join(parts)}" marker-end="url(#a)"/>'


def _half(canvas: _Canvas, layer: int, point: int) -> float:
    """Return half the length of a box along the arrows; of a point that is passed, half of its layer's."""
    return (canvas.sizes[point][1 if canvas.down else 0] if point < len(canvas.sizes) else canvas.depths[layer]) / 2


def _start(canvas: _Canvas, layer: int, point: int) -> float:
    return canvas.starts[layer] + canvas.depths[layer] / 2 - _half(canvas, layer, point)


def _end(canvas: _Canvas, layer: int, point: int) -> float:
    return canvas.starts[layer] + canvas.depths[layer] / 2 + _half(canvas, layer, point)


def _legend(names: Sequence[str], height: float) -> Iterator[str]:
    x, y = _MARGIN, height - _MARGIN
    for number, name in enumerate(names):
        fill = _FILLS[number % len(_FILLS)]
        yield f'<rect class="b" x="{x:.1f}" y="{y - 9:.1f}" width="12" height="12" rx="2" fill="{fill}"/>'
        yield f'<text class="n l" x="{x + 18:.1f}" y="{y + 1:.1f}">{_text(name)}</text>'
        x += _width(name) + 40


def _spelled(point: tuple[float, float]) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 13]}…{text[-12:]}"


def _width(text: str) -> float:
    return sum(_CHARACTER * (2 if unicodedata.east_asian_width(sign) in "WF" else 1) for sign in text)


def _text(text: str) -> str:
    """Return text for XML; what XML cannot hold is shown as a question mark."""
    return escape("".join(sign if sign.isprintable() else "?" for sign in text))
