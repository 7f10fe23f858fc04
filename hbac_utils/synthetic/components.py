"""Components of simulated EEG: backgrounds, patterns and sets of artifacts, rendered apart.

A background, a pattern and artifacts that are drawn independently and added make a window that
has never been seen; a few thousand of each make more than 10^10 of them (`mixtures` adds them).
The band-pass is linear, so components are filtered once, before they are stored.
"""

import json
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.data.preprocessing import bandpass
from hbac_utils.montage import DOUBLE_BANANA, ELECTRODES, derivation_matrix
from hbac_utils.synthetic import artifacts, raters
from hbac_utils.synthetic.background import add_background, draw_session_background
from hbac_utils.synthetic.forward_model import apply_reference
from hbac_utils.synthetic.patterns import (
    EVOLUTION,
    OCTAVES,
    Episode,
    draw_episode,
    episode_waveforms,
    frequency_limit,
    pattern_fields,
)
from hbac_utils.synthetic.render import REFERENCES
from hbac_utils.synthetic.signals import MARGIN, SessionSignal, log_uniform
from hbac_utils.utils import interactive
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import lock

VERSION = 3  # raise it when the numbers of a component change
KINDS = ("backgrounds", "patterns", "artifacts")
SPARE_SECONDS = 5  # by which a component is longer than a window
SECONDS = WINDOW_SECONDS + SPARE_SECONDS
SHAPE = (SECONDS * SAMPLING_RATE, len(ELECTRODES))
UNIT = 1 / 16  # µV, of the stored int16; they end at ± 2,048 µV
PATTERN_SIZE = 100.0  # µV, nominal peak-to-peak amplitude of a stored pattern
RELIABLE = 0.5  # share of the patterns that are drawn as those that many experts see
LABELLED = slice(  # samples of a component, in its middle
    (SECONDS - SEGMENT_SECONDS) * SAMPLING_RATE // 2,
    (SECONDS + SEGMENT_SECONDS) * SAMPLING_RATE // 2,
)
BEGINNING, ENDING = 0.25, 0.15  # shares of the seizures that begin, that end in the labelled part
LATEST = 6.0  # seconds of the labelled part that may be without the seizure
SLOW = 0.45  # share of the seizures that are slow: evolution makes them seizures
SLOW_FREQUENCIES = (1.5, 3.5)  # Hz
TREND = (0.6, 2.4)  # octaves of frequency per minute, of the least and the most evolution
GROWTH = (1.2, 4.0)  # octaves of amplitude per minute
TENSE = 0.3  # share of the seizures with more muscle activity than `draw_episode` gives
CHUNK = 25  # components that a process renders at a time

# what decides about the class; see `patterns.Episode`
PARAMETERS = (
    "contrast", "irregularity", "frequency", "evolution", "periodicity", "laterality",
)  # fmt: skip
_BIPOLAR = derivation_matrix(DOUBLE_BANANA)


@dataclass(frozen=True)
class Components:
    """A folder of components: int16 memory maps in `UNIT`, shape (count, *SHAPE)."""

    path: Path

    @cached_property
    def count(self) -> int:
        """Number of backgrounds, of patterns and of artifacts."""
        return len(self.patterns)

    @cached_property
    def backgrounds(self) -> np.ndarray:
        """Backgrounds."""
        return np.load(self.path / "backgrounds.npy", mmap_mode="r")

    @cached_property
    def patterns(self) -> np.ndarray:
        """Patterns of `PATTERN_SIZE`, with the stated parameters in `LABELLED`."""
        return np.load(self.path / "patterns.npy", mmap_mode="r")

    @cached_property
    def artifacts(self) -> np.ndarray:
        """Artifacts with the noise of the amplifier."""
        return np.load(self.path / "artifacts.npy", mmap_mode="r")

    @cached_property
    def table(self) -> pd.DataFrame:
        """Per pattern `PARAMETERS`, ``largest`` and ``size``, as `largest_derivation` returns."""
        return pd.read_parquet(self.path / "patterns.parquet")


def open_components(
    folder: Path, count: int, seed: int, band: tuple[float, float], *, jobs: int = -1,
    progress: bool = True,
) -> Components:  # fmt: skip
    """Open components in a folder, which are rendered first if it does not exist.

    2,000 take 2.5 GB. ``band`` in Hz is that of the recipes that will read them; ``jobs`` is a
    number of processes, -1 for all cores. Raises InputError if the folder holds others.
    """
    folder = Path(folder)
    settings = {"version": VERSION, "count": count, "seed": seed, "band": list(band)}
    facts = folder / "components.json"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder):
        if not facts.is_file():
            _render(folder, settings, jobs, progress)
    if json.loads(facts.read_text()) != settings:
        raise InputError(f"{folder}: holds other components; remove it, or name another folder")
    return Components(folder)


def _render(folder: Path, settings: dict, jobs: int, progress: bool) -> None:
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)  # of a killed process
    draft.mkdir()
    count = settings["count"]
    try:
        for kind in KINDS:
            shape = (count, *SHAPE)
            np.lib.format.open_memmap(draft / f"{kind}.npy", "w+", np.int16, shape).flush()
        starts = range(0, count, CHUNK)
        tasks = (joblib.delayed(_render_chunk)(draft, settings, start) for start in starts)
        done = joblib.Parallel(n_jobs=jobs, return_as="generator")(tasks)
        rows: list[dict] = []
        for part in interactive.progress(done, count, "render", size=len, show=progress):
            rows += part
        pd.DataFrame(rows).to_parquet(draft / "patterns.parquet", index=False)
        (draft / "components.json").write_text(json.dumps(settings))
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _render_chunk(folder: Path, settings: dict, start: int) -> list[dict]:
    stop = min(start + CHUNK, settings["count"])
    arrays = [np.lib.format.open_memmap(folder / f"{kind}.npy", "r+") for kind in KINDS]
    rows = []
    with threadpool_limits(1):
        for i in range(start, stop):
            rng = np.random.default_rng([settings["seed"], 3, i])
            signals, row = render_components(rng, tuple(settings["band"]))
            for array, signal in zip(arrays, signals, strict=True):
                array[i] = np.clip(signal / UNIT, -32767, 32767).round().astype(np.int16)
            rows.append(row)
    return rows


