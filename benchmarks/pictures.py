"""Draw the README's pictures, a figure of each notebook, from the results of `make demo`.

``python benchmarks/pictures.py outputs/demo docs/images``
"""

import argparse
from io import BytesIO
from pathlib import Path

from PIL import Image

from hbac_utils import plots
from hbac_utils.data.competition import open_competition
from hbac_utils.data.store import open_store
from hbac_utils.eda.examples import class_examples, read_windows
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.plots.style import StyledFigure
from hbac_utils.training.evaluation import RunResult

DPI = 80  # 800 pixels: the width of a README
COLOURS = 64


def main() -> None:
    """Draw the three pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder of the demo")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--name", default="LPD", help="class of the EDA page")
    parser.add_argument("--seed", type=int, default=1, help="seed that selects its window")
    options = parser.parse_args()

    competition = open_competition(options.demo / "competition")
    chosen = class_examples(competition.train, seed=options.seed)
    (page,) = plots.window_pages(read_windows(competition, chosen, options.name))
    save(page, options.out / "eda.png")

    result = RunResult(options.demo, open_store(options.demo / "store"))
    curves = plots.training_curves(result.history, result.scores["prior"])
    save(curves, options.out / "training.png")

    prediction = predict([open_run(options.demo)], competition, progress=False)
    probabilities = prediction.submission[list(VOTE_COLUMNS)].to_numpy()
    ids = prediction.submission["eeg_id"]
    folds = plots.fold_predictions(prediction.by_fold, probabilities, ids)
    save(folds, options.out / "inference.png")


def save(figure: StyledFigure, path: Path) -> None:
    """Write a figure as a small file with few colours."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    few = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
