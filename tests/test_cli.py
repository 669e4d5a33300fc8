"""The command line: help that reads, and for every mistake one line on stderr and exit code 2."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer._completion_classes import BashComplete

from contrastbench import __version__, cli
from contrastbench.registry import DATASETS, METHODS

COMMANDS = sorted(typer.main.get_command(cli.app).commands)


@pytest.fixture
def project(tmp_path, repository, monkeypatch) -> Path:
    """An empty project folder with the repository's parameters."""
    shutil.copy(repository / "params.yaml", tmp_path)
    shutil.copytree(repository / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["contrastbench", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(run, command):
    code, out, _ = run(*([command] if command else []), "--help")
    assert code == 0 and "Usage: " in out
    if command is None:
        assert all(name in out for name in COMMANDS)
    else:
        says = (typer.main.get_command(cli.app).commands[command].help or "").split()
        assert len(says) >= 4 and " ".join(says[:4]) in " ".join(out.split())


def test_version(run):
    assert run("--version")[:2] == (0, f"contrastbench {__version__}\n")


def test_list_names_every_data_set_and_method(project, run):
    code, out, _ = run("list")
    assert code == 0
    words = out.replace(",", " ").split()
    assert set(DATASETS) <= set(words) and set(METHODS) <= set(words) and "pixels" in words


def test_list_shows_what_each_track_of_a_preset_has(project, run):
    code, out, _ = run("list", "--preset", "smoke")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert code == 0
    assert ["simclr", "image", "unremix"] in cells and ["hcl", "image", "none"] in cells
    assert ["pixels", "image, audio", "unremix, uamix"] in cells
    start = cells.index(["swaro", "modality", "image"])
    has = {what: which for _, what, which in cells[start : start + 8]}
    assert has["data sets"] == "digits" and has["seeds"] == "0" and has["methods"] == "swaro, supervised"
    assert "swaro-add" in has["variants"] and has["target ablation"] == "swaro, swaro-add"
    assert has["target search"] == "2 trials"
    assert next(cell for cell in cells if cell[0] == "digits")[3] == "unremix, swaro"
    assert run("list", "--preset", "smok")[2].startswith("contrastbench: unknown preset 'smok'; did you mean 'smoke'?")


@pytest.mark.parametrize(
    ("line", "offered", "absent"),
    [
        ("pret", {"pretrain"}, {"prepare"}),
        ("pretrain ", {"unremix", "swaro", "uamix", "graphs"}, {"default"}),
        ("prepare cifar", {"cifar10", "cifar100"}, {"digits"}),
        ("probe uamix ", {"instruments"}, {"digits"}),
        ("pretrain unremix digits ", {"simclr", "unremix-exp"}, {"swaro", "mae"}),
        ("pretrain swaro digits --preset smoke s", {"swaro", "supervised"}, {"simclr", "swav"}),
        ("pretrain nonsense digits ", {"simclr", "mae"}, {"unremix-exp"}),
        ("plan --preset s", {"smoke"}, {"default"}),
        ("tables --preset ", {"default", "smoke"}, set()),
        ("pretrain --device ", {"auto", "cpu", "cuda"}, set()),
        ("tune --log ", {"tensorboard", "wandb", "mlflow"}, set()),
    ],
)
def test_the_shell_completes_names(project, line, offered, absent):
    *words, incomplete = line.split(" ")
    shell = BashComplete(typer.main.get_command(cli.app), {}, "contrastbench", "_CONTRASTBENCH_COMPLETE")
    found = {item.value for item in shell.get_completions(words, incomplete)}
    assert offered <= found and not absent & found


def test_completion_loads_no_torch(repository):
    code = "import sys; sys.argv = ['contrastbench']; from contrastbench import cli\ntry: cli.main()\n"
    code += "finally: print('torch' in sys.modules)"
    told = {"_CONTRASTBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "contrastbench pretrain uamix esc50 ma"}
    environment = os.environ | told | {"COMP_CWORD": "4"}
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=repository, env=environment, capture_output=True, text=True, check=True)
    assert "mae-ct" in done.stdout and done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("prepare", "cifar01"), "unknown data set 'cifar01'; did you mean 'cifar10'?"),
        (("fetch", "zzzzzz"), "unknown data set 'zzzzzz'; known: digits, mnist5k"),
        (("pretrain", "unremixx", "digits", "simclr", "0"), "unknown track 'unremixx'"),
        (("pretrain", "unremix", "digit", "simclr", "0"), "unknown data set 'digit'; did you mean 'digits'?"),
        (("pretrain", "unremix", "digits", "simlr", "0"), "unknown method 'simlr'; did you mean 'simclr'?"),
        (("pretrain", "unremix", "digits", "simclr", "0", "--preset", "smok"), "unknown preset 'smok'; did you mean"),
        (("pretrain", "UnReMix", "digits", "simclr", "0"), "unknown track 'UnReMix'; did you mean 'unremix'?"),
        *(
            (("pretrain", "unremix", "digits", name, "0"), f"unknown method {name!r}; did you mean 'simclr'?")
            for name in ("SimCLR", "simCLR", "Sim-CLR", "sim_clr", "Sim CLR")
        ),
        (
            ("pretrain", "uamix", "instruments", "mae-ct", "0", "1", "--preset", "smoke"),
            "mae-ct: is not trained by pretrain; run `contrastbench tune uamix instruments mae-ct 0 1 --preset smoke`",
        ),
        (
            ("tune", "uamix", "instruments", "mae"),
            "mae: is not trained by tune; run `contrastbench pretrain uamix instruments mae --preset default`",
        ),
        (("features", "unremix", "digits", "unremx", "0"), "unknown method 'unremx'; did you mean 'unremix'?"),
        (("probe", "unremix", "digits", "simclr", "0", "--preset", "none"), "unknown preset 'none'"),
        (
            ("transfer-probe", "unremix", "digits-to-cifar10", "simclr", "0"),
            "digits-to-cifar10: not among the pairs of",
        ),
        (("few-shot", "unremix", "digits", "simclr", "0"), "track 'unremix' has no section `few_shot`"),
        (("spectrograms", "unremix", "digits"), "track 'unremix' sees no spectrograms"),
        (("attack", "swaro", "mnist5k", "pixels", "0"), "pixels: a reference row without an encoder; attack needs one"),
        (
            ("pretrain", "unremix", "digits", "simclr", "0", "--device", "tpu"),
            "--device tpu: must be auto, cpu",
        ),
        (
            ("pretrain", "unremix", "digits", "simclr", "0", "--device", "cpu", "--devices", "5000"),
            "--devices 5000: must be a whole number from 1 to ",
        ),
        (
            ("pretrain", "unremix", "digits", "simclr", "0"),
            "digits/meta.json: no such file; run `contrastbench",
        ),
        (("probe", "unremix", "mnist5k", "simclr", "0"), "no such file"),
        (("fetch", "cifar10", "--mirror", "none"), "mirror none: no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(project, run, arguments, expected):
    code, out, err = run(*arguments)
    assert code == 2
    assert expected in err and err.startswith("contrastbench: ")
    assert err.count("\n") == 1 and "Traceback" not in err + out
    written = {path.name for path in project.rglob("*") if path.is_file()} - {"params.yaml"}
    assert all(name.endswith(".yaml") for name in written), f"left behind: {written}"


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("pretrain",), ("pretrain", "unremix", "digits", "simclr", "one"), ("list", "--bad")]
)
def test_a_wrong_call_is_code_2_without_traceback(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2 and "Usage:" in err and "Traceback" not in err + out


def test_no_devices_are_refused_as_such_where_there_are_gpus(project, run, monkeypatch):
    claimed = []
    monkeypatch.setattr("contrastbench.cli.stages.claim_device", lambda device, gpus: claimed.append(gpus) or "cpu")
    code, _, err = run("pretrain", "unremix", "digits", "simclr", "0", "--devices", "0")
    assert code == 2 and "--devices 0: must be a whole number from 1" in err
    assert claimed == [1], "without any, it would say that there is no GPU"


def test_a_reference_row_cannot_be_trained(project, run):
    code, _, err = run("pretrain", "unremix", "digits", "pixels", "0")
    assert code == 2 and "a reference row without an encoder" in err and "Traceback" not in err


def test_a_negative_seed_is_refused(project, run):
    code, _, err = run("pretrain", "unremix", "digits", "simclr", "--", "-1")
    assert code == 2 and "seed -1: must be 0 or more" in err
    code, _, err = run("probe", "unremix", "digits", "pixels", "5000000000")
    assert code == 2 and "seed 5000000000: must be 0 or more, and less than 4294967296" in err


@pytest.mark.parametrize("command", ["plan", "dvc-file"])
def test_an_unknown_data_set_is_one_line(project, run, command):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("datasets: [mnist5k]", "datasets: [mnist6k]", 1))
    line = "params.yaml: unremix.datasets.0 = \"mnist6k\": unknown data set 'mnist6k'; did you mean 'mnist5k'?"
    assert run(command) == (2, "", f"contrastbench: {line}\n")


