"""Pictures of the report in ``docs/images``: each holds a hash of what it shows, by which a stale one is noticed."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from contrastbench.params.root import DEFAULT
from contrastbench.pipeline.sources import read_source
from contrastbench.reporting.claims import load_claims

FOLDER = Path("docs/images")
PICTURES = ("report.png", "report-phone.png")
DRAWN_OF = "drawn of"  # the key in a PNG's text
RENDER = "run `make screenshots`"
# What makes the page's beginning, which the pictures show; what cells look like is in the rendered tables.
MODULES = ("report.py", "summary.py", "contents.py", "claims_render.py")


def state(root: Path = Path()) -> str:
    """A hash of what the pictures show: the default preset's tables, the claims, the page's code and template."""
    here = Path(str(files("contrastbench.reporting")))
    digest = hashlib.sha256((here / "templates/report.html").read_bytes())
    for name in MODULES:
        digest.update(read_source(here / name).meaning.encode())
    for claim in load_claims(root).values():
        digest.update(json.dumps(claim.model_dump(mode="json"), sort_keys=True).encode())
    for path in sorted((root / "results/tables" / DEFAULT).glob("*")):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def stale_pictures(root: Path = Path()) -> list[str]:
    """A line for each picture that was not drawn of what the page shows now, and the remedy."""
    return [
        f"{FOLDER / name}: a picture of another report than today's; {RENDER}"
        for name in PICTURES
        if (root / FOLDER / name).exists() and _told(root / FOLDER / name) != state(root)
    ]


def _told(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            return image.info.get(DRAWN_OF)
    except (OSError, UnidentifiedImageError):
        return None
