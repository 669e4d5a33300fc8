"""Notes from the SoundFont: pitch, level, envelope, and files that are not SoundFonts."""

from pathlib import Path

import numpy as np
import pytest

from contrastbench.datasets.instruments import soundfont_path
from contrastbench.datasets.soundfont import (
    ATTACK,
    DECAY,
    DEFAULTS,
    HOLD,
    RELEASE,
    SUSTAIN,
    SoundFont,
    envelope,
    seconds_of,
)
from contrastbench.errors import UserError

RATE = 48_000


@pytest.fixture(scope="module")
def font() -> SoundFont:
    return SoundFont(soundfont_path())


def note(font: SoundFont, program: int, key: int, velocity: int = 100) -> np.ndarray:
    return font.render(program, key, velocity, seconds=1.0, held=0.8, rate=RATE)


@pytest.mark.parametrize("program", [56, 71, 73])  # trumpet, clarinet, flute: sustained, one clear pitch
@pytest.mark.parametrize("key", [60, 69])
def test_the_pitch_is_the_keys(font: SoundFont, program: int, key: int) -> None:
    """Autocorrelation at the key's period (equal temperament, A4 = 440 Hz) is nearly that at lag 0."""
    wave = note(font, program, key)[RATE // 4 : RATE // 2].astype(float)
    period = RATE / (440 * 2 ** ((key - 69) / 12))
    near = [np.corrcoef(wave[:-d], wave[d:])[0, 1] for d in range(round(period) - 2, round(period) + 3)]
    assert max(near) > 0.9


def test_level_is_the_velocity_squared(font: SoundFont) -> None:
    same_voices = [header for header, _ in font.voices(73, 69, 60)] == [h for h, _ in font.voices(73, 69, 110)]
    assert same_voices
    ratio = note(font, 73, 69, 110).std() / note(font, 73, 69, 60).std()
    assert ratio == pytest.approx((110 / 60) ** 2, rel=1e-3)


def test_the_key_is_released(font: SoundFont) -> None:
    wave = font.render(19, 60, 100, seconds=2.0, held=0.5, rate=RATE)
    assert np.abs(wave[-RATE // 4 :]).max() < 0.05 * np.abs(wave[: RATE // 2]).max()


def test_envelope_goes_up_linearly_and_down_in_decibels() -> None:
    timecents = {ATTACK: 0.1, HOLD: 0.2, DECAY: 1.0, RELEASE: 0.5}  # seconds
    values = DEFAULTS | {name: round(1200 * np.log2(seconds)) for name, seconds in timecents.items()}
    values[SUSTAIN] = 200  # centibels: 20 dB down
    level = envelope(values, 60, 2 * RATE, held=1.0, rate=RATE)

    def decibels(second: float) -> float:
        return 20 * np.log10(level[round(second * RATE)])

    assert level[round(0.05 * RATE)] == pytest.approx(0.5, abs=0.01)
    assert level[round(0.2 * RATE)] == pytest.approx(1.0, abs=1e-3)
    assert decibels(0.4) == pytest.approx(-10, abs=0.2)  # 100 dB a decay time, from 0.3 s on
    assert decibels(0.9) == pytest.approx(-20, abs=0.2)  # sustained
    assert decibels(1.25) == pytest.approx(-20 - 50, abs=0.5)  # 100 dB a release time
    assert seconds_of(0) == 1 and seconds_of(-1200) == 0.5


def test_refuses_an_absent_preset_and_another_file(font: SoundFont, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no preset 128 in bank 0"):
        font.voices(128, 60, 100)
    for content in (b"", b"RIFF", b"RIFF\0\0\0\0sfbkLIST\0\0\0\0"):
        (tmp_path / "x.sf2").write_bytes(content)
        with pytest.raises(UserError, match="not a SoundFont 2 file"):
            SoundFont(tmp_path / "x.sf2")
