"""Interactive browser of a competition's windows for live notebooks."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hbac_utils.data.competition import Competition
from hbac_utils.data.splits import KINDS, agreement
from hbac_utils.eda.examples import one_per_vote_vector, read_window, votes_of
from hbac_utils.labels import CLASSES
from hbac_utils.plots.windows import window_page
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.interactive import is_live

ANY = "any"  # option of a filter that accepts all values
FILTERS = {"expert_consensus": "class", "agreement": "agreement", "patient_id": "patient"}


class Catalogue:
    """Windows that can be shown: one per (EEG, vote vector), those with most votes first.

    ``table`` holds their rows of ``train.csv`` with ``agreement`` and ``title``.
    """

    def __init__(self, train: pd.DataFrame):
        rows = one_per_vote_vector(train)
        rows = rows.iloc[np.argsort(-votes_of(rows).sum(axis=1), kind="stable")]
        kinds = agreement(votes_of(rows))
        titles = [
            f"{row.expert_consensus}, {kind} · patient {row.patient_id:.0f}"
            f" · EEG {row.eeg_id:.0f} at {row.eeg_label_offset_seconds:.0f} s"
            for row, kind in zip(rows.itertuples(), kinds, strict=True)
        ]
        self.table = rows.assign(agreement=kinds, title=titles).reset_index(drop=True)

    def select(self, **wanted: object) -> pd.DataFrame:
        """Return the windows with the wanted value, or `ANY`, in columns of `FILTERS`."""
        keep = np.ones(len(self.table), dtype=bool)
        for column, value in wanted.items():
            if value != ANY:
                keep &= (self.table[column] == value).to_numpy()
        return self.table[keep]

    def options(self, column: str, **wanted: object) -> list[tuple[str, object]]:
        """List (label, value) of a column's values that are possible with the other filters.

        `ANY` comes first; labels give the number of windows.
        """
        others = {name: value for name, value in wanted.items() if name != column}
        rows = self.select(**others)
        counts = rows[column].value_counts()
        order = {"expert_consensus": CLASSES, "agreement": KINDS}.get(column, counts.index)
        found = [(f"{value} ({counts[value]:,})", value) for value in order if value in counts]
        return [(f"{ANY} ({len(rows):,})", ANY), *found]


class Browser:
    """Widgets that select a window and show its page; `panel` contains them all.

    Raises
    ------
    ImportError
        If ipywidgets is not installed.
    """

    def __init__(self, competition: Competition):
        import ipywidgets as widgets  # optional: executed notebooks do not need it

        self.competition, self.catalogue = competition, Catalogue(competition.train)
        self.filters = {
            column: widgets.Dropdown(description=label, options=[(ANY, ANY)])
            for column, label in FILTERS.items()
        }
        self.position = widgets.IntSlider(
            min=1, max=1, description="window", continuous_update=False
        )
        self.previous = widgets.Button(description="previous", icon="arrow-left")
        self.next = widgets.Button(description="next", icon="arrow-right")
        self.message = widgets.Label()
        self.page = widgets.Image(format="png", layout=widgets.Layout(max_width="1000px"))
        filters = widgets.HBox(list(self.filters.values()))
        steps = widgets.HBox([self.previous, self.next, self.position])
        self.panel = widgets.VBox([filters, steps, self.message, self.page])
        self._updating = False
        self.previous.on_click(lambda _: self._step(-1))
        self.next.on_click(lambda _: self._step(1))
        self.position.observe(lambda _: self._show(), "value")
        for widget in self.filters.values():
            widget.observe(lambda _: self._update_filters(), "value")
        self._update_filters()

    @property
    def selected(self) -> pd.DataFrame:
        """The windows that pass the filters."""
        return self.catalogue.select(**self._wanted())

    def _wanted(self) -> dict[str, object]:
        return {column: widget.value for column, widget in self.filters.items()}

    def _update_filters(self) -> None:
        """Offer the options that are possible with the filters, and show the first window."""
        if self._updating:
            return
        self._updating = True  # the changes below call this function again
        try:
            for column, widget in self.filters.items():
                options = self.catalogue.options(column, **self._wanted())
                value = widget.value if widget.value in [v for _, v in options] else ANY
                widget.options, widget.value = options, value
            self.position.value, self.position.max = 1, len(self.selected)
        finally:
            self._updating = False
        self._show()

    def _step(self, by: int) -> None:
        self.position.value = min(max(self.position.value + by, 1), self.position.max)

    def _show(self) -> None:
        if self._updating:
            return
        row = self.selected.iloc[self.position.value - 1]
        try:
            self.page.value = _draw_page(self.competition, row)._repr_png_()[0]
            self.message.value = f"{self.position.value:,} of {len(self.selected):,}"
        except InputError as error:
            self.page.value, self.message.value = b"", str(error)


def browse(competition: Competition):
    """Return the browser's widgets in a live notebook, otherwise a figure of the first window.

    Without widgets (executed by papermill or nbconvert, or no ipywidgets), a line says why.
    """
    if not is_live():
        print("No controls: open the notebook in Jupyter or on Kaggle. First window:")
    else:
        try:
            return Browser(competition).panel
        except ImportError:
            print("No controls: install ipywidgets (pip install ipywidgets). First window:")
    return _draw_page(competition, Catalogue(competition.train).table.iloc[0])


def _draw_page(competition: Competition, row: pd.Series) -> Figure:
    window = read_window(competition, row)
    return window_page(window.eeg, window.spectrogram, window.votes, title=window.title)
