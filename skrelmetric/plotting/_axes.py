"""Seam to matplotlib and scikit-posthocs, and the colours of all pictures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.given import check_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.text import Text

__all__ = [
    "GREY",
    "LEAST_FONT",
    "MARKERS",
    "PALETTE",
    "axes_or_new",
    "check_names",
    "fit_texts",
    "font_points",
    "legend_place",
    "optional",
    "panels",
    "points_of",
    "samples",
    "sequential",
    "shortened",
    "symbols",
    "text_color",
]

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
"""Okabe and Ito's colours for all kinds of colour vision, but for black and yellow, which a background would swallow:
each of these has a contrast of 2.2 and more to white and of 4 and more to black."""

GREY = "#8C8C8C"
"""Colour of what is unknown or left over, in between black and white."""

MARKERS = "o^sDPX"
"""Shapes that go with the colours, so that they are told apart in grey too."""

LEAST_FONT = 5
"""Points of the smallest letters."""


def optional(module: str) -> Any:
    """Module of one of the packages that only pictures need.

    Raises
    ------
    ImportError
        If its package is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise ImportError(f'This picture needs {package}: pip install "skrelmetric[plot]".') from error


def axes_or_new(ax: "Axes | None", **figure: Any) -> "Axes":
    """Axes as given, or those of a new figure whose layout leaves room for legends."""
    return optional("matplotlib.pyplot").subplots(layout="constrained", **figure)[1] if ax is None else ax


def panels(ax: "Axes | None", n_panels: int, ratio: float) -> "list[Axes]":
    """Panels of equal size and shared limits, in a figure of their own or a subfigure in the place of axes.

    Parameters
    ----------
    ax : matplotlib Axes or None
        Axes that give their place. None makes a figure of a size that suits the panels.
    n_panels : int
        Number of panels.
    ratio : float
        Height of what they hold, relative to its width.

    Raises
    ------
    ValueError
        If the axes stand in no grid of subplots.
    """
    pyplot = optional("matplotlib.pyplot")
    title = 3 * font_points("small") / 72  # inches above a panel
    if ax is None:
        n_columns = _n_columns(n_panels, 6.4, 3.2, ratio, title)
        n_rows = -(-n_panels // n_columns)
        height = max(2.4, 0.4 + n_rows * (title + 6.0 / n_columns * ratio))  # as a name at the left takes two inches
        figure = pyplot.figure(figsize=(6.4, height), layout="constrained")
    else:
        place = ax.get_subplotspec()
        if place is None:
            raise ValueError(
                f"ax stands in no grid of subplots, so that {n_panels} panels cannot take its place. Pass axes that "
                "subplots or add_subplot made, or a sequence with one for each panel."
            )
        width, height = points_of(ax) / 72
        n_columns = _n_columns(n_panels, width, height, ratio, title)
        n_rows = -(-n_panels // n_columns)
        ax.set_axis_off()
        figure = ax.figure.add_subfigure(place)
        figure.patch.set_visible(False)
    gaps = {} if figure.get_layout_engine() is not None else {"wspace": 0.1, "hspace": 0.6}
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=gaps)
    for beyond in grid.flat[n_panels:]:
        beyond.remove()
    for panel in grid.flat[:n_panels]:
        panel.tick_params(labelbottom=False, labelleft=False, length=2)
    return list(grid.flat[:n_panels])


def _n_columns(n_panels: int, width: float, height: float, ratio: float, title: float) -> int:
    """Number of columns with which panels are wide and few places stay empty; all in inches."""
    counts = np.arange(1, n_panels + 1)
    n_rows = -(-n_panels // counts)
    widths = np.minimum(width / counts, np.maximum(height / n_rows - title, 0.01) / ratio)
    taken = n_panels / (n_rows * counts)
    return int(counts[(widths * taken).round(6).argmax()])


def legend_place(ax: "Axes") -> dict[str, Any]:
    """Options of a legend beside the axes, where a layout makes room for it, or else where it covers least."""
    if ax.figure.get_layout_engine() is None:
        return {"loc": "best"}
    return {"loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False}


def points_of(ax: "Axes") -> np.ndarray:
    """Width and height of axes in points, before a layout moves them."""
    return np.array([ax.get_window_extent().width, ax.get_window_extent().height]) * 72 / ax.figure.dpi


def font_points(size: str) -> float:
    """Points of a relative size of text in the style that is in force."""
    return optional("matplotlib.font_manager").FontProperties(size=size).get_size_in_points()


def fit_texts(texts: "list[Text]", room: float) -> None:
    """Shrink texts alike until they are at most as wide as the room, in pixels, and cut short what is still wider."""
    widest = max(text.get_window_extent().width for text in texts)
    if widest <= room:
        return
    size = max(LEAST_FONT, float(texts[0].get_fontsize()) * room / widest)
    for text in texts:
        text.set_fontsize(size)
        lines = text.get_text().split("\n")
        longest = max(map(len, lines))
        while longest > 4 and text.get_window_extent().width > room:
            longest -= 1
            text.set_text("\n".join(line if len(line) <= longest else line[: longest - 1] + "…" for line in lines))


def shortened(name: str, n_letters: int) -> str:
    """Name without its middle where it is too long: names of one kind often differ at the end."""
    if len(name) <= n_letters:
        return name
    n_last = n_letters // 2
    return f"{name[: n_letters - 1 - n_last]}…{name[-n_last:]}"


def symbols(n: int) -> list[tuple[str, str]]:
    """Colours and markers: the first six differ in both, and 36 in either."""
    n_colors, n_markers = len(PALETTE), len(MARKERS)
    return [(PALETTE[k % n_colors], MARKERS[(k + k // n_colors) % n_markers]) for k in range(n)]


def sequential() -> "Colormap":
    """Colours of numbers: viridis less the ends that a dark or a light background would swallow."""
    viridis = optional("matplotlib").colormaps["viridis"]
    colors = optional("matplotlib.colors")
    return colors.ListedColormap(viridis(np.linspace(0.15, 0.92, 256)), "skrelmetric").with_extremes(bad=GREY)


def text_color() -> str:
    """Colour of text in the style that is in force."""
    return optional("matplotlib").rcParams["text.color"]


def samples(X: Any) -> np.ndarray:
    """Samples as a finite matrix on the host."""
    return check_array(as_host(X), dtype=np.float64, input_name="X")


def check_names(names: Any, n_expected: int, argument: str, what: str) -> list[str]:
    """Names as strings, one for each thing.

    Raises
    ------
    ValueError
        If they are more or fewer.
    """
    if isinstance(names, str) or len(names) != n_expected:
        number = "one string" if isinstance(names, str) else len(names)
        raise ValueError(f"{argument} holds {number}, but there are {n_expected} {what}. Pass a name for each.")
    return [str(name) for name in names]
