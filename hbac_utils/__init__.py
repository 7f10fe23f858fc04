"""Harmful brain activity classification from EEG: data, models, training and inference.

The functions below are the public interface. They are imported on first use, so that
``import hbac_utils`` itself loads nothing.

Examples
--------
>>> import hbac_utils as hbac
>>> competition = hbac.synthesize("data", eegs=100, evidence=5)
>>> recipe = hbac.load_recipe("compact")
>>> store = hbac.pack(competition, "store", recipe.data, recipe.inputs)
>>> hbac.train(recipe, store, "run")
>>> prediction = hbac.predict(["run"], competition)
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"

_HOMES = {
    "blend": "hbac_utils.ensembling.blend",
    "load_recipe": "hbac_utils.recipe",
    "open_competition": "hbac_utils.data.competition",
    "pack": "hbac_utils.data.packing",
    "predict": "hbac_utils.inference.predict",
    "score": "hbac_utils.training.evaluation",
    "synthesize": "hbac_utils.synthetic.render",
    "train": "hbac_utils.training.trainer",
}

# what the notebooks use
_HOMES |= {
    "LiveFigure": "hbac_utils.utils.interactive",
    "RunResult": "hbac_utils.training.evaluation",
    "attached": "hbac_utils.environment",
    "augmented_views": "hbac_utils.models.classifier",
    "check_submission": "hbac_utils.inference.submission",
    "check_training": "hbac_utils.training.runs",
    "check_weights": "hbac_utils.models.pretrained",
    "default_recipe": "hbac_utils.environment",
    "describe_environment": "hbac_utils.environment",
    "describe_runs": "hbac_utils.inference.predict",
    "example_batch": "hbac_utils.data.dataset",
    "expert_yardstick": "hbac_utils.metric",
    "find_truth": "hbac_utils.training.evaluation",
    "learning_rate_plan": "hbac_utils.training.trainer",
    "mean_prior": "hbac_utils.inference.predict",
    "network_code": "hbac_utils.models.describe",
    "network_parts": "hbac_utils.models.describe",
    "open_blend": "hbac_utils.ensembling.pooling",
    "open_or_pack": "hbac_utils.data.packing",
    "open_runs": "hbac_utils.inference.predict",
    "override": "hbac_utils.recipe",
    "patient_folds": "hbac_utils.data.splits",
    "describe_recordings": "hbac_utils.recording.views",
    "find_recordings": "hbac_utils.recording.outputs",
    "read_files": "hbac_utils.recording.outputs",
    "recording_burden": "hbac_utils.recording.views",
    "recording_events": "hbac_utils.recording.views",
    "recording_overviews": "hbac_utils.recording.views",
    "recording_windows": "hbac_utils.recording.views",
    "recipe_table": "hbac_utils.recipe",
    "score_table": "hbac_utils.training.runs",
    "split_balance": "hbac_utils.data.splits",
    "write_submission": "hbac_utils.inference.submission",
}

__all__ = [
    "__version__",
    "blend",
    "load_recipe",
    "open_competition",
    "pack",
    "predict",
    "score",
    "synthesize",
    "train",
]

if TYPE_CHECKING:
    from hbac_utils.data.competition import open_competition
    from hbac_utils.data.packing import pack
    from hbac_utils.ensembling.blend import blend
    from hbac_utils.inference.predict import predict
    from hbac_utils.recipe import load_recipe
    from hbac_utils.synthetic.render import synthesize
    from hbac_utils.training.evaluation import score
    from hbac_utils.training.trainer import train


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
