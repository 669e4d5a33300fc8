"""Own code that fails, or returns what it must not, while it runs: one line that says where, below the traceback."""

import random
from pathlib import Path

import numpy as np
import pytest
from test_plugins import _names, template  # noqa: F401  (no name of these tests is known afterwards; a new project)
from test_project import write
from typer.testing import CliRunner

from contrastbench import own
from contrastbench.cli import app
from contrastbench.datasets.store import data_hash
from contrastbench.errors import UserError
from contrastbench.pipeline.data_check import check_data
from contrastbench.pipeline.grid import Grid

METHOD = """from contrastbench.methods.contrastive_base import ContrastiveMethod

METHOD = {"name": "mine", "class": "Mine", "modalities": ["image"]}


class Mine(ContrastiveMethod):
    def training_step(self, batch, step):
        z = self.project(batch.clean).output
        loss = z.square().mean()
        return {"loss": loss, "embeddings": z.detach()}
"""
RETURN = '{"loss": loss, "embeddings": z.detach()}'
PRESET = """tracks: [swaro]
swaro:
  datasets: [stripes]
  methods: [mine, simclr]
  seeds: [0]
  encoder: {width: 4, stem_stride: 2}
  training: {epochs: 1, batch_size: 64, log_every_steps: 1}
  robustness: null
  corruptions: null
"""


@pytest.fixture
def project(template: Path) -> Path:  # noqa: F811
    """A new project with prepared stripes, a method, and a preset of it."""
    write(template, "methods/mine.py", METHOD)
    write(template, "presets/one.yaml", PRESET)
    prepared = CliRunner().invoke(app, ["prepare", "stripes"])
    assert prepared.exit_code == 0, prepared.output
    return template


def told(*arguments: str) -> str:
    """The line of a command that is refused; the traceback stands above it where the line says so."""
    refused = CliRunner().invoke(app, list(arguments))
    assert isinstance(refused.exception, UserError), refused.exception
    line = str(refused.exception)
    assert "\n" not in line
    assert ("Traceback (most recent call last)" in refused.output) == line.endswith(" (the traceback is above)")
    return line


def training(project: Path, text: str) -> str:
    """What is told of a method, as in a new process: its modules are imported again."""
    write(project, "methods/mine.py", text)
    own.use_folder(project.parent)
    return told("pretrain", "swaro", "stripes", "mine", "0", "--preset", "one")


def test_a_reader_that_raises_is_told_with_the_line_of_its_helper(project: Path) -> None:
    text = (project / "datasets/stripes.py").read_text()
    write(project, "datasets/_labels.py", "def labels(raw):\n    return (raw / 'labels.csv').read_text()\n")
    text = text.replace("import numpy", "from ._labels import labels\nimport numpy")
    write(project, "datasets/stripes.py", text.replace("    draw = np", "    labels(raw)\n    draw = np"))
    own.use_folder(project.parent)
    line = told("prepare", "stripes")
    assert line.startswith("prepare stripes: datasets/_labels.py:2: FileNotFoundError: [Errno 2] No such file")


def test_parameters_that_ask_more_than_a_reader_returned_are_told_before_training(project: Path) -> None:
    write(project, "presets/one.yaml", PRESET.replace("64", "999"))
    line = "stripes (train 216, test 120, validation 24) is too small for swaro.training.batch_size = 999, at most 216"
    assert told("prepare", "stripes", "--preset", "one") == line
    with pytest.raises(UserError) as caught:
        check_data(Grid("one"))
    assert str(caught.value) == line


def test_what_a_step_raises_is_told_with_its_line(project: Path) -> None:
    line = training(project, METHOD.replace("z.square().mean()", "z @ z[1:]"))
    assert line.startswith("pretrain swaro stripes mine 0: methods/mine.py:9: RuntimeError: mat1 and mat2 shapes ")
    line = training(project, METHOD.replace("z.square().mean()", "exit(0)"))
    assert line == "pretrain swaro stripes mine 0: methods/mine.py:9: SystemExit: 0 (the traceback is above)"
    line = training(project, METHOD.replace("z.square().mean()", 'int("a " * 999)'))
    assert len(line) < 500, "a long message is cut"
    line = training(project, METHOD.replace("(self, batch, step)", "(self, batch)"))
    assert line.startswith(
        "pretrain swaro stripes mine 0: methods/mine.py: TypeError: Mine.training_step() takes 2 pos"
    )


def test_what_own_code_draws_from_global_generators_is_drawn_alike(project: Path) -> None:
    text = METHOD.replace("z.square()", "numpy.random.rand() * random.random() * z.square()")
    write(project, "methods/mine.py", f"import numpy\nimport random\n{text}")
    text = (project / "datasets/stripes.py").read_text().replace("np.random.default_rng(0)", "np.random.mtrand._rand")
    write(project, "datasets/stripes.py", text)
    found = []
    for number in range(2):
        own.use_folder(project.parent)
        for command in ("prepare stripes", "pretrain swaro stripes mine 0 --preset one"):
            np.random.seed(number)
            random.seed(number)
            done = CliRunner().invoke(app, command.split())
            assert done.exit_code == 0, done.output
        weights = project / "runs/one/pretrain/swaro/stripes/mine/0/model.safetensors"
        found.append((data_hash(project / "data/prepared/stripes"), weights.read_bytes()))
    assert found[0] == found[1]


