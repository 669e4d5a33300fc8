"""Tables for a terminal, or for the file or pipe in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded by the commands that need it: every pipeline step starts this program
    from rich.console import RenderableType

WITHOUT_END = 1_000_000  # characters of a line: more than any table has


def for_console(*shown: RenderableType) -> str:
    """As a terminal shows it, as wide as that is; in a file or a pipe nothing is wrapped."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WITHOUT_END
    with console.capture() as text:  # rich itself would end with code 1 where a pipe closes
        for each in shown:
            console.print(each)
    return text.get()
