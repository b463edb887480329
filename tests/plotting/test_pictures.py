"""What all pictures have in common: what is drawn is what was computed, and nothing else is touched."""

import sys
from io import BytesIO

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from skrelmetric import MLkNN, RAMLLinear
from skrelmetric.plotting import (
    plot_critical_difference,
    plot_embedding,
    plot_metric,
    plot_neighbors,
    plot_quality_against_time,
    plot_relation,
    plot_reliability,
    plot_training,
)
from tests.plotting.drawn import Trained

PICTURES = {
    "embedding of classes": lambda ax: plot_embedding(np.eye(4), [0, 1, 1, 0], ax=ax),
    "embedding of a label": lambda ax: plot_embedding(np.eye(4), np.eye(4)[:, :2], label=0, ax=ax),
    "embedding of numbers": lambda ax: plot_embedding(np.eye(4), [0.5, 1, 1, 0], ax=ax),
    "relation": lambda ax: plot_relation(np.eye(4), [0, 1, 1, 0], ax=ax),
    "relation of numbers": lambda ax: plot_relation(np.eye(9), np.arange(9) ** 2.5, ax=ax),
    "metric": lambda ax: plot_metric(RAMLLinear().fit([[0.0, 1], [1, 0], [2, 2]], [0, 0, 1]), ax=ax),
    "neighbors": lambda ax: plot_neighbors(MLkNN(2).fit(np.eye(4), np.eye(4)), np.eye(4)[0], np.eye(4), ax=ax),
    "reliability": lambda ax: plot_reliability([[0, 1], [1, 1]], [[0.2, 0.9], [0.8, 0.7]], ax=ax),
    "training": lambda ax: plot_training(Trained([3.0, 2.0], [1.0, 0.5, 0.7], 1), ax=ax),
    "nemenyi": lambda ax: plot_critical_difference([[1, 2, 3], [1, 3, 2], [1.0, 2, 3]], ax=ax),
    "wilcoxon": lambda ax: plot_critical_difference([[1, 2, 3], [1, 3, 2.0]], test="wilcoxon-holm", ax=ax),
    "time": lambda ax: plot_quality_against_time([1, 2], [0.5, 0.6], ["a", "b"], ax=ax),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_pictures_draw_where_they_are_told_and_touch_no_setting(draw):
    figure, (ours, other) = plt.subplots(1, 2)
    elsewhere = plt.figure()
    settings = dict(matplotlib.rcParams)
    assert draw(ours) is ours
    assert other.has_data() is False
    assert plt.get_fignums() == [figure.number, elsewhere.number]
    assert plt.gcf() is elsewhere
    assert elsewhere.axes == []
    assert dict(matplotlib.rcParams) == settings
    figure.savefig(BytesIO())


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_pictures_make_a_figure_of_their_own_without_axes(draw):
    before = plt.figure()
    ax = draw(None)
    assert plt.get_fignums() == [before.number, ax.figure.number]
    assert before.axes == []


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_pictures_take_the_colour_of_text_from_the_style(draw):
    with plt.style.context("dark_background"):
        ax = draw(None)
    assert dark_texts(ax.figure) == []


def dark_texts(figure):
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
    return [text.get_text() for text in texts if max(to_rgba(text.get_color())[:3]) < 0.5]


def test_panels_take_the_colour_of_text_from_the_style():
    with plt.style.context("dark_background"):
        panels = plot_embedding(np.eye(4), np.eye(4)[:, :3])
    assert dark_texts(panels[0].figure) == []


@pytest.mark.parametrize(
    ("draw", "arrays", "package", "module"),
    [
        (plot_quality_against_time, ([1], [1], ["a"]), "matplotlib", "matplotlib"),
        (plot_embedding, ([[1, 2]], [0]), "matplotlib", "matplotlib"),
        (plot_critical_difference, ([[1, 2], [2, 3]],), "scikit-posthocs", "scikit_posthocs"),
    ],
)
def test_what_a_picture_lacks_is_said(draw, arrays, package, module, monkeypatch):
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as caught:
        draw(*arrays)
    assert str(caught.value) == f'This picture needs {package}: pip install "skrelmetric[plot]".'
