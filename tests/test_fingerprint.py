"""Code fingerprints on a copy of the package: meaning counts, comments, docstrings and layout do not."""

import shutil
from pathlib import Path

import pytest

from contrastbench.pipeline import fingerprint as module
from contrastbench.pipeline.fingerprint import closure

SIMCLR, HCL = "contrastbench.methods.simclr", "contrastbench.methods.hcl"
IMAGES = "contrastbench.modalities.images"


class Copy:
    """A copy of the package whose files a test may edit."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) >= 1, f"{name} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        with (self.root / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def of(self, stage: str, *looked_up: str) -> str:
        """The fingerprint as a fresh process would compute it."""
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
        return module.fingerprint(stage, *looked_up)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    shutil.copytree(module.ROOT, tmp_path / "contrastbench", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "ROOT", tmp_path / "contrastbench")
    package = Copy(tmp_path / "contrastbench")
    yield package
    monkeypatch.undo()
    package.of("pretrain")  # leaves no cached reading of the copy behind


def test_a_copy_has_the_same_fingerprint(copy, monkeypatch):
    copied = copy.of("pretrain", SIMCLR)
    monkeypatch.undo()
    assert copy.of("pretrain", SIMCLR) == copied


def test_comments_docstrings_and_layout_do_not_count(copy):
    before = copy.of("pretrain", SIMCLR)
    copy.append("objectives/contrastive.py", "\n\n# a comment at the end\n")
    copy.edit("objectives/contrastive.py", '"""NT-Xent of SimCLR', '"""The loss of SimCLR')
    copy.edit("objectives/contrastive.py", '"""Contrastive losses', '"""Some losses')
    copy.edit("methods/simclr.py", '"""Two views, NT-Xent."""', '"""Two views.\n\n    And more words.\n    """')
    copy.edit("objectives/contrastive.py", "import math\n", "import math  # a remark\n\n")
    copy.edit("training/loop.py", "method.train()\n", "method.train( )\n")
    assert copy.of("pretrain", SIMCLR) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("objectives/contrastive.py", "softplus(log_negatives - positive)", "softplus(positive - log_negatives)"),
        ("training/loop.py", "method.after_backward(step)", "pass"),
        ("methods/simclr.py", "nt_xent(first, second", "nt_xent(second, first"),
        ("models/encoders.py", "PUBLISHED_WIDTH = 64", "PUBLISHED_WIDTH = 32"),
        ("torch_compat.py", "import torch\n", "import torch\n\ntorch.set_num_threads(2)\n"),
    ],
)
def test_a_change_of_meaning_counts(copy, file, old, new):
    before = copy.of("pretrain", IMAGES, SIMCLR)
    copy.edit(file, old, new)
    assert copy.of("pretrain", IMAGES, SIMCLR) != before


def test_of_the_package_s_own_module_the_version_counts_alone(copy):
    """Every module's import runs it; the Python API that it hands out is no stage's."""
    before = copy.of("pretrain", SIMCLR)
    copy.edit("__init__.py", '    "compare": "api.results",\n', "")
    copy.append("__init__.py", "\nimport contrastbench.attacks.pgd\n")
    assert copy.of("pretrain", SIMCLR) == before
    copy.edit("__init__.py", "__version__ = ", "__version__ = 1 or ")
    assert copy.of("pretrain", SIMCLR) != before


def test_another_methods_file_does_not_count(copy):
    simclr, hcl = copy.of("pretrain", SIMCLR), copy.of("pretrain", HCL)
    assert simclr != hcl
    copy.append("methods/hcl.py", "\nX = 1\n")
    assert copy.of("pretrain", SIMCLR) == simclr and copy.of("pretrain", HCL) != hcl


def test_what_a_stage_does_not_import_does_not_count(copy):
    before = {stage: copy.of(stage) for stage in ("prepare", "pretrain", "probe")}
    copy.append("evaluation/linear_probe.py", "\nX = 1\n")
    copy.append("reporting/render.py", "\nX = 1\n")
    after = {stage: copy.of(stage) for stage in before}
    assert after["prepare"] == before["prepare"] and after["pretrain"] == before["pretrain"]
    assert after["probe"] != before["probe"]


@pytest.mark.parametrize("file", ["params/track.py", "errors.py", "registry.py", "cli/train.py", "pipeline/grid.py"])
def test_declarations_and_the_pipeline_itself_do_not_count(copy, file):
    """Their effect shows in resolved parameters and paths, which are tracked as such."""
    before = copy.of("pretrain", SIMCLR)
    copy.append(file, "\nX = 1\n")
    assert copy.of("pretrain", SIMCLR) == before


def test_an_import_inside_a_function_counts(copy):
    before = copy.of("prepare", "contrastbench.datasets.digits")
    copy.edit("datasets/digits.py", "    from sklearn", "    import contrastbench.evaluation.knn\n    from sklearn")
    changed = copy.of("prepare", "contrastbench.datasets.digits")
    copy.append("evaluation/knn.py", "\nX = 1\n")
    assert len({before, changed, copy.of("prepare", "contrastbench.datasets.digits")}) == 3


def test_the_closure_follows_imports():
    found = closure("contrastbench.stages.pretrain")
    assert {"contrastbench.training.loop", "contrastbench.modalities.base", "contrastbench.torch_compat"} <= found
    assert "contrastbench.augment.images" in closure(IMAGES) - found
    assert not any(name.startswith(("contrastbench.params", "contrastbench.attacks")) for name in found)
    assert "contrastbench.methods.simclr" not in found


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("reporting/templates/report.html", {"report"}),
        ("reporting/published.csv", {"report", "tables"}),
        ("reporting/templates/compare.html", set()),  # of the command `compare`, which leaves nothing of the pipeline's
    ],
)
def test_a_template_or_a_table_counts_for_the_steps_that_read_it(copy, file, stages):
    every = ("pretrain", "tune", "features", "probe", "attack", "few_shot", "low_shot", "figures", "tables", "report")
    before = {stage: copy.of(stage) for stage in every}
    copy.append(file, "\n")
    assert {stage for stage in every if copy.of(stage) != before[stage]} == stages


def test_every_file_of_the_package_that_is_no_python_is_named_by_a_module():
    """By a name put together at run time, a module would read it unseen."""
    modules = [
        ".".join(path.relative_to(module.ROOT.parent).with_suffix("").parts) for path in module.ROOT.rglob("*.py")
    ]
    named = {path for name in modules if not name.endswith("__init__") for path in module.data_files(name)}
    unnamed = {path.relative_to(module.ROOT) for path in set(module._package_data()) - named}
    assert {str(path) for path in unnamed if path.parts[0] != "workflow"} == {"py.typed"}


@pytest.mark.parametrize("file", ["results/rows.py", "results/load.py", "pipeline/groups.py", "pipeline/asked.py"])
def test_how_rows_are_kept_and_which_count_matters_where_they_are_shown(copy, file):
    stages = ("pretrain", "probe", "attack", "transfer_attack", "tables", "report")
    before = {stage: copy.of(stage) for stage in stages}
    copy.append(file, "\nX = 1\n")
    assert [stage for stage in stages if copy.of(stage) != before[stage]] == ["tables", "report"]


def test_which_attacks_a_head_gets_is_code_of_the_attacks(copy):
    before = copy.of("attack")
    copy.edit("evaluation/suite.py", 'AttackSpec("noise", "linf", main', 'AttackSpec("noise", "linf", budget.large')
    assert copy.of("attack") != before
