"""Hours of simulated EEG of one patient with known truth, rendered in blocks.

Blocks have the same sources of background; their noise is cross-faded, with constant power. The
background's parameters and the patterns' amplitudes change continuously between states that are
two hours apart. A pattern is rendered apart from the background and added to it.
"""

import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS
from hbac_utils.labels import CLASSES
from hbac_utils.montage import CHANNELS, DOUBLE_BANANA, EKG, ELECTRODES, derivation_matrix
from hbac_utils.synthetic import artifacts
from hbac_utils.synthetic.background import Background, add_background, draw_session_background
from hbac_utils.synthetic.edf import START_DATE, append_records, edf_header
from hbac_utils.synthetic.forward_model import apply_reference
from hbac_utils.synthetic.patterns import episode_waveforms, pattern_fields
from hbac_utils.synthetic.render import MAX_AMPLITUDE, MIN_CONTRAST, REFERENCES
from hbac_utils.synthetic.sessions import PlacedEpisode
from hbac_utils.synthetic.signals import MARGIN, SessionSignal, fluctuation, gate, rhythm
from hbac_utils.synthetic.timeline import draw_timeline
from hbac_utils.synthetic.truth import Piece, list_events, measure_pattern, true_probabilities
from hbac_utils.utils import interactive
from hbac_utils.utils.errors import InputError

BLOCK, FADE = (300, 900), 30  # seconds, of whole segments; a block's shortest and greatest length
STATE_SECONDS = 7200  # from one state of the patient to the next
PROBE_SECONDS = 120  # of background, from which a state's amplitudes are measured
SHORTEST_SECONDS, LONGEST_HOURS = 60, 168
CALM = 0.5  # factor of the background's reactivity, so that patterns do not come and go with it
SWELL = 1.0, 60.0  # dB and seconds, slow changes of the amplitude of long patterns
RISE = 5.0, 30.0  # seconds in which they appear, and disappear
AFTER = 6  # seconds in which muscle activity continues after a seizure
UNITS = {name: 1.0 if name == EKG else 0.1 for name in CHANNELS}  # µV, resolution of the file
_BIPOLAR = derivation_matrix(DOUBLE_BANANA)
# purposes of random numbers
_PATIENT, _CONSTANT, _SOURCES, _STATE, _EPISODE, _MUSCLE, _AFTERMATH, _BLOCK, _FAULT = range(9)


def _generator(seed: int, purpose: int, index: int = 0) -> Generator:
    return np.random.default_rng([seed, 4, purpose, index])


@dataclass(frozen=True)
class LongRecording:
    """Plan of a long recording: the patient's states, the episodes, and constant properties."""

    seconds: int
    seed: int
    starts: tuple[int, ...]  # seconds, of the blocks
    reference: str
    backgrounds: tuple[Background, ...]  # of the states
    levels: np.ndarray  # (n_states, 18), µV, standard deviations of the derivations
    episodes: tuple[PlacedEpisode, ...]
    heart: artifacts.Heart
    offsets: np.ndarray  # (19, 1), µV

    def generator(self, purpose: int, index: int = 0) -> Generator:
        """Make the random generator of a part of the simulation."""
        return _generator(self.seed, purpose, index)

    def background(self, time: float) -> Background:
        """Interpolate between the states before and after a time (seconds)."""
        place = time / STATE_SECONDS
        first, second = (asdict(self.backgrounds[int(place) + i]) for i in (0, 1))
        share = place % 1
        return Background(**{k: (1 - share) * first[k] + share * second[k] for k in first})

    def level(self, derivation: int, times: np.ndarray) -> np.ndarray:
        """Interpolate the background's standard deviation (µV) in a derivation."""
        states = STATE_SECONDS * np.arange(len(self.levels))
        return np.exp(np.interp(times, states, np.log(self.levels[:, derivation])))


