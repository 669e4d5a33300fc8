"""Common corruptions: held against the authors' code, and the stage that judges encoders on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from sklearn.datasets import load_sample_image
from small_project import LEARNS_DIGITS, judged, run, small_grid

from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation import corruptions as module
from contrastbench.evaluation.corruptions import CORRUPTIONS, FROSTS, corrupt
from contrastbench.evaluation.linear_probe import fit_linear
from contrastbench.jobs.features_file import labelled, read_features
from contrastbench.jobs.weights import load_trained
from contrastbench.params.corruptions import KINDS
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.figures import protocol_curves
from contrastbench.results.load import rows_in
from contrastbench.results.rows import Row, unpack_correct
from contrastbench.stages.corruptions import choose

# Of `make_cifar_c.py` and `make_tinyimagenet_c.py`, run outside the project on the pictures below: for each kind and
# severity, mean and standard deviation over draws of the measures below. Wand's call of ImageMagick's motion blur was
# that of imagecorruptions 1.1.5, which computes the same without ImageMagick.
PUBLISHED = json.loads((REPOSITORY / "tests/published_corruptions.json").read_text(encoding="utf-8"))
PUBLISHED_DRAWS, OUR_DRAWS = 20, 3
FIXED = ("defocus-blur", "zoom-blur", "brightness", "contrast", "pixelate", "jpeg-compression")


def pictures(size: int) -> np.ndarray:
    """30 colour pictures (30, size, size, 3) uint8: parts of two photographs, scaled down."""
    factor, parts = 128 // size, []
    for name in ("china.jpg", "flower.jpg"):
        whole = load_sample_image(name)[:384, :640].astype(float)
        small = whole.reshape(384 // factor, factor, 640 // factor, factor, 3).mean((1, 3))
        parts.append(small.reshape(3, size, 5, size, 3).swapaxes(1, 2).reshape(15, size, size, 3))
    return np.rint(np.concatenate(parts)).astype(np.uint8)


def measures(corrupted: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Mean change, root mean square change, mean step down and to the right."""
    y, x = corrupted / 255, clean / 255
    steps = [abs(np.diff(y, axis=axis)).mean() for axis in (1, 2)]
    return np.array([(y - x).mean(), np.sqrt(((y - x) ** 2).mean()), *steps])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("settings", "size"), [("small", 32), ("large", 64)])
def test_what_is_done_is_what_the_authors_code_does(kind: str, settings: str, size: int) -> None:
    clean = pictures(size)
    for severity, published in enumerate(PUBLISHED[settings][kind], start=1):
        draws = [
            measures(corrupt(clean, kind, severity, range(30 * draw, 30 * draw + 30)), clean)
            for draw in range(1 if kind in FIXED else OUR_DRAWS)
        ]
        error = np.array(published["spread"]) * np.sqrt(1 / OUR_DRAWS + 1 / PUBLISHED_DRAWS)
        np.testing.assert_array_less(abs(np.mean(draws, axis=0) - published["mean"]), 5 * error + 2e-4)


def test_every_kind_has_its_five_settings() -> None:
    assert tuple(CORRUPTIONS) == KINDS and len(KINDS) == 15
    assert all(len(each.small) == len(each.large) == 5 for each in CORRUPTIONS.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (96, 96, 3)])
