"""TensorBoard: ``tensorboard --logdir runs/PRESET/log/tensorboard``."""

from torch.utils.tensorboard import SummaryWriter

from contrastbench.loggers.writer import Training, Writer


def open_writer(training: Training) -> Writer:
    """A writer of the training's own folder."""
    return _TensorBoard(training)


class _TensorBoard:
    """All entries are written again where training goes on: by ``purge_step``, readers forget those of before."""

    def __init__(self, training: Training) -> None:
        folder = training.folder / "tensorboard" / training.name
        self._file = SummaryWriter(folder, purge_step=0)  # type: ignore[no-untyped-call]

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._file.add_scalar(name, value, step)  # type: ignore[no-untyped-call]
        self._file.flush()  # type: ignore[no-untyped-call]

    def close(self, *, finished: bool) -> None:
        self._file.close()  # type: ignore[no-untyped-call]
