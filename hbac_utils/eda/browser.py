"""Interactive browser of a competition's windows for live notebooks."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hbac_utils.data.competition import Competition
from hbac_utils.data.splits import KINDS, agreement
from hbac_utils.eda.examples import (
    one_per_vote_vector,
    read_window,
    read_windows,
    votes_of,
    with_recording,
)
from hbac_utils.labels import CLASSES
from hbac_utils.plots.windows import window_page
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.interactive import is_live

ANY = "any"  # option of a filter that accepts all values
LISTED = 500  # windows in the list; filters reach the others


def window_table(train: pd.DataFrame) -> pd.DataFrame:
    """List one window per (EEG, vote vector), those with most votes first.

    Returns rows of ``train`` with ``agreement`` and ``title``.
    """
    rows = one_per_vote_vector(train)
    rows = rows.iloc[np.argsort(-votes_of(rows).sum(axis=1), kind="stable")]
    rows = rows.assign(agreement=agreement(votes_of(rows)))
    titles = [
        f"{row.expert_consensus}, {row.agreement} · patient {row.patient_id}"
        f" · EEG {row.eeg_id} at {row.eeg_label_offset_seconds:.0f} s"
        for row in rows.itertuples()
    ]
    return rows.assign(title=titles).reset_index(drop=True)


def browse(competition: Competition):
    """Return controls that select and show a window, or a figure of the first window.

    The controls need a live notebook; a notebook executed by papermill or nbconvert gets the
    figure.
    """
    table = window_table(with_recording(competition, "eeg"))
    if table.empty:
        print("No EEGs to browse.")
        return None
    if is_live():
        return _controls(competition, table)
    print("No controls: open the notebook in Jupyter or on Kaggle. First window:")
    windows = read_windows(competition, table.head(1))
    return window_page(windows[0]) if windows else None


def _controls(competition: Competition, table: pd.DataFrame):
    import ipywidgets as widgets
    from IPython.display import display

    options = {
        "expert_consensus": CLASSES,
        "agreement": KINDS,
        "patient_id": sorted(table["patient_id"].unique().tolist()),
    }
    filters = {
        column: widgets.Dropdown(description=column.split("_")[-1], options=[ANY, *values])
        for column, values in options.items()
    }
    windows = widgets.Select(rows=8, layout={"width": "60%"})

    def select(_=None) -> None:
        wanted = {c: widget.value for c, widget in filters.items() if widget.value != ANY}
        rows = table[(table[list(wanted)] == pd.Series(wanted, dtype=object)).all(axis=1)]
        windows.description = f"{len(rows):,}"
        windows.options = [(row["title"], i) for i, row in rows.head(LISTED).iterrows()]
        windows.index = None if rows.empty else 0

    def show(window: int | None) -> None:
        try:
            display("no such window" if window is None else _page(competition, table.loc[window]))
        except InputError as error:
            print(error)

    for widget in filters.values():
        widget.observe(select, "value")
    select()
    page = widgets.interactive_output(show, {"window": windows})
    return widgets.VBox([widgets.HBox(list(filters.values())), windows, page])


def _page(competition: Competition, row: pd.Series) -> Figure:
    return window_page(read_window(competition, row))
