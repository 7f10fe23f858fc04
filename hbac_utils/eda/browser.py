"""Stepping through a competition's windows by class, agreement and patient, in a live notebook."""

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

ANY = "any"
"""The choice that leaves a column free."""

COLUMNS = {"expert_consensus": "class", "agreement": "agreement", "patient_id": "patient"}
"""What can be chosen, and what it is called."""


class Catalogue:
    """The windows that can be shown: one per (EEG, vote vector), those with most votes first.

    Parameters
    ----------
    train : DataFrame
        As `Competition.train`.

    Attributes
    ----------
    table : DataFrame
        Rows of ``train`` with ``agreement`` and a ``title``.
    """

    def __init__(self, train: pd.DataFrame):
        rows = one_per_vote_vector(train)
        rows = rows.iloc[np.argsort(-votes_of(rows).sum(axis=1), kind="stable")]
        kinds = agreement(votes_of(rows))
        title = rows["expert_consensus"] + ", " + kinds + " · patient " + _text(rows["patient_id"])
        place = " · EEG " + _text(rows["eeg_id"]) + " at " + _text(rows["eeg_label_offset_seconds"])
        self.table = rows.assign(agreement=kinds, title=title + place + " s").reset_index(drop=True)

    def select(self, **wanted: object) -> pd.DataFrame:
        """Keep the windows that have the wanted values.

        Parameters
        ----------
        **wanted
            A value, or `ANY`, for columns of `COLUMNS`.
        """
        keep = np.ones(len(self.table), dtype=bool)
        for column, value in wanted.items():
            if value != ANY:
                keep &= (self.table[column] == value).to_numpy()
        return self.table[keep]

    def options(self, column: str, **wanted: object) -> list[tuple[str, object]]:
        """List a column's values that occur together with the other columns' wanted ones.

        Returns
        -------
        list of (label, value)
            `ANY` first; a label says how many windows there are. Classes and kinds of agreement
            stand in their usual order, patients by their number of windows.
        """
        others = {name: value for name, value in wanted.items() if name != column}
        rows = self.select(**others)
        counts = rows[column].value_counts()
        usual = {"expert_consensus": CLASSES, "agreement": KINDS}.get(column, counts.index)
        found = [(f"{value} ({counts[value]:,})", value) for value in usual if value in counts]
        return [(f"{ANY} ({len(rows):,})", ANY), *found]


class Browser:
    """Controls and the page that they choose; `panel` holds all of it.

    Parameters
    ----------
    competition : Competition

    Raises
    ------
    ImportError
        If ipywidgets is not installed.
    """

    def __init__(self, competition: Competition):
        import ipywidgets as widgets  # a notebook that nobody watches can do without

        self.competition, self.catalogue = competition, Catalogue(competition.train)
        self.choices = {
            column: widgets.Dropdown(description=name, options=[(ANY, ANY)])
            for column, name in COLUMNS.items()
        }
        self.place = widgets.IntSlider(min=1, max=1, description="window", continuous_update=False)
        self.back = widgets.Button(description="previous", icon="arrow-left")
        self.forth = widgets.Button(description="next", icon="arrow-right")
        self.message = widgets.Label()
        self.page = widgets.Image(format="png", layout=widgets.Layout(max_width="1000px"))
        self.panel = widgets.VBox(
            [
                widgets.HBox(list(self.choices.values())),
                widgets.HBox([self.back, self.forth, self.place]),
                self.message,
                self.page,
            ]
        )
        self._busy = False
        self.back.on_click(lambda _: self._step(-1))
        self.forth.on_click(lambda _: self._step(1))
        self.place.observe(lambda _: self._show(), "value")
        for choice in self.choices.values():
            choice.observe(lambda _: self._choose(), "value")
        self._choose()

    @property
    def chosen(self) -> pd.DataFrame:
        """The windows that the controls leave."""
        return self.catalogue.select(**self._wanted())

    def _wanted(self) -> dict[str, object]:
        return {column: choice.value for column, choice in self.choices.items()}

    def _choose(self) -> None:
        """Offer what goes with the choices made, and show the first window of them."""
        if self._busy:
            return
        self._busy = True  # what is set here is no choice of anybody
        try:
            for column, choice in self.choices.items():
                options = self.catalogue.options(column, **self._wanted())
                value = choice.value if choice.value in [v for _, v in options] else ANY
                choice.options, choice.value = options, value
            self.place.value, self.place.max = 1, len(self.chosen)
        finally:
            self._busy = False
        self._show()

    def _step(self, by: int) -> None:
        self.place.value = min(max(self.place.value + by, 1), self.place.max)

    def _show(self) -> None:
        if self._busy:
            return
        row = self.chosen.iloc[self.place.value - 1]
        try:
            self.page.value = _page(self.competition, row)._repr_png_()[0]
            self.message.value = f"{self.place.value:,} of {len(self.chosen):,}"
        except InputError as error:
            self.page.value, self.message.value = b"", str(error)


def browse(competition: Competition):
    """Show the controls to somebody who can use them, and the first window to all others.

    Returns
    -------
    ipywidgets.VBox or Figure
        The latter, after a line that says why, where a notebook is run through by papermill or
        nbconvert and where ipywidgets is not installed.
    """
    if not is_live():
        print("No controls here: open the notebook in Jupyter or on Kaggle. The first window:")
    else:
        try:
            return Browser(competition).panel
        except ImportError:
            print("No controls: they need ipywidgets (pip install ipywidgets). The first window:")
    return _page(competition, Catalogue(competition.train).table.iloc[0])


def _page(competition: Competition, row: pd.Series) -> Figure:
    window = read_window(competition, row)
    return window_page(window.eeg, window.spectrogram, window.votes, title=window.title)


def _text(values: pd.Series) -> pd.Series:
    return values.map("{:.0f}".format)
