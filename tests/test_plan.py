import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from small_project import small_grid
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.datasets import adapter
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import write_prepared
from contrastbench.errors import UserError
from contrastbench.pipeline import calibration
from contrastbench.pipeline import plan as plan_module
from contrastbench.pipeline.estimate import START_S, Measured, Task, estimate
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import ALL_SEEDS, Job
from contrastbench.pipeline.plan import job_of_files, keep_plan, make_plan, plan_against_actual, plan_file, tasks
from contrastbench.pipeline.reference import NAME, Reference, as_json, reference
from contrastbench.pipeline.resources import ASSUMED, assumed_shape
from contrastbench.pipeline.runs import benchmarks
from contrastbench.pipeline.stages import STAGES

TASK = Task("pretrain", "unremix/mnist5k/simclr/0", "unremix", "mnist5k", "simclr", "slim", 1000.0, 10)


def measured(seconds: float, peak: float = 100.0, **changes) -> Measured:
    return Measured(Task(**{**TASK.__dict__, **changes}), seconds, peak)


def test_the_same_job_before_is_the_best_guide():
    others = [measured(500, setting="resnet50"), measured(90, method="hcl"), measured(30), measured(34), measured(44)]
    found = estimate(TASK, others)
    assert found is not None
    assert found.seconds == pytest.approx(34)
    assert (found.low, found.high) == pytest.approx((30 / 1.3, 44 * 1.3))


def test_time_beyond_the_start_grows_with_the_work():
    found = estimate(TASK, [measured(12, work=250.0, dataset="digits")])
    assert found is not None and found.seconds == pytest.approx(START_S + 10 * 4)


def test_a_tiny_job_says_nothing_of_a_large_one_where_a_larger_is_known():
    tiny, large = measured(8, work=10.0, dataset="digits"), measured(25, work=800.0, dataset="cifar10")
    found = estimate(TASK, [tiny, large])
    assert found is not None and found.seconds == pytest.approx(START_S + 23 / 0.8)


def test_a_dearer_encoder_takes_longer():
    small = measured(12, forward=1e6, setting="small", dataset="digits")
    found = estimate(Task(**{**TASK.__dict__, "forward": 4e6}), [small])
    assert found is not None and found.seconds == pytest.approx(START_S + 10 * 4)
    found = estimate(TASK, [small])  # it computes with none that is known
    assert found is not None and found.seconds == pytest.approx(12)


def test_without_prepared_data_only_the_same_data_set_counts_by_epochs():
    unprepared = Task(**{**TASK.__dict__, "work": None, "epochs": 30})
    found = estimate(unprepared, [measured(12)])
    assert found is not None and found.seconds == pytest.approx(START_S + 10 * 3)
    assert estimate(unprepared, [measured(12, dataset="digits")]) is None


def test_the_less_alike_the_wider_the_range():
    ranges = [
        estimate(TASK, [measured(20, **change)])
        for change in ({}, {"method": "hcl"}, {"setting": "resnet50"}, {"track": "swaro"})
    ]
    widths = [found.high / found.low for found in ranges if found is not None]
    assert len(widths) == 4 and widths == sorted(widths) and widths[0] < widths[-1]
    assert estimate(TASK, [measured(20, stage="probe")]) is None


@pytest.fixture
def project(repository, tmp_path, monkeypatch) -> Path:
    """The pipeline's own files, as many prepared digits, and one measured training run."""
    for name in ("Snakefile", "profiles", "presets", "params.yaml"):
        source = repository / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    black = Split(np.zeros((1200, 8, 8, 1), np.uint8), None)
    write_prepared(tmp_path / "data/prepared/digits", adapter("digits"), {"train": black}, "")
    time(tmp_path, "pretrain", "unremix/digits/simclr/0", 20, 300)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan_module, "calibration_s", lambda: 3 * reference().calibration_s)
    return tmp_path


def time(root: Path, stage: str, name: str, seconds: float, peak: float) -> None:
    file = root / f"runs/smoke/benchmarks/{stage}/{name}.tsv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t{peak}\n")


def answered(monkeypatch, lines: list[str], code: int = 0, error: str = "") -> None:
    header = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan"
    result = subprocess.CompletedProcess([], code, "\n".join([header, *lines]) + "\n", error)
    monkeypatch.setattr(plan_module, "call", lambda *arguments, **options: result)


