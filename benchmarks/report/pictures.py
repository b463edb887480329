"""Pictures of the report: drawn by matplotlib, inlined as SVG whose colours follow those of the page."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
import numpy as np
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.datasets import Source, load
from benchmarks.experiment import Record, Settings, splits
from benchmarks.ranking import Ranking
from benchmarks.report.tables import Line
from benchmarks.tasks import TASKS, Criterion
from skrelmetric import HRAMLTransformer, RAMLLinear
from skrelmetric.plotting import plot_critical_difference, plot_embedding, plot_quality_against_time, plot_training
from skrelmetric.relations import make_relation

_INK, _LINE = "#010203", "#010204"

_VARIABLES = {
    _INK: "var(--ink)",
    _LINE: "var(--axis)",
    "#8c8c8c": "var(--muted)",
    "#0072b2": "var(--data-0)",
    "#e69f00": "var(--data-1)",
    "#009e73": "var(--data-2)",
    "#d55e00": "var(--data-3)",
    "#56b4e9": "var(--data-4)",
    "#cc79a7": "var(--data-5)",
}
"""Colours as drawn, and the variable of the page that stands for each: matplotlib takes no names of variables."""

_STYLE: Any = {
    "axes.edgecolor": _LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.facecolor": "none",
    "font.size": 10.5,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,  # names of methods may hold dollars
    "xtick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.color": _LINE,
    "ytick.labelcolor": _INK,
}

_SVG = "{http://www.w3.org/2000/svg}"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MOST_PATHS = 50

_MOST_VALUES = 1_000_000
_MOST_TRAINED = 2000
_MOST_SHOWN = 500


class Picture(NamedTuple):
    """A drawing with its title and its caption, which says what is to be seen."""

    svg: Markup
    title: str
    caption: str
    wide: bool = False


def short(method: str, task: str) -> str:
    """Name of a method without the predictor that all share."""
    return TASKS[task].short(method) if task in TASKS else method


def quality_against_time(lines: tuple[Line, ...], task: str, criterion: Criterion, column: int, name: str) -> Picture:
    """Mean criterion of each method of a data set against its median time of a fit."""
    scored = [(short(line.method, task), line.seconds, entry) for line in lines if (entry := line.entries[column])]
    names = [method for method, *_ in scored]
    times = np.maximum([seconds or 0.0 for _, seconds, _ in scored], 1e-6)
    quality = np.array([entry.mean for *_, entry in scored])
    better = criterion.sign > 0
    best, fastest = (quality * criterion.sign).argmax(), times.argmin()
    what = criterion.title.rpartition(" ")[0]
    caption = (
        f"Best: {names[best]}, {quality[best]:.4f} in {times[best]:.2g} s; "
        f"fastest: {names[fastest]}, {quality[fastest]:.4f} in {times[fastest]:.2g} s. "
        "The line joins methods than which none is both faster and better."
    )
    with _drawing(name) as inline:
        ax = Figure(figsize=(8.5, 3.5 + 0.05 * len(names)), layout="constrained").subplots()
        plot_quality_against_time(times, quality, names, higher_is_better=better, ax=ax)
        ax.set(xlabel="median seconds of a fit", ylabel=criterion.title)
        _plain_decades(ax)
        return inline(ax, f"{what} against time", caption, wide=True)


def critical_difference(ranking: Ranking, name: str) -> Picture:
    """Average ranks, and which methods Nemenyi's test does not tell apart."""
    ranks = ranking.ranks.rename(columns=lambda method: short(method, ranking.task))
    ends = [f"{short(method, ranking.task)}, {rank:.2f}," for method, rank in ranking.average.iloc[[0, -1]].items()]
    caption = (
        f"From {ends[0]} to {' '.join(ends[1:]).rstrip(',')}; all are in the table above. A bar joins methods that "
        "Nemenyi's test does not tell apart at level 0.05."
    )
    with _drawing(name) as inline:
        ax = Figure(figsize=(7.2, 1.2 + 0.19 * ranks.shape[1]), layout="constrained").subplots()
        plot_critical_difference(ranks, higher_is_better=False, ax=ax)
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        return inline(ax, "Average ranks", caption, wide=True)


def _plain_decades(ax: Axes) -> None:
    """Times as plain numbers, and enough of them where they span less than two decades."""
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")


class TooLargeError(ValueError):
    """A data set is nothing that a picture can be made of in a few seconds."""


