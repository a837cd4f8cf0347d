"""A plan's graph as text: Mermaid for Markdown, DOT for Graphviz, SVG for eyes and browsers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from repro.errors import UsageError
from repro.workflow.diagram import diagram
from repro.workflow.fields import near
from repro.workflow.graph import depths
from repro.workflow.svg import svg

if TYPE_CHECKING:
    from repro.workflow.diagram import Box, Diagram
    from repro.workflow.model import Plan

FORMATS = ("mermaid", "dot", "svg")
_MARKUP = re.compile(r"[^\w .,:/=@+-]")


def graph_text(plan: Plan, form: str, *, jobs: bool = False) -> str:
    """Return the graph of a plan's steps, or of its ``jobs``, in one of `FORMATS`; the same plan gives the same text.

    Boxes are named by step or job. Steps that wait for earlier ones to be planned, and steps that are switched off,
    have dashed edges; so have the arrows to them.

    Raises:
        UsageError: there is no such format.
    """
    drawn = diagram(plan, jobs=jobs)
    match form:
        case "mermaid":
            return _mermaid(drawn)
        case "dot":
            return _dot(drawn)
        case "svg":
            return svg(drawn, down=goes_down(drawn))
        case _:
            raise UsageError(f"graphs are not drawn as {form!r}", hint=near(form, FORMATS))


def goes_down(drawn: Diagram) -> bool:
    """Return whether a drawing is best read downwards: it has more layers than boxes in the largest of them."""
    layers: dict[int, int] = {}
    for depth in depths([box.needs for box in drawn.boxes]):
        layers[depth or 0] = layers.get(depth or 0, 0) + 1
    return len(layers) >= max(layers.values(), default=0)


def _mermaid(drawn: Diagram) -> str:
    lines = [f"flowchart {'TD' if goes_down(drawn) else 'LR'}"]
    for number, box in enumerate(drawn.boxes):
        label = "<br/>".join(_MARKUP.sub(_entity, line) for line in _lines(box))
        lines.append(f'  n{number}["{label}"]' + ("" if box.settled else ":::open"))
    for number, box in enumerate(drawn.boxes):
        lines += [f"  n{need} {'-->' if box.settled else '-.->'} n{number}" for need in box.needs]
    if not all(box.settled for box in drawn.boxes):
        lines.append("  classDef open stroke-dasharray: 4 3")
    return "\n".join(lines) + "\n"


def _entity(sign: re.Match[str]) -> str:
    return f"#{ord(sign[0])};"


def _dot(drawn: Diagram) -> str:
    lines = [
        f"digraph {_quoted(drawn.title)} {{",
        f"  rankdir={'TB' if goes_down(drawn) else 'LR'};",
        '  node [shape=box, style="rounded", fontname="sans-serif"];',
    ]
    for number, box in enumerate(drawn.boxes):
        more = "" if box.settled else ', style="rounded,dashed"'
        label = "\\n".join(_quoted(line)[1:-1] for line in _lines(box))
        lines.append(f'  n{number} [label="{label}"{more}];')
    for number, box in enumerate(drawn.boxes):
        lines += [f"  n{need} -> n{number}{'' if box.settled else ' [style=dashed]'};" for need in box.needs]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _lines(box: Box) -> tuple[str, ...]:
    return (box.name, box.note) if box.note else (box.name,)
