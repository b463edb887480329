"""Findings of a comparison in sentences."""

from collections.abc import Iterable

import numpy as np

from benchmarks.compare.records import Record
from benchmarks.compare.tasks import TASKS, Criterion
from benchmarks.show import published
from benchmarks.show.ranking import Ranking
from benchmarks.show.report.sections import PAPER_FOLDS, headline
from benchmarks.show.results import Result, Row


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
    interval = f" ({of.low:+z.1f} to {of.high:+z.1f})" * bool(np.isfinite(of.low))
    return (
        f" The losses of {method} are {of.percent:+z.1f}{interval} percent against those of {reference}: better on "
        f"{of.won:g} and worse on {of.lost:g} of {len(ranking.ranks)}."
    )


def _of_result(result: Result) -> str:
    """Best method by the criterion that stands for all, against the second, over the folds that both have."""
    scored = [row for row in result.rows if row.means]
    if not scored:
        slow = result.rows and all(row.too_slow for row in result.rows)
        return "every method was too slow." if slow else "every fold of every method failed."
    if len(scored) == 1:
        return f"only {scored[0].method} has scores, with nothing to compare them with."
    criterion = result.criteria[headline(result.task)]
    whole = [row for row in scored if result.is_complete(row)]
    compared = whole if len(whole) > 1 else scored  # means over other folds are no fair comparison
    best, second = sorted(compared, key=lambda row: -criterion.sign * row.means[criterion.title])[:2]
    what = criterion.title.rpartition(" ")[0]
    sentence = f"{best.method} has the best {what[:1].lower()}{what[1:]} of {len(compared)} methods, "
    return sentence + f"{best.means[criterion.title]:.4f}{_lead(best, second, criterion, compared is whole)}."


def _lead(best: Row, second: Row, criterion: Criterion, is_paired: bool) -> str:
    """Difference to the second, and its spread over folds."""
    gap = abs(best.means[criterion.title] - second.means[criterion.title])
    if not gap:
        return f", and so has {second.method}"
    sentence = f", by {gap:.4f} before {second.method}"
    if not is_paired:
        return sentence
    gains = criterion.sign * (best.values[criterion.title] - second.values[criterion.title])
    if len(gains) == 1:
        return f"{sentence}, on one fold"
    return f"{sentence} (standard deviation {gains.std():.4f} over {len(gains)} folds, ahead on {(gains > 0).sum()})"


def _against_paper(result: Result, records: list[Record]) -> str | None:
    """Comparison with the paper's best figures, where the splits are the paper's."""
    figures = published.best(result.dataset)
    folds = {record.get("folds") for record in records if record["dataset"] == result.dataset}
    if not figures or folds != {PAPER_FOLDS.get(result.task)} or not any(row.means for row in result.rows):
        return None
    pairs = [(_loss(result.best(c), c), _loss(figures[c.title], c)) for c in result.criteria if c.title in figures]
    better = sum(here < there for here, there in pairs)
    where = f"lower by {better} of {len(pairs)} criteria"
    if any(here <= 0 or there <= 0 for here, there in pairs):
        return f"the lowest losses here are {where} than the lowest of the HRAML paper."
    percent = 100 * np.expm1(np.mean([np.log(here / there) for here, there in pairs]))
    return (
        f"the lowest losses here are {percent:+z.1f} percent against the lowest of the HRAML paper (geometric mean), "
        f"{where}."
    )


def _loss(value: float, criterion: Criterion) -> float:
    """Value of a criterion as a loss: of a score what it lacks of 1."""
    return 1 - value if criterion.sign > 0 else value
