"""Measure the pipeline against yardsticks taken in the same run: what `make bench-pipeline` calls.

    python benchmarks/pipeline.py [--data FOLDER] [--growth 200,800,3200] [--quick]

Every line compares two things measured in turn, a few times over; its number is the median
over the turns, or, of growth, the ratio of the best turns. Without ``--data`` a competition is
synthesized once under ``--out`` and kept for the next run: about 2 minutes for 800 EEGs on two
cores, 8 for 3,200. Printed is a table; ``bench.json`` beside the folder ``--out`` holds the raw
numbers, the versions and the load of the machine.
"""

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.dataset import SHAPES, FoldData, evaluation_dataset
from hbac_utils.data.packing import pack
from hbac_utils.data.store import Store
from hbac_utils.models.classifier import build_classifier, compile_classifier
from hbac_utils.models.pretrained import build_backbone
from hbac_utils.models.views import build_view
from hbac_utils.recipe import Data, Recipe, load_recipe, override
from hbac_utils.registry import EfficientNetV2
from hbac_utils.synthetic.render import synthesize
from hbac_utils.utils.backend import keras, tf

JOBS = 2  # worker processes of packing and of its yardstick
FILL = 4  # batches before the clock starts, while the pipeline fills

# a public KerasCV starter on two cores of this kind
STARTER_FILES = 53  # spectrogram files a second into .npy, two workers
STARTER_MIXED, STARTER_PLAIN = 1_311, 4_666  # images a second, batches of 64, from its RAM cache
TIMES_FASTER = 4

B0 = EfficientNetV2(kind="efficientnetv2", variant="b0")


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    growth: tuple[int, ...] = (200, 400, 800)
    eegs: int = 200  # of the lines other than growth
    turns: int = 5
    windows: int = 3_000  # per turn of the lines about batches
    steps: int = 12  # per turn of the lines about the compact model
    deep_steps: int = 4  # and about EfficientNetV2-B0
    deep_batch: int = 16
    image: tuple[int, int] = (32, 256)  # bins of a chain, frames


QUICK = Effort((4, 12), 12, turns=1, windows=96, steps=2, deep_steps=1, deep_batch=2, image=(8, 32))


@dataclass(frozen=True)
class Line:
    """One line of the table; without floor and ceiling it is only reported."""

    name: str
    measured: float
    floor: float | None = None
    ceiling: float | None = None
    note: str = ""
    raw: dict = field(default_factory=dict)

    @property
    def must(self) -> str:
        """What it must reach, in words."""
        if self.ceiling is not None:
            return f"≤ {self.ceiling:,.2f}"
        return "reported" if self.floor is None else f"≥ {_number(self.floor)}"

    @property
    def verdict(self) -> str:
        """``ok``, ``short``, or nothing where nothing is asked."""
        if self.floor is None and self.ceiling is None:
            return ""
        reached = self.floor is None or self.measured >= self.floor
        kept = self.ceiling is None or self.measured <= self.ceiling
        return "ok" if reached and kept else "short"


def take_turns(turns: int, cases: dict[str, Callable]) -> dict[str, list]:
    """Run cases in turn, forwards and backwards, so that a drift of the machine hits all alike."""
    measured = {name: [] for name in cases}
    for turn in range(turns):
        for name in list(cases)[:: -1 if turn % 2 else 1]:
            measured[name].append(cases[name]())
    return measured


def ratio(measured: dict[str, list[float]], over: str, under: str) -> float:
    """Take the median over the turns of one case over another."""
    return float(np.median(np.divide(measured[over], measured[under])))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


# -- data ----------------------------------------------------------------------


def make_competition(out: Path, eegs: int) -> Competition:
    """Synthesize a competition, or take the one of an earlier run."""
    folder = out / f"competition-{eegs}"
    if folder.is_dir():
        return open_competition(folder)
    print(f"synthesizing {eegs} EEGs into {folder}, once", flush=True)
    return synthesize(folder, eegs=eegs, progress=False)


def subset(competition: Competition, eegs: int, folder: Path) -> Competition:
    """Link whole spectrograms, in random order, until there are ``eegs`` EEGs or a few more."""
    table = competition.train
    sessions = table.groupby("spectrogram_id")["eeg_id"].nunique().sample(frac=1, random_state=0)
    before = sessions.cumsum() - sessions
    chosen = table["spectrogram_id"].isin(sessions.index[before < eegs])
    return link(competition, table[chosen], folder, ("train_eegs", "train_spectrograms"))


