"""What training leaves besides the weights."""

from dataclasses import dataclass, field


@dataclass
class TrainingLog:
    """One entry of ``history`` per logged step, warnings, the number of steps done, and the seconds they took."""

    history: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