RUN = "runs/smoke/pretrain/unremix/digits/{}/0/{}\t-\tpretrain\t-\tmissing\t{}"
ROW = "results/rows/smoke/{}.jsonl\t-\tjudge\t-\tok\t{}"


def test_files_of_one_job_are_one_job_and_done_only_together(project, monkeypatch):
    lines = [RUN.format("simclr", name, "no update") for name in ("model.safetensors", "history.csv")]
    lines += [
        RUN.format("unremix", "model.safetensors", "no update"),
        RUN.format("unremix", "run.json", "update pending"),
    ]
    lines += [
        ROW.format("probe/unremix/digits/simclr/all", "update pending"),
        ROW.format("transfer_attack/swaro/digits/all/0", "no update"),
        "data/prepared/digits/meta.json\t-\tprepare\t-\tok\tno update",
        "data/spectrograms/smoke/uamix/instruments/meta.json\t-\tspectrograms\t-\tok\tno update",
        "runs/smoke/figures/swaro/digits/adversarial-examples/0.png\t-\tfigures\t-\tok\tno update",
    ]
    lines += [f"results/tables/smoke/unremix.{end}\t-\ttables\t-\tmissing\tupdate pending" for end in ("md", "csv")]
    lines += ["results/metrics/smoke/unremix.json\t-\ttables\t-\tok\tno update"]
    lines += ["results/report-smoke.html\t-\treport\t-\tok\tno update"]
    lines += ["somewhere/else.txt\t-\treport\t-\tok\tno update"]
    answered(monkeypatch, lines)
    plan = make_plan("smoke")
    assert {(job.stage, job.name): job.done for job in plan.jobs} == {
        ("pretrain", "unremix/digits/simclr/0"): True,
        ("pretrain", "unremix/digits/unremix/0"): False,
        ("probe", "unremix/digits/simclr/all"): False,
        ("transfer_attack", "swaro/digits/all/0"): True,
        ("prepare", "digits"): True,
        ("spectrograms", "uamix/instruments"): True,
        ("figures", "runs/smoke/figures/swaro/digits/adversarial-examples/0"): True,
        ("tables", "unremix"): False,
        ("report", "report"): True,
    }
    assert plan.stages() == [
        "prepare", "spectrograms", "pretrain", "probe", "transfer_attack", "figures", "tables", "report"
    ]  # fmt: skip
    (training,) = plan.pending("pretrain")
    assert training.cost is not None and training.cost.seconds == pytest.approx(20) and training.cost.peak_mb == 300
    assert plan.downloads == []


def test_a_job_of_all_seeds_is_planned_by_how_many_they_are(project, monkeypatch):
    """Measured with one seed (smoke): 2 seconds of start and 3 of work."""
    time(project, "probe", "unremix/digits/simclr/all", START_S + 3, 300)
    (project / "presets/seeds.yaml").write_text(
        (project / "presets/smoke.yaml").read_text().replace("  seeds: [0]", "  seeds: [0, 1, 2, 3]", 1)
    )
    answered(monkeypatch, ["results/rows/seeds/probe/unremix/digits/simclr/all.jsonl\t-\tjudge\t-\t-\tupdate pending"])
    ((job,)) = make_plan("seeds").jobs
    assert job.cost is not None and job.cost.seconds == pytest.approx(START_S + 4 * 3)


def test_seeds_that_are_together_are_one_job(tmp_path):
    grid, apart = (
        small_grid(tmp_path, {"graphs": {"seeds_together": each}}, str(each).lower()) for each in (True, False)
    )
    seeds = [Job("graphs", "mutag", "graphcl-simclr", seed) for seed in (0, 1)]
    one, other = Job("graphs", "mutag", "graphcl-simclr", ALL_SEEDS), Job("graphs", "mutag", "graphcl-simclr", 7)
    for stage in ("pretrain", "features"):
        assert [grid.run_as(stage, each) for each in (*seeds, one, other)] == [one, one, one, other]
        assert grid.members(stage, one) == seeds and grid.members(stage, other) == [other]
        assert grid.outputs(stage, one) == [path for each in seeds for path in grid.outputs(stage, each)]
        assert set(grid.inputs(stage, one)) == {path for each in seeds for path in grid.inputs(stage, each)}
        assert grid.rule(STAGES[stage], "graphs") == f"{stage}_graphs" and grid.rule(STAGES[stage], "swaro") == stage
        owners = {job_of_files(grid)[str(path)] for path in grid.outputs(stage, one)}
        assert owners == {(stage, "graphs/mutag/graphcl-simclr/all")}
        assert apart.run_as(stage, seeds[1]) == seeds[1] and apart.rule(STAGES[stage], "graphs") == stage
    assert grid.run_as("pretrain", Job("swaro", "digits", "swaro", 0)).seed == 0
    assert grid.rule(STAGES["cross_validate"], "graphs") == STAGES["cross_validate"].rule
    together, single = (
        {(task.stage, task.name): task.epochs for task in tasks(each, tmp_path)} for each in (grid, apart)
    )
    assert (
        together["pretrain", "graphs/mutag/graphcl-simclr/all"]
        == 2 * single["pretrain", "graphs/mutag/graphcl-simclr/1"]
    )