def link(
    competition: Competition, table: pd.DataFrame, folder: Path, folders: tuple[str, ...]
) -> Competition:
    """Make a competition of other rows over the same recordings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table.to_csv(folder / "train.csv", index=False)
    for name in folders:
        if (competition.path / name).is_dir():
            (folder / name).symlink_to((competition.path / name).resolve())
    return open_competition(folder)


def only_eegs(competition: Competition, folder: Path) -> Competition:
    """Leave the spectrograms out."""
    return link(competition, competition.train, folder, ("train_eegs",))


def only_spectrograms(competition: Competition, folder: Path) -> Competition:
    """Let all windows lie in one EEG, so that packing is about spectrograms alone."""
    table = competition.train.sort_values("spectrogram_label_offset_seconds", kind="stable")
    table = table.drop_duplicates("spectrogram_id", keep="last")
    first = table.iloc[0]
    table = table.assign(
        eeg_id=first["eeg_id"],
        eeg_sub_id=range(len(table)),
        eeg_label_offset_seconds=0.0,
        patient_id=first["patient_id"],
    )
    return link(competition, table, folder, ("train_eegs", "train_spectrograms"))


# -- packing -------------------------------------------------------------------


def seconds_to_pack(competition: Competition, store: Path) -> float:
    """Time `pack`; the store is removed."""
    begun = time.perf_counter()
    pack(competition, store, Data(), jobs=JOBS, progress=False)
    elapsed = time.perf_counter() - begun
    shutil.rmtree(store)
    return elapsed


def seconds_to_decode(paths: list[Path]) -> float:
    """Time pyarrow at merely reading files with as many workers."""

    def read(path: Path) -> int:  # a function inside, so that the workers need not import it
        return pq.read_table(path).nbytes

    begun = time.perf_counter()
    joblib.Parallel(n_jobs=JOBS)(joblib.delayed(read)(path) for path in paths)
    return time.perf_counter() - begun


def pack_lines(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Packing against mere decoding."""
    table, store = competition.train, work / "packed"
    kinds = {
        "EEG": (only_eegs, [competition.eeg_path("train", i) for i in table["eeg_id"].unique()]),
        "spectrograms": (
            only_spectrograms,
            [competition.spectrogram_path("train", i) for i in table["spectrogram_id"].unique()],
        ),
    }
    lines = []
    for (name, (part, paths)), floor in zip(kinds.items(), (0.5, 0.6), strict=True):
        folder = part(competition, work / f"only-{name}")
        size = sum(pq.read_table(path).nbytes for path in paths)
        seconds_to_decode(paths)  # wakes the workers
        seconds_to_pack(folder, store)
        cases = {
            "pyarrow": partial(seconds_to_decode, paths),
            "pack": partial(seconds_to_pack, folder, store),
        }
        measured = take_turns(effort.turns, cases)
        speed = {k: size / np.median(v) / 1e6 for k, v in measured.items()}
        note = f"{speed['pack']:.0f} : {speed['pyarrow']:.0f} MB/s, {len(paths)} files"
        raw = {"seconds": measured, "bytes": size, "files": len(paths)}
        share = ratio(measured, "pyarrow", "pack")
        lines.append(Line(f"pack {name} : pyarrow decoding", share, floor, note=note, raw=raw))
    rate = {name: len(paths) / float(np.median(values)) for name, values in measured.items()}
    note = f"4 × the starter's {STARTER_FILES}; pyarrow merely decodes {rate['pyarrow']:.0f}"
    asked = TIMES_FASTER * STARTER_FILES
    return [*lines, Line("spectrogram files packed per s", rate["pack"], asked, note=note)]


# -- windows -------------------------------------------------------------------


def training_data(store: Store, recipe: Recipe, **changes) -> FoldData:
    """Take all windows of a store, for more epochs than anyone measures."""
    endless = {"stages.0.epochs": 1_000_000, **changes}
    return FoldData(store, override(recipe, endless))


def copy_speed(store: Store, data: FoldData, n: int) -> float:
    """Windows a second that numpy copies into one batch's memory, touched before."""
    (name,) = data.recipe.inputs
    source, starts = getattr(store, name), store.windows[f"{name}_start"].to_numpy()
    rows = starts[np.resize(data.rows_of_epoch(0, 0), n)]
    batch = np.zeros((data.recipe.stages[0].batch_size, *SHAPES[name]), np.float16)
    begun = time.perf_counter()
    for i, start in enumerate(rows):
        batch[i % len(batch)] = source[start : start + batch.shape[1]]
    return n / (time.perf_counter() - begun)


