"""Seam to matplotlib and scikit-posthocs, and the colours of all pictures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from skrelmetric._interop.arrays import as_host
from skrelmetric._interop.given import check_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

__all__ = ["GREY", "PALETTE", "axes_or_new", "check_names", "optional", "samples", "sequential", "text_color"]

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
"""Okabe and Ito's colours for all kinds of colour vision, but for black and yellow, which a background would swallow:
each of these has a contrast of 2.2 and more to white and of 4 and more to black."""

GREY = "#8C8C8C"
"""Colour of what is unknown or left over, in between black and white."""


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