def test_in_a_fresh_clone_the_shipped_measurements_are_scaled(project, monkeypatch):
    """Nothing has run here but a little training on unremix; data are not prepared, and yet their size is known."""
    lines = [RUN.format("unremix", "run.json", "update pending")]
    lines += ["runs/default/tune/uamix/instruments/uamix-mae/0/run.json\t-\ttune\t-\tmissing\tupdate pending"]
    answered(monkeypatch, [line.replace("smoke", "default").replace("digits", "mnist5k") for line in lines])
    plan = make_plan("default")
    costs = {job.stage: job.cost for job in plan.jobs}
    assert costs["pretrain"] is not None and costs["pretrain"].elsewhere
    wanted = ("tune", "instruments", "uamix-mae")
    shipped = next(job for job in reference().jobs if (job.task.stage, job.task.dataset, job.task.method) == wanted)
    tuned = costs["tune"]
    assert tuned is not None and tuned.elsewhere and plan.slower == pytest.approx(3)
    assert tuned.seconds == pytest.approx(3 * shipped.seconds) and tuned.peak_mb == shipped.peak_mb
    assert tuned.high == pytest.approx(3 * shipped.seconds * 1.3 * 1.5)
    sizes = [job.size for job in reference().jobs if job.task.stage == "tune"]
    assert [job.size for job in plan.jobs if job.stage == "tune"] == [max(sizes)]
    assert plan.data_bytes == sum(reference().data_bytes[name] for name in ("mnist5k", "instruments", "mutag"))
    text = CliRunner().invoke(app, ["plan"]).output
    assert "first estimate: 2 of 2 jobs by what they took on another machine (" in text and "times 3, as" in text
    assert re.search(r"disk: about [\d,]+ MiB under runs/default, and \d+ MiB under data", text)


def test_what_has_run_here_counts_alone(project, monkeypatch):
    monkeypatch.setattr(plan_module, "calibration_s", lambda: pytest.fail("nothing to scale"))
    answered(monkeypatch, [RUN.format("unremix", "run.json", "update pending")])
    plan = make_plan("smoke")
    assert plan.slower is None
    assert "first estimate" not in CliRunner().invoke(app, ["plan", "--preset", "smoke"]).output


