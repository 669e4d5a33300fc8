"""How a run begins: its options, its one set of parameters, its device; and what an edit in between does."""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from project_copy import Project

from contrastbench.errors import UserError
from contrastbench.pipeline import device, loggers, record, resolved
from contrastbench.pipeline.begin import begin
from contrastbench.pipeline.device import resolve_device
from contrastbench.pipeline.grid import Grid

ROWS = "results/rows/default/probe/unremix/digits/pixels/all.jsonl"


@pytest.fixture
def folder(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's parameters, in which this process works; its environment is undone afterwards."""
    shutil.copy(repository / "params.yaml", tmp_path)
    shutil.copytree(repository / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    for name in (
        resolved.PARAMS_VARIABLE,
        device.DEVICE_VARIABLE,
        loggers.LOG_VARIABLE,
        device.DEVICES_VARIABLE,
        "DVC_NO_ANALYTICS",
        "MALLOC_TOP_PAD_",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def edited(folder: Path, old: str, new: str) -> None:
    text = (folder / "params.yaml").read_text(encoding="utf-8")
    assert old in text
    (folder / "params.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"presett": "smoke"}, "--config presett: unknown; did you mean 'preset'?"),
        ({"zzz": 1}, "--config zzz: unknown; known: preset, device"),
        ({"preset": "smokee"}, "unknown preset 'smokee'; did you mean 'smoke'?"),
        ({"preset": 12}, "--config preset=12: must be the name of a preset, which begins with a letter"),
        ({"preset": ""}, "--config preset=: must be the name of a preset, which begins with a letter"),
        ({"preset": None}, "--config preset=: must be the name of a preset, which begins with a letter"),
        ({"preset": True}, "--config preset=True: must be the name of a preset, which begins with a letter"),
        ({"preset": 1.5}, "--config preset=1.5: must be the name of a preset, which begins with a letter"),
        ({"device": "tpu"}, "--config device=tpu: must be auto, cpu or cuda"),
        ({"device": 3}, "--config device=3: must be auto, cpu or cuda"),
        ({"device": "cuda:3"}, "must be auto, cpu or cuda; to choose among GPUs, set CUDA_VISIBLE_DEVICES"),
        (
            {"device": "cpu", "devices": 0},
            "--config devices=0: must be a whole number from 1 to 4, the cores",
        ),
        (
            {"device": "cpu", "devices": 5},
            "--config devices=5: must be a whole number from 1 to 4, the cores",
        ),
        (
            {"device": "cpu", "devices": "all"},
            "--config devices=all: must be a whole number from 1 to 4, the cores",
        ),
        (
            {"device": "cpu", "devices": True},
            "--config devices=True: must be a whole number from 1 to 4, the cores",
        ),
        (
            {"device": "cpu", "devices": 3},
            "unremix, random: training.batch_size = 256: 3 devices cannot share it equally; 255 or 258 would do",
        ),
    ],
)
def test_a_wrong_option_is_one_line(folder: Path, options: dict, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    with pytest.raises(UserError) as refused:
        begin(options)
    assert line in str(refused.value) and "\n" not in str(refused.value)
    assert not (folder / "runs").exists()


def test_an_absent_device_is_refused_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="this machine has no usable CUDA device"):
        begin({"device": "cuda"})


def test_devices_that_train_together_are_no_more_than_jobs_may_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("contrastbench.pipeline.begin.visible_gpus", lambda: ["a", "b", "c", "d"])
    for limit, most in ((None, 4), (2, 2)):
        begun = begin({"device": "cuda", "devices": most}, gpu_limit=limit)
        assert (begun.gpus, begun.devices) == (1, most) and os.environ[device.DEVICES_VARIABLE] == str(most)
        with pytest.raises(UserError, match=f"devices={2 * most}: .* from 1 to {most}, the GPUs available here"):
            begin({"device": "cuda", "devices": 2 * most}, gpu_limit=limit)
    options = {"device": "cuda", "devices": 8}
    assert begin(options, elsewhere=True).devices == 8, "nobody here knows"
    assert begin(options, is_main_process=False, gpu_limit=1).devices == 8, "a job of the run, which needs one"


def test_auto_is_resolved_once_and_jobs_claim_the_gpu_that_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert begin({}).gpus == 0 and os.environ[device.DEVICE_VARIABLE] == "cpu", "no driver: torch is not asked"
    (tmp_path / "driver").touch()
    monkeypatch.setattr(device, "DRIVER", tmp_path / "driver")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    assert begin({}).gpus == 1 and os.environ[device.DEVICE_VARIABLE] == "cuda"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert begin({}).gpus == 0 and os.environ[device.DEVICE_VARIABLE] == "cpu"


def test_on_a_cluster_the_device_is_what_the_run_was_begun_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the login node's nor a node's own GPUs count, but for the job that computes."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert begin({"device": "cuda"}, elsewhere=True).gpus == 1 and os.environ[device.DEVICE_VARIABLE] == "cuda"
    assert begin({"device": "auto"}, is_main_process=False).gpus == 1
    with pytest.raises(UserError, match="this machine has no usable CUDA device"):
        device.claim_device("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(device, "DRIVER", folder)
    assert begin({}, elsewhere=True).gpus == 0 and os.environ[device.DEVICE_VARIABLE] == "cpu"
    assert begin({"device": "auto"}, is_main_process=False).gpus == 0


def test_jobs_have_the_parameters_that_the_run_was_begun_with(folder: Path) -> None:
    before = begin({"preset": "smoke"}).grid.params
    edited(folder, "validation_fraction: 0.1", "validation_fraction: 0.2")
    assert Grid("smoke").params == before and Grid("smoke").params.data.validation_fraction == 0.1
    assert Grid("default").params.data.validation_fraction == 0.2, "another preset is not this run's"
    del os.environ[resolved.PARAMS_VARIABLE]
    assert Grid("smoke").params.data.validation_fraction == 0.2


def test_the_parameters_survive_being_kept(folder: Path) -> None:
    for preset in ("default", "smoke", "paper", "esc50"):
        begun = begin({"preset": preset}).grid.params
        kept = Path(os.environ[resolved.PARAMS_VARIABLE])
        assert kept.parts[:3] == ("runs", preset, "params")
        again = resolved.resolved(preset)
        assert again == begun and again is not begun


def test_a_new_run_mends_the_damaged_parameters_of_an_old_one(folder: Path) -> None:
    before = begin({}).grid.params
    path = Path(os.environ[resolved.PARAMS_VARIABLE])
    path.write_bytes(b"{}")
    del os.environ[resolved.PARAMS_VARIABLE]
    begin({})
    assert Path(os.environ[resolved.PARAMS_VARIABLE]) == path and Grid().params == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"tracks": ["unremix"]}'])
def test_damaged_parameters_of_a_run_are_one_line(folder: Path, content: bytes) -> None:
    begin({})
    path = Path(os.environ[resolved.PARAMS_VARIABLE])
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^runs/default/params/"):
        _ = Grid().params
    changed = json.loads(Grid(given=None, preset="smoke").params.model_dump_json())
    path.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(UserError, match="was changed after the run began; start it again"):
        _ = Grid().params
    path.unlink()
    with pytest.raises(UserError, match="the parameters of this run are gone; start it again"):
        _ = Grid().params


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one reference row, which takes seconds to run."""
    from test_pipeline import small_parameters

    project, content = Project(tmp_path_factory.mktemp("begin")), small_parameters()
    content["unremix"] |= {"methods": ["pixels"], "ablation": []}
    (project.folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    project.run("snakemake", "--cores", "1", "--", ROWS)
    return project


def test_an_edit_of_the_parameters_during_a_run_makes_no_row_of_two_minds(project: Project) -> None:
    """A job that begins after the edit still has the run's parameters, and the next run sees the new ones."""
    edit = "sed -i 's/knn_neighbours: [0-9]*/knn_neighbours: 3/' params.yaml"
    rules = project.folder / "src/contrastbench/workflow/rules/judging.smk"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace('"contrastbench {params.command}', f'"{edit}; contrastbench {{params.command}}', 1))
    (project.folder / ROWS).unlink()
    project.run("snakemake", "--cores", "1", "--", ROWS)
    lines = [json.loads(line) for line in (project.folder / ROWS).read_text().splitlines()]
    (knn,) = [row for row in lines if row["protocol"]["family"] == "knn"]
    assert knn["detail"]["k"] != 3, "made with the parameters of the run"
    rules.write_text(text)
    assert project.stale_jobs("--", ROWS)["judge"] == 1, "and the edit is seen by the next run"
    project.run("snakemake", "--cores", "1", "--", ROWS)
    lines = [json.loads(line) for line in (project.folder / ROWS).read_text().splitlines()]
    assert [row["detail"]["k"] for row in lines if row["protocol"]["family"] == "knn"] == [3]


def test_an_edit_of_the_code_during_a_run_stops_the_jobs_that_would_name_it(project: Project) -> None:
    knn = project.folder / "src/contrastbench/evaluation/knn.py"
    rules = project.folder / "src/contrastbench/workflow/rules/judging.smk"
    text, code = rules.read_text(encoding="utf-8"), knn.read_text(encoding="utf-8")
    edit = "echo 'EXTRA = 1' >> src/contrastbench/evaluation/knn.py"
    rules.write_text(text.replace('"contrastbench {params.command}', f'"{edit}; contrastbench {{params.command}}', 1))
    (project.folder / ROWS).unlink()
    answer = project.run("snakemake", "--cores", "1", "--", ROWS, code=1)
    assert "the code has changed since this run began; start it again" in answer
    assert not (project.folder / ROWS).exists()
    rules.write_text(text)
    knn.write_text(code)
    project.run("snakemake", "--cores", "1", "--", ROWS)


def test_neither_device_nor_how_many_nor_a_logger_makes_anything_stale(project: Project) -> None:
    logger = ["log=tensorboard"] if find_spec("tensorboard") else []
    for options in (("--config", "device=cpu", f"devices={min(2, os.cpu_count() or 1)}", *logger), ()):
        assert not project.stale_jobs(*options, "--", ROWS)
    answer = project.run("snakemake", "--dry-run", "--config", "device=tpu", code=1)
    assert answer.strip().splitlines()[-1] == "contrastbench: --config device=tpu: must be auto, cpu or cuda"
    answer = project.run("snakemake", "--dry-run", "--config", "presett=smoke", code=1)
    assert answer.strip().splitlines()[-1] == "contrastbench: --config presett: unknown; did you mean 'preset'?"


def test_a_step_of_dvcs_whose_parameters_changed_meanwhile_is_not_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC reads params.yaml when the step has ended."""

    def snakemake(preset: str, *arguments: str) -> SimpleNamespace:
        edited(folder, "validation_fraction: 0.1", "validation_fraction: 0.2")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(record, "require_fitting_dvc_file", lambda grid: None)
    monkeypatch.setattr(record, "snakemake", snakemake)
    with pytest.raises(UserError, match=r"^params.yaml has changed since this step began; run `dvc repro` again$"):
        record.run_step(Grid(), "prepare")