def batch_speed(data: FoldData, n: int) -> float:
    """Windows a second that arrive in ready batches."""
    batches = iter(data.training_dataset(0))
    for _ in range(FILL):
        next(batches)
    begun, seen = time.perf_counter(), 0
    while seen < n:
        seen += next(batches)[1].shape[0]
    return seen / (time.perf_counter() - begun)


def window_lines(store: Store, effort: Effort) -> list[Line]:
    """Windows into batches against copying, and Kaggle spectrograms beside the starter."""
    compact, n = load_recipe("compact"), effort.windows
    jitter = {"augment.shift": 5.0}
    plain = training_data(store, compact, **jitter, **{"augment.mixup": 0.0})
    mixed = training_data(store, compact, **jitter, **{"augment.mixup": 0.5})
    for data in (plain, mixed):
        batch_speed(data, len(data.rows_of_epoch(0, 0)))  # compiles for the last batch too
    cases = {
        "numpy": partial(copy_speed, store, plain, n),
        "plain": partial(batch_speed, plain, n),
        "mixed": partial(batch_speed, mixed, n),
    }
    measured = take_turns(effort.turns, cases)
    speed = {name: np.median(values) for name, values in measured.items()}
    return [
        Line(
            f"EEG windows into batches{text} : numpy copying",
            ratio(measured, name, "numpy"),
            floor,
            note=f"{speed[name]:,.0f} : {speed['numpy']:,.0f} windows/s",
            raw={"windows per second": measured},
        )
        for name, text, floor in (("plain", "", 0.5), ("mixed", ", MixUp", 0.2))
    ]


def starter_lines(store: Store, effort: Effort) -> list[Line]:
    """Kaggle-spectrogram windows into batches of 64, beside the starter's numbers."""
    paper = load_recipe("paper-efficientnetv2b2")
    cases = {
        "with MixUp": (training_data(store, paper), STARTER_MIXED),
        "plain": (training_data(store, paper, **{"augment.mixup": 0.0}), STARTER_PLAIN),
    }
    for data, _ in cases.values():
        batch_speed(data, len(data.rows_of_epoch(0, 0)))
    measured = take_turns(
        effort.turns, {k: partial(batch_speed, w, effort.windows) for k, (w, _) in cases.items()}
    )
    return [
        Line(
            f"Kaggle windows into batches per s, {name}",
            float(np.median(measured[name])),
            TIMES_FASTER * starter,
            note=f"4 × the starter's {starter:,} from RAM",
            raw={"windows per second": measured[name]},
        )
        for name, (_, starter) in cases.items()
    ]


# -- models --------------------------------------------------------------------


class Clock(keras.callbacks.Callback):
    """Notes when each step of ``fit`` or ``predict`` ends, by the wall and by the processor."""

    def set_params(self, params):
        """Start anew."""
        self.ends: list[tuple[float, float]] = []

    def on_train_batch_end(self, batch, logs=None):
        """Note a training step."""
        self.ends.append((time.perf_counter(), time.process_time()))

    on_predict_batch_end = on_train_batch_end

    def seconds_per_step(self) -> np.ndarray:
        """Take the mean over the steps after the pipeline has filled: (wall, processor)."""
        begun, ended = np.array(self.ends[FILL - 1]), np.array(self.ends[-1])
        return (ended - begun) / (len(self.ends) - FILL)