def test_a_mistake_in_the_parameters_is_one_line(project, run):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("validation_fraction: 0.1", "validation_fraction: 7"))
    code, _, err = run("prepare", "digits")
    assert code == 2 and err.startswith("contrastbench: params.yaml: data.validation_fraction = 7: input should be")
    (project / "params.yaml").unlink()
    code, _, err = run("prepare", "digits")
    assert (code, err) == (
        2,
        "contrastbench: params.yaml: no such parameter file; `contrastbench new FOLDER` makes a project\n",
    )


@pytest.mark.parametrize("blocked", ["data", "data/prepared"])
def test_an_unwritable_folder_is_one_line(project, run, blocked):
    """A file stands where the folder must go, which no user, not even root, can write through."""
    (project / blocked).parent.mkdir(exist_ok=True)
    (project / blocked).write_text("")
    code, _, err = run("prepare", "digits")
    assert code == 2 and "prepared/digits: cannot be written: " in err and err.count("\n") == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EMFILE])
def test_what_the_system_refuses_is_one_line(run, monkeypatch, code):
    def fails() -> None:
        raise OSError(code, os.strerror(code), "data/some.npy")

    monkeypatch.setattr(cli, "app", fails)
    assert run() == (2, "", f"contrastbench: data/some.npy: {os.strerror(code)}\n")


