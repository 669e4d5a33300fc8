"""Renders the pictures of the default preset's report in ``docs/images``; about half a minute.

    python tests/screenshots.py

Each holds a hash of what it shows, by which ``contrastbench check-results`` knows a stale one.
"""

import sys
import tempfile
import time
from pathlib import Path

import pytest
from browser import Browser
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from contrastbench.errors import UserError
from contrastbench.pipeline.asked import rows_that_count
from contrastbench.reporting.pictures import DRAWN_OF, FOLDER, PICTURES, state
from contrastbench.stages.report import report

SIZES = dict(zip(PICTURES, ((1440, 1000), (390, 844)), strict=True))  # CSS pixels


def draw(browser: Browser, page: Path, folder: Path, told: str) -> None:
    """Write the beginning of ``page`` as it is seen on a screen and on a phone; each picture holds ``told``."""
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    for name, size in SIZES.items():
        browser.size(*size)
        browser.open(page)
        wait_until_drawn(browser)
        browser.screenshot(folder / name, whole=False)
        with Image.open(folder / name) as image:
            image.load()
        text = PngInfo()
        text.add_text(DRAWN_OF, told)
        image.convert("RGB").quantize(128).save(folder / name, pnginfo=text, optimize=True)


def wait_until_drawn(browser: Browser) -> int:
    """How many figures the page has, once all are drawn."""
    for _ in range(300):
        drawn = browser.run("return document.documentElement.dataset.drawn")
        if drawn is not None:
            return int(drawn)
        time.sleep(0.1)
    raise AssertionError("the figures were not drawn")


def main() -> None:
    """Render the pictures of the project in the current folder."""
    page = report(rows_that_count(preset="default"), "default")
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "report.html"
        file.write_text(page)
        with Browser(Path(temporary) / "profile") as browser:
            draw(browser, file, FOLDER, state())
    for name in PICTURES:
        print(f"written: {FOLDER / name}")


if __name__ == "__main__":
    try:
        main()
    except (UserError, pytest.skip.Exception) as problem:
        sys.exit(f"screenshots: {problem}")