def held_in_memory(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Give the first batch again and again."""
    return tf.data.Dataset.from_tensors(next(iter(dataset))).repeat()


def training_step(model: keras.Model, dataset: tf.data.Dataset, steps: int) -> np.ndarray:
    """Time a training step, as `Clock` does."""
    clock = Clock()
    model.fit(dataset, steps_per_epoch=FILL + steps, callbacks=[clock], shuffle=False, verbose=0)
    return clock.seconds_per_step()


def prediction_step(model: keras.Model, dataset: tf.data.Dataset, steps: int) -> np.ndarray:
    """Time the prediction of a batch, as `Clock` does."""
    clock = Clock()
    model.predict(dataset, steps=FILL + steps, callbacks=[clock], verbose=0)
    return clock.seconds_per_step()


def model_lines(store: Store, effort: Effort) -> list[Line]:
    """Training and prediction through the pipeline against a batch that is in memory."""
    bins, frames = effort.image
    spectral = {
        "stages.0.batch_size": effort.deep_batch, "view.bins": bins, "view.frames": frames
    }  # fmt: skip
    return [
        *_model_lines("compact", store, load_recipe("compact"), effort.steps, effort.turns),
        *_model_lines(
            "EfficientNetV2-B0", store, override(load_recipe("eeg-spectrogram"), spectral),
            effort.deep_steps, effort.turns,
        ),
    ]  # fmt: skip


def _model_lines(name: str, store: Store, recipe: Recipe, steps: int, turns: int) -> list[Line]:
    data = training_data(store, recipe)
    model, size = build_classifier(recipe), recipe.stages[0].batch_size
    compile_classifier(model, keras.optimizers.Adam(1e-4))
    rows = np.resize(store.evaluation_windows(), (FILL + steps) * size)
    datasets = {
        training_step: data.training_dataset(0),
        prediction_step: evaluation_dataset(store, rows, recipe.inputs, size),
    }
    lines = []
    for (step, dataset), floor in zip(datasets.items(), (0.95, 0.90), strict=True):
        memory = held_in_memory(dataset)
        step(model, dataset, 1)  # traces, and compiles MixUp
        cases = {"memory": memory, "pipeline": dataset}
        timed = take_turns(turns, {k: partial(step, model, v, steps) for k, v in cases.items()})
        wall, processor = ({k: [t[i] for t in v] for k, v in timed.items()} for i in (0, 1))
        ms, own = ({k: 1e3 * np.median(v) for k, v in x.items()} for x in (wall, processor))
        what = step.__name__.replace("_", " ")
        lines.append(
            Line(
                f"{what}, {name}: pipeline : memory",
                ratio(wall, "memory", "pipeline"),
                floor,
                note=f"{ms['memory']:.0f} : {ms['pipeline']:.0f} ms per batch of {size}; "
                f"of processors {own['memory']:.0f} : {own['pipeline']:.0f} ms",
                raw={"seconds": wall, "processor seconds": processor},
            )
        )
    return lines


def view_lines(effort: Effort) -> list[Line]:
    """Weigh each view's layers against its backbone's forward pass."""
    bins, frames = effort.image
    eeg_spectrogram = override(
        load_recipe("eeg-spectrogram"), {"view.bins": bins, "view.frames": frames}
    )
    cases = [
        ("EEG spectrogram", eeg_spectrogram, B0, 0.35),
        ("waveform image", load_recipe("waveform-b3"), B0, None),
        ("Kaggle spectrogram", load_recipe("paper-efficientnetv2b2"), B0, None),
        ("waveform series", load_recipe("compact"), load_recipe("compact").backbone, None),
    ]
    return [_view_line(*case, effort) for case in cases]


def _view_line(name: str, recipe: Recipe, backbone, ceiling, effort: Effort) -> Line:
    (source,) = recipe.inputs
    view = build_view(recipe.view)
    raw = tf.random.normal((effort.deep_batch, *SHAPES[source]), stddev=3.0)
    seen = view(raw)
    if len(seen.shape) == 4:
        seen = tf.repeat(seen, 3, axis=-1)
    network = build_backbone(backbone, tuple(seen.shape[1:]))
    run_view = tf.function(view)
    run_network = tf.function(lambda image: network(image, training=False))
    cases = {
        "view": partial(_seconds, run_view, raw),
        "backbone": partial(_seconds, run_network, seen),
    }
    take_turns(1, cases)  # traces
    measured = take_turns(effort.turns, cases)
    ms = {k: 1e3 * np.median(v) for k, v in measured.items()}
    size = "×".join(str(n) for n in seen.shape[1:3])
    return Line(
        f"view {name}, {size} : forward pass of {_label(backbone)}",
        ratio(measured, "view", "backbone"),
        ceiling=ceiling,
        note=f"{ms['view']:.0f} : {ms['backbone']:.0f} ms per {effort.deep_batch} windows",
        raw={"seconds": measured},
    )


def _label(backbone) -> str:
    return "EfficientNetV2-B0" if backbone is B0 else backbone.kind


def _seconds(function: Callable, value: tf.Tensor) -> float:
    begun = time.perf_counter()
    np.asarray(function(value))
    return time.perf_counter() - begun


# -- growth --------------------------------------------------------------------


def growth_lines(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Time per EEG of packing and of an epoch's batches, at several sizes."""
    parts = {n: subset(competition, n, work / f"subset-{n}") for n in effort.growth}
    counts = {n: part.train["eeg_id"].nunique() for n, part in parts.items()}
    stores = {n: pack(p, work / f"grown-{n}", Data(), jobs=JOBS, progress=False)
              for n, p in parts.items()}  # fmt: skip
    recipe = load_recipe("compact")
    windows = {n: training_data(store, recipe) for n, store in stores.items()}
    for n in windows:
        batch_speed(windows[n], len(windows[n].rows_of_epoch(0)))

    def pack_time(n: int) -> float:
        # as much work at every size, or the small ones would be noise
        again = min(max(counts.values()) // counts[n], 8)
        seconds = [seconds_to_pack(parts[n], work / "packed") for _ in range(again)]
        return float(np.mean(seconds)) / counts[n]

    def batch_time(n: int) -> float:
        per_window = 1 / batch_speed(windows[n], effort.windows)
        return per_window * len(windows[n].rows_of_epoch(0)) / counts[n]

    lines = []
    for name, timed in (("pack", pack_time), ("an epoch's batches", batch_time)):
        cases = {str(n): partial(timed, n) for n in parts}
        measured = take_turns(min(effort.turns, 3), cases)
        # the best turn: sizes cannot be paired turn by turn, and other processes only add time
        per_eeg = {k: 1e3 * min(v) for k, v in measured.items()}
        note = ", ".join(f"{counts[int(k)]:,} EEGs {v:.3g}" for k, v in per_eeg.items())
        lines.append(
            Line(
                f"growth, {name}: slowest : fastest size",
                max(per_eeg.values()) / min(per_eeg.values()),
                ceiling=1.15,
                note=f"ms per EEG: {note}",
                raw={"seconds per EEG": measured, "samples per EEG": {
                    n: len(stores[n].eeg) / counts[n] for n in parts}},
            )
        )  # fmt: skip
    return lines


# -- the whole -----------------------------------------------------------------


def measure(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Measure all lines, printing each as it is there."""
    small = subset(competition, effort.eegs, work / "competition")
    lines: list[Line] = []

    def add(more: list[Line]) -> None:
        for line in more:
            lines.append(line)
            print(as_row(line), flush=True)

    print(as_row(None))
    add(pack_lines(small, work, effort))
    store = pack(small, work / "store", Data(), jobs=JOBS, progress=False)
    add(window_lines(store, effort))
    add(starter_lines(store, effort))
    add(model_lines(store, effort))
    add(view_lines(effort))
    add(growth_lines(competition, work, effort))
    return lines


def as_row(line: Line | None) -> str:
    """Lay out a line of the table; None gives the head."""
    if line is None:
        return f"{'line':66} {'measured':>9} {'must reach':>11}"
    return (
        f"{line.name:66} {_number(line.measured):>9} {line.must:>11} {line.verdict:5}  {line.note}"
    )


def describe(effort: Effort, lines: list[Line], load: tuple) -> dict:
    """Collect what ``bench.json`` holds."""
    packages = ("tensorflow", "keras", "numpy", "scipy", "pandas", "pyarrow", "joblib")
    return {
        "lines": [asdict(line) | {"must": line.must, "verdict": line.verdict} for line in lines],
        "effort": asdict(effort),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "load before and after": [load, os.getloadavg()],
    }


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(part) for part in text.split(",")))


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="competition folder; none: synthesize one")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"), help="working folder")
    parser.add_argument("--growth", type=_sizes, help="numbers of EEGs, such as 200,800,3200")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else Effort()
    if options.growth:
        effort = replace(effort, growth=options.growth)
    load, work = os.getloadavg(), options.out / "work"
    largest = max(*effort.growth, effort.eegs)
    competition = (
        open_competition(options.data) if options.data else make_competition(options.out, largest)
    )
    shutil.rmtree(work, ignore_errors=True)
    lines = measure(competition, work, effort)
    shutil.rmtree(work)
    report = options.out.with_suffix(".json")
    report.write_text(json.dumps(describe(effort, lines, load), indent=2) + "\n")
    short = sum(line.verdict == "short" for line in lines)
    sizes = ", ".join(f"{n:,}" for n in effort.growth)
    print(f"\n{short or 'no'} lines short; growth was measured over {sizes} EEGs (GROWTH=…)")
    print(f"report  {report}")


if __name__ == "__main__":
    main()
