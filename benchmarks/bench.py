"""Measure speed and growth against yardsticks in the same run (`make bench`).

    python benchmarks/bench.py [--data FOLDER] [--growth 1000,4000,17089] [--quick]

Each line compares two cases that are measured alternately; its number is the median over the turns,
for growth the ratio of the best turns. Without ``--data`` a competition is simulated once under
``--out`` (a minute for 400 EEGs on two cores). ``bench.json`` beside the folder ``--out`` holds
the table.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from blending import scale as blend_scale
from cost import T4_PAIR, count
from measuring import HEAD, Line, ratio, simulated_competition, take_turns, write_report

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.dataset import SHAPES, FoldData, evaluation_dataset
from hbac_utils.data.packing import pack
from hbac_utils.data.store import Store
from hbac_utils.models.classifier import build_classifier, compile_classifier
from hbac_utils.recipe import Data, Recipe, load_recipe, override
from hbac_utils.synthetic.components import open_components
from hbac_utils.synthetic.mixtures import Mixtures
from hbac_utils.synthetic.render import EEGS_PER_PATIENT
from hbac_utils.synthetic.sessions import make_plan
from hbac_utils.utils.backend import keras, tf

JOBS = 2  # worker processes of packing and of its reference
FILL = 4  # batches before the clock starts, while the pipeline fills

TIMES_FASTER = 4  # than the public starter
# processor cores of Kaggle's T4 × 2, and those that the steps of two GPUs themselves use, which is
# assumed
CORES, STEP_CORES = 4, 2
BLEND_LIMITS = {"seconds": 60, "gigabytes": 2.0}


@dataclass(frozen=True)
class Effort:
    """Sizes of the measurements."""

    growth: tuple[int, ...] = (100, 200, 400)
    plans: tuple[int, ...] = (1_000, 4_000, 17_089)  # EEGs whose simulation is planned
    eegs: int = 200  # of the lines other than growth
    turns: int = 5
    members: tuple[int, int] = (50, 107_000)  # of the blend, and their rows
    cached: int = 256  # windows in the starter's cache, 1.4 MB each
    windows: int = 3_000  # per turn of the lines about batches
    steps: int = 12  # per turn of the lines about the compact model
    deep_steps: int = 4  # and about EfficientNetV2-B0
    deep_batch: int = 16
    reduced: bool = False  # `vipeegnet` of the T4 line
    image: tuple[int, int] = (32, 256)  # bins of a chain, frames


QUICK = Effort(
    (4, 12),
    (4, 12),
    12,
    turns=1,
    members=(0, 0),
    cached=64,
    windows=96,
    steps=2,
    deep_steps=1,
    deep_batch=2,
    reduced=True,
    image=(8, 32),
)


# -- data ----------------------------------------------------------------------


def subset(competition: Competition, eegs: int, folder: Path) -> Competition:
    """Link whole spectrograms, in random order, until there are ``eegs`` EEGs or a few more."""
    table = competition.train
    sessions = table.groupby("spectrogram_id")["eeg_id"].nunique().sample(frac=1, random_state=0)
    before = sessions.cumsum() - sessions
    chosen = table["spectrogram_id"].isin(sessions.index[before < eegs])
    return link(competition, table[chosen], folder)


def link(
    competition: Competition, table: pd.DataFrame, folder: Path, spectrograms: bool = True
) -> Competition:
    """Make a competition of other rows over the same recordings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table.to_csv(folder / "train.csv", index=False)
    for name in ("train_eegs", *["train_spectrograms"] * spectrograms):
        if (competition.path / name).is_dir():
            (folder / name).symlink_to((competition.path / name).resolve())
    return open_competition(folder)


