"""Read a SoundFont 2 file's RIFF chunks and render notes from it: samples, tuning, loops, volume envelope.

Follows the SoundFont Technical Specification 2.04 (section numbers below). Left out, because they need a running
synthesiser: filters, modulators other than velocity to attenuation, low-frequency oscillators, effects, panning
(the voices of a note are summed in mono).
"""

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from contrastbench.errors import UserError

# The generators (8.1.2) that a voice reads, and their defaults (8.1.3).
START_OFFSET, END_OFFSET, LOOP_START_OFFSET, LOOP_END_OFFSET, START_COARSE = 0, 1, 2, 3, 4
END_COARSE, LOOP_START_COARSE, LOOP_END_COARSE = 12, 45, 50
DELAY, ATTACK, HOLD, DECAY, SUSTAIN, RELEASE, KEY_TO_HOLD, KEY_TO_DECAY = range(33, 41)
INSTRUMENT, KEY_RANGE, VELOCITY_RANGE, ATTENUATION = 41, 43, 44, 48
COARSE_TUNE, FINE_TUNE, SAMPLE, SAMPLE_MODES, SCALE_TUNING, ROOT_KEY = 51, 52, 53, 54, 56, 58
DEFAULTS = {DELAY: -12000, ATTACK: -12000, HOLD: -12000, DECAY: -12000, RELEASE: -12000, SCALE_TUNING: 100}
DEFAULTS[ROOT_KEY] = -1  # not set: the sample header's applies
# Set by the instrument only; a preset may not change them (8.5).
NOT_IN_PRESET = {0, 1, 2, 3, 4, 12, 45, 50, SAMPLE_MODES, ROOT_KEY}
FULL_RANGE = 127 << 8  # low byte 0, high byte 127
SILENCE_DB = 100.0  # full depth of the volume envelope (8.1.2, 36 and 38)
ROM = 0x8000
BANK = 0  # General MIDI's melodic instruments

Zone = dict[int, int]


@dataclass(frozen=True)
class SampleHeader:
    """One recording: positions in the sample data, its rate in Hz and its tuning."""

    start: int
    end: int
    loop_start: int
    loop_end: int
    rate: int
    root_key: int
    correction: int  # cents
    kind: int


class SoundFont:
    """A parsed SoundFont 2 file."""

    def __init__(self, path: Path) -> None:
        """Raises a one-line UserError when ``path`` is missing or not a SoundFont."""
        try:
            content = path.read_bytes()
            self._chunks = dict(_chunks(content))
            self.samples = np.frombuffer(self._chunks[b"smpl"], "<i2")
        except (OSError, KeyError, ValueError, struct.error):
            raise UserError(f"{path}: missing or not a SoundFont 2 file") from None

    @cached_property
    def _headers(self) -> list[SampleHeader]:
        rows = struct.iter_unpack("<20s5IBbHH", self._chunks[b"shdr"])
        headers = [SampleHeader(a, b, c, d, e, f, g, kind) for _, a, b, c, d, e, f, g, _, kind in rows]
        return headers[:-1]  # the last is a terminator

    @cached_property
    def _instruments(self) -> list[list[Zone]]:
        starts = [row[1] for row in struct.iter_unpack("<20sH", self._chunks[b"inst"])]
        return [self._zones(b"ibag", b"igen", *span) for span in itertools.pairwise(starts)]

    @cached_property
    def _presets(self) -> dict[tuple[int, int], list[Zone]]:
        rows = list(struct.iter_unpack("<20s3H3I", self._chunks[b"phdr"]))
        spans = itertools.pairwise(rows)
        return {(row[2], row[1]): self._zones(b"pbag", b"pgen", row[3], after[3]) for row, after in spans}

    def _zones(self, bags: bytes, generators: bytes, first: int, last: int) -> list[Zone]:
        starts = np.frombuffer(self._chunks[bags], "<u2").reshape(-1, 2)[first : last + 1, 0].astype(int)
        pairs = np.frombuffer(self._chunks[generators], "<i2").reshape(-1, 2)
        return [dict(pairs[start:stop].tolist()) for start, stop in itertools.pairwise(starts)]

    def voices(self, program: int, key: int, velocity: int) -> list[tuple[SampleHeader, Zone]]:
        """The recordings that sound for one note, each with its final generator values (9.4)."""
        if (BANK, program) not in self._presets:
            raise UserError(f"the SoundFont has no preset {program} in bank {BANK}")
        found = []
        for preset_zone in _matching(self._presets[BANK, program], INSTRUMENT, key, velocity):
            for zone in _matching(self._instruments[preset_zone[INSTRUMENT]], SAMPLE, key, velocity):
                values = DEFAULTS | zone
                for generator, value in preset_zone.items():
                    if generator not in NOT_IN_PRESET and generator not in (INSTRUMENT, KEY_RANGE, VELOCITY_RANGE):
                        values[generator] = values.get(generator, 0) + value
                header = self._headers[zone[SAMPLE]]
                if not header.kind & ROM and header.rate > 0:
                    found.append((header, values))
        return found

    def render(
        self, program: int, key: int, velocity: int, *, seconds: float, held: float, rate: int = 48000
    ) -> np.ndarray:
        """One note, mono float32 (seconds * rate,); the key is released after ``held`` seconds.

        Velocity sets the level by the default modulator (8.4.1): amplitude (velocity / 127) squared.
        """
        count = round(seconds * rate)
        note = np.zeros(count, dtype=np.float32)
        for header, values in self.voices(program, key, velocity):
            wave = self._wave(header, values, key, count, rate)
            level = 10 ** (-values.get(ATTENUATION, 0) / 200) * (velocity / 127) ** 2  # centibels
            note += level * envelope(values, key, count, held, rate) * wave
        return note

    def _wave(self, header: SampleHeader, values: Zone, key: int, count: int, rate: int) -> np.ndarray:
        """The recording at the note's pitch, linearly interpolated; silent after its end unless it loops."""
        start = header.start + values.get(START_OFFSET, 0) + (values.get(START_COARSE, 0) << 15)
        end = header.end + values.get(END_OFFSET, 0) + (values.get(END_COARSE, 0) << 15)
        loop_start = header.loop_start + values.get(LOOP_START_OFFSET, 0) + (values.get(LOOP_START_COARSE, 0) << 15)
        loop_end = header.loop_end + values.get(LOOP_END_OFFSET, 0) + (values.get(LOOP_END_COARSE, 0) << 15)
        root = values[ROOT_KEY] if values[ROOT_KEY] >= 0 else header.root_key
        cents = (key - root) * values[SCALE_TUNING] + header.correction
        cents += 100 * values.get(COARSE_TUNE, 0) + values.get(FINE_TUNE, 0)
        position = start + np.arange(count) * (header.rate / rate * 2 ** (cents / 1200))
        loops = values.get(SAMPLE_MODES, 0) in (1, 3) and loop_end > loop_start
        if loops:
            past = position >= loop_end
            position[past] = loop_start + (position[past] - loop_start) % (loop_end - loop_start)
        left = position.astype(np.int64)
        right = left + 1
        if loops:
            right[right == loop_end] = loop_start
        last = min(end, len(self.samples)) - 1
        sounding = left < last if not loops else np.ones(count, dtype=bool)
        a = self.samples[np.minimum(left, last)].astype(np.float32)
        b = self.samples[np.minimum(right, last)].astype(np.float32)
        return (a + (b - a) * (position - left).astype(np.float32)) * sounding / 32768


