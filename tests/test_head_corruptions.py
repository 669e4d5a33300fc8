"""The stage ``head_corruptions``: the classifiers that ``attack`` left, each judged on corrupted images by itself."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import REPOSITORY
from reporting_rows import loaded, row
from safetensors.torch import load_file, save_file
from small_project import LEARNS_DIGITS, judged, run, small_grid
from torch import nn

from contrastbench.datasets.store import open_prepared
from contrastbench.errors import UserError
from contrastbench.evaluation.corruptions import corrupt
from contrastbench.jobs.weights import load_trained
from contrastbench.pipeline import resources
from contrastbench.pipeline.grid import Grid, joined
from contrastbench.pipeline.layout import Job
from contrastbench.pipeline.stages import STAGES, group_of
from contrastbench.reporting.cells import cells_of
from contrastbench.reporting.figures import protocol_curves
from contrastbench.reporting.robustness_figures import corruptions_by_head
from contrastbench.results.load import Loaded, rows_in
from contrastbench.results.protocols import Protocol
from contrastbench.results.rows import Row, unpack_correct
from contrastbench.stages import corruptions as of_images
from contrastbench.stages.corruptions import choose
from contrastbench.stages.head_corruptions import Heads, attacked_classifiers

JOB, SUPERVISED = (Job("swaro", "digits", method, 0) for method in ("simclr", "supervised"))
HEADS = ("slf", "alf", "aff", "lpaft")
KINDS, SEVERITIES, IMAGES = ("snow", "gaussian-noise"), (2, 5), 60
NONE = dict.fromkeys(("foolbox", "minimal", "decision", "autoattack", "autoattack_tuned", "square", "transfer"), 0)
TUNING = {"epochs": 2, "max_examples": 256, "learning_rate": 0.05}
GRID = {
    "tracks": ["swaro"],
    "swaro": LEARNS_DIGITS
    | {
        "methods": ["simclr", "supervised"],
        "training": LEARNS_DIGITS["training"] | {"epochs": 2},  # type: ignore[operator]
        "corruptions": {"kinds": list(KINDS), "severities": list(SEVERITIES), "images": IMAGES},
        "robustness": {
            "images": NONE | {"gradient": 7, "convergence": 7, "validation": 20},
            "heads": list(HEADS),
            "l2_grid": [1.0],
            "alf": TUNING,
            "aff": TUNING,
            "lpaft": TUNING | {"clusters": 10},
        },
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits, two trained encoders and their attacked classifiers."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        grid = small_grid(folder, GRID)
        run(grid, "prepare", Job("", "digits"))
        for job in (JOB, SUPERVISED):
            for stage in ("pretrain", "features", "attack"):
                run(grid, stage, job)
    return folder


@pytest.fixture
def grid(project: Path, monkeypatch: pytest.MonkeyPatch) -> Grid:
    monkeypatch.chdir(project)
    return Grid("small", project)


def verdicts(of: Row) -> np.ndarray:
    """(corruptions, images); (1, images) of clean ones."""
    assert of.correct is not None
    return unpack_correct(of.correct, of.n).reshape(len(of.detail.get("draws", [0])), -1)


def by_hand(
    grid: Grid, job: Job, head: str, kind: str | None, severity: int, encoder_of: str | None = None
) -> np.ndarray:
    """Which of the chosen images the classifier gets right, from the file of weights; the encoder may be another's."""
    data = open_prepared(grid.data_folder("swaro", "digits"))
    chosen = choose(len(data.x("test")), IMAGES, "digits")
    images = np.asarray(data.x("test")[chosen])
    images = images if kind is None else corrupt(images, kind, severity, chosen)
    weights = load_file(grid.layout.run("attack", job) / "classifiers.safetensors")
    encoder = load_trained(grid, job).encoder
    prefix = f"{encoder_of or head}/encoder."
    encoder.load_state_dict({name[len(prefix) :]: each for name, each in weights.items() if name.startswith(prefix)})
    with torch.no_grad():
        features = encoder.eval()(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    logits = features @ weights[f"{head}/head.weight"].T + weights[f"{head}/head.bias"]
    labels = torch.from_numpy(np.asarray(data.y("test"))[chosen])
    return (logits.argmax(1) == labels).numpy()


@pytest.mark.parametrize(("job", "heads"), [(JOB, HEADS), (SUPERVISED, ("own",))], ids=["simclr", "supervised"])
def test_rows_of_each_head_are_those_of_its_weights(grid: Grid, job: Job, heads: tuple[str, ...]) -> None:
    rows = {found.protocol: found for found in judged(grid, "head_corruptions", job).values()}
    assert len(rows) == len(heads) * (2 + len(SEVERITIES) + len(KINDS))
    for head in heads:
        of = lambda family, head=head, **parts: rows[Protocol(family=family, head=head, **parts)]  # noqa: E731
        cells = np.array([[by_hand(grid, job, head, kind, level) for level in SEVERITIES] for kind in KINDS])
        clean = by_hand(grid, job, head, None, 0)
        assert (verdicts(of("corrupted-at", severity=0)) == clean).all()
        for number, severity in enumerate(SEVERITIES):
            assert (verdicts(of("corrupted-at", severity=severity)) == cells[:, number]).all()
        for number, kind in enumerate(KINDS):
            assert (verdicts(of("corrupted-by", corruption=kind)) == cells[number]).all()
        assert (verdicts(of("corrupted")) == cells.reshape(-1, IMAGES)).all()
        assert of("corrupted").value == pytest.approx(cells.mean())
        assert of("corrupted").detail["draws"] == pytest.approx(cells.reshape(-1, IMAGES).mean(axis=1).tolist())
        assert 0.15 < cells.mean() < 0.95, "verdicts that are nearly all alike would say nothing"


@pytest.mark.parametrize("head", ["aff", "lpaft"])
def test_a_head_with_an_encoder_of_its_own_is_not_judged_on_the_frozen_one(grid: Grid, head: str) -> None:
    found = judged(grid, "head_corruptions", JOB)[f"{head}-corrupted-by-snow"]
    on_frozen = [by_hand(grid, JOB, head, "snow", severity, encoder_of="slf") for severity in SEVERITIES]
    assert (verdicts(found) != np.array(on_frozen)).any()


def test_verdicts_on_clean_images_are_those_that_the_attack_began_with(grid: Grid) -> None:
    whole = small_grid(grid.root, GRID | {"swaro": GRID["swaro"] | {"corruptions": {"images": None}}}, "whole")  # type: ignore[operator]
    shutil.copytree("runs/small", "runs/whole")
    rows, attacked = judged(whole, "head_corruptions", JOB), run(grid, "attack", JOB)
    assert attacked is not None
    clean = {found.protocol.head: found for found in attacked if found.protocol.family == "clean"}
    for head in HEADS:
        prefix = "" if head == "slf" else f"{head}-"
        assert rows[f"{prefix}corrupted-at-0"].value == clean[head].value


def test_an_image_is_corrupted_once_and_passes_an_encoder_once(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    corrupted: list[tuple] = []

    def counted(images: np.ndarray, kind: str, severity: int, positions: np.ndarray) -> np.ndarray:
        corrupted.extend((kind, severity, position) for position in positions)
        return corrupt(images, kind, severity, positions)

    monkeypatch.setattr(of_images, "corrupt", counted)
    run(grid, "head_corruptions", JOB)
    assert len(corrupted) == len(set(corrupted)) == len(KINDS) * len(SEVERITIES) * IMAGES
    classifiers = attacked_classifiers(grid, JOB, open_prepared(grid.data_folder("swaro", "digits")))
    assert tuple(classifiers) == HEADS
    together = Heads(classifiers.values())
    assert together.encoder_of == [0, 0, 1, 2] and len(together.encoders) == 3, "slf and alf share theirs"
    passes: list[nn.Module] = []
    for encoder in together.encoders:
        encoder.register_forward_hook(lambda module, *_: passes.append(module))
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    logits = together(images)
    assert len(passes) == 3
    for at, head in enumerate(HEADS):
        assert torch.allclose(logits[:, at], classifiers[head](images), atol=1e-5)


def test_encoders_that_differ_in_a_running_mean_alone_are_two(grid: Grid) -> None:
    """Their parameters may agree: BatchNorm's statistics are weights as well."""
    data = open_prepared(grid.data_folder("swaro", "digits"))
    classifiers = [attacked_classifiers(grid, JOB, data)["slf"] for _ in range(2)]
    name, mean = next(item for item in classifiers[1].encoder.named_buffers() if item[0].endswith("running_mean"))
    assert Heads(classifiers).encoder_of == [0, 0], name
    mean += 0.1
    assert Heads(classifiers).encoder_of == [0, 1]


def test_classifiers_of_other_weights_or_none_are_refused(grid: Grid, tmp_path: Path) -> None:
    file = grid.layout.run("attack", JOB) / "classifiers.safetensors"
    kept = tmp_path / "kept"
    shutil.copy(file, kept)
    weights = load_file(file)
    try:
        save_file(weights, file)  # without their origin
        with pytest.raises(UserError, match="fitted with other weights, data, parameters or code than those asked for"):
            run(grid, "head_corruptions", JOB)
        file.unlink()
        with pytest.raises(UserError, match="no such file; run the stage attack first"):
            run(grid, "head_corruptions", JOB)
    finally:
        shutil.copy(kept, file)


def test_a_track_has_one_of_the_two_stages(tmp_path: Path) -> None:
    grid = small_grid(tmp_path)
    stages = ("corruptions", "head_corruptions")
    jobs = {name: {track: grid.jobs(name, track) for track in ("unremix", "swaro", "uamix")} for name in stages}
    assert jobs["corruptions"]["unremix"] and not jobs["head_corruptions"]["unremix"]
    assert jobs["head_corruptions"]["swaro"] and not jobs["corruptions"]["swaro"]
    assert not jobs["head_corruptions"]["uamix"]
    first = jobs["corruptions"]["unremix"][0]
    assert not [path for path in grid.inputs("corruptions", first) if path.name == "classifiers.safetensors"]
    assert grid.asked_code("corruptions", first) == grid_code(grid, first, "features", "corruptions")
    ours = Job("swaro", "digits", "swaro")
    assert grid.layout.run("attack", Job("swaro", "digits", "swaro", 0)) / "classifiers.safetensors" in grid.inputs(
        "head_corruptions", ours
    )
    assert grid.asked_code("head_corruptions", ours) == grid_code(grid, ours, "features", "attack", "head_corruptions")


def grid_code(grid: Grid, job: Job, *stages: str) -> str:
    return joined([*grid.training_code(job), *(grid.code(stage, job) for stage in stages)])


def test_the_other_tracks_stage_is_refused_in_one_line(tmp_path: Path) -> None:
    grid = small_grid(tmp_path)
    said = "track 'swaro' has a section `robustness`, and so not corruptions, but probe, .*, head-corruptions,"
    with pytest.raises(UserError, match=f"^{said}"):
        grid.job("corruptions", "swaro", "digits", "swaro")
    with pytest.raises(UserError, match=r"^track 'unremix' has no section `robustness`, which head-corruptions needs$"):
        grid.job("head_corruptions", "unremix", "digits", "simclr")


def test_heads_have_tables_and_lines_of_their_own_and_a_map_side_by_side(grid: Grid) -> None:
    for job in (JOB, SUPERVISED):
        judged(grid, "head_corruptions", job)
    protocols = {head: Protocol(family="corrupted", head=head) for head in (*HEADS, "own")}
    titles = {head: group_of(protocol).title for head, protocol in protocols.items()}
    assert titles["slf"] == titles["own"] == "Common corruptions"
    assert [titles[head] for head in HEADS[1:]] == [f"Common corruptions, {head.upper()}" for head in HEADS[1:]]
    cells = cells_of(Loaded([stored for stored in rows_in(grid.root).stored if stored.row.preset == "small"]))
    curves = {chart.title: chart.figure.data for chart in protocol_curves(cells)}
    assert {line.name for line in curves["corrupted-at on digits"]} == {"simclr", "supervised"}
    for head in HEADS[1:]:
        (line,) = curves[f"corrupted-at on digits, {head.upper()}"]
        assert list(line.x) == [0, *SEVERITIES]
    (chart,) = corruptions_by_head(cells)
    (drawn,) = chart.figure.data
    assert list(drawn.x) == ["simclr", "supervised"] and list(drawn.y) == ["STANDARD", "ALF", "AFF", "LPAFT"]
    mean = next(cell.mean for key, cell in cells.items() if key.protocol.name == "aff-corrupted")
    assert drawn.z[2][0] == round(100 * mean, 2) and drawn.z[2][1] is None


def test_one_head_is_no_map() -> None:
    assert corruptions_by_head(cells_of(loaded([row(protocol="corrupted")]))) == []


def test_more_heads_take_longer(tmp_path: Path) -> None:
    minutes = []
    for heads in (["slf"], list(HEADS)):
        images = {"corruptions": {"images": 100_000}, "robustness": {"heads": heads}}
        grid = small_grid(tmp_path, {"swaro": images})
        minutes.append(resources.needs(grid, "head_corruptions", Job("swaro", "digits", "swaro"), on_gpu=False).runtime)
    assert minutes[0] < minutes[1]


def test_no_job_of_a_group_waits_for_a_job_outside_that_waits_for_the_group() -> None:
    """Profiles submit ``features`` and ``judge`` as one job; attacks read features, and leave classifiers."""
    for path in REPOSITORY.glob("profiles/*/config.yaml"):
        groups = yaml.safe_load(path.read_text(encoding="utf-8")).get("groups", [])
        grouped = {rule for rule, _, _ in (group.partition("=") for group in groups)}
        assert not [stage.name for stage in STAGES.values() if stage.rule in grouped and "classifiers" in stage.reads]
