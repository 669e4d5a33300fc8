"""The pipeline's steps as an inline SVG drawing: columns by the longest way from the start, arrows left to right."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, GAP_X, GAP_Y = 168, 30, 46, 14


def dag_svg(steps: Mapping[str, Sequence[str]]) -> str:
    """Draw ``steps`` (name -> names of the steps that it reads from); ValueError if they form a cycle."""
    column = _columns(steps)
    places: dict[str, tuple[int, int]] = {}
    filled: dict[int, int] = {}
    for name in steps:
        row = filled.get(column[name], 0)
        filled[column[name]] = row + 1
        places[name] = (column[name] * (WIDTH + GAP_X) + 2, row * (HEIGHT + GAP_Y) + 2)
    width = (max(column.values(), default=0) + 1) * (WIDTH + GAP_X) - GAP_X + 4
    height = max(filled.values(), default=1) * (HEIGHT + GAP_Y) - GAP_Y + 4
    arrows = [_arrow(places[source], places[name]) for name, sources in steps.items() for source in sources]
    boxes = [_box(name, *place) for name, place in places.items()]
    return (
        f'<svg class="dag" role="img" aria-label="Steps of the pipeline" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" xmlns="http://www.w3.org/2000/svg">{"".join(arrows + boxes)}</svg>'
    )


def _columns(steps: Mapping[str, Sequence[str]]) -> dict[str, int]:
    column: dict[str, int] = {}

    def place(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ValueError(f"the steps form a cycle through {name}")
        if name not in column:
            column[name] = 1 + max((place(source, (*above, name)) for source in steps[name]), default=-1)
        return column[name]

    for name in steps:
        place(name, ())
    return column


def _arrow(source: tuple[int, int], target: tuple[int, int]) -> str:
    x1, y1, x2, y2 = source[0] + WIDTH, source[1] + HEIGHT / 2, target[0], target[1] + HEIGHT / 2
    middle = x2 - GAP_X / 2
    return f'<path class="arrow" d="M{x1} {y1:g} C{middle} {y1:g} {middle} {y2:g} {x2 - 5} {y2:g} l-4 -3 m4 3 l-4 3"/>'


def _box(name: str, x: int, y: int) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
        f'<text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 4:g}" text-anchor="middle">{escape(name)}</text>'
    )
