"""What depends on the modality: images and sound against their definitions, and a third modality as files alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from audio_sets import about
from torch import Tensor, nn
from torch.nn import functional
from training_cases import params_of

from contrastbench import registry
from contrastbench.datasets import adapter
from contrastbench.datasets.base import Split
from contrastbench.datasets.store import Prepared, open_prepared, write_prepared
from contrastbench.errors import UserError
from contrastbench.jobs.encode import encode, reference_features
from contrastbench.jobs.examples import examples_for
from contrastbench.jobs.weights import build_method
from contrastbench.methods.random_encoder import RandomEncoder
from contrastbench.modalities import Modality, modality, modality_of
from contrastbench.models.base import Encoder
from contrastbench.models.encoders import ImageEncoder
from contrastbench.models.vit import AudioViT
from contrastbench.params.base import Section
from contrastbench.params.image_track import ImagePretrainParams
from contrastbench.params.root import load
from contrastbench.pipeline.fingerprint import fingerprint
from contrastbench.pipeline.grid import Grid
from contrastbench.pipeline.layout import Job
from contrastbench.training.loop import train

CPU = torch.device("cpu")
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (6, 8, 10, 3)).astype(np.uint8)
SPECTROGRAMS = DRAW.normal(size=(6, 32, 16)).astype(np.float16)


def stored(folder: Path, kind: str, x: np.ndarray, **columns: np.ndarray) -> Prepared:
    split = Split(x, np.arange(len(columns["offsets"]) - 1 if "offsets" in columns else len(x)) % 2, columns)
    write_prepared(folder, about(modality=kind), dict.fromkeys(("train", "validation", "test"), split), "as made")
    return open_prepared(folder)


def test_every_modality_is_one_class_and_every_data_set_names_one(repository):
    for name in registry.MODALITIES:
        assert isinstance(modality(name), Modality) and modality(name) is modality(name)
    for name in registry.DATASETS:
        assert adapter(name).modality in registry.MODALITIES
    with pytest.raises(UserError, match="unknown modality 'imge'; did you mean 'image'"):
        modality("imge")
    for track in load(root=repository).tracks:
        params = load(root=repository).track(track)
        labels = (label for label in params.methods if label not in registry.WITHOUT_ENCODER)
        assert {params.pretrain(label, params.datasets[0]).modality for label in labels} == {params.modality}
        assert {adapter(name).modality for name in params.datasets} == {params.modality}


def test_images(tmp_path):
    data = stored(tmp_path / "x", "image", IMAGES)
    kind = modality_of(data)
    assert kind.input_shape(data) == (3, 8, 10)
    inputs = kind.inputs(kind.examples(data, "train")[np.array([1, 4])], CPU)
    assert torch.equal(inputs, torch.from_numpy(IMAGES[[1, 4]]).permute(0, 3, 1, 2) / 255) and inputs.is_contiguous()
    assert np.array_equal(kind.reference_features(data, "test"), IMAGES.reshape(6, -1).astype(np.float32) / 255)


def test_sound(tmp_path):
    data = stored(tmp_path / "x", "audio", SPECTROGRAMS)
    kind = modality_of(data)
    assert kind.input_shape(data) == (1, 32, 16)
    inputs = kind.inputs(kind.examples(data, "train")[np.array([1, 4])], CPU)
    assert inputs.dtype == torch.float32 and np.array_equal(inputs[:, 0].numpy(), SPECTROGRAMS[[1, 4]])
    found = kind.reference_features(data, "test")
    energies = SPECTROGRAMS.astype(np.float64)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.concatenate([energies.mean(1), energies.std(1)], axis=1), atol=1e-6)


def test_images_of_another_size_are_scaled_and_other_inputs_refused():
    x = torch.rand(2, 3, 8, 10)
    images, sound = modality("image"), modality("audio")
    expected = functional.interpolate(x, (4, 5), mode="bilinear", antialias=True)
    assert torch.equal(images.adaptation((3, 8, 10), (3, 4, 5))(x), expected)
    with pytest.raises(UserError, match="grey, the other in colour"):
        images.adaptation((1, 8, 8), (3, 8, 8))
    spectrograms = torch.rand(2, 1, 32, 16)
    assert sound.adaptation((1, 32, 16), (1, 32, 16))(spectrograms) is spectrograms
    with pytest.raises(UserError, match=r"inputs of shape \[1, 32, 16\]: the encoder takes \[1, 64, 16\]"):
        sound.adaptation((1, 32, 16), (1, 64, 16))


def test_a_modality_builds_its_encoder_as_the_parameters_name_it(repository):
    params = load(root=repository)
    found = {
        track: RandomEncoder.from_params(params.track(track).pretrain("random", name), shape, 2).encoder
        for track, name, shape in (("unremix", "digits", (1, 8, 8)), ("uamix", "instruments", (1, 128, 64)))
    }
    assert isinstance(found["unremix"], ImageEncoder) and isinstance(found["uamix"], AudioViT)


def test_the_code_of_a_modality_counts_for_its_own_jobs_alone(repository, monkeypatch):
    grid = Grid("default", repository)
    image, sound = Job("unremix", "mnist5k", "random", 0), Job("uamix", "instruments", "random", 0)
    before = [grid.code("features", job) for job in (image, sound)]
    made = fingerprint("spectrograms")  # by code that the data hash does not name
    assert made in grid.training_code(sound) and made not in grid.training_code(image)
    monkeypatch.setitem(registry.MODALITIES, "audio", "contrastbench.objectives.nnclr:Changed")
    after = [grid.code("features", job) for job in (image, sound)]
    assert before[0] == after[0] and before[1] != after[1]


# ---- a third modality: sets of numbers of any size, as graphs are


class Sets(Modality):
    """Stored one after another with ``offsets``; an input is (members of all sets (M, 1), which set each is of)."""

    def examples(self, data, split):
        offsets = np.asarray(data.column(split, "offsets"))

        class Ragged:
            def __len__(self):
                return len(offsets) - 1

            def __getitem__(self, index):
                return [np.array(data.x(split)[offsets[at] : offsets[at + 1]]) for at in index]

        return Ragged()

    def inputs(self, rows, device):
        sizes = torch.tensor([len(row) for row in rows])
        members = torch.from_numpy(np.concatenate(rows)).to(device).float().unsqueeze(1)
        return torch.cat([members, torch.arange(len(rows)).repeat_interleave(sizes).unsqueeze(1)], dim=1)

    def input_shape(self, data):
        return (1,)

    def build_encoder(self, params, input_shape):
        return SumOfMembers()

    def augmentation(self, params):
        def noisy(sets: Tensor, generator: torch.Generator) -> Tensor:
            return sets + torch.randn(len(sets), 1, generator=generator) * torch.tensor([[0.1, 0.0]])

        return noisy

    def reference_features(self, data, split):
        rows = self.examples(data, split)
        return np.array([[len(row), row.sum()] for row in rows[np.arange(len(rows))]], np.float32)


class SumOfMembers(Encoder):
    features = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 4)

    def forward(self, sets: Tensor) -> Tensor:
        which = sets[:, 1].round().long()
        return torch.zeros(int(which.max()) + 1, 4).index_add(0, which, self.layer(sets[:, :1]).relu())


@pytest.mark.parametrize("uses_labels", [False, True])
def test_the_training_split_alone_is_trained_on_with_unlabelled_examples_where_labels_are_not_needed(
    tmp_path, repository, uses_labels
):
    """Every split holds other pixels and other labels, so that examples tell where they come from."""
    places = {"train": 10, "validation": 20, "test": 30, "unlabeled": 40}
    splits = {
        name: Split(
            np.full((4, 8, 8, 3), value, np.uint8), None if name == "unlabeled" else np.full(4, value // 10, np.int64)
        )
        for name, value in places.items()
    }
    augment = load(root=repository).unremix.augment
    for given in (("train", "validation", "test"), tuple(places)):
        write_prepared(
            tmp_path / given[-1],
            about(classes=list("abcd"), modality="image"),
            {name: splits[name] for name in given},
            "as made",
        )
        method = SimpleNamespace(uses_labels=uses_labels)
        examples = examples_for(method, open_prepared(tmp_path / given[-1]), augment)
        unlabelled = "unlabeled" in given and not uses_labels
        assert np.unique(examples.x[np.arange(len(examples.x))]).tolist() == [10, *([40] * unlabelled)]
        assert examples.y is None if unlabelled else np.unique(examples.y).tolist() == [1]


class SetPretrainParams(ImagePretrainParams):
    modality = "set"


def test_a_third_modality_is_trained_and_judged_without_a_change_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.MODALITIES, "set", "test_modalities:Sets")
    sizes = DRAW.integers(1, 6, 20)
    offsets = np.cumsum([0, *sizes])
    data = stored(tmp_path / "sets", "set", DRAW.normal(size=offsets[-1]).astype(np.float32), offsets=offsets)
    params = SetPretrainParams.model_construct(**dict(params_of("simclr")) | {"augment": Section()})
    method = build_method(params, data, 0)
    training = load("smoke", Path(__file__).parents[1]).unremix.training.model_copy(update={"batch_size": 8})
    log = train(
        method,
        examples_for(method, data, params.augment),
        training,
        seed=0,
        checkpoint=tmp_path / "c.pt",
        identity="x",
        show_progress=False,
    )
    assert log.steps == 2 and np.isfinite(log.history[-1]["loss"])
    assert {split: x.shape for split, x in encode(method, data, "cpu").items()}["test"] == (20, 4)
    assert reference_features(data)["test"][:, 0].tolist() == sizes.tolist()