def test_the_programs_own_faults_are_not_put_down_to_the_user(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("contrastbench.stages.pretrain.pretrain", fault)
    monkeypatch.setattr("contrastbench.stages.prepare.prepare", fault)
    for command in ("pretrain swaro stripes simclr 0 --preset one", "prepare digits"):
        found = CliRunner().invoke(app, command.split())
        assert isinstance(found.exception, RuntimeError) and "above" not in found.output


@pytest.mark.parametrize(
    ("returned", "told_of"),
    [
        ("None", "NoneType"),
        ("loss", "Tensor ()"),
        ("(loss, z)", "tuple"),
        ('{"loss": loss}', "no 'embeddings'"),
        ('{"embeddings": z}', "no 'loss'"),
        ('{"loss": 1.0, "embeddings": z}', "float as 'loss'"),
        ('{"loss": z.mean(1), "embeddings": z}', "Tensor (64,) as 'loss'"),
        ('{"loss": loss.detach(), "embeddings": z}', "a tensor of torch.float32, without a gradient, as 'loss'"),
        ('{"loss": loss + 0j, "embeddings": z}', "a tensor of torch.complex64 as 'loss'"),
        ('{"loss": loss, "embeddings": z[None]}', "Tensor (1, 64, 64) as 'embeddings'"),
        ('{"loss": loss, "embeddings": z.detach().numpy()}', "ndarray (64, 64) as 'embeddings'"),
        ('{"loss": loss, "embeddings": z, "other": 0.5}', "float as 'other'"),
        ('{"loss": loss, "embeddings": z, "step": loss}', "the name 'step', which is taken"),
        ('{"loss": loss, "embeddings": z, 1: loss}', "the name 1"),
    ],
)
def test_what_a_step_must_not_return_is_one_line(project: Path, returned: str, told_of: str) -> None:
    line = training(project, METHOD.replace(RETURN, returned))
    start = f"{project}/methods/mine.py: class Mine: training_step returned {told_of}; expected {{'loss': a scalar"
    assert line.startswith(start)


@pytest.mark.parametrize(
    ("added", "told_of"),
    [
        ("self.encoder = None", "self.encoder is NoneType; expected a torch.nn.Module"),
        ("del self.encoder", "self.encoder is NoneType; expected a torch.nn.Module"),
        (
            "self.encoder = torch.nn.Conv2d(1, 4, 3)",
            "self.encoder returned Tensor (64, 4, 14, 14); expected a tensor (64, D), a feature vector for each",
        ),
    ],
)
def test_an_encoder_that_cannot_be_judged_is_told_before_training(project: Path, added: str, told_of: str) -> None:
    begin = f"    def __init__(self, *arguments):\n        super().__init__(*arguments)\n        {added}\n\n"
    text = METHOD.replace("    def training_step", begin + "    def training_step")
    assert training(project, f"import torch\n{text}") == f"{project}/methods/mine.py: class Mine: {told_of}"
    assert not (project / "runs/one/pretrain").exists()


def test_other_functions_of_a_method_are_checked_too(project: Path) -> None:
    place = f"{project}/methods/mine.py: class Mine: "
    diagnose = "\n    def diagnose(self, batch, labels):\n        return {0}\n"
    for returned, shown in (("None", "NoneType"), ("{'a': batch.clean.mean()}", "dict")):
        line = training(project, METHOD + diagnose.format(returned))
        assert line == f"{place}diagnose returned {shown}; expected a dict of numbers, each a float"
    line = training(project, METHOD.replace("def training_step", "def trainingstep"))
    assert line == f"{place}defines no 'training_step', which every method needs"


def test_a_step_as_it_should_be_is_taken_and_finds_the_encoder_as_it_was(project: Path) -> None:
    kept = "    def train(self, mode=True):\n        super().train(mode).encoder.trunk.eval()\n        return self\n"
    checks = "        assert self.encoder.training and not self.encoder.trunk.training\n"
    text = METHOD.replace("        z =", f"{checks}        z =").replace('"embeddings"', '"other": loss, "embeddings"')
    write(project, "methods/mine.py", text + "\n" + kept)
    done = CliRunner().invoke(app, ["pretrain", "swaro", "stripes", "mine", "0", "--preset", "one"])
    assert done.exit_code == 0, done.output
    assert "other" in (project / "runs/one/pretrain/swaro/stripes/mine/0/history.csv").read_text().splitlines()[0]


def test_looking_at_the_encoder_first_leaves_its_running_statistics_alone(project: Path) -> None:
    """A forward pass in training mode would change them, and with them every feature that is judged."""
    seen = "sum(float(buffer.abs().sum()) for name, buffer in self.encoder.named_buffers() if name.endswith('_mean'))"
    checks = f"        assert (step.number == 0) == ({seen} == 0)\n"
    write(project, "methods/mine.py", METHOD.replace("        z =", f"{checks}        z ="))
    done = CliRunner().invoke(app, ["pretrain", "swaro", "stripes", "mine", "0", "--preset", "one"])
    assert done.exit_code == 0, done.output
