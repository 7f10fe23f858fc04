"""Find artists of a figure by their id, text or label."""

from matplotlib.figure import Figure
from matplotlib.text import Text


def by_gid(figure: Figure, gid: str) -> list:
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def images(figure: Figure) -> list:
    return [axes.images[0] for axes in figure.axes if axes.images]


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def bar_sizes(axes) -> list[list[float]]:
    """Lengths of the bars of each series, upright or lying."""
    return [
        [bar.get_height() if bars.orientation == "vertical" else bar.get_width() for bar in bars]
        for bars in axes.containers
    ]