class Block(NamedTuple):
    """A rendered block. The tail is to be added to the next block's begin."""

    signals: np.ndarray  # float32, (20, n_times), µV
    tail: np.ndarray  # float32, (20, FADE · 200)
    variances: np.ndarray  # (n_segments, 18), µV², of the background
    tail_variances: np.ndarray
    pieces: list[Piece]


def plan_recording(seconds: int, seed: int, evidence: float = 1) -> LongRecording:
    """Draw a patient, the states and the episodes."""
    patient = _generator(seed, _PATIENT)
    reference = str(patient.choice(list(REFERENCES), p=list(REFERENCES.values())))
    backgrounds, levels = [], []
    for state in range(seconds // STATE_SECONDS + 2):
        rng = _generator(seed, _STATE, state)
        drawn = draw_session_background(_generator(seed, _CONSTANT), rng)
        backgrounds.append(replace(drawn, reactivity=CALM * drawn.reactivity))
        probe = SessionSignal(PROBE_SECONDS, [(0, PROBE_SECONDS)], parts_only=True)
        typical = replace(backgrounds[-1], reactivity=0)
        add_background(probe, typical, reference, rng, _generator(seed, _SOURCES))
        levels.append((probe.to_arrays()[1][0].T @ _BIPOLAR).std(axis=0))
    return LongRecording(
        seconds, seed, _draw_starts(patient, seconds), reference, tuple(backgrounds),
        np.array(levels), draw_timeline(patient, seconds, evidence),
        artifacts.draw_heart(patient, seconds), artifacts.draw_offsets(patient),
    )  # fmt: skip


def _draw_starts(rng: Generator, seconds: int) -> tuple[int, ...]:
    starts, (shortest, longest) = [0], BLOCK
    while (rest := seconds - starts[-1]) > longest:
        most = min(longest, rest - shortest)
        starts.append(
            starts[-1] + SEGMENT_SECONDS * int(rng.integers(shortest, most + 1) // SEGMENT_SECONDS)
        )
    return tuple(starts)


def render_block(plan: LongRecording, number: int) -> Block:
    """Simulate a block of a recording."""
    start, is_last = plan.starts[number], number + 1 == len(plan.starts)
    length = (plan.seconds if is_last else plan.starts[number + 1]) - start
    total = length if is_last else length + FADE
    with threadpool_limits(1):  # several threads would change the order of sums, and so the bytes
        noise, variances = _render_noise(plan, number, total)
        fixed, pieces = _render_fixed(plan, start, length)
    # the block's share of the power rises after its begin, and falls after its end
    times = (np.arange(total * SAMPLING_RATE) + 0.5) / SAMPLING_RATE
    shares = np.interp(times, (0, FADE, length, length + FADE), (not number, 1, 1, 0))
    noise *= np.sqrt(shares).astype(np.float32)
    variances *= shares.reshape(len(variances), -1).mean(axis=1)[:, None]
    signals, tail = np.split(noise, [length * SAMPLING_RATE], axis=1)
    signals += fixed
    rng = plan.generator(_FAULT, number)
    if rng.random() < artifacts.BAD_CHANNEL:
        first, last = np.sort(rng.uniform(FADE, length, 2) * SAMPLING_RATE).astype(int)
        signals[rng.integers(len(ELECTRODES)), first:last] = 0
    inside, after = np.split(variances, [length // SEGMENT_SECONDS])
    return Block(signals, tail, inside, after, pieces)


def _render_noise(plan: LongRecording, number: int, seconds: int) -> tuple[np.ndarray, np.ndarray]:
    # background and artifacts, shape (20, n), and the background's variances in the segments
    start, rng = plan.starts[number], plan.generator(_BLOCK, number)
    signal = SessionSignal(seconds, [(0, seconds)], parts_only=True)
    background = plan.background(start)
    add_background(signal, background, plan.reference, rng, plan.generator(_SOURCES))
    for i, one in enumerate(plan.episodes):
        is_here = one.end < start + seconds + MARGIN and one.quiet_until > start - MARGIN
        if not is_here or one.episode.contrast <= MIN_CONTRAST:
            continue
        size, own = one.episode.aftermath, plan.generator(_AFTERMATH, i)
        after = gate(signal.times + start, one.end + 1, one.quiet_until - 1, 2)
        signal.scale(1 - size * after)
        fields = _scaled_fields(plan, one, np.array([one.end]))[0][:2]
        slow, share = rhythm(own.uniform(0.8, 2), 0.5), own.uniform(0, 0.25)
        signal.add_noise(own, size * share * fields, slow, after)
    eeg = signal.to_arrays()[1][0]
    bipolar = (eeg.T @ _BIPOLAR).reshape(-1, SEGMENT_SECONDS * SAMPLING_RATE, len(DOUBLE_BANANA))
    artifacts.add_other_artifacts(signal, rng)
    eeg = signal.to_arrays()[1][0]
    drift = plan.heart.ekg(np.zeros(eeg.shape[1]), rng)
    return np.vstack([eeg, drift]), bipolar.var(axis=1)


def _scaled_fields(
    plan: LongRecording, placed: PlacedEpisode, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # fields of a pattern for the amplitude at the first time; the relative amplitudes at all
    fields = apply_reference(pattern_fields(placed.episode), plan.reference)
    bipolar = np.abs(fields.sum(axis=0) @ _BIPOLAR)
    largest = int(np.argmax(bipolar))
    factor = 4 * 10 ** (placed.episode.contrast / 20)
    amplitudes = np.minimum(factor * plan.level(largest, times), MAX_AMPLITUDE)
    return amplitudes[0] / bipolar[largest] * fields, amplitudes / amplitudes[0]


def _render_pattern(plan: LongRecording, number: int) -> np.ndarray:
    # the pattern of a whole episode, float32, shape (19, n_times), µV
    placed, rng = plan.episodes[number], plan.generator(_EPISODE, number)
    seconds = placed.end - placed.begin
    times = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    fields, envelope = _scaled_fields(plan, placed, placed.begin + times)
    first, last = (time - placed.begin for time in placed.labelled)
    waves = episode_waveforms(placed.episode, rng, seconds, (first, last))
    if (last - first) < seconds:  # no seizure
        swell, interval = SWELL
        envelope = envelope * 10 ** (swell / 20 * fluctuation(rng, len(times), interval))
        ramp = min(rng.uniform(*RISE), seconds / 4)
        envelope = envelope * gate(times, ramp / 2, seconds - ramp / 2, ramp)
    return fields.T.astype(np.float32) @ (envelope * waves).astype(np.float32)


def _render_muscle(plan: LongRecording, number: int) -> np.ndarray:
    # an episode's muscle activity, which ends a little later, shape (19, n_times), µV
    placed, rng = plan.episodes[number], plan.generator(_MUSCLE, number)
    seconds = placed.end - placed.begin
    length = int(seconds) + AFTER
    signal = SessionSignal(length, [(0, length)], parts_only=True)
    artifacts.add_seizure_muscle(signal, rng, 0, seconds, placed.episode.tension)
    return signal.to_arrays()[1][0]


def _cut(signal: np.ndarray, shift: int, n_times: int) -> np.ndarray:
    # shift a signal by some samples, and cut or extend it with zeros
    cut = np.zeros((len(signal), n_times), np.float32)
    a, b = max(shift, 0), min(shift + signal.shape[1], n_times)
    if a < b:
        cut[:, a:b] = signal[:, a - shift : b - shift]
    return cut


def _render_fixed(plan: LongRecording, start: int, seconds: int) -> tuple[np.ndarray, list[Piece]]:
    # what is not cross-faded: heart, offsets and patterns, shape (20, n)
    n_times = seconds * SAMPLING_RATE
    beats = plan.heart.beats(start, n_times)
    signals = np.outer([*plan.heart.field, plan.heart.size * plan.heart.connected], beats)
    signals = signals.astype(np.float32)
    signals[:-1] += plan.offsets
    pieces = []
    for number, placed in enumerate(plan.episodes):
        is_here = placed.begin < start + seconds and placed.end + AFTER > start
        if is_here and placed.episode.contrast > MIN_CONTRAST:
            shift = round((placed.begin - start) * SAMPLING_RATE)
            pattern = _cut(_render_pattern(plan, number), shift, n_times)
            pieces += measure_pattern(placed, number, pattern, start)
            signals[:-1] += pattern
            if placed.episode.tension:
                signals[:-1] += _cut(_render_muscle(plan, number), shift, n_times)
    return signals, pieces


def synthesize_hours(
    out: Path, *, hours: float, seed: int = 0, evidence: float = 1.0, jobs: int = -1,
    progress: bool = True,
) -> Path:  # fmt: skip
    """Write a simulated recording with known truth into a new folder; return the folder.

    ``recording.edf`` (EDF+C, 19 electrodes and EKG, 200 Hz), ``truth.tsv`` (events, see
    `truth.list_events`; columns as SzCORE's, Dan et al. 2024, arXiv:2402.13005) and
    ``truth.parquet`` (``onset`` of each segment of 10 s and its probabilities, named as
    `labels.CLASSES`). For ``evidence`` and ``jobs`` see `render.synthesize`; the same seed gives
    the same files, whatever ``jobs``. Raises InputError if ``out`` is not empty or a number is out
    of range.
    """
    out = Path(out).resolve()
    seconds = (
        SEGMENT_SECONDS * round(hours * 3600 / SEGMENT_SECONDS) if 0 < hours <= LONGEST_HOURS else 0
    )
    for valid, message in (
        (seconds >= SHORTEST_SECONDS, f"hours is {hours}; it must be 1/60 to {LONGEST_HOURS}"),
        (seed >= 0, f"seed is {seed}; it must not be negative"),
        (0 < evidence <= 100, f"evidence is {evidence}; it must be above 0 and at most 100"),
        (jobs != 0, "jobs is 0; give a number of processes, or -1 for all cores"),
    ):
        if not valid:
            raise InputError(message)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; give a new folder or remove it")
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        _write_recording(plan_recording(seconds, seed, evidence), draft, jobs, progress)
        if out.is_dir():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def _write_recording(plan: LongRecording, folder: Path, jobs: int, progress: bool) -> None:
    tasks = (joblib.delayed(render_block)(plan, i) for i in range(len(plan.starts)))
    blocks = joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="n_jobs")(tasks)
    pieces: list[Piece] = []
    variances: list[np.ndarray] = []
    tail, tail_variances = np.zeros((len(CHANNELS), 0), np.float32), np.zeros((0, len(_BIPOLAR.T)))
    with (folder / "recording.edf").open("wb") as file:
        file.write(edf_header(UNITS, plan.seconds))
        for start, block in zip(
            plan.starts,
            interactive.progress(blocks, len(plan.starts), "simulate", show=progress),
            strict=True,
        ):
            block.signals[:, : tail.shape[1]] += tail
            block.variances[: len(tail_variances)] += tail_variances
            tail, tail_variances = block.tail, block.tail_variances
            append_records(file, block.signals, UNITS.values(), start)
            pieces += block.pieces
            variances.append(block.variances)
    probabilities, judged = true_probabilities(plan.episodes, pieces, np.concatenate(variances))
    table = pd.DataFrame(probabilities, columns=list(CLASSES))
    table.insert(0, "onset", SEGMENT_SECONDS * np.arange(len(table), dtype=float))
    table.to_parquet(folder / "truth.parquet", index=False)
    events = list_events(plan.episodes, pieces, judged).assign(
        channels="n/a", dateTime=f"{START_DATE} 00:00:00", recordingDuration=plan.seconds
    )
    events.to_csv(folder / "truth.tsv", sep="\t", index=False)
