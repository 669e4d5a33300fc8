"""How batches reach the device: every way gives the same ones, and losses may be read later than they are made."""

import math
import threading

import numpy as np
import pytest
import torch
from test_training import CLASSES, Spy, examples, fresh, losses, params_of, same_weights

from contrastbench.errors import UserError
from contrastbench.jobs.examples import Joined
from contrastbench.training import feed as feeds
from contrastbench.training import loop
from contrastbench.training.feed import feed, in_place, read_ahead, resident
from contrastbench.training.loop import train
from contrastbench.training.order import ExampleOrder

CPU = torch.device("cpu")


def order_of(count: int) -> ExampleOrder:
    return ExampleOrder(count, params_of("simclr", batch_size=8, epochs=2).training, seed=0)


def stored(kind: str):
    rng = np.random.default_rng(0)
    if kind == "images":
        return rng.integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    if kind == "spectrograms":
        return rng.normal(size=(50, 6, 4)).astype(np.float16)
    return Joined([rng.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8) for _ in range(3)])


@pytest.mark.parametrize("kind", ["images", "spectrograms", "joined"])
@pytest.mark.parametrize("first", [0, 5])
@pytest.mark.parametrize("way", [resident, read_ahead])
def test_every_way_gives_the_same_batches(monkeypatch, kind, first, way):
    monkeypatch.setattr(feeds, "ROWS_AT_ONCE", 7)  # the copy to the device takes several parts
    x = stored(kind)
    wanted = list(in_place(x, order_of(len(x)), first))
    found = list(way(x, order_of(len(x)), CPU, first))
    assert len(found) == len(wanted) == order_of(len(x)).total - first
    for (rows, index), (rows_wanted, index_wanted) in zip(found, wanted, strict=True):
        assert torch.equal(index, index_wanted) and torch.equal(rows, torch.from_numpy(rows_wanted))


class Recorded:
    """Examples that are objects; remembers who read which, and when."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.threads: set[str] = set()
        self.broken = False

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: np.ndarray) -> list[str]:
        if self.broken:
            raise OSError("the disk is gone")
        self.reads.append(len(index))
        self.threads.add(threading.current_thread().name)
        return [f"example {i}" for i in index]


def test_a_thread_reads_one_batch_ahead_and_no_more():
    x = Recorded()
    batches = read_ahead(x, order_of(32), CPU, 0)
    for _ in range(5):
        rows, index = next(batches)
        assert rows == [f"example {i}" for i in index.tolist()]
    assert len(x.reads) in (5, 6) and threading.current_thread().name not in x.threads
    assert len(list(batches)) == 3 and len(x.reads) == 8


def test_a_failure_of_the_thread_reaches_training():
    x = Recorded()
    x.broken = True
    with pytest.raises(OSError, match="the disk is gone"):
        next(read_ahead(x, order_of(32), CPU, 0))


def test_what_fits_into_a_quarter_of_the_free_memory_lies_on_the_device(monkeypatch):
    x = stored("images")
    monkeypatch.setattr(feeds, "is_queued", lambda device: True)
    ways = []
    for way in (resident, read_ahead):
        monkeypatch.setattr(feeds, way.__name__, lambda *arguments, way=way: ways.append(way))
    for free in (4 * x.nbytes, 4 * x.nbytes - 1):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2 * free))
        feed(x, order_of(50), CPU, 0)
    feed(Recorded(), order_of(32), CPU, 0)  # no arrays, whatever their size
    assert ways == [resident, read_ahead, read_ahead]


def read_late(monkeypatch, free_memory: int = 10**9) -> None:
    """The loop, and how it is fed, as on an accelerator."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_memory, free_memory))
    for module in (loop, feeds):
        monkeypatch.setattr(module, "is_queued", lambda device: True)


@pytest.mark.parametrize("free_memory", [10**9, 10])
def test_an_accelerators_loop_trains_to_the_last_bit_like_the_cpus(tmp_path, monkeypatch, free_memory):
    params = params_of("unremix", batch_size=32, epochs=3, log_every_steps=2, checkpoint_every_steps=5)
    results = []
    for late in (False, True):
        if late:
            read_late(monkeypatch, free_memory)
        method = fresh("unremix", params)
        log = train(method, examples(params), params.training, seed=0, checkpoint=tmp_path / f"{late}", identity="x",
                    show_progress=False)  # fmt: skip
        results.append((method, log, torch.load(tmp_path / f"{late}", weights_only=True)))
    (early, early_log, early_state), (late, late_log, late_state) = results
    assert same_weights(early, late) and losses(early_log) == losses(late_log)
    assert early_log.history == late_log.history
    assert early_state["recent"] == late_state["recent"] and len(late_state["recent"]) == 5


def diverging(tmp_path, monkeypatch, **training) -> str:
    class Diverging(Spy):
        def training_step(self, batch, step):
            self.scale = math.nan if step.number == 3 else 1.0
            return super().training_step(batch, step)

    params = params_of("simclr", batch_size=32, epochs=3, **training)
    with pytest.raises(UserError) as caught:
        train(Diverging(), examples(params, 100), params.training, seed=0, checkpoint=tmp_path / "c.pt", identity="x",
              show_progress=False)  # fmt: skip
    return str(caught.value)


def test_a_loss_that_is_no_number_is_named_later_but_never_kept(tmp_path, monkeypatch):
    settings = {"log_every_steps": 50, "checkpoint_every_steps": 2}
    now = diverging(tmp_path, monkeypatch, **settings)
    (tmp_path / "c.pt").unlink()
    read_late(monkeypatch)
    assert diverging(tmp_path, monkeypatch, **settings) == now and "stopped at step 3: the loss is not a number" in now
    assert torch.load(tmp_path / "c.pt", weights_only=True)["step"] == 2
    (tmp_path / "c.pt").unlink()
    late = diverging(tmp_path, monkeypatch, log_every_steps=50, checkpoint_every_steps=50)
    assert "stopped at step 3: the loss is not a number (loss nan" in late and "no checkpoint was written yet" in late


def test_no_epoch_is_without_its_labels(tmp_path, monkeypatch):
    """Labels lie on the device; a method that uses them sees those of its examples."""
    read_late(monkeypatch)
    spy = Spy()
    spy.uses_labels = True
    params = params_of("simclr", batch_size=32, epochs=2)
    data = examples(params, 100)
    train(spy, data, params.training, seed=0, checkpoint=tmp_path / "c", identity="x", show_progress=False)
    for batch in spy.batches:
        assert batch.labels.tolist() == (batch.index % CLASSES).tolist()
