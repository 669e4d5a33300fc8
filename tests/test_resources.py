"""What jobs ask a cluster for: held against counted operations, and against what makes a job dear."""

import re
from pathlib import Path

import pytest
import torch
from small_project import prepared_data, small_grid
from torch import nn

from contrastbench.augment.graph_batch import GraphBatch
from contrastbench.models.encoders import build_encoder
from contrastbench.models.gin import GIN
from contrastbench.models.vit import AudioViT
from contrastbench.params.graphs import GINParams
from contrastbench.params.images import EncoderParams
from contrastbench.params.vit import ViTParams
from contrastbench.pipeline import resources
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import ALL_SEEDS, Job
from contrastbench.pipeline.resources import ASSUMED, LONGEST, START_MINUTES, Needs, needs

DIGITS = Job("unremix", "digits", "unremix", 0)
ATTACKED = Job("swaro", "digits", "swaro", 0)


def counted(encoder: nn.Module, x: torch.Tensor) -> int:
    """Multiply-adds of the convolutions and linear layers in one forward pass of ``x``."""
    total = 0

    def count(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d | nn.Linear):
            total += output.numel() * layer.weight[0].numel()

    for layer in encoder.modules():
        layer.register_forward_hook(count)
    with torch.no_grad():
        encoder.eval()(x)
    return total


@pytest.mark.parametrize(
    ("architecture", "width", "stem_stride", "side"),
    [("resnet-slim", 16, 2, 28), ("resnet-slim", 4, 1, 8), ("resnet18", 32, 1, 32), ("resnet50", 16, 2, 32)],
)
def test_the_cost_of_an_image_is_what_its_encoder_computes(architecture, width, stem_stride, side):
    params = EncoderParams(architecture=architecture, width=width, stem_stride=stem_stride)
    cost, _ = resources.cost_of(params, (side, side))
    assert counted(build_encoder(params, 3), torch.rand(1, 3, side, side)) == pytest.approx(cost, rel=0.1)


def test_the_cost_of_a_spectrogram_is_what_its_encoder_computes():
    params = ViTParams(patch=16, width=192, depth=4, heads=4, readout="mean")
    cost, _ = resources.cost_of(params, (128, 64))
    vit = AudioViT(params, (1, 128, 64))
    assert counted(vit, torch.rand(1, 1, 128, 64)) == pytest.approx(cost, rel=0.15)


def test_the_cost_of_a_graph_is_what_its_encoder_computes():
    params = GINParams(layers=3, width=32)
    cost, _ = resources.cost_of(params, ())
    nodes = torch.zeros(resources.NODES, 32)
    graph = GraphBatch(nodes, torch.zeros(2, 0, dtype=torch.int64), nodes[:, 0].long(), 1)
    assert counted(GIN(params, (32,)), graph) == cost


def asked(folder: Path, changes: dict, stage: str = "pretrain", job: Job = DIGITS, on_gpu: bool = False) -> Needs:
    return needs(small_grid(folder, changes), stage, job, on_gpu=on_gpu)


def of_track(track: str, **changes: object) -> dict:
    return {track: changes}


def test_memory_grows_with_batch_and_encoder_where_the_cpu_computes(tmp_path):
    plain = asked(tmp_path, {})
    large = of_track("unremix", training={"batch_size": 512}, encoder={"architecture": "resnet18", "width": 64})
    assert asked(tmp_path, of_track("unremix", training={"batch_size": 512})).mem_mb > plain.mem_mb
    # 512 pairs of images; ResNet-18 keeps about 8 MB of each for its backward pass.
    assert 1500 + 4000 < asked(tmp_path, large).mem_mb < 1500 + 16_000
    assert asked(tmp_path, large, on_gpu=True).mem_mb == asked(tmp_path, {}, on_gpu=True).mem_mb == 6000


def test_time_grows_with_epochs_attacks_and_encoder_and_ends_at_a_day(tmp_path):
    plain = asked(tmp_path, of_track("unremix", training={"epochs": 500}))
    assert 5 < plain.runtime < asked(tmp_path, of_track("unremix", training={"epochs": 1000})).runtime
    assert asked(tmp_path, of_track("unremix", training={"epochs": 1000, "max_examples": 9})).runtime < plain.runtime
    training = {"training": {"epochs": 500}}
    steps = [
        asked(tmp_path, of_track("swaro", **training, settings={"swaro": {"steps": n}}), job=ATTACKED) for n in (1, 7)
    ]
    assert steps[0].runtime < steps[1].runtime
    dear = of_track("unremix", training={"epochs": 100_000}, encoder={"architecture": "resnet50", "width": 64})
    assert asked(tmp_path, dear).runtime == LONGEST == 24 * 60
    few, many = (
        asked(tmp_path, of_track("swaro", robustness={"images": {"autoattack": n}}), "attack", ATTACKED).runtime
        for n in (0, 100_000)
    )
    assert few < many


def test_time_grows_with_folds_and_with_seeds_that_are_together(tmp_path):
    one, every = (Job("graphs", "mutag", "graphcl", seed) for seed in (0, ALL_SEEDS))
    few, many = (
        asked(tmp_path, of_track("graphs", folds={"outer": outer}), "cross_validate", every).runtime for outer in (2, 8)
    )
    assert few > START_MINUTES and many - START_MINUTES == pytest.approx(4 * (few - START_MINUTES), rel=0.05)
    long = of_track("graphs", training={"graphcl": {"epochs": 1000}}, encoder={"width": 32}, seeds=[0, 1, 2, 3])
    alone, together = (asked(tmp_path, long, job=job).runtime for job in (one, every))
    assert together - START_MINUTES == pytest.approx(4 * (alone - START_MINUTES), rel=0.05)


def test_each_attempt_asks_for_more_and_none_for_more_than_a_day(tmp_path):
    grid = small_grid(tmp_path)
    first, third = (needs(grid, "pretrain", DIGITS, on_gpu=False, attempt=attempt) for attempt in (1, 3))
    assert third == Needs(3 * first.mem_mb, 3 * first.runtime)
    assert needs(grid, "pretrain", DIGITS, on_gpu=False, attempt=1000).runtime == LONGEST


def test_the_size_of_data_is_known_once_they_are_prepared(tmp_path):
    """Those of a run's first jobs are guessed; the next attempt knows."""
    grid = small_grid(tmp_path)
    assert resources._shape(grid, DIGITS.track, "digits") == ASSUMED
    data = prepared_data(tmp_path, "digits", 0.1)
    assert resources._shape(grid, DIGITS.track, "digits") == data.x("train").shape[:3] == (len(data.x("train")), 8, 8)


def test_every_stage_of_every_preset_asks_for_a_whole_number_of_both(repository):
    for path in (repository / "presets").glob("*.yaml"):
        grid = Grid(path.stem, repository)
        for track in grid.params.tracks:
            for stage in resources.STAGES:
                for job in grid.jobs(stage, track) if stage not in resources.WITHOUT_ENCODER else [Job("", "")]:
                    for on_gpu in (False, True):
                        found = needs(grid, stage, job, on_gpu=on_gpu)
                        assert isinstance(found.mem_mb, int) and 1500 <= found.mem_mb < 64_000, (stage, job)
                        assert isinstance(found.runtime, int) and 5 < found.runtime <= LONGEST, (stage, job)


def test_every_rule_that_computes_says_what_it_needs(repository):
    files = sorted((repository / "src/contrastbench/workflow/rules").glob("*.smk"))
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    assert rules and all("**resources_of(" in rule for rule in rules)
