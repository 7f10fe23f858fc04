"""Predict a recording of hours: a 50-s window around each segment of ten seconds."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.layout import SAMPLING_RATE, WINDOW_SAMPLES, WINDOW_SECONDS
from hbac_utils.data.preprocessing import clean_eeg
from hbac_utils.data.readers import LenientRecording
from hbac_utils.data.test_loader import BATCH_SIZE, Batch
from hbac_utils.inference.predict import Blend, Run, RunPredictor, combine, open_run
from hbac_utils.labels import CLASSES
from hbac_utils.recording.occlusion import importance, occluded_windows
from hbac_utils.recording.quality import FREQUENCIES, UNREADABLE, find_defects, hemisphere_spectra
from hbac_utils.recording.reader import Recording, open_recording
from hbac_utils.training.runs import run_digest
from hbac_utils.utils import interactive
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import lock, remove_drafts, replacing, writing

STEP = 10  # s, length of a segment and distance of two windows
BLOCK_SEGMENTS = 64  # predicted and saved together
VERSION = 1  # of what is computed for a segment: raise it when the numbers change

Setting = tuple[tuple[float, float], float]  # of the preprocessing: band, limit of amplitudes


@dataclass(frozen=True)
class Reading:
    """A recording, read by one or several runs.

    ``table`` has a row per segment: ``onset`` and ``duration`` (s), a probability per class (NaN if
    the segment could not be read), ``spread`` (standard deviation of the leading class's
    probability between the models; NaN for one model), and ``quality``, what is wrong
    with the signal (see `quality.find_defects`). ``spectra`` has shape (n_segments, 2, 40), see
    `quality.hemisphere_spectra`.
    """

    recording: Recording
    table: pd.DataFrame
    spectra: np.ndarray
    runs: list[Run]
    out: Path  # folder of the outputs
    blend: Blend | None = None
    step: int = STEP
    frequencies: np.ndarray = field(default_factory=lambda: FREQUENCIES)

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities of the segments, shape (n_segments, 6)."""
        return self.table[list(CLASSES)].to_numpy()

    def window(self, segment: int) -> np.ndarray:
        """EEG around a segment as the first run's models read it, shape (10000, 19), microvolts."""
        return self._window(segment, self._settings[0])

    def _window(self, segment: int, setting: Setting) -> np.ndarray:
        segments = range(segment, segment + 1)
        eeg = _read(self.recording, segments, self.step)
        return _windows(eeg, self.recording.seconds, segments, self.step, setting)[0]

    def window_begin(self, segment: int) -> float:
        """Second of the recording at which the window around a segment begins."""
        return segment * self.step - (WINDOW_SECONDS - self.step) / 2

    def importance(self, segment: int) -> np.ndarray:
        """Dependence of a segment's prediction on each chain and second; see `occlusion`."""
        windows = {
            setting: list(occluded_windows(self._window(segment, setting)))
            for setting in self._settings
        }
        return importance(_predict(self.runs, self.blend, windows)[0])

    @cached_property
    def _settings(self) -> list[Setting]:
        return _find_settings(self.runs)


def read_recording(
    path: str | Path, runs: Sequence[Run | str | Path], out: str | Path, *, step: int = STEP,
    blend: Blend | None = None, progress: bool = True,
) -> Reading:  # fmt: skip
    """Predict a segment every ``step`` seconds of a recording of any length.

    The window of a segment is the 50 s around its centre, prepared as `inference.predict` does:
    gaps are interpolated, and what is beyond the ends of the recording is zero. Finished blocks
    are kept in ``out/.blocks``; the same call continues after an interruption.

    Raises
    ------
    InputError
        If the file cannot be read (see `reader.open_recording`), ``step`` is not 2 to 50, a run
        reads the competition's spectrograms, which a recording does not have, or a run of the
        blend is missing.
    """
    if not 2 <= step <= WINDOW_SECONDS:
        raise InputError(f"step is {step}; it must be 2 to {WINDOW_SECONDS} seconds")
    recording = open_recording(path)
    if blend is not None:
        runs = blend.order(runs)
    opened = [run if isinstance(run, Run) else open_run(run) for run in runs]
    for run in opened:
        if run.recipe.inputs != ("eeg",):
            raise InputError(
                f"{run.path}: the recipe {run.recipe.name} reads the competition's spectrograms, "
                "which a recording does not have; use a run of a recipe with an EEG view"
            )
    folder = Path(out) / ".blocks"
    count = max(1, int(np.ceil(recording.seconds / step - 1e-6)))
    blocks = [range(i, min(i + BLOCK_SEGMENTS, count)) for i in range(0, count, BLOCK_SEGMENTS)]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with lock(folder), writing(folder):
        _start(folder, _identity(recording, opened, blend, step))
        finished = {block for block in blocks if (folder / _name(block)).is_file()}
        missing = [block for block in blocks if block not in finished]
        done = sum(map(len, finished))
        predicted = _predict_blocks(recording, opened, blend, step, missing)
        for block, values in interactive.progress(
            predicted, count, f"read {recording.path.name}", done, lambda pair: len(pair[0]),
            show=progress,
        ):  # fmt: skip
            with replacing(folder / _name(block)) as file:
                np.savez(file, **values)
        parts = [np.load(folder / _name(block)) for block in blocks]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].files}
    onsets = step * np.arange(count, dtype=float)
    table = pd.DataFrame(whole["probabilities"], columns=list(CLASSES))
    table.insert(0, "onset", onsets)
    table.insert(1, "duration", np.minimum(step, recording.seconds - onsets).round(6))
    table["spread"], table["quality"] = whole["spread"], whole["quality"].astype(object)
    return Reading(recording, table, whole["spectra"], opened, Path(out), blend, step)