def test_prepare_says_what_it_wrote(project, run):
    code, out, err = run("prepare", "digits")
    assert (code, err) == (0, "")
    assert out.startswith("data/prepared/digits: train 1,258, ") and "data hash" in out


def test_a_real_process_behaves_alike(project, repository):
    """As installed: one line, code 2, and one thread unless told otherwise."""
    environment = os.environ | {"PYTHONPATH": str(repository / "src")}
    environment.pop("OMP_NUM_THREADS", None)
    script = "from contrastbench.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", script, "prepare", "cifar01"],
        capture_output=True, text=True, env=environment, cwd=project,
    )  # fmt: skip
    expected = "contrastbench: unknown data set 'cifar01'; did you mean 'cifar10'?\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", expected)


def test_several_seeds_are_judged_at_once_as_each_alone(project, run):
    job = ("unremix", "digits", "pixels")
    assert run("prepare", "digits")[0] == 0
    assert run("features", *job, "3", "5")[0] == 0 and run("probe", *job, "3", "5")[0] == 0
    path = project / "results/rows/default/probe/unremix/digits/pixels/all.jsonl"
    both = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["seed"] for row in both} == {3, 5}
    assert run("probe", *job, "5")[0] == 0
    again = [json.loads(line) for line in path.read_text().splitlines()]
    unmeasured = {"wall_s": 0, "peak_mb": 0}
    assert [row | unmeasured for row in both] == [row | unmeasured for row in again], "the rows of seed 3 stay"


@pytest.mark.parametrize(
    "setting",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "utf-8"},
    ],
)
def test_a_stream_of_any_encoding_gets_what_it_can_hold(repository, setting):
    code = r"""
import rich, typer
from contrastbench import cli
from contrastbench.errors import UserError
def app():
    typer.echo("1 \u00b1 2 \u2248 \u26a0 \udcff")
    rich.print("3 \u00b1 4 \u26a0")
    raise UserError("5 \u00b1 6")
cli.app = app
cli.main()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment |= {"PYTHONPATH": str(repository / "src")} | setting
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 2, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(b"1 ") and b" 2 " in first and first.endswith(b"?") and second.startswith(b"3 ")
    assert done.stderr.startswith(b"contrastbench: 5 ") and done.stderr.count(b"\n") == 1
    assert ("utf-8" in setting.values()) == ("\u26a0".encode() in second)
