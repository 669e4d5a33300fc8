"""A few hundred spoilt files end in an array or in one line; the benchmark reads thousands."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks/fuzz_files.py"
SEED = 0


def test_spoilt_files_are_read_or_refused_in_one_line(capfd):
    spec = spec_from_file_location("fuzz_files", SCRIPT)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(fuzz := module_from_spec(spec))
    rng = np.random.default_rng(SEED)
    pictures = [fuzz.picture(*kind, rng) for kind in fuzz.PICTURES]
    sounds = [fuzz.sound(*kind, rng) for kind in fuzz.SOUNDS]
    assert all(map(fuzz.is_sound, sounds)) and sum(map(fuzz.is_picture, pictures)) == len(pictures) - 2
    for reads, healthy, others in ((fuzz.is_picture, pictures, sounds), (fuzz.is_sound, sounds, pictures)):
        counts = fuzz.fuzz(reads, healthy, others, 150, SEED)
        outcomes = {name: sum(n for key, n in counts.items() if key.endswith(name)) for name in ("read", "refused")}
        assert outcomes["read"] + outcomes["refused"] == 150 and min(outcomes.values()) > 20
    assert "Traceback" not in capfd.readouterr().err
