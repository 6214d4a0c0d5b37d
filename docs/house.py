"""Draw docs/_static/house.svg, the map of lcelib's rooms, from the imports in the source.

Usage: python docs/house.py. A room is a package or a module directly inside lcelib/. Every
import counts, those inside functions too; a room stands above everything it imports. Arrows
that follow from other arrows are left out, and `<desc>` holds the whole graph as JSON.
"""

import itertools
import json
from collections import Counter
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

from lcelib.run import digests

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "_static" / "house.svg"
COMPANION = ("run", "paper", "notebook", "cli")  # the library never imports these
BOX, LEVEL, GAP, MARGIN, CHARACTER = 44, 92, 26, 24, 8.4  # pixels
SWEEPS = 24
Graph = dict[str, list[str]]


def room(module: str) -> str:
    """Return the room of a module; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def graph() -> Graph:
    """Return the rooms that each room imports, both sorted."""
    found: dict[str, set[str]] = {}
    for module in filter(room, digests.modules()):
        found.setdefault(room(module), set()).update(map(room, digests.imports(module)))
    return {name: sorted(found[name] - {name, ""}) for name in sorted(found)}


def reachable(edges: Graph) -> dict[str, set[str]]:
    """Return everything that each room imports, directly or through others."""
    found: dict[str, set[str]] = {}
    for name in TopologicalSorter(edges).static_order():
        found[name] = set(edges[name]).union(*(found[other] for other in edges[name]))
    return found


def levels(edges: Graph) -> dict[str, int]:
    """Return the longest path down from each room. Raises CycleError if there is a cycle."""
    found: dict[str, int] = {}
    for name in TopologicalSorter(edges).static_order():
        found[name] = 1 + max((found[other] for other in edges[name]), default=-1)
    return found


def drawn(edges: Graph) -> list[tuple[str, str]]:
    """Return the imports that no longer path implies (the transitive reduction)."""
    below = reachable(edges)
    return [
        (upper, lower)
        for upper, names in edges.items()
        for lower in names
        if not any(lower in below[other] for other in names)
    ]


def routes(edges: Graph, height: dict[str, int]) -> list[list[str]]:
    """Return each drawn import as a chain of stops, one on every level it passes."""
    chains = []
    for upper, lower in drawn(edges):
        between = range(height[upper] - 1, height[lower], -1)
        chains.append([upper, *(f"{upper}>{lower}@{level}" for level in between), lower])
    return chains


def placed(edges: Graph, height: dict[str, int]) -> tuple[dict[str, float], list[list[str]]]:
    """Return the horizontal centre of every stop, and the chains of stops."""
    chains = routes(edges, height)
    at = height | {stop: int(stop.rpartition("@")[2]) for c in chains for stop in c[1:-1]}
    rows = [sorted(s for s in at if at[s] == level) for level in range(max(at.values()) + 1)]
    near: dict[str, list[str]] = {stop: [] for stop in at}
    for chain in chains:
        for one, two in itertools.pairwise(chain):
            near[one].append(two)
            near[two].append(one)
    x = {stop: float(place * 120) for row in rows for place, stop in enumerate(row)}
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            wish = {s: sum(x[n] for n in near[s]) / len(near[s]) if near[s] else x[s] for s in row}
            row.sort(key=lambda s: (wish[s], s))
            spread(row, wish, x)
    left = min(x[s] - width(s) / 2 for s in x)
    return {stop: x[stop] - left + MARGIN for stop in x}, chains


def spread(row: list[str], wish: dict[str, float], x: dict[str, float]) -> None:
    """Place a row's stops in their order, as near to their wishes as their widths allow."""
    clusters: list[tuple[list[str], float]] = []  # stops, left edge of the first
    for stop in row:
        clusters.append(([stop], wish[stop] - width(stop) / 2))
        while len(clusters) > 1 and clusters[-2][1] + span(clusters[-2][0]) > clusters[-1][1]:
            (right, _), (left, _) = clusters.pop(), clusters.pop()
            joined = left + right
            offsets = [span(joined[:i]) + width(s) / 2 for i, s in enumerate(joined)]
            start = sum(wish[s] - o for s, o in zip(joined, offsets, strict=True)) / len(joined)
            clusters.append((joined, start))
    for stops, start in clusters:
        for number, stop in enumerate(stops):
            x[stop] = round(start + span(stops[:number]) + width(stop) / 2, 1)


def width(stop: str) -> float:
    """Return the width of a room's box, or of the lane that an arrow takes past a level."""
    return 10 if ">" in stop else max(len(stop), 7) * CHARACTER + 22


def span(stops: list[str]) -> float:
    """Return the width of stops side by side, with the gaps after them."""
    return sum(width(s) + GAP for s in stops)


def curve(points: list[tuple[float, float]]) -> str:
    """Return the SVG path of a smooth line down through the points."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        middle = (y + to_y) / 2
        path += f" C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
    return path


def svg(edges: Graph, files: dict[str, int]) -> str:
    """Return the picture: one row for each level, what imports nothing at the bottom."""
    height = levels(edges)
    x, chains = placed(edges, height)
    top = max(height.values())
    rows = {level: MARGIN + (top - level) * LEVEL for level in range(top + 1)}
    total = max(x[s] + width(s) / 2 for s in x) + MARGIN, rows[0] + BOX + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]:.0f} {total[1]:.0f}" '
        f'role="img" font-family="ui-monospace, Menlo, Consolas, monospace">',
        "<title>The rooms of lcelib: each stands above what it imports</title>",
        f"<desc>{escape(json.dumps(edges), quote=False)}</desc>",
        '<rect width="100%" height="100%" rx="10" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0 0 L8 4 L0 8 Z" fill="#8a94a3"/></marker></defs>',
        '<g fill="none" stroke="#8a94a3" stroke-width="1.3">',
    ]
    for chain in chains:
        points = [(x[chain[0]], rows[height[chain[0]]] + BOX)]
        for stop in chain[1:-1]:
            y = rows[int(stop.rpartition("@")[2])]
            points += [(x[stop], y), (x[stop], y + BOX)]
        points.append((x[chain[-1]], rows[height[chain[-1]]]))
        lines.append(f'<path d="{curve(points)}" marker-end="url(#tip)"/>')
    lines.append('</g>\n<g text-anchor="middle">')
    for name in edges:
        y, size = rows[height[name]], width(name)
        fill, edge = ("#fff1dc", "#c77700") if name in COMPANION else ("#e6f1fb", "#0072b2")
        count = "1 file" if files[name] == 1 else f"{files[name]} files"
        lines += [
            f'<rect x="{x[name] - size / 2:.1f}" y="{y}" width="{size:.1f}" height="{BOX}" rx="6" '
            f'fill="{fill}" stroke="{edge}"/>',
            f'<text x="{x[name]:.1f}" y="{y + 20}" font-size="14" fill="#111111">{name}</text>',
            f'<text x="{x[name]:.1f}" y="{y + 35}" font-size="10" fill="#555555">{count}</text>',
        ]
    return "\n".join([*lines, "</g>\n</svg>"]) + "\n"


def picture() -> str:
    """Return the map of the package as SVG."""
    return svg(graph(), Counter(map(room, digests.modules())))


def write() -> None:
    """Write the map unless the file already holds it."""
    text = picture()
    if not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != text:
        PICTURE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
    rooms = graph()
    imports = sum(map(len, rooms.values()))
    print(f"{len(rooms)} rooms on {max(levels(rooms).values()) + 1} levels, {imports} imports")