def test_own_files_are_counted_before_they_are_prepared(tmp_path):
    declared = {"kind": "image-folder", "path": "raw", "size": 24, "split": {"by": "fraction", "test": 0.2}}
    changes = {"tracks": ["unremix"], "datasets": {"mine": declared}, "unremix": {"datasets": ["mine"]}}
    grid = small_grid(tmp_path, changes)
    for number in range(7):
        (tmp_path / f"raw/{number % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"raw/{number % 2}/{number}.png").touch()
    assert assumed_shape(grid, "mine") == (7, 24, 24) and assumed_shape(grid, "mnist5k") == ASSUMED
    (training,) = [task for task in tasks(grid, tmp_path) if (task.stage, task.method) == ("pretrain", "simclr")]
    assert training.work == 7 * training.epochs


@pytest.mark.parametrize("track", ["unremix", "swaro"])
def test_what_is_not_trained_takes_as_long_as_its_start(tmp_path, track):
    """Of `swaro` nothing of the kind is shipped: training is no guide, however large the encoder."""
    large = {"architecture": "timm/resnet18", "input_size": 32}
    untrained = {"giant": {"method": "random", "encoder": large}}
    grid = small_grid(tmp_path, {"tracks": [track], track: {"variants": untrained, "methods": ["giant"]}})
    (task,) = (each for each in tasks(grid, tmp_path) if (each.stage, each.method) == ("pretrain", "giant"))
    cost = estimate(task, reference().jobs)
    assert cost is not None and cost.seconds < 5


def test_the_shipped_measurements_say_something_of_every_stage_that_is_timed():
    stages = {job.task.stage for job in reference().jobs}
    assert stages >= {stage.name for stage in STAGES.values() if stage.leaves or stage.rows} - {
        "inductive",
        "figures",
        "own_attack",
    }
    assert all(job.seconds > 0 and job.peak_mb > 0 and job.task.work for job in reference().jobs)
    assert reference().shapes["mnist5k"] == (3600, 28, 28)


def test_what_is_shipped_reads_back():
    again = as_json(reference())
    assert Reference(**vars(reference())) == reference() and again == as_json(reference())
    assert (REPOSITORY / "src/contrastbench/pipeline" / NAME).read_text(encoding="utf-8") == again


def test_a_calibration_is_the_time_of_a_step(monkeypatch):
    monkeypatch.setattr(calibration, "SECONDS", 0.0)
    assert 0 < calibration.calibration_s() < 5


def test_what_must_be_downloaded_is_named_with_its_size(project, monkeypatch):
    answered(monkeypatch, [])
    assert make_plan("cifar").downloads == [("cifar-10-python.tar.gz", 170_498_071)]


def test_the_plan_is_kept_and_held_against_what_came(project, monkeypatch):
    answered(monkeypatch, [RUN.format("unremix", "run.json", "update pending")])
    assert plan_against_actual("smoke") == []
    keep_plan(make_plan("smoke"))
    assert plan_against_actual("smoke") == []  # nothing has run yet
    time(project, "pretrain", "unremix/digits/unremix/0", 26, 300)
    ((stage, guess, actual),) = plan_against_actual("smoke")
    assert (stage, actual) == ("pretrain (1 jobs)", "26 s") and guess.startswith("20 s (")


LINE = '{"stage": "pretrain", "job": "unremix-digits-unremix-0", "seconds": %s, "low": 1, "high": 2}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "3",
        "[3]",
        "[{}]",
        "[" * 100_000,
        "\xff",
        *(f"[{LINE % value}]" for value in ("-1", "1e999", '"x"', "null")),
    ],
)
def test_a_damaged_plan_is_none(project, content):
    time(project, "pretrain", "unremix-digits-unremix-0", 26, 300)
    plan_file("smoke").write_text(f"[{LINE % 1}]")
    assert len(plan_against_actual("smoke")) == 1
    plan_file("smoke").write_bytes(content.encode("latin-1"))
    assert plan_against_actual("smoke") == []


@pytest.mark.parametrize(
    "content",
    ["", "s", "\xff\xfe", "s\tmax_rss\nx\t3\n", "s\tmax_rss\n3\tx\n", "s\tmax_rss\n-3\t3\n", "s\tmax_rss\ninf\t3\n"],
)
def test_a_damaged_measurement_is_none(project, content):
    before = len(benchmarks(project, "smoke"))
    (project / "runs/smoke/benchmarks/pretrain/bad.tsv").write_bytes(content.encode("latin-1"))
    assert len(benchmarks(project, "smoke")) == before > 0


def test_a_refusal_of_snakemake_is_one_line(project, monkeypatch):
    answered(monkeypatch, [], code=1, error="Building DAG\nLockException: locked\n")
    with pytest.raises(UserError, match=r"^snakemake --summary failed: LockException: locked$"):
        make_plan("smoke")


def test_snakemake_itself_is_understood(project):
    result = CliRunner().invoke(app, ["plan", "--preset", "smoke"])
    assert result.exit_code == 0, result.output
    numbers = {words[1]: words[3] for line in result.output.splitlines() if len(words := line.split()) > 5}
    grid = Grid("smoke")
    wanted = {
        stage.name: len({grid.run_as(stage.name, job) for t in grid.params.tracks for job in grid.jobs(stage.name, t)})
        for stage in STAGES.values()
        if stage.leaves or stage.rows
    }
    wanted |= {"prepare": 3, "spectrograms": 1, "figures": 4, "tables": 4, "report": 1}
    counted = {stage: int(count) for stage, count in numbers.items() if stage in STAGES}
    assert counted == {s: n for s, n in wanted.items() if n}
    assert "time: " in result.output and "first estimate: " in result.output and "downloads: none" in result.output
    kept = json.loads((project / "runs/smoke/plan.json").read_text())
    assert {job["stage"] for job in kept} >= {"pretrain", "tune", "attack", "cross_validate"}
    assert "not estimated: " in result.output and "(prepare, " in result.output
