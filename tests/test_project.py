"""A project folder of the user's own: what its params.yaml extends, and which file a message names."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY
from typer.testing import CliRunner

from contrastbench.cli import app
from contrastbench.errors import UserError
from contrastbench.params import files
from contrastbench.params.root import load, presets
from contrastbench.pipeline.asked import contents_at, params_at
from contrastbench.pipeline.begin import begin
from contrastbench.reporting.search import tuned_preset
from contrastbench.results.load import rows_in
from contrastbench.results.revisions import WORKTREE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything as in the package but one number, and a preset of the project's own."""
    write(tmp_path, "params.yaml", "extends: contrastbench\nunremix: {training: {epochs: 3}}\n")
    write(tmp_path, "presets/mine.yaml", "unremix: {probe: {knn_neighbours: 7}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def mistake(preset: str = "default") -> str:
    with pytest.raises(UserError) as caught:
        load(preset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_the_project_says_lies_between_the_packages_defaults_and_the_preset(project: Path) -> None:
    shipped, own = load(root=REPOSITORY).track("unremix"), load().track("unremix")
    assert own.training.epochs == 3 != shipped.training.epochs  # type: ignore[attr-defined]
    others = {"ablation": (), "cost": (), "search": None, "variants": {}}
    assert own == shipped.model_copy(update=others | {"training": own.training})  # type: ignore[attr-defined]
    mine = load("mine").track("unremix")
    assert (mine.probe.knn_neighbours, mine.training.epochs) == (7, 3)  # type: ignore[attr-defined]
    smoke = load("smoke").track("unremix")
    shipped = load("smoke", REPOSITORY).track("unremix")
    assert smoke.model_copy(update={"variants": shipped.variants}) == shipped, "which says the epochs itself"


def test_experiments_of_the_package_that_nobody_names_stop_nobody(project: Path) -> None:
    """Their settings need not fit the project's batches; those that it names, or declares, must."""
    small = "extends: contrastbench\nswaro: {training: {batch_size: 32}, "
    write(project, "params.yaml", small + "}\n")
    assert not load().track("swaro").variants and load().track("swaro").search is None
    write(project, "params.yaml", small + "ablation: [swaro-add]}\n")
    assert list(load().track("swaro").variants) == ["swaro-add"]
    write(project, "params.yaml", small + "ablation: [swaro-k60]}\n")
    assert "swaro.variants.swaro-k60: prototypes 60 exceed the 32 embeddings" in mistake()
    own = "variants: {mine: {method: swaro, settings: {prototypes: 40}}}}\n"
    write(project, "params.yaml", small + own)
    assert mistake().startswith("params.yaml: swaro.variants.mine: prototypes 40 exceed the 32 embeddings")


def test_presets_are_the_projects_and_the_packages_and_the_projects_come_first(project: Path) -> None:
    assert presets() == ["default", *sorted([*presets(REPOSITORY)[1:], "mine"])]
    write(project, "presets/smoke.yaml", "unremix: {probe: {knn_neighbours: 9}}\n")
    assert load("smoke").track("unremix").probe.knn_neighbours == 9
    assert load("smoke").track("unremix").training.epochs == 3, "of the package's preset nothing is left"
    assert mistake("smok") == "unknown preset 'smok'; did you mean 'smoke'?"


def test_without_extends_a_file_is_complete_and_no_preset_comes_from_elsewhere(project: Path) -> None:
    shutil.copy(REPOSITORY / "params.yaml", project)
    assert load() == load(root=REPOSITORY) and presets() == ["default", "mine"]
    write(project, "params.yaml", "unremix: {training: {epochs: 3}}\n")
    assert mistake().startswith("params.yaml: tracks: this key is required")


@pytest.mark.parametrize("other", ["something-else", "[contrastbench]", "null", "1"])
def test_only_the_package_can_be_extended(project: Path, other: str) -> None:
    write(project, "params.yaml", f"extends: {other}\n")
    shown = {"[contrastbench]": "['contrastbench']", "null": "None", "1": "1"}.get(other, repr(other))
    assert mistake() == f"params.yaml: extends = {shown}: must be contrastbench, whose parameters it then changes"


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("params.yaml", "extends: contrastbench\nunremixx: 1\n", "params.yaml: unremixx: unknown key; did you mean"),
        (
            "params.yaml",
            "extends: contrastbench\nunremix: {training: {epochs: 0}}\n",
            "params.yaml: unremix.training.epochs = 0: input should be greater than or equal to 1",
        ),
        ("presets/mine.yaml", "unremix: {seeds: []}\n", "presets/mine.yaml: unremix.seeds = []: "),
        ("presets/mine.yaml", "extends: contrastbench\n", "presets/mine.yaml: extends: unknown key"),
        ("presets/mine.yaml", "data: {}\n", "presets/mine.yaml: data: presets share the prepared data"),
        (
            "presets/mine.yaml",
            "swaro: {robustness: {budgets: {stl10: {}}}}\n",
            "presets/mine.yaml: swaro.robustness.bud",
        ),
    ],
)
def test_a_message_names_the_file_that_is_mistaken(project: Path, file: str, text: str, told: str) -> None:
    write(project, file, text)
    assert mistake("mine").startswith(told)