def only_spectrograms(competition: Competition, folder: Path) -> Competition:
    """Put all windows into one EEG, so that packing is about spectrograms alone."""
    table = competition.train.sort_values("spectrogram_label_offset_seconds", kind="stable")
    table = table.drop_duplicates("spectrogram_id", keep="last")
    first = table.iloc[0]
    table = table.assign(
        eeg_id=first["eeg_id"], eeg_sub_id=range(len(table)), eeg_label_offset_seconds=0.0,
        patient_id=first["patient_id"],
    )  # fmt: skip
    return link(competition, table, folder)


# -- packing -------------------------------------------------------------------


def seconds_to_pack(competition: Competition, store: Path) -> float:
    """Time `pack`, and remove the store."""
    begun = time.perf_counter()
    pack(competition, store, Data(), jobs=JOBS, progress=False)
    elapsed = time.perf_counter() - begun
    shutil.rmtree(store)
    return elapsed


def seconds_to_decode(paths: list[Path]) -> float:
    """Time pyarrow reading the files with as many workers."""

    def read(path: Path) -> int:  # a function inside, so that the workers need not import it
        return pq.read_table(path).nbytes

    begun = time.perf_counter()
    joblib.Parallel(n_jobs=JOBS)(joblib.delayed(read)(path) for path in paths)
    return time.perf_counter() - begun


