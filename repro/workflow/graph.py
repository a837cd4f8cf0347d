"""Order and cycles of a graph given as indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def depths(needs: Sequence[Collection[int]]) -> list[int | None]:
    """Return each node's longest distance from a node without needs; None for nodes on or behind a cycle."""
    users: list[list[int]] = [[] for _ in needs]
    missing = [len(of) for of in needs]
    for node, of in enumerate(needs):
        for need in of:
            users[need].append(node)
    result: list[int | None] = [None] * len(needs)
    ready = [node for node, count in enumerate(missing) if count == 0]
    for node in ready:
        result[node] = 0
    for node in ready:  # grows while it is read: nodes are added once all they need is in it
        depth = result[node]
        assert depth is not None
        for user in users[node]:
            missing[user] -= 1
            if missing[user] == 0:
                result[user] = 1 + max(result[need] or 0 for need in needs[user])
                ready.append(user)
    return result


def cycles(needs: Sequence[Collection[int]], depth: Sequence[int | None]) -> list[tuple[int, ...]]:
    """Return a cycle (each node needs the next, the last the first) for each part of the graph that has one.

    ``depth`` is what `depths` returned; each cycle begins with its smallest index.
    """
    found: list[tuple[int, ...]] = []
    seen: set[int] = set()
    for start in range(len(needs)):
        path: dict[int, int] = {}
        node = start
        while depth[node] is None and node not in seen:
            seen.add(node)
            path[node] = len(path)
            # every node without depth has a need without depth, so this walk ends in a cycle
            node = min(need for need in needs[node] if depth[need] is None)
        if node in path:
            cycle = list(path)[path[node] :]
            first = cycle.index(min(cycle))
            found.append((*cycle[first:], *cycle[:first]))
    return found
