"""The stage ``own_attack``: what it counts, on which images, and what it says of an attack that cheats."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from finished_project import CHANGES
from small_project import judged, small_grid
from test_plugins import _names  # noqa: F401  (no name of these tests is known afterwards)
from test_project import write

from contrastbench.cli.stages import _call
from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.verdicts import attack_order
from contrastbench.jobs.runtime import Runtime
from contrastbench.params.base import overlay
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.stages.head_corruptions import attacked_classifiers

JOB, COUNT = Job("swaro", "digits", "swaro", 0), 150
DECLARED = 'ATTACK = {{"name": "{0}", "norm": "linf", "settings": {{"by": 1.0}}}}\n'
FUNCTION = "import numpy, torch\ndef attack(model, images, labels, *, eps, generator, by):\n    return {0}\n"
ATTACKS = {
    "vandal": "images + 0 * sum(weight.data.zero_().sum() for weight in model.parameters())",
    "gradless": "images + 0 * isinstance(torch.set_grad_enabled(False), type)",
    "follower": "images if torch.is_grad_enabled() else None",
    "unseeded": "(images + eps * images.new_tensor(numpy.random.uniform(-1, 1, images.shape))).clamp(0, 1)",
    "brighter": "(images + by * eps).clamp(0, 1)",
    "beyond": "images + by + eps",
    "nowhere": "images * float('nan')",
    "inverted": "images.copy_(1 - images)",
    "mislabelled": "images + 0 * labels.add_(1).remainder_(10).sum()",
    "drawn": "(images + eps * (2 * images.new_empty(images.shape).uniform_(generator=generator) - 1)).clamp(0, 1)",
}


@pytest.fixture
def grid(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    """The finished project, with attacks that are easily told."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    for name, result in ATTACKS.items():
        write(folder, f"attacks/{name}.py", DECLARED.format(name) + FUNCTION.format(result))
    asked = {name: {"eps": [0.3], "images": COUNT} for name in ATTACKS}
    return small_grid(folder, overlay(CHANGES, {"swaro": {"own_attacks": asked | {"random_corners": None}}}))


def test_images_in_the_ball_count_and_others_break_nothing(grid: Grid) -> None:
    data = open_prepared(grid.layout.prepared("digits"))
    first = attack_order(len(data.y("test")), JOB.seed)[:COUNT]  # type: ignore[arg-type]
    images = torch.from_numpy(data.x("test")[first]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(np.asarray(data.y("test"))[first])
    rows = judged(grid, "own_attack", JOB)
    classifiers = attacked_classifiers(grid, JOB, data)
    assert len(rows) == len(ATTACKS) * len(classifiers)
    with torch.no_grad():
        for head, model in classifiers.items():
            prefix = "" if head == "slf" else f"{head}-"
            clean, brighter = (model(x).argmax(1) == labels for x in (images, (images + 0.3).clamp(0, 1)))
            row = rows[f"{prefix}own-brighter-linf@0.3"]
            assert row.n == COUNT and row.value == (clean & brighter).double().mean()
            assert row.value < clean.double().mean() and "failed_checks" not in row.detail
            assert row.detail["drawn_from"] == len(data.y("test"))  # type: ignore[arg-type]
            for idle in ("mislabelled", "vandal", "gradless", "follower"):
                assert rows[f"{prefix}own-{idle}-linf@0.3"].value == clean.double().mean()
            for cheat in ("beyond", "nowhere", "inverted"):
                row = rows[f"{prefix}own-{cheat}-linf@0.3"]
                assert row.value == clean.double().mean()
                assert row.detail["failed_checks"][-1].startswith(f"{COUNT} images outside the ball or [0, 1]")
    again = judged(grid, "own_attack", JOB)
    assert [row.correct for row in again.values()] == [row.correct for row in rows.values()], "drawn alike"


def test_settings_reach_the_function(grid: Grid) -> None:
    within = judged(grid, "own_attack", JOB)["own-brighter-linf@0.3"]
    content = yaml.safe_load(Path("presets/small.yaml").read_text())
    content["swaro"]["own_attacks"] = {"brighter": {"eps": [0.3], "images": COUNT, "by": 0.0}}
    Path("presets/small.yaml").write_text(yaml.safe_dump(content))
    without = judged(Grid("small"), "own_attack", JOB)["own-brighter-linf@0.3"]
    assert without.value > within.value


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("images[:, :, 1:]", r"torch.float32 \(150, 1, 7, 8\)"),
        ("images > 0", r"torch.bool \(150, 1, 8, 8\)"),
        ("None", "NoneType"),
    ],
)
def test_what_is_no_batch_of_images_is_one_line(grid: Grid, result: str, told: str) -> None:
    write(grid.root, "attacks/brighter.py", DECLARED.format("brighter") + FUNCTION.format(result))
    expected = r"expected the images, floats \(150, 1, 8, 8\)"
    with pytest.raises(UserError, match=rf"^attack 'brighter' returned {told}; {expected}$"):
        judged(grid, "own_attack", JOB)


def test_what_an_attack_raises_is_told_with_its_line(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    write(grid.root, "attacks/brighter.py", DECLARED.format("brighter") + FUNCTION.format("images @ labels"))
    with pytest.raises(
        UserError, match=r"^own_attack swaro digits swaro 0: attacks/brighter.py:4: RuntimeError: .* \("
    ):
        _call("own_attack", grid, JOB, Runtime())
    assert capsys.readouterr().err.startswith("Traceback (most recent call last)")