def render_components(rng: Generator, band: tuple[float, float]) -> tuple[list[np.ndarray], dict]:
    """Simulate one of each of `KINDS`: float32, *SHAPE*, µV, and the pattern's row of the table."""
    reference = str(rng.choice(list(REFERENCES), p=list(REFERENCES.values())))
    background, pattern, artifact = (
        SessionSignal(SECONDS, [(0, SECONDS)], parts_only=True) for _ in KINDS
    )
    add_background(background, draw_session_background(rng, rng), reference, rng)
    episode, shown = _add_pattern(pattern, reference, rng)
    artifacts.add_artifacts(artifact, rng)
    arrays = [bandpass(s.to_arrays()[1][0].T, band) for s in (background, pattern, artifact)]
    largest, size = largest_derivation(arrays[1][shown], episode.frequency)
    row = {name: getattr(episode, name) for name in PARAMETERS}
    return arrays, row | {"largest": largest, "size": size}


def _add_pattern(signal: SessionSignal, reference: str, rng: Generator) -> tuple[Episode, slice]:
    """Add an episode; return it and the labelled samples in which it is present."""
    reliable = rng.random() < RELIABLE
    kinds, shares = raters.episode_kinds(reliable, balanced=True)
    kind = kinds[rng.choice(len(kinds), p=shares)]
    episode = draw_episode(rng, raters.draw_evidence(rng, kind, rng.random(), reliable))
    if episode.evidence[1] > 0:
        episode = _as_recorded_seizure(episode, rng)
    episode = _with_visible_evolution(episode, rng)
    fields = apply_reference(pattern_fields(episode), reference)
    size = np.abs(fields.sum(axis=0) @ _BIPOLAR).max()
    labelled = LABELLED.start / SAMPLING_RATE, LABELLED.stop / SAMPLING_RATE
    begin = max(labelled[0] - episode.lead, -MARGIN)
    end = min(labelled[1] + episode.tail, SECONDS + MARGIN)
    inside = max(labelled[0] - begin, 0), min(labelled[1], end) - begin
    waves = episode_waveforms(episode, rng, end - begin, inside)
    signal.add(begin, PATTERN_SIZE / size * fields, waves)
    if episode.tension:
        artifacts.add_seizure_muscle(signal, rng, begin, end, episode.tension)
    return episode, slice(*(round(SAMPLING_RATE * (begin + t)) for t in inside))


def _as_recorded_seizure(episode: Episode, rng: Generator) -> Episode:
    """Let some seizures begin or end inside the labelled part, and more of them move muscles."""
    draw = rng.random()
    if draw < BEGINNING:
        episode = replace(episode, lead=-rng.uniform(0, LATEST))
    elif draw < BEGINNING + ENDING:
        episode = replace(episode, tail=-rng.uniform(0, LATEST))
    if rng.random() < SLOW:
        episode = _slowed(episode, rng)
    if rng.random() < TENSE:
        episode = replace(episode, tension=log_uniform(rng, 3, 150))
    return episode


def _with_visible_evolution(episode: Episode, rng: Generator) -> Episode:
    """Make evolution that counts for a seizure visible within the window."""
    amount = (episode.evolution - EVOLUTION[0]) / (1 - EVOLUTION[0])
    if amount <= 0:
        return episode
    what = rng.integers(3)  # frequency, amplitude or both
    if what != 1:
        trend = np.interp(amount, (0, 1), TREND) * rng.choice((-1, 1), p=(0.75, 0.25))
        episode = replace(episode, trend=float(trend))
    if what != 0:
        episode = replace(episode, growth=float(np.interp(amount, (0, 1), GROWTH)))
    return episode


def _slowed(episode: Episode, rng: Generator) -> Episode:
    """Lower the frequency of a seizure and raise its evolution, with the same evidence."""
    frequency = min(log_uniform(rng, *SLOW_FREQUENCIES), episode.frequency)
    octaves = np.log2(frequency / frequency_limit(episode.periodicity)) / OCTAVES
    evolution = EVOLUTION[0] + EVOLUTION[1] * (episode.evidence[1] - octaves)
    if not EVOLUTION[0] < evolution <= 1:
        return episode
    return replace(episode, frequency=float(frequency), evolution=float(evolution))


def largest_derivation(segment: np.ndarray, frequency: float) -> tuple[int, float]:
    """Measure a pattern alone: the derivation where it is largest, and its amplitude there.

    ``segment`` is the labelled part, shape (n, 19), µV, of at least one period of ``frequency``
    (Hz). The amplitude is peak to peak, in µV, the median over cycles.
    """
    bipolar = segment @ _BIPOLAR
    period = round(SAMPLING_RATE / frequency)
    cycles = len(bipolar) // period
    ranges = np.ptp(bipolar[: cycles * period].reshape(cycles, period, -1), axis=1)
    sizes = np.median(ranges, axis=0)
    return int(sizes.argmax()), float(max(sizes.max(), 1.0))