def test_images_keep_their_shape_and_change(kind: str, shape: tuple[int, ...]) -> None:
    clean = np.random.default_rng(0).integers(0, 256, (12, *shape)).astype(np.uint8)
    clean[0], clean[1] = 0, 255
    for severity in (1, 5):
        found = corrupt(clean, kind, severity, range(12))
        assert found.shape == clean.shape and found.dtype == np.uint8
    assert (found[2:] != clean[2:]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_more_severe_is_further_from_the_clean_image(kind: str) -> None:
    """But for the elastic transform, whose published settings move an image of this size less and less."""
    clean = pictures(32)
    change = [measures(corrupt(clean, kind, severity, range(30)), clean)[1] for severity in (1, 5)]
    assert change[0] > 0 and (change[1] > 1.2 * change[0]) == (kind != "elastic-transform")


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_corrupted_alike_in_every_batch_and_order(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = pictures(32)[:7]
    numbers = np.array([5, 900, 2, 3, 11, 0, 70])
    whole = corrupt(clean, kind, 3, numbers)
    order = np.array([6, 0, 3, 1, 5, 2, 4])
    monkeypatch.setattr(module, "AT_ONCE", 3)
    assert (corrupt(clean[order], kind, 3, numbers[order]) == whole[order]).all()
    assert (corrupt(clean[4:5], kind, 3, numbers[4:5]) == whole[4:5]).all()
    assert (corrupt(clean, kind, 3, numbers + 1) == whole).all() == (kind in FIXED)


def test_kinds_and_severities_have_random_numbers_of_their_own() -> None:
    grey = np.full((1, 28, 28, 1), 128, np.uint8)
    first, second, other = (
        corrupt(grey, kind, severity, [0]).astype(int) - 128
        for kind, severity in (("gaussian-noise", 1), ("gaussian-noise", 2), ("shot-noise", 1))
    )
    for noise in (second, other):
        assert abs(np.corrcoef(first.ravel(), noise.ravel())[0, 1]) < 0.15


@pytest.mark.parametrize("kind", FIXED)
def test_grey_images_are_colour_images_without_colour(kind: str) -> None:
    grey = pictures(32)[..., 1:2]
    in_colour = corrupt(grey.repeat(3, axis=3), kind, 4, range(30))
    assert abs(in_colour.astype(int) - corrupt(grey, kind, 4, range(30))).max() <= 1


def test_frost_is_of_the_five_pictures_that_the_authors_code_takes() -> None:
    assert [name[5] for name in FROSTS] == list("12234"), "two of the authors' five files are one picture"
    black = np.zeros((60, 32, 32, 3), np.uint8)
    found = corrupt(black, "frost", 2, range(60)) / 0.3  # kept 1, weight 0.3: of a black image, the frost alone
    assert len(np.unique(found.reshape(60, -1), axis=0)) > 50, "other crops"
    assert 100 < found.mean() < 200


JOB = Job("unremix", "digits", "simclr", 0)
KIND, SEVERITIES = ("snow", "contrast", "gaussian-noise"), (2, 5)
GRID = {
    "tracks": ["unremix"],
    "unremix": LEARNS_DIGITS
    | {
        "methods": ["random", "simclr"],
        "training": LEARNS_DIGITS["training"] | {"epochs": 2},  # type: ignore[operator]
        "corruptions": {"kinds": list(KIND), "severities": list(SEVERITIES), "images": 50},
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits, a trained encoder and its features."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        grid = small_grid(folder, GRID)
        run(grid, "prepare", Job("", "digits"))
        run(grid, "pretrain", JOB)
        run(grid, "features", JOB)
    return folder


@pytest.fixture
def grid(project: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(project)
    return Grid("small", project)


def verdicts(row: Row) -> np.ndarray:
    """(corruptions, images)."""
    assert row.correct is not None
    return unpack_correct(row.correct, row.n).reshape(len(row.detail["draws"]), -1)


def test_rows_are_means_of_the_same_cells(grid: Grid) -> None:
    rows = judged(grid, "corruptions", JOB)
    at = np.stack([verdicts(rows[f"corrupted-at-{severity}"]) for severity in SEVERITIES], axis=1)
    by = np.stack([verdicts(rows[f"corrupted-by-{kind}"]) for kind in KIND])
    assert at.shape == (len(KIND), len(SEVERITIES), 50)
    assert (at == by).all() and (at.reshape(-1, 50) == verdicts(rows["corrupted"])).all()
    assert set(rows) == {
        "corrupted",
        *(f"corrupted-at-{severity}" for severity in (0, *SEVERITIES)),
        *(f"corrupted-by-{kind}" for kind in KIND),
    }
    for name, row in rows.items():
        if name != "corrupted-at-0":
            cells = verdicts(row)
            assert row.value == pytest.approx(cells.mean()) and row.detail["draws"] == cells.mean(axis=1).tolist()
            images = cells.mean(axis=0)
            half = 1.96 * images.std(ddof=1) / np.sqrt(50)
            ends = max(row.value - half, 0), min(row.value + half, 1)
            assert row.interval == pytest.approx(ends), "images are the sample, corruptions are not"
    assert rows["corrupted-at-5"].value < rows["corrupted-at-0"].value


def test_the_classifier_is_that_of_the_linear_probe_on_clean_features(grid: Grid) -> None:
    rows, probed = judged(grid, "corruptions", JOB), judged(grid, "probe", JOB)["linear"]
    data = open_prepared(grid.data_folder("unremix", "digits"))
    chosen = choose(probed.n, 50, "digits")
    clean = rows["corrupted-at-0"]
    assert clean.correct is not None and probed.correct is not None
    assert (unpack_correct(clean.correct, 50) == unpack_correct(probed.correct, probed.n)[chosen]).all()
    assert clean.detail["C"] == probed.detail["C"]
    features = read_features(grid, JOB, data)
    train, validation = (labelled(features, data, split) for split in ("train", "validation"))
    classifier = fit_linear(train, validation, grid.track("unremix").probe.l2_grid)[0]
    images = corrupt(data.x("test")[chosen], "snow", 5, chosen)
    with torch.no_grad():
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        found = load_trained(grid, JOB).encoder(inputs).numpy()
    labels = np.asarray(data.y("test"))[chosen]
    assert (verdicts(rows["corrupted-at-5"])[0] == (classifier.predict(found) == labels)).all()


def test_the_same_rows_twice_and_other_images_of_another_data_set(grid: Grid) -> None:
    first, second = (judged(grid, "corruptions", JOB) for _ in range(2))
    assert {name: row.correct for name, row in first.items()} == {name: row.correct for name, row in second.items()}
    chosen = choose(1000, 100, "digits")
    assert (np.diff(chosen) > 0).all() and len(chosen) == 100 and chosen[-1] > 800
    assert not np.array_equal(chosen, choose(1000, 100, "mnist5k"))
    assert (choose(30, None, "digits") == np.arange(30)).all()


def test_accuracy_is_drawn_over_severity_from_clean_images_on(grid: Grid) -> None:
    judged(grid, "corruptions", JOB)
    curves = {chart.title: chart for chart in protocol_curves(cells_of(rows_in(grid.root)))}
    (line,) = curves["corrupted-at on digits"].figure.data
    assert list(line.x) == [0, *SEVERITIES]


def changed(tmp_path: Path, **changes: object) -> Grid:
    track = GRID["unremix"] | {"corruptions": GRID["unremix"]["corruptions"] | changes}  # type: ignore[operator, index]
    return small_grid(tmp_path, GRID | {"unremix": track})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kinds": ["fogg"]}, "unremix.corruptions.kinds.0 = \"fogg\": input should be 'gaussian-noise'"),
        ({"kinds": []}, "unremix.corruptions.kinds"),
        ({"kinds": ["fog", "fog"]}, "'fog' is listed twice"),
        ({"severities": [0]}, "unremix.corruptions.severities.0 = 0: input should be greater than or equal to 1"),
        ({"severities": [6]}, "unremix.corruptions.severities.0 = 6: input should be less than or equal to 5"),
        ({"severities": [1, 1]}, "1 is listed twice"),
        ({"images": 1}, "unremix.corruptions.images = 1"),
    ],
)
def test_parameters_that_mean_nothing_are_one_line(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(UserError) as error:
        assert changed(tmp_path, **changes).params
    assert said in str(error.value) and "\n" not in str(error.value)


def test_more_images_than_there_are_is_one_line() -> None:
    said = "corruptions.images: 61 images asked for, the test split of digits has 60; null takes all"
    with pytest.raises(UserError, match=f"^{said}$"):
        choose(60, 61, "digits")


def test_sound_is_not_corrupted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this section corrupts images, and this track takes audio data"):
        section = {"kinds": ["fog"], "severities": [1], "images": 50}
        assert small_grid(tmp_path, {"uamix": {"corruptions": section}}).params