def test_a_key_that_no_file_of_the_project_has_is_not_looked_for_in_the_package(project: Path) -> None:
    write(project, "params.yaml", "extends: contrastbench\nunremix: {settings: {swav: {prototypes: 3}}}\n")
    assert mistake().startswith("params.yaml: unremix.settings.swav.temperature: this key is required")
    assert mistake("mine").startswith("params.yaml: ")


def test_a_folder_without_parameters_is_told_how_to_get_some(project: Path) -> None:
    (project / "params.yaml").unlink()
    line = "params.yaml: no such parameter file; `contrastbench new FOLDER` makes a project"
    assert mistake() == mistake("smoke") == line
    with pytest.raises(UserError, match=f"^{line}$"):
        begin({})


def test_a_commit_has_the_parameters_that_its_files_and_the_package_say(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "one")
    write(project, "params.yaml", "extends: contrastbench\nunremix: {training: {epochs: 4}}\n")
    for revision, epochs in (("HEAD", 3), (WORKTREE, 4)):
        params = params_at(revision, "mine", project)
        assert params.track("unremix").training.epochs == epochs  # type: ignore[attr-defined]
        assert params.track("unremix").probe.knn_neighbours == 7
        assert contents_at(revision, "smoke", project)["unremix"]["datasets"] == ["digits"], "the package's preset"
    with pytest.raises(UserError, match=r"^HEAD:presets/none.yaml: no such parameter file$"):
        params_at("HEAD", "none", project)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_search_of_a_preset_of_the_package_can_be_read(project: Path) -> None:
    with pytest.raises(UserError, match="unremix"):  # no trial has rows; the preset's own file was found
        tuned_preset(rows_in(project), "smoke", {"unremix": load("smoke").track("unremix")}, project)


def test_new_makes_a_folder_that_is_ready_and_leaves_others_alone(tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    answer = CliRunner().invoke(app, ["new", str(folder)])
    run = "snakemake --cores all --config preset=first"
    assert answer.output == f"written: {folder}\ntry it: cd '{folder}' && {run}\n" and answer.exit_code == 0
    made = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    source = {str(path.relative_to(REPOSITORY / "template")) for path in template_files()}
    assert made == source - {"gitignore"} | {".gitignore", "profiles/default/config.yaml"}
    assert (folder / "README.md").read_text().splitlines()[2].strip() == run
    again = CliRunner().invoke(app, ["new", str(folder)])
    line = f"{folder}: is there already and not an empty folder; choose another one"
    assert isinstance(again.exception, UserError) and str(again.exception) == line
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["new", str(tmp_path / "empty")]).exit_code == 0


def template_files() -> list[Path]:
    return [path for path in (REPOSITORY / "template").rglob("*") if path.is_file() and path.suffix != ".pyc"]


def test_the_folder_of_what_is_shipped_is_the_packages_own_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files.shipped() == REPOSITORY
    (tmp_path / "contrastbench/defaults").mkdir(parents=True)
    monkeypatch.setattr(files.contrastbench, "__file__", str(tmp_path / "contrastbench/__init__.py"))
    assert files.shipped() == tmp_path / "contrastbench/defaults"
