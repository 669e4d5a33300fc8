"""The pipeline's steps as an inline SVG drawing: left to right by what reads what, one band of rows per track."""

from collections.abc import Mapping, Sequence
from html import escape

import networkx

WIDTH, HEIGHT, GAP_X, GAP_Y = 168, 30, 46, 14


def dag_svg(steps: Mapping[str, Sequence[str]]) -> str:
    """Draw ``steps`` (name -> names of the steps that it reads from); ValueError if they form a cycle.

    Names end in ``-TRACK`` where a step belongs to one. An arrow that others imply is left out.
    """
    graph = networkx.DiGraph([(source, name) for name, sources in steps.items() for source in sources])
    graph.add_nodes_from(steps)
    if not networkx.is_directed_acyclic_graph(graph):
        raise ValueError(f"the steps form a cycle: {networkx.find_cycle(graph)}")
    layers = networkx.topological_generations(graph)
    places = _places(steps, {name: column for column, layer in enumerate(layers) for name in layer})
    width = max(x for x, _ in places.values()) + WIDTH + 4
    height = max(y for _, y in places.values()) + HEIGHT + 4
    direct = networkx.transitive_reduction(graph).edges
    arrows = [_arrow(places[source], places[name]) for source, name in sorted(direct)]
    boxes = [_box(name, *place) for name, place in places.items()]
    return (
        f'<svg class="dag" role="img" aria-label="Steps of the pipeline" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" xmlns="http://www.w3.org/2000/svg">{"".join(arrows + boxes)}</svg>'
    )


def _places(steps: Mapping[str, Sequence[str]], column: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    places: dict[str, tuple[int, int]] = {}
    first = 0
    for track in dict.fromkeys(_track(name) for name in steps):
        filled: dict[int, int] = {}
        for name in steps:
            if _track(name) == track:
                row = filled[column[name]] = filled.get(column[name], -1) + 1
                places[name] = (column[name] * (WIDTH + GAP_X) + 2, (first + row) * (HEIGHT + GAP_Y) + 2)
        # Steps of no track go into the first track's band: nothing of a track lies in their column.
        first += max(filled.values()) + 1 if track else 0
    return places


def _track(name: str) -> str:
    return name.rpartition("-")[2] if "-" in name else ""


def _arrow(source: tuple[int, int], target: tuple[int, int]) -> str:
    x1, y1, x2, y2 = source[0] + WIDTH, source[1] + HEIGHT / 2, target[0], target[1] + HEIGHT / 2
    middle = x2 - GAP_X / 2
    return f'<path class="arrow" d="M{x1} {y1:g} C{middle} {y1:g} {middle} {y2:g} {x2 - 5} {y2:g} l-4 -3 m4 3 l-4 3"/>'


def _box(name: str, x: int, y: int) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
        f'<text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 4:g}" text-anchor="middle">{escape(name)}</text>'
    )
