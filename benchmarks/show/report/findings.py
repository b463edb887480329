"""Findings of a comparison in sentences."""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS
from benchmarks.show import published
from benchmarks.show.ranking import Ranking
from benchmarks.show.report.sections import PAPER_FOLDS
from benchmarks.show.results import Result


def findings(compared: Iterable[Result], rankings: Iterable[Ranking], records: list[Record]) -> list[tuple[str, str]]:
    """Findings of a comparison, as pairs of a subject and a sentence."""
    results = list(compared)
    ranked = {ranking.task: ranking for ranking in rankings}
    found = [(task.capitalize(), _of_ranking(ranking)) for task, ranking in ranked.items() if task not in TASKS]
    for task in dict.fromkeys(result.task for result in results):
        if task in ranked:
            found.append((task.capitalize(), _of_ranking(ranked[task])))
            continue
        found += [(result.dataset, _of_result(result)) for result in results if result.task == task]
    return found + [
        (result.dataset, sentence) for result in results if (sentence := _against_paper(result, records)) is not None
    ]


def _of_ranking(ranking: Ranking) -> str:
    n_methods = ranking.ranks.shape[1]
    average = ranking.average
    best = str(average.index[0])
    low, high = ranking.intervals.loc[best]
    interval = f" ({low:.2f} to {high:.2f})" * bool(np.isfinite(low))
    sentence = f"{best} has the best average rank, {average.iloc[0]:.2f}{interval} among {n_methods} methods over "
    sentence += f"{ranking.n_datasets} data sets."
    if np.isfinite(ranking.friedman):
        chance = "is hardly chance" if ranking.friedman < 0.05 else "could be chance"
        sentence += f" That methods differ at all {chance} (Friedman p = {ranking.friedman:.2g})"
        n_beaten = int((ranking.nemenyi[best] < 0.05).sum())
        sentence += f"; Nemenyi's test tells it from {n_beaten or 'none'} of the others at level 0.05."
    return sentence + _of_effect(ranking)


def _of_effect(ranking: Ranking) -> str:
    """Losses of the best against the reference, or of the next where that is the best; nothing where there are none."""
    reference = ranking.reference
    method = next(method for method in ranking.average.index if method != reference)
    of = ranking.against(reference).loc[method]
    if not of.n_ratios:
        return ""
    interval = f" ({of.low:+.1f} to {of.high:+.1f})" * bool(np.isfinite(of.low))
    return (
        f" The losses of {method} are {of.percent:+.1f}{interval} percent against those of {reference}: better on "
        f"{of.won:g} and worse on {of.lost:g} of {len(ranking.ranks)}."
    )


def _of_result(result: Result) -> str:
    best = {criterion.title: result.best(criterion) for criterion in result.criteria}
    wins = Counter(
        {row.method: sum(row.means[title] == best[title] for title in best) for row in result.rows if row.means}
    )
    if not wins:
        return "every fold of every method failed."
    if len(wins) == 1:
        return f"only {next(iter(wins))} has scores, with nothing to compare them with."
    most = max(wins.values())
    winners = " and ".join(method for method, n in wins.items() if n == most)
    have = "is" if list(wins.values()).count(most) == 1 else "are each"
    return f"{winners} {have} best of {len(wins)} methods by {most} of {len(best)} criteria."


def _against_paper(result: Result, records: list[Record]) -> str | None:
    """Comparison with the paper's best figures, where the splits are the paper's."""
    figures = published.best(result.dataset)
    folds = {record.get("folds") for record in records if record["dataset"] == result.dataset}
    if not figures or folds != {PAPER_FOLDS.get(result.task)} or not any(row.means for row in result.rows):
        return None
    gains = [c.sign * (result.best(c) - figures[c.title]) for c in result.criteria if c.title in figures]
    better = sum(gain > 0 for gain in gains)
    return f"the best here is better than the best of the HRAML paper by {better} of {len(gains)} criteria."