def illustrations(source: Source, record: Record, name: str) -> list[Picture]:
    """Test samples of a split under plain and learned distances, and a training.

    Parameters
    ----------
    source : Source
        The data set.
    record : dict
        One of its records, which says how it was split.
    name : str
        Begin of the pictures' ids, unique in the page.

    Raises
    ------
    TooLargeError
        If it would take long.
    ImportError, OSError, ValueError
        If the data cannot be read or are not split like that any more.
    """
    data = load(source)
    X, Y = data.X, data.Y
    if X.ndim != 2 or X.size > _MOST_VALUES:
        raise TooLargeError(f"{source.name} is too large for pictures in passing")
    train, test = splits(source, Settings(record.get("folds", 3), 1, record.get("seed", 0)))[0]
    generator = np.random.default_rng(0)
    train, test = (
        np.sort(generator.permutation(part)[:most]) for part, most in ((train, _MOST_TRAINED), (test, _MOST_SHOWN))
    )
    metrics = {
        "Standardised features": StandardScaler(),
        "RAMLLinear": make_pipeline(StandardScaler(), RAMLLinear()),
        "HRAMLTransformer": make_pipeline(StandardScaler(), HRAMLTransformer(random_state=0)),
    }
    training = HRAMLTransformer(encoder="mlp", max_epochs=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that only illustrate
        embedded = {title: metric.fit(X[train], Y[train]).transform(X[test]) for title, metric in metrics.items()}
        training.fit(StandardScaler().fit_transform(X[train]), Y[train])
        pictures = [_embedding(Z, Y[test], title, f"{name}-{k}") for k, (title, Z) in enumerate(embedded.items())]
    return [*pictures, _training(training, f"{name}-training")]


def _embedding(Z: np.ndarray, Y: np.ndarray, title: str, name: str) -> Picture:
    caption = (
        f"{len(Z):,} test samples, whose distances have a Spearman correlation of {_agreement(Z, Y):.2f} with the "
        "relation of their targets."
    )
    with _drawing(name) as inline:
        ax = Figure(figsize=(5.2, 3.9), layout="constrained").subplots()
        plot_embedding(Z, Y, ax=ax)
        return inline(ax, title, caption)


def _agreement(Z: np.ndarray, Y: np.ndarray) -> float:
    """Rank correlation of squared distances with the relation, over all pairs."""
    i, j = np.triu_indices(len(Z), 1)
    relation = make_relation(Y, "auto")
    pairs = relation.pairs(*(torch.as_tensor(end).to(relation.device) for end in (i, j)))
    return round(float(spearmanr(pdist(Z, "sqeuclidean"), pairs.cpu().numpy()).statistic), 2) + 0.0  # no -0.00


def _training(metric: HRAMLTransformer, name: str) -> Picture:
    losses = metric.loss_curve_
    caption = (
        f"The loss of HRAMLTransformer(encoder='mlp') goes from {losses[0]:.3g} to {losses[-1]:.3g} in "
        f"{len(losses)} epochs"
    )
    if len(getattr(metric, "validation_curve_", [])):
        caption += f"; the weights of epoch {metric.best_epoch_} are kept, by the neighbours of samples held out"
    with _drawing(name) as inline:
        ax = Figure(figsize=(5.2, 3.9), layout="constrained").subplots()
        plot_training(metric, ax=ax)
        for beside in ax.figure.axes[1:]:
            beside.spines["right"].set_visible(True)
        return inline(ax, "A training", caption + ".")


@contextmanager
def _drawing(name: str) -> Iterator[Callable[..., Picture]]:
    """Style of the page, whatever the user's is, and what turns axes, a title and a caption into a picture."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # browsers have fonts of their own
        yield lambda ax, title, caption, wide=False: Picture(
            _inlined(ax.figure, f"{title}. {caption}", name), title, caption, wide
        )


def _inlined(figure: Figure, label: str, name: str) -> Markup:
    """SVG of a figure as an element of the page: no ids, styles or addresses but its own."""
    written = BytesIO()
    figure.savefig(written, format="svg", bbox_inches="tight", pad_inches=0.05)
    root = ElementTree.fromstring(written.getvalue())
    for group in list(root.iter(f"{_SVG}g")):
        _share_shapes(group)
    shared = {shape.get("id") for shape in root.iter(f"{_SVG}path")} - {None}
    used = set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", written.getvalue().decode())) | shared
    for element in list(root.iter()):
        for child in [child for child in element if child.tag.rpartition("}")[2] in ("metadata", "style")]:
            element.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        element.text = element.text if (element.text or "").strip() else None
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            if key != "id" or value in used:
                element.set(key.rpartition("}")[2], _attribute(key.rpartition("}")[2], value, name))
    root.attrib.update({"role": "img", "aria-label": label})
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # ElementTree has escaped all texts


def _share_shapes(group: ElementTree.Element) -> None:
    """Write the shapes of many points once, and of each point only where it is and its colour."""
    paths = group.findall(f"{_SVG}path")
    looks = {(path.get("clip-path", ""), path.get("style", "").partition("; ")[2]) for path in paths}
    if len(paths) <= _MOST_PATHS or len(looks) > 1:
        return
    group.attrib.update(zip(("clip-path", "style"), looks.pop(), strict=True))
    shapes: dict[str, str] = {}
    definitions = ElementTree.Element(f"{_SVG}defs")
    for path in paths:
        drawn, fill = path.get("d", ""), path.get("style", "").partition("; ")[0]
        x, y = map(float, _NUMBER.findall(drawn)[:2])
        offsets = (float(number) - start for number, start in zip(_NUMBER.findall(drawn), cycle((x, y)), strict=False))
        shape = " ".join(_NUMBER.sub("{:.2f}", drawn).split()).format(*offsets)
        if shape not in shapes:
            shapes[shape] = f"{group.get('id')}-shape{len(shapes)}"
            ElementTree.SubElement(definitions, f"{_SVG}path", {"id": shapes[shape], "d": shape})
        where = {"href": f"#{shapes[shape]}", "x": f"{x:.2f}", "y": f"{y:.2f}", "style": fill}
        path.clear()
        path.tag, path.attrib = f"{_SVG}use", where
    group.insert(0, definitions)


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1) if value.startswith("#") else value
    if key in ("d", "x", "y"):
        return re.sub(r"(\.\d\d)\d+", r"\1", " ".join(value.split()))
    value = value.replace("url(#", f"url(#{name}-")
    return re.sub(r"#[0-9a-f]{6}", lambda color: _VARIABLES.get(color[0], color[0]), value) if key == "style" else value
