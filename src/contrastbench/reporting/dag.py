"""The pipeline's steps as an inline SVG drawing: left to right by what reads what, one band of rows per track."""

from collections.abc import Mapping, Sequence
from html import escape

import networkx

WIDTH, HEIGHT, GAP_X, GAP_Y = 112, 26, 22, 8
HEADING = 24  # above a band, for the name of its track


def dag_svg(steps: Mapping[str, Sequence[str]]) -> str:
    """Draw ``steps`` (name -> names of the steps that it reads from); ValueError if they form a cycle.

    Names end in ``-TRACK`` where a step belongs to one; its box says the rest. An arrow that others imply is left out.
    """
    graph = networkx.DiGraph([(source, name) for name, sources in steps.items() for source in sources])
    graph.add_nodes_from(steps)
    if not networkx.is_directed_acyclic_graph(graph):
        raise ValueError(f"the steps form a cycle: {networkx.find_cycle(graph)}")
    layers = networkx.topological_generations(graph)
    column = {name: number for number, layer in enumerate(layers) for name in layer}
    tracks = list(dict.fromkeys(track for name in steps if (track := _track(name))))
    bands, places, top = [], {}, 0
    for track in tracks or [""]:
        # Steps of no track go into the first track's band: nothing of a track lies in their column.
        own = [name for name in steps if _track(name) in ((track, "") if top == 0 else (track,))]
        rows: dict[int, int] = {}
        for name in own:
            row = rows[column[name]] = rows.get(column[name], -1) + 1
            places[name] = (column[name] * (WIDTH + GAP_X) + 2, top + HEADING + row * (HEIGHT + GAP_Y))
        first = min(places[name][0] for name in own if _track(name) == track)
        bands.append(f'<text class="track" x="{first}" y="{top + HEADING - 7}">{escape(track)}</text>')
        top += HEADING + (max(rows.values()) + 1) * (HEIGHT + GAP_Y)
    width = max(x for x, _ in places.values()) + WIDTH + 4
    arrows = [
        _arrow(places[source], places[name]) for source, name in sorted(networkx.transitive_reduction(graph).edges)
    ]
    boxes = [_box(name, *place) for name, place in places.items()]
    return (
        f'<svg class="dag" role="img" aria-label="Steps of the pipeline" viewBox="0 0 {width} {top}" '
        f'width="{width}" height="{top}" xmlns="http://www.w3.org/2000/svg">{"".join(arrows + bands + boxes)}</svg>'
    )


def _track(name: str) -> str:
    return name.rpartition("-")[2] if "-" in name else ""


def _arrow(source: tuple[int, int], target: tuple[int, int]) -> str:
    x1, y1, x2, y2 = source[0] + WIDTH, source[1] + HEIGHT / 2, target[0], target[1] + HEIGHT / 2
    middle = x2 - GAP_X / 2
    return f'<path class="arrow" d="M{x1} {y1:g} C{middle} {y1:g} {middle} {y2:g} {x2 - 5} {y2:g} l-4 -3 m4 3 l-4 3"/>'


def _box(name: str, x: int, y: int) -> str:
    said = name.removesuffix(f"-{_track(name)}")
    return (
        f'<g><title>{escape(name)}</title><rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
        f'<text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 4:g}" text-anchor="middle">{escape(said)}</text></g>'
    )
