"""Plots of dots."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.show.ranking import REFERENCE, Ranking
from benchmarks.show.report.dots import Measured, by_criterion, forest


def ranking(**percents):
    """Ranking of methods whose losses are above those of the reference by percents, on each row in turn."""
    losses = pd.DataFrame({REFERENCE: 0.0} | {name: np.log1p(np.array(p) / 100) for name, p in percents.items()})
    return Ranking("multilabel", losses.rank(axis=1), pd.DataFrame(), losses, {}, {}, {})


def test_losses_are_sorted_about_the_line_of_the_reference():
    drawn = forest(ranking(worse=[10, 12, 14, 9, 11], better=[-5, -6, -4, -5, -7], alike=[1, -1, 2, -2, 0.1]))
    assert [dot.method for dot in drawn.dots] == ["better", f"{REFERENCE} (reference)", "alike", "worse"]
    assert [dot.best for dot in drawn.dots] == [True, False, False, False]
    better, reference, alike, worse = drawn.dots
    assert reference.place == drawn.reference
    assert (reference.words, reference.low, reference.high) == ("+0.0", None, None)
    assert better.high < drawn.reference < worse.low
    assert alike.low < drawn.reference < alike.high
    for dot in (better, alike, worse):
        assert 0 <= dot.low < dot.place < dot.high <= 100
    assert worse.words == "+11.2"
    assert (drawn.reference, "+0") in drawn.ticks


@pytest.mark.parametrize(
    "percents", [[900, 1100, 1000, 950, 990], [-99.9, -99.8, -99.95, -99.9, -99.9], [1e6] * 5, [-40, 150, 60, 90, 180]]
)
def test_extreme_losses_are_on_the_scale_of_ratios(percents):
    drawn = forest(ranking(extreme=percents, other=[5, 6, 4, 5, 6]))
    places = [place for place, _ in drawn.ticks]
    assert places == sorted(places)
    assert 2 <= len(places) <= 8
    assert min(np.diff(places)) >= 14, "numbers have room on a phone"
    assert all(0 <= place <= 100 for place in [*places, *(dot.place for dot in drawn.dots)])


def test_half_and_double_are_as_far_from_the_line():
    half, reference, double = forest(ranking(double=[100] * 3, half=[-50] * 3)).dots
    assert double.place - reference.place == pytest.approx(reference.place - half.place, abs=0.02)
    assert double.place > half.place


def test_less_than_nothing_is_nothing():
    assert {dot.words for dot in forest(ranking(other=[-0.01, -0.02])).dots} == {"+0.0"}


def test_few_rows_have_no_whiskers_and_no_ratios_no_plot():
    few = forest(ranking(other=[5, 6]))
    assert [dot.low for dot in few.dots] == [None, None]
    assert forest(ranking(other=[5, 6])._replace(log_losses=None)) is None


def test_equal_losses_are_drawn():
    drawn = forest(ranking(same=[0, 0, 0, 0, 0]))
    assert {dot.place for dot in drawn.dots} == {drawn.reference}
    flat = by_criterion([Measured("a", 0.5, None, None), Measured("b", 0.5, None, None)], 1, 0.5)
    assert {dot.place for dot in flat.dots} == {flat.reference}


@pytest.mark.parametrize("sign", [1, -1])
def test_the_best_is_first_and_all_is_within(sign):
    measured = [Measured("low", 0.1, 0.05, 0.15), Measured("high", 0.9, 0.8, 1.0, paper=1.2)]
    drawn = by_criterion(measured, sign, 0.1)
    assert [dot.method for dot in drawn.dots] == ["high", "low"][::sign]
    (high,) = (dot for dot in drawn.dots if dot.method == "high")
    assert high.low < high.place < high.high < high.paper <= 100
    assert high.words == "0.9000"
    assert by_criterion([], sign, None).dots == ()