def _name(block: range) -> str:
    return f"{block.start:06d}-{block.stop:06d}.npz"


def _identity(recording: Recording, runs: list[Run], blend: Blend | None, step: int) -> str:
    """Hash of all that determines the predictions."""
    state = recording.path.stat()
    content = [VERSION, step, state.st_size, state.st_mtime_ns, recording.interpolated]
    content += [[run_digest(run.path) for run in runs], str(blend)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _start(folder: Path, identity: str) -> None:
    """Remove the blocks of another recording or of other runs, and what a kill has left."""
    remove_drafts(folder)
    key = folder / "key"
    if not key.is_file() or key.read_text() != identity:
        for path in folder.glob("*.npz"):
            path.unlink()
        key.write_text(identity)


def _find_settings(runs: Sequence[Run]) -> list[Setting]:
    return list(dict.fromkeys((run.recipe.data.band, run.recipe.data.clip) for run in runs))


def _predict_blocks(
    recording: Recording, runs: list[Run], blend: Blend | None, step: int, blocks: list[range]
) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
    """Predict blocks; a thread reads the next block while the models work."""
    settings = _find_settings(runs)

    def prepare(block: range) -> tuple[dict, dict]:
        around = _read(recording, block, step)
        windows = {
            setting: _windows(around, recording.seconds, block, step, setting)
            for setting in settings
        }
        lead, length = (WINDOW_SAMPLES - step * SAMPLING_RATE) // 2, step * SAMPLING_RATE
        eeg = around[lead : lead + len(block) * length].reshape(len(block), length, -1).copy()
        end = recording.seconds - (block.stop - 1) * step
        if end < step:  # the last segment is shorter: its end is repeated, not a gap
            short = round(end * SAMPLING_RATE)
            eeg[-1] = np.resize(eeg[-1, :short], eeg[-1].shape)
        defects = find_defects(eeg)
        values = {"quality": defects, "spectra": hemisphere_spectra(eeg)}
        for row in np.flatnonzero(np.isin(defects, UNREADABLE)):
            for found in windows.values():
                found[row] = defects[row]
        return values, windows

    with ThreadPoolExecutor(1) as thread:
        upcoming = iter(blocks)
        waiting = [thread.submit(prepare, block) for block in [next(upcoming, None)] if block]
        try:
            for block in blocks:
                values, windows = waiting.pop().result()
                if following := next(upcoming, None):
                    waiting.append(thread.submit(prepare, following))
                probabilities, spread = _predict(runs, blend, windows)
                yield block, {"probabilities": probabilities, "spread": spread} | values
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def _read(recording: Recording, segments: range, step: int) -> np.ndarray:
    """Read the EEG of the windows around neighbouring segments at once."""
    first = segments.start * step - (WINDOW_SECONDS - step) / 2
    return recording.read(first, first + step * (len(segments) - 1) + WINDOW_SECONDS)


def _windows(eeg: np.ndarray, seconds: float, segments: range, step: int, setting: Setting) -> list:
    """Cut what `_read` returns into prepared windows; float16, shape (10000, 19) each."""
    first = segments.start * step - (WINDOW_SECONDS - step) / 2
    inside = [round(-first * SAMPLING_RATE), round((seconds - first) * SAMPLING_RATE)]
    windows = []
    for row in range(len(segments)):
        begin = row * step * SAMPLING_RATE
        top, bottom = np.clip(np.array(inside) - begin, 0, WINDOW_SAMPLES)
        window = np.zeros((WINDOW_SAMPLES, eeg.shape[1]), np.float16)
        # in the order of a file's columns: sums in another order round to other half floats
        part = np.asfortranarray(eeg[begin + top : begin + bottom])
        window[top:bottom], _ = clean_eeg(part, *setting)
        windows.append(window)
    return windows


def _predict(
    runs: Sequence[Run], blend: Blend | None, windows: dict[Setting, list]
) -> tuple[np.ndarray, np.ndarray]:
    """Predict windows, given by preprocessing, or why a window cannot be read.

    Returns probabilities, shape (n, 6), and their spread between the models, shape (n,).
    """
    count = len(next(iter(windows.values())))
    predictors = [RunPredictor(run, max(count, BATCH_SIZE)) for run in runs]
    for predictor in predictors:
        data = predictor.run.recipe.data
        given = [
            window if isinstance(window, str) else LenientRecording(window, [])
            for window in windows[data.band, data.clip]
        ]
        predictor.add(Batch(range(count), {"eeg": given}))
        predictor.probabilities = predictor.probabilities[:, :count]
    mean = combine(predictors, blend)
    models = np.concatenate([predictor.probabilities for predictor in predictors])
    leading = np.nan_to_num(mean).argmax(axis=1)
    spread = np.std(models[:, np.arange(count), leading], axis=0)
    return mean, spread if len(models) > 1 else np.full(count, np.nan)
