"""Places for the boxes of a diagram: in layers, each after what it needs, with few crossings and straight arrows.

The four steps of Sugiyama, Tagawa and Toda (1981): layers by the longest way, points where an arrow passes a layer,
an order in each layer by barycentres, and places that come nearest to the middle of the neighbours (least squares, by
pooling of adjacent violators).
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import field
from typing import TYPE_CHECKING

from repro.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

_SWEEPS = 24
_STRAIGHT = 8.0  # how much more it matters that a long arrow is straight than that a box is in the middle


@dataclass(slots=True)
class Layout:
    """The layers (of points, in order) and the middle of each point across them.

    Points from 0 are the boxes; those after them stand where an arrow passes a layer. ``ways`` are the arrows, each a
    list of points from the needed box to the needing one; ``before`` and ``after`` are the neighbours of each point.
    """

    layers: list[list[int]]
    across: list[float]
    ways: list[list[int]]
    before: list[list[int]] = field(default_factory=list)
    after: list[list[int]] = field(default_factory=list)


def lay_out(needs: Sequence[Sequence[int]], sizes: Sequence[float], gap: float) -> Layout:
    """Return where boxes go: ``needs`` of each are boxes with smaller indices, ``sizes`` their extents across layers.

    Boxes of a layer are at least ``gap`` apart, arrows that pass it half of that. Parts of the graph that no arrow
    joins lie side by side, and all begin in the first layer.
    """
    whole = Layout([], [0.0] * len(needs), [])
    edge = 0.0
    for members in _parts(needs):
        local = {box: number for number, box in enumerate(members)}
        extents = [sizes[box] for box in members]
        part = _lay_out_part([[local[need] for need in needs[box]] for box in members], extents, gap)
        names = [*members, *range(len(whole.across), len(whole.across) + len(extents) - len(members))]
        spread = [(at - extent / 2, at + extent / 2) for at, extent in zip(part.across, extents, strict=True)]
        shift = edge - min(low for low, _ in spread)
        edge = shift + max(high for _, high in spread) + gap
        whole.across += [0.0] * (len(extents) - len(members))
        for name, at in zip(names, part.across, strict=True):
            whole.across[name] = at + shift
        whole.layers += [[] for _ in range(len(part.layers) - len(whole.layers))]
        for number, layer in enumerate(part.layers):
            whole.layers[number] += [names[point] for point in layer]
        whole.ways += [[names[point] for point in way] for way in part.ways]
    return whole


def _parts(needs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the boxes of each part of the graph, in order of its first box."""
    joined: list[list[int]] = [[] for _ in needs]
    for box, of in enumerate(needs):
        for need in of:
            joined[box].append(need)
            joined[need].append(box)
    seen: set[int] = set()
    parts = []
    for box in range(len(needs)):
        if box in seen:
            continue
        part = [box]
        seen.add(box)
        for one in part:  # grows while it is read
            found = [other for other in dict.fromkeys(joined[one]) if other not in seen]
            seen.update(found)
            part += found
        parts.append(sorted(part))
    return parts


def _lay_out_part(needs: Sequence[Sequence[int]], extents: list[float], gap: float) -> Layout:
    """Return where the boxes of one part go; ``extents`` grows by those of the points where arrows pass."""
    depth = _depths(needs)
    layout = Layout([[] for _ in range(max(depth) + 1)], [], [])
    for box, layer in enumerate(depth):
        layout.layers[layer].append(box)
    count = len(depth)
    layout.before = [[] for _ in range(count)]
    layout.after = [[] for _ in range(count)]
    for box, of in enumerate(needs):
        for need in of:
            way = [need]
            for layer in range(depth[need] + 1, depth[box]):
                way.append(len(extents))
                extents.append(0.0)
                layout.before.append([])
                layout.after.append([])
                layout.layers[layer].append(way[-1])
            way.append(box)
            layout.ways.append(way)
            for one, other in itertools.pairwise(way):
                layout.after[one].append(other)
                layout.before[other].append(one)
    _order(layout)
    _place(layout, extents, count, gap)
    return layout


