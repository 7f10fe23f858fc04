"""The steps of a rehearsal, its sizes, and the limits of a Kaggle session."""

from dataclasses import dataclass
from pathlib import Path

import psutil

from hbac_utils.recipe import load_recipe, override

MEMORY = int(min(30e9, 0.9 * psutil.virtual_memory().total))  # bytes; a Kaggle session has 30 GB
DISK = 20e9  # bytes that a Kaggle session may write
CORES = 4  # of a Kaggle session with two T4
HOURS = {"training": 12, "inference": 9}  # of a session, of a submission's re-run


@dataclass(frozen=True)
class Size:
    """Counts of a rehearsal."""

    eegs: int
    patients: int
    test_eegs: int
    seed: int
    part: int  # EEGs that the deep recipes are trained on
    gigabytes: int  # that the whole rehearsal writes


# the seed is one whose longest EEG has nearly 743 windows
SIZES = {
    "full": Size(17_089, 1_950, 2_700, seed=4, part=500, gigabytes=55),
    "small": Size(60, 20, 12, seed=4, part=30, gigabytes=1),
}


@dataclass(frozen=True)
class Step:
    """A step of the road: a verb of ``hbac`` with its arguments."""

    name: str
    command: tuple[str, ...]
    eegs: int
    kaggle: bool = True  # runs under Kaggle's limits
    cold: bool = False  # the test recordings are not in the page cache


@dataclass
class Record:
    """Measured figures of a step, of all attempts together."""

    name: str
    attempts: int = 0
    done: bool = False
    minutes: float = 0.0
    cpu_minutes: float = 0.0
    memory: int = 0  # bytes at most, of all processes together, without mapped files
    read: int = 0  # bytes from the disk
    written: int = 0
    disk: int = 0  # bytes in the folders that a kernel writes, at most
    note: str = ""


def plan(size: Size, out: Path, jobs: int = -1) -> list[Step]:
    """List the steps; ``jobs`` processes simulate. The recipes are those of `write_recipes`."""
    data, work, temp = out / "competition", out / "working", out / "temp"
    recipes = {name: str(out / f"{name}.json") for name in ("compact", "vipeegnet", "mel-zoom")}
    runs = {name: str(work / name) for name in recipes}
    source, tenth = ("--data", str(data)), max(size.eegs // 10, 5)
    simulate = [
        "synth", "--out", data, "--eegs", size.eegs, "--patients", size.patients,
        "--test-eegs", size.test_eegs, "--seed", size.seed, "--uncut", "--jobs", jobs,
    ]  # fmt: skip

    def pack(store: str, recipe: str, *more: object) -> list:
        return ["pack", *source, "--out", temp / store, "--recipe", recipes[recipe], *more]

    def train(store: str, recipe: str, *more: object) -> list:
        begin = ["train", *source, "--store", temp / store, "--recipe", recipes[recipe]]
        return [*begin, "--run", runs[recipe], *more]

    folds = ("--folds", "0,1")  # a blend is validated on other folds than it is fitted on
    blend = ["blend", *runs.values(), *source, "--common", "--out", work / "blend"]
    infer = ["infer", *source, "--out", work / "inference", "--blend", work / "blend/blend.json"]
    for run in runs.values():
        infer += ["--run", run]
    score = ["score", work / "inference/submission.csv", f"{data}_truth/solution.csv"]
    score += ["--run", runs["compact"]]
    listed = [
        ("simulate", simulate, size.eegs + size.test_eegs, {"kaggle": False}),
        ("EDA notebook", ["eda", *source, "--out", work / "eda"], size.eegs, {}),
        ("pack a tenth", pack("tenth", "compact", "--limit", tenth), tenth, {}),
        ("pack", pack("store", "compact"), size.eegs, {}),
        ("train compact, five folds", train("store", "compact"), size.eegs, {}),
        ("pack a part", pack("part", "vipeegnet", "--limit", size.part), size.part, {}),
        ("train vipeegnet, two folds", train("part", "vipeegnet", *folds), size.part, {}),
        ("train mel-zoom, two folds", train("part", "mel-zoom", *folds), size.part, {}),
        ("out-of-fold report", ["scores", runs["compact"]], size.eegs, {}),
        ("blend of three runs", blend, size.part, {}),
        ("inference, cold", infer, size.test_eegs, {"cold": True}),
        ("score of the submission", score, size.test_eegs, {}),
    ]
    return [Step(n, tuple(map(str, command)), units, **k) for n, command, units, k in listed]


def write_recipes(out: Path) -> None:
    """Write the recipes: one epoch, and the deep ones reduced, whose networks need a GPU."""
    for name in ("compact", "vipeegnet", "mel-zoom"):
        recipe = load_recipe(name, reduced=name != "compact")
        recipe = recipe.model_copy(update={"stages": recipe.stages[:1]})
        # one store serves both deep recipes
        changes = {"stages.0.epochs": 1, "stages.0.warmup_epochs": 0, "data.band": [0.5, 40]}
        text = override(recipe, changes).model_dump_json(indent=2)
        (out / f"{name}.json").write_text(text + "\n")