def envelope(values: Zone, key: int, count: int, held: float, rate: int) -> np.ndarray:
    """Volume envelope (count,): delay, linear attack, hold, then decay and release, both linear in dB (8.1.2)."""
    time = np.arange(count, dtype=np.float32) / rate
    hold_at = seconds_of(values[DELAY]) + seconds_of(values[ATTACK])
    hold = seconds_of(values[HOLD] + values.get(KEY_TO_HOLD, 0) * (60 - key))
    decay = seconds_of(values[DECAY] + values.get(KEY_TO_DECAY, 0) * (60 - key))
    sustain = min(max(values.get(SUSTAIN, 0) / 10, 0.0), SILENCE_DB)
    loss = np.clip((time - hold_at - hold) / decay * SILENCE_DB, 0, sustain)
    release = np.maximum(time - held, 0) / seconds_of(values[RELEASE]) * SILENCE_DB
    rise = np.clip((time - seconds_of(values[DELAY])) / seconds_of(values[ATTACK]), 0, 1)
    exponent = -np.minimum(loss + release, 2 * SILENCE_DB) / 20
    # In float64: numpy's powers of float32 differ between processors in a fifth of all values, these in none.
    return rise * (10 ** exponent.astype(np.float64)).astype(np.float32)


def seconds_of(timecents: int) -> float:
    """Seconds from SoundFont's logarithmic unit of time (8.1.2): 0 is one second, every 1200 more doubles it."""
    return 2 ** (timecents / 1200)


def _matching(zones: list[Zone], link: int, key: int, velocity: int) -> Iterator[Zone]:
    """Zones with ``link`` that sound at this key and velocity; a leading zone without it holds defaults (7.3)."""
    common = zones[0] if zones and link not in zones[0] else {}
    for zone in zones:
        values = common | zone
        if link in zone and _in_range(values, KEY_RANGE, key) and _in_range(values, VELOCITY_RANGE, velocity):
            yield values


def _in_range(values: Zone, generator: int, number: int) -> bool:
    amount = values.get(generator, FULL_RANGE) & 0xFFFF
    return amount & 0xFF <= number <= amount >> 8


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The RIFF chunks inside a SoundFont's lists: (name, content)."""
    if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
        raise ValueError("not a SoundFont")
    waiting = [(12, len(content))]
    while waiting:
        at, end = waiting.pop()
        while at + 8 <= end:
            name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
            if name == b"LIST":
                waiting.append((at + 12, at + 8 + size))
            else:
                yield name, content[at + 8 : at + 8 + size]
            at += 8 + size + size % 2