def pack_lines(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Packing against mere decoding, and spectrograms against the starter's conversion too."""
    table = competition.train
    eegs = [competition.eeg_path("train", i) for i in table["eeg_id"].unique()]
    images = [competition.spectrogram_path("train", i) for i in table["spectrogram_id"].unique()]
    cases = [
        ("EEG", 0.5, link(competition, table, work / "eegs", spectrograms=False), eegs),
        ("spectrograms", 0.6, only_spectrograms(competition, work / "spectrograms"), images),
    ]
    lines = []
    for name, floor, part, paths in cases:
        megabytes = sum(pq.read_table(path).nbytes for path in paths) / 1e6
        timed = {
            "pyarrow": partial(seconds_to_decode, paths),
            "pack": partial(seconds_to_pack, part, work / "packed"),
        }
        if name == "spectrograms":
            timed["starter"] = partial(seconds_of_starter, paths, work / "npy")
        take_turns(1, timed)  # starts the workers
        measured = take_turns(effort.turns, timed)
        speed = {case: megabytes / np.median(values) for case, values in measured.items()}
        note = f"{speed['pack']:.0f} : {speed['pyarrow']:.0f} MB/s, {len(paths)} files"
        share = ratio(measured, "pyarrow", "pack")
        lines.append(Line(f"pack {name} : pyarrow decoding", share, floor, note=note))
    rate = {case: len(paths) / np.median(values) for case, values in measured.items()}
    note = f"{rate['pack']:.0f} : {rate['starter']:.0f} files/s; decoding {rate['pyarrow']:.0f}"
    share = ratio(measured, "starter", "pack")
    return [*lines, Line("pack spectrograms : starter's .npy", share, TIMES_FASTER, note=note)]


# -- the public starter --------------------------------------------------------
# "HMS-HBAC: KerasCV Starter Notebook" by awsaf49 on Kaggle, its steps written anew


def seconds_of_starter(paths: list[Path], folder: Path) -> float:
    """Time its conversion of spectrograms into .npy files."""
    folder.mkdir(exist_ok=True)

    def convert(path: Path) -> None:
        values = pd.read_parquet(path).fillna(0).to_numpy()[:, 1:].T
        np.save(folder / f"{path.stem}.npy", values.astype("float32"))

    begun = time.perf_counter()
    joblib.Parallel(n_jobs=JOBS)(joblib.delayed(convert)(path) for path in paths)
    return time.perf_counter() - begun


def starter_dataset(store: Store, windows: int, batch: int, mixup: bool) -> tf.data.Dataset:
    """Make its batches from a cache in memory: images (batch, 400, 300, 3), float32."""
    starts = np.resize(store.windows["spectrogram_start"], windows)
    images = np.stack([store.spectrogram[i : i + 300].T for i in starts]).astype(np.float32)

    def image(log):
        log -= tf.reduce_mean(log)
        log /= tf.math.reduce_std(log) + 1e-6
        return tf.tile(log[..., None], [1, 1, 3]), tf.ones(6) / 6

    def mixed(values, labels):
        size = tf.shape(values)[0]
        a, b = (tf.random.gamma([size], 2.0) for _ in range(2))
        share, order = a / (a + b), tf.random.shuffle(tf.range(size))
        own, other = share[:, None, None, None], tf.gather(values, order)
        labels = share[:, None] * labels + (1 - share)[:, None] * tf.gather(labels, order)
        return own * values + (1 - own) * other, labels

    auto = tf.data.AUTOTUNE
    data = tf.data.Dataset.from_tensor_slices(images).map(image, auto).cache().repeat()
    data = data.shuffle(windows, seed=0).batch(batch)
    return (data.map(mixed, auto) if mixup else data).prefetch(auto)


# -- windows -------------------------------------------------------------------


def training_data(store: Store, recipe: Recipe, **changes) -> FoldData:
    """All windows of a store, for more epochs than are measured."""
    endless = {"stages.0.epochs": 1_000_000, **changes}
    return FoldData(store, override(recipe, endless))


def copy_speed(store: Store, data: FoldData, n: int) -> float:
    """Windows per second that numpy copies into one batch's memory."""
    (name,) = data.recipe.inputs
    source, starts = getattr(store, name), store.windows[f"{name}_start"].to_numpy()
    rows = starts[np.resize(data.rows_of_epoch(0, 0), n)]
    batch = np.zeros((data.recipe.stages[0].batch_size, *SHAPES[name]), np.float16)
    begun = time.perf_counter()
    for i, start in enumerate(rows):
        batch[i % len(batch)] = source[start : start + batch.shape[1]]
    return n / (time.perf_counter() - begun)


def batch_speed(data: FoldData, n: int) -> float:
    """Windows per second in ready batches."""
    return dataset_speed(data.training_dataset(0), n)


def dataset_speed(dataset: tf.data.Dataset, n: int, clock: Callable = time.perf_counter) -> float:
    """Windows per second of a clock."""
    batches = iter(dataset)
    for _ in range(FILL):
        next(batches)
    begun, seen = clock(), 0
    while seen < n:
        seen += next(batches)[1].shape[0]
    return seen / (clock() - begun)


def warm_up(data: FoldData) -> None:
    """Run an epoch, which compiles for the last, smaller batch too."""
    batch_speed(data, len(data.rows_of_epoch(0, 0)))


def window_lines(store: Store, effort: Effort) -> list[Line]:
    """EEG windows into batches against copying; Kaggle spectrograms against the starter."""
    compact, paper = load_recipe("compact"), load_recipe("paper-efficientnetv2b2")
    moved, unmixed = {"augment.shift": 5.0}, {"augment.mixup": 0.0}
    windows = {
        "plain": training_data(store, compact, **moved, **unmixed),
        "mixed": training_data(store, compact, **moved, **{"augment.mixup": 0.5}),
        "Kaggle, MixUp": training_data(store, paper),
        "Kaggle, plain": training_data(store, paper, **unmixed),
    }
    for value in windows.values():
        warm_up(value)
    n, batch = effort.windows, paper.stages[0].batch_size
    cases = {name: partial(batch_speed, value, n) for name, value in windows.items()}
    cases["numpy"] = partial(copy_speed, store, windows["plain"], n)
    for name in ("MixUp", "plain"):
        data = starter_dataset(store, effort.cached, batch, name == "MixUp")
        cases[f"starter, {name}"] = partial(dataset_speed, data, n)
    measured = take_turns(effort.turns, cases)
    speed = {name: float(np.median(values)) for name, values in measured.items()}
    compared = [
        ("EEG windows into batches : numpy copying", "plain", "numpy", 0.5),
        ("EEG windows into batches, MixUp : numpy copying", "mixed", "numpy", 0.2),
        *(
            (f"Kaggle windows into batches, {x} : starter", f"Kaggle, {x}", f"starter, {x}", 4)
            for x in ("MixUp", "plain")
        ),
    ]
    return [
        Line(
            name, ratio(measured, over, under), floor,
            note=f"{speed[over]:,.0f} : {speed[under]:,.0f} windows/s",
        )
        for name, over, under, floor in compared
    ]  # fmt: skip


def gpu_line(store: Store, effort: Effort) -> Line:
    """Windows that four cores deliver beside the steps, against those that T4 × 2 train."""
    recipe = load_recipe("vipeegnet", reduced=effort.reduced)
    data = training_data(store, recipe)
    warm_up(data)

    def windows_per_core() -> float:
        return dataset_speed(data.training_dataset(0), effort.windows, time.process_time)

    per_core = float(np.median(take_turns(effort.turns, {"": windows_per_core})[""]))
    delivered, needed = per_core * (CORES - STEP_CORES), 1 / count(recipe).seconds(T4_PAIR)
    note = f"{delivered:,.0f} windows/s ({per_core:,.0f} a core × {CORES - STEP_CORES}) : "
    note += f"{needed:,.0f}"
    return Line("vipeegnet on T4 × 2, windows delivered : needed", delivered / needed, 1, note=note)


def mixture_line(work: Path, turns: int, n: int = 32) -> Line:
    """Windows mixed from simulated components, in one thread."""
    mixtures = Mixtures(
        open_components(work / "components", n, 0, Data().band, progress=False), 1024
    )

    def windows_per_second() -> float:
        begun = time.perf_counter()
        mixtures.batch(np.random.default_rng(0), n)
        return n / (time.perf_counter() - begun)

    measured = take_turns(1 + turns, {"mix": windows_per_second})["mix"][1:]
    return Line("simulated windows mixed per s", float(np.median(measured)), 400)


# -- models --------------------------------------------------------------------


class Clock(keras.callbacks.Callback):
    """Records wall and processor time at the end of each step of ``fit`` or ``predict``."""

    def set_params(self, params):
        """Start anew."""
        self.ends: list[tuple[float, float]] = []

    def on_train_batch_end(self, batch, logs=None):
        """Record a step."""
        self.ends.append((time.perf_counter(), time.process_time()))

    on_predict_batch_end = on_train_batch_end

    def seconds_per_step(self) -> np.ndarray:
        """Mean after the pipeline has filled: wall, processor."""
        return (np.array(self.ends[-1]) - self.ends[FILL - 1]) / (len(self.ends) - FILL)


def training_step(model: keras.Model, dataset: tf.data.Dataset, steps: int) -> np.ndarray:
    """Time a training step."""
    clock = Clock()
    model.fit(dataset, steps_per_epoch=FILL + steps, callbacks=[clock], shuffle=False, verbose=0)
    return clock.seconds_per_step()


def prediction_step(model: keras.Model, dataset: tf.data.Dataset, steps: int) -> np.ndarray:
    """Time the prediction of a batch."""
    clock = Clock()
    model.predict(dataset, steps=FILL + steps, callbacks=[clock], verbose=0)
    return clock.seconds_per_step()


def deep_recipe(effort: Effort) -> Recipe:
    """EfficientNetV2-B0 on EEG spectrograms."""
    bins, frames = effort.image
    changes = {
        "stages.0.batch_size": effort.deep_batch, "view.bins": bins, "view.frames": frames,
        "backbone.weights": "none",
    }  # fmt: skip
    return override(load_recipe("eeg-spectrogram"), changes)


def model_lines(store: Store, effort: Effort) -> list[Line]:
    """Training and prediction through the pipeline against a batch in memory."""
    deep = deep_recipe(effort)
    return [
        *_model_lines("compact", store, load_recipe("compact"), effort.steps, effort.turns),
        *_model_lines("EfficientNetV2-B0", store, deep, effort.deep_steps, effort.turns),
    ]


def _model_lines(name: str, store: Store, recipe: Recipe, steps: int, turns: int) -> list[Line]:
    model, size = build_classifier(recipe), recipe.stages[0].batch_size
    compile_classifier(model, keras.optimizers.Adam(1e-4))
    rows = np.resize(store.evaluation_windows(), (FILL + steps) * size)
    lines = []
    for step, dataset, floor in (
        (training_step, training_data(store, recipe).training_dataset(0), 0.95),
        (prediction_step, evaluation_dataset(store, rows, recipe.inputs, size), 0.90),
    ):
        memory = tf.data.Dataset.from_tensors(next(iter(dataset))).repeat()
        step(model, dataset, 1)  # traces, and compiles MixUp
        cases = {"memory": memory, "pipeline": dataset}
        timed = take_turns(turns, {k: partial(step, model, v, steps) for k, v in cases.items()})
        wall, processor = ({k: [t[i] for t in v] for k, v in timed.items()} for i in (0, 1))
        ms, own = ({k: 1e3 * np.median(v) for k, v in x.items()} for x in (wall, processor))
        note = f"{ms['memory']:.0f} : {ms['pipeline']:.0f} ms per batch of {size}; processors "
        note += f"{own['memory']:.0f} : {own['pipeline']:.0f} ms"
        what = f"{step.__name__.replace('_', ' ')}, {name}: pipeline : memory"
        lines.append(Line(what, ratio(wall, "memory", "pipeline"), floor, note=note))
    return lines


def view_line(effort: Effort) -> Line:
    """Time the EEG spectrogram's layers against the backbone's forward pass."""
    recipe = deep_recipe(effort)
    view = recipe.view.build("view")
    raw = tf.random.normal((effort.deep_batch, *SHAPES["eeg"]), stddev=3.0)
    seen = tf.repeat(view(raw), 3, axis=-1)
    network = recipe.backbone.build(tuple(seen.shape[1:]))

    def seconds(function: Callable, value: tf.Tensor) -> float:
        begun = time.perf_counter()
        np.asarray(function(value))
        return time.perf_counter() - begun

    cases = {
        "view": partial(seconds, tf.function(view), raw),
        "backbone": partial(seconds, tf.function(lambda x: network(x, training=False)), seen),
    }
    take_turns(1, cases)  # traces
    measured = take_turns(effort.turns, cases)
    ms = {k: 1e3 * np.median(v) for k, v in measured.items()}
    size = "×".join(str(n) for n in seen.shape[1:3])
    note = f"{ms['view']:.0f} : {ms['backbone']:.0f} ms per {effort.deep_batch} windows"
    name = f"view EEG spectrogram, {size} : forward pass of EfficientNetV2-B0"
    return Line(name, ratio(measured, "view", "backbone"), ceiling=0.35, note=note)


# -- growth --------------------------------------------------------------------


def planning_line(effort: Effort) -> Line:
    """Time per EEG of planning a simulation, at several sizes, processor time."""

    def ms_per_eeg(eegs: int) -> float:
        again = max(1, effort.plans[1] // eegs)
        begun = time.process_time()
        for seed in range(again):
            make_plan(eegs, max(1, round(eegs / EEGS_PER_PATIENT)), eegs // 10, seed)
        return 1e3 * (time.process_time() - begun) / (again * eegs)

    return _growth_line("plan the simulation", ms_per_eeg, {n: n for n in effort.plans}, 2)


def _growth_line(name: str, ms_per_eeg: Callable, counts: dict[int, int], turns: int) -> Line:
    measured = take_turns(turns, {n: partial(ms_per_eeg, n) for n in counts})
    # the best turn: sizes cannot be paired turn by turn, and other processes only add time
    best = {n: min(values) for n, values in measured.items()}
    note = "ms per EEG: " + ", ".join(f"{counts[n]:,} EEGs {v:.3g}" for n, v in best.items())
    share = max(best.values()) / min(best.values())
    return Line(f"growth, {name}: slowest : fastest size", share, ceiling=1.15, note=note)


def growth_lines(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Time per EEG of packing and of an epoch's batches, at several sizes."""
    parts = {n: subset(competition, n, work / f"subset-{n}") for n in effort.growth}
    counts = {n: part.train["eeg_id"].nunique() for n, part in parts.items()}
    recipe, windows = load_recipe("compact"), {}
    for n, part in parts.items():
        store = pack(part, work / f"grown-{n}", Data(), jobs=JOBS, progress=False)
        windows[n] = training_data(store, recipe)
        warm_up(windows[n])

    def pack_time(n: int) -> float:
        again = min(max(counts.values()) // counts[n], 8)  # as much work at every size
        seconds = [seconds_to_pack(parts[n], work / "packed") for _ in range(again)]
        return 1e3 * float(np.mean(seconds)) / counts[n]

    def batch_time(n: int) -> float:
        per_window = 1e3 / batch_speed(windows[n], effort.windows)
        return per_window * len(windows[n].rows_of_epoch(0, 0)) / counts[n]

    cases = {"pack": pack_time, "an epoch's batches": batch_time}
    return [
        _growth_line(name, timed, counts, min(effort.turns, 3)) for name, timed in cases.items()
    ]


# -- blending ------------------------------------------------------------------


def blend_lines(work: Path, effort: Effort) -> list[Line]:
    """Blend members of full size in a process of its own."""
    members, rows = effort.members
    if not members:
        return []
    (folder := work / "blend").mkdir()
    found = blend_scale(folder, members, rows)
    shutil.rmtree(folder)
    note = f"weights off by {found['weights_off']:.4f} at most"
    return [
        Line(f"blend {members} × {rows:,} rows, {unit}", found[unit], ceiling=limit, note=note)
        for unit, limit in BLEND_LIMITS.items()
    ]


# -- the whole -----------------------------------------------------------------


def measure(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Measure all lines; print each group when it is done."""
    small = subset(competition, effort.eegs, work / "competition")
    store = pack(small, work / "store", Data(), jobs=JOBS, progress=False)
    groups = (
        lambda: pack_lines(small, work, effort),
        lambda: window_lines(store, effort),
        lambda: [gpu_line(store, effort)],
        lambda: [mixture_line(work, effort.turns)],
        lambda: model_lines(store, effort),
        lambda: [view_line(effort)],
        lambda: [planning_line(effort)],
        lambda: growth_lines(competition, work, effort),
        lambda: blend_lines(work, effort),
    )
    print(HEAD)
    lines: list[Line] = []
    for group in groups:
        lines += (added := group())
        print(*added, sep="\n", flush=True)
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="competition folder (default: simulated)")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"), help="working folder")
    parser.add_argument("--growth", default="", help="numbers of EEGs, such as 1000,4000,17089")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see it run")
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    effort = QUICK if options.quick else Effort()
    if options.growth:
        effort = replace(effort, growth=tuple(sorted(map(int, options.growth.split(",")))))
    if options.data:
        competition = open_competition(options.data)
    else:
        largest = max(*effort.growth, effort.eegs)
        competition = simulated_competition(options.out / f"competition-{largest}", largest)
    work = options.out / "work"
    shutil.rmtree(work, ignore_errors=True)
    lines = measure(competition, work, effort)
    shutil.rmtree(work)
    report = options.out.with_suffix(".json")
    minutes = (time.perf_counter() - begun) / 60
    rows = [asdict(line) | {"goal": line.goal, "verdict": line.verdict} for line in lines]
    write_report(report, {"minutes": minutes, "lines": rows, "effort": asdict(effort)})
    failed = sum(line.verdict == "fail" for line in lines)
    print(f"\n{failed} of {len(lines)} lines fail; {minutes:.1f} minutes; report  {report}")


if __name__ == "__main__":
    main()