def _depths(needs: Sequence[Sequence[int]]) -> list[int]:
    """Return each box's layer: the longest way to it; a box that needs nothing stands just before its first user."""
    depth: list[int] = []
    for of in needs:
        depth.append(1 + max((depth[need] for need in of), default=-1))
    first: dict[int, int] = {}
    for box, of in enumerate(needs):
        for need in of:
            first[need] = min(first.get(need, depth[box]), depth[box])
    return [first[box] - 1 if not of and box in first else depth[box] for box, of in enumerate(needs)]


def _order(layout: Layout) -> None:
    """Order each layer by the mean place of the neighbours, to and fro; keep the order with the fewest crossings."""
    best, fewest = [list(layer) for layer in layout.layers], _crossings(layout)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        neighbours = layout.before if down else layout.after
        layers = layout.layers if down else layout.layers[::-1]
        for fixed, moved in itertools.pairwise(layers):
            place = {point: number for number, point in enumerate(fixed)}
            middle = {
                point: sum(place[other] for other in neighbours[point]) / len(neighbours[point])
                if neighbours[point]
                else float(number)
                for number, point in enumerate(moved)
            }
            moved.sort(key=middle.__getitem__)
        crossings = _crossings(layout)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layout.layers], crossings
    layout.layers = best


def _crossings(layout: Layout) -> int:
    """Return how many pairs of arrows cross: inversions among the ends of arrows in the order of their starts."""
    total = 0
    for one, other in itertools.pairwise(layout.layers):
        place = {point: number for number, point in enumerate(other)}
        seen: list[int] = []
        for point in one:
            ends = sorted(place[after] for after in layout.after[point])
            for end in ends:
                total += len(seen) - bisect.bisect_right(seen, end)
            for end in ends:
                bisect.insort(seen, end)
    return total


def _place(layout: Layout, extents: Sequence[float], boxes: int, gap: float) -> None:
    layout.across = [0.0] * len(extents)
    apart = [_distances(layer, extents, boxes, gap) for layer in layout.layers]
    for layer, distances in zip(layout.layers, apart, strict=True):
        for point, at in zip(layer, distances, strict=True):
            layout.across[point] = at - distances[-1] / 2
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = layout.before if down else layout.after
        numbers = range(1, len(layout.layers)) if down else range(len(layout.layers) - 2, -1, -1)
        for number in numbers:
            layer, distances = layout.layers[number], apart[number]
            wanted = [
                sum(layout.across[other] for other in neighbours[point]) / len(neighbours[point])
                if neighbours[point]
                else layout.across[point]
                for point in layer
            ]
            weights = [(_STRAIGHT if point >= boxes else 1.0) if neighbours[point] else 0.1 for point in layer]
            for point, at in zip(layer, _nearest(wanted, weights, distances), strict=True):
                layout.across[point] = at


def _distances(layer: Sequence[int], extents: Sequence[float], boxes: int, gap: float) -> list[float]:
    """Return the least distance of each point from the layer's first."""
    result = [0.0]
    for one, other in itertools.pairwise(layer):
        free = gap if one < boxes and other < boxes else gap / 2
        result.append(result[-1] + (extents[one] + extents[other]) / 2 + free)
    return result


def _nearest(wanted: Sequence[float], weights: Sequence[float], distances: Sequence[float]) -> list[float]:
    """Return the places nearest to those ``wanted`` (least weighted squares) that keep order and ``distances``."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, distance in zip(wanted, weights, distances, strict=True):
        mean, heavy, count = want - distance, weight, 1
        while pools and pools[-1][0] >= mean:
            other, weight_of, members = pools.pop()
            mean = (mean * heavy + other * weight_of) / (heavy + weight_of)
            heavy, count = heavy + weight_of, count + members
        pools.append((mean, heavy, count))
    free = [mean for mean, _, count in pools for _ in range(count)]
    return [at + distance for at, distance in zip(free, distances, strict=True)]
