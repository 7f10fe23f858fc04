"""Which part of a competition's windows is packed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hbac_utils.errors import InputError
from hbac_utils.labels import VOTE_COLUMNS

SEED = 0
"""Of the order of patients, so that a larger limit adds patients to those of a smaller one."""


@dataclass(frozen=True)
class Subset:
    """A part of a competition that fits a smaller machine; by default all of it.

    Parameters
    ----------
    limit : int, optional
        About so many EEGs, of whole patients: none is ever cut in two.
    min_votes : int
        Windows with fewer votes are left out.

    Raises
    ------
    InputError
        If ``limit`` is below one or ``min_votes`` below zero.
    """

    limit: int | None = None
    min_votes: int = 0

    def __post_init__(self):
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit {self.limit}: name at least one EEG, or leave it out for all")
        if self.min_votes < 0:
            raise InputError(f"min_votes {self.min_votes}: name a number from zero up")

    def choose(self, table: pd.DataFrame) -> pd.DataFrame:
        """Choose windows.

        Parameters
        ----------
        table : DataFrame
            As `Competition.train`.

        Returns
        -------
        DataFrame
            Its rows, in its order, numbered from zero.

        Raises
        ------
        InputError
            If no window is left.
        """
        chosen = table[table[list(VOTE_COLUMNS)].sum(axis=1) >= self.min_votes]
        if chosen.empty:
            raise InputError(
                f"no window of train.csv has {self.min_votes} votes or more; lower min_votes"
            )
        if self.limit is not None:
            chosen = chosen[chosen["patient_id"].isin(_patients(chosen, self.limit))]
        return chosen.reset_index(drop=True)


def _patients(table: pd.DataFrame, limit: int) -> np.ndarray:
    """Take patients in a drawn order until their EEGs are as close to the limit as they get."""
    patients = np.sort(table["patient_id"].unique())
    # drawn by a key of the patient, not by its place: others that come or go change nothing
    keys = [np.random.default_rng([SEED, int(patient)]).random() for patient in patients]
    order = patients[np.argsort(keys)]
    eegs = table.groupby("patient_id")["eeg_id"].nunique().loc[order].cumsum().to_numpy()
    return order[: np.abs(eegs - limit).argmin() + 1]
