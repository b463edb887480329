"""What the project's front pages say of the kept records."""

import numpy as np
import pytest

from benchmarks.compare import fine_tuning, images
from benchmarks.compare.profiles import PROFILES
from benchmarks.show.ranking import REFERENCE
from benchmarks.show.results import results
from benchmarks.show.tables import comparison_tables, headline_tables, summary_tables
from tests.benchmarks.evidence import BENCHMARKS, full, kept, markdown, outcomes, page, prose, ranked, text

MARK = "<!-- tables -->\n\n"


def test_records_are_kept_small_and_of_every_data_set():
    assert sum(file.stat().st_size for file in (BENCHMARKS / "evidence").iterdir()) < 3_000_000
    assert {record["dataset"] for record in full()} == set(PROFILES["full"].datasets)


def test_results_are_those_of_the_records():
    _, summary, faces, bibtex = page("benchmarks/RESULTS.md").split(MARK)
    assert summary.startswith(text(summary_tables(full())))
    photographs = ["SBU_3DFE", "FG-Net"]
    together = comparison_tables([record for record in full() if record["dataset"] in photographs])
    parted = comparison_tables(kept("full", photographs, keep_groups=False))
    assert faces.startswith(text(table for pair in zip(together, parted, strict=True) for table in pair))
    assert bibtex == text(comparison_tables(record for record in full() if record["dataset"] == "bibtex"))


def test_the_table_of_the_readme_is_that_of_the_records():
    _, table, _ = text(headline_tables(ranked().values())).split("\n\n")
    assert table in page("README.md")


def test_claims_of_the_readme():
    for task in ("multilabel", "label distribution", "regression", "all targets"):
        assert ranked()[task].average.index[0] == REFERENCE
    for task in ("multilabel", "all targets"):
        others = ranked()[task].against(REFERENCE)
        assert (others["holm"] < 0.05).all()
        assert (others["percent"] > 0).all()
    for task in ("label distribution", "regression"):
        assert len(ranked()[task].ranks) == 6
    numbers = ranked()["regression"].against(REFERENCE)
    assert numbers.loc[["Kernel ridge", "CatBoost"], "percent"].abs().max() < 2
    classes = ranked()["classification"]
    assert classes.average.index[0] == "HRAML + soft neighbours"
    assert (classes.against("HRAML + soft neighbours")["holm"] > 0.05).all()
    by_criterion = ranked()["multilabel"].by_criterion
    for method in ("Logistic regression", "Classifier chain"):
        assert by_criterion.loc[method, "Macro F1 ↑"] < by_criterion.loc[REFERENCE, "Macro F1 ↑"]
    assert by_criterion["Samples F1 ↑"].idxmin() == "HRAML + MLkNN"
    assert set(ranked()["multilabel"].too_slow["CatBoost"]) == {"Langlog", "Corel5k", "bibtex"}


def test_times_of_the_readme():
    results_of = [result for result in results(full()) if result.task == "multilabel"]

    def median(method):
        return np.median([row.seconds for result in results_of for row in result.rows if row.method == method])

    assert 1.5 < median(REFERENCE) / median("ExtraTrees") < 2.5
    slow = [row.seconds for result in results_of for row in result.rows if row.method == "CatBoost" and row.means]
    assert median(REFERENCE) < np.median(slow) / 2


PRECISIONS = ("MAP@R ↑", "MAP@R joined ↑")
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def of_flowers():
    """Records of flowers, by method and seed."""
    found = {}
    for record in outcomes("flowers"):
        found.setdefault(record["method"], {})[record["seed"]] = record
    return found


def percents(of_flowers, method, seeds):
    """Mean average precisions in percent, separated and joined, one row for each seed."""
    return np.array([[100 * of_flowers[method][seed]["scores"][title] for title in PRECISIONS] for seed in seeds])


def gain(of_flowers, loss):
    """Gain of DRML over the loss that it is built over, separated and joined, and its standard error over seeds."""
    plain, drml = (percents(of_flowers, method, SEEDS) for method in (loss, f"DRML-{loss}"))
    return (drml - plain).mean(0), (drml - plain).std(0, ddof=1) / np.sqrt(len(SEEDS))


def gains(of_flowers):
    """Rows of DRML over the loss that it is built over: means over seeds, and paired differences ± standard errors."""
    rows = []
    for loss in fine_tuning.LOSSES:
        means = (percents(of_flowers, method, SEEDS).mean(0) for method in (loss, f"DRML-{loss}"))
        differences = zip(*gain(of_flowers, loss), strict=True)
        pairs = [f"{separated:.1f} / {joined:.1f}" for separated, joined in means]
        rows.append([loss, *pairs, *(f"{mean:+.1f} ± {error:.1f}" for mean, error in differences)])
    return rows


def of_first_seed(of_flowers, methods):
    """Precisions of the first seed, separated and joined, of methods that have it."""
    return ["{:.1f} / {:.1f}".format(*percents(of_flowers, method, [0])[0]) for method in methods]


def test_tables_of_fine_tuning_are_those_of_the_records(of_flowers):
    written = page("benchmarks/FINE_TUNING.md")
    main = [name for name in fine_tuning.METHODS if ", paper" not in name and ", code" not in name]
    records = [record for method in main for record in of_flowers[method].values()]
    assert {record["seed"] for record in records} == set(SEEDS)
    assert text(comparison_tables(records)) in written
    header = ["MAP@R, separated / joined", "plain", "DRML", "difference, separated", "joined"]
    assert markdown(header, gains(of_flowers)) in written
    readings = [
        [loss, *of_first_seed(of_flowers, [loss, *(f"DRML-{loss}{reading}" for reading in ("", ", paper", ", code"))])]
        for loss in fine_tuning.LOSSES
    ]
    assert markdown(["First seed", "plain", "DRML", "paper", "code"], readings) in written
    changes = [name for name in fine_tuning.ON_REQUEST if name in of_flowers]
    assert markdown(["First seed", "MAP@R"], zip(changes, of_first_seed(of_flowers, changes), strict=True)) in written


def points(number, form=".1f"):
    """Number as sentences have it: no zero before the point, and a true minus."""
    return f"{number:{form}}".replace("0.", ".").replace("-", "−")


def test_claims_of_fine_tuning(of_flowers):
    means = {name: percents(of_flowers, name, SEEDS).mean(0) for name in of_flowers if len(of_flowers[name]) > 2}
    frozen, whitened = means["Frozen trunk"], means["Frozen trunk, RCA"]
    single, joined = means["ProxyAnchor"] - frozen
    ahead = [means[loss][1] - whitened[1] for loss in fine_tuning.LOSSES if loss != "TSH"]
    differences = {loss: gain(of_flowers, loss) for loss in fine_tuning.LOSSES}
    assert not any((mean > 2 * error).all() for mean, error in differences.values())
    lost = -differences.pop("CosFace")[0]
    level = [mean[0] for mean, _ in differences.values()]

    written = prose("benchmarks/FINE_TUNING.md")
    assert (
        f"have {joined:.1f} points of MAP@R more than the frozen trunk. A single one has {single:.1f} more" in written
    )
    assert f"are ahead of it by {points(min(ahead))} to {points(max(ahead))} points" in written
    assert f"CosFace loses {points(lost[0])} to {points(lost[1])} of a point" in written
    written = prose("docs/guide/deep.md")
    assert f"({points(min(level), '+.1f')} to {points(max(level), '+.1f')} points)" in written
    assert f"CosFace lost {points(lost[0])} points" in written
    assert "have ten points of MAP@R more than the untrained trunk" in written
    assert "has eight points more, without any training" in written
    assert "Fine-tuning a trunk gains ten points of MAP@R on flowers" in prose("docs/results/index.md")
    assert (round(joined), round(whitened[0] - frozen[0])) == (10, 8)


READINGS = {
    "plain loss": "{}",
    "DRML": "DRML-{}",
    "DRML, the paper": "DRML-{}, paper",
    "DRML, its authors' code": "DRML-{}, code",
}


@pytest.fixture(scope="module")
def of_characters():
    """Recall at 1 and mean average precision in percent, one row for each of five seeds, by method."""
    titles = ("R@1 ↑", "MAP@R ↑")
    found = {}
    for record in sorted(outcomes("omniglot"), key=lambda record: record["seed"]):
        found.setdefault(record["method"], []).append([100 * record["scores"][title] for title in titles])
    assert {len(rows) for rows in found.values()} == {5}
    return {method: np.array(rows) for method, rows in found.items()}


def test_table_of_characters(of_characters):
    columns = []
    for loss in images.LOSSES:
        means = [of_characters[name.format(loss)].mean(0) for name in READINGS.values()]
        best = max(mean[1] for mean in means)
        words = [f"{recall:.1f} / {precision:.1f}" for recall, precision in means]
        columns.append([f"**{word}**" if mean[1] == best else word for word, mean in zip(words, means, strict=True)])
    table = markdown(["R@1 / MAP@R", *images.LOSSES], zip(READINGS, *columns, strict=True))
    assert table in page("docs/results/images.md")
    recall, precision = of_characters["Raw pixels"].mean(0)
    assert f"raw pixels have {recall:.1f} / {precision:.1f}" in prose("docs/results/images.md")


def test_gains_of_characters(of_characters):
    gains = {loss: (of_characters[f"DRML-{loss}"] - of_characters[loss])[:, 1] for loss in images.LOSSES}
    said = {loss: f"{gain.mean():.1f} ± {gain.std(ddof=1):.1f}".replace("-", "−") for loss, gain in gains.items()}
    for written in (prose("docs/results/images.md"), prose("docs/guide/deep.md")):
        assert f"{said['ProxyAnchor']} points of MAP@R to ProxyAnchor and {said['CosFace']} to CosFace" in written
    for loss in ("MDW", "TSH"):
        assert said[loss] in prose("docs/results/images.md")
        assert abs(gains[loss].mean()) < gains[loss].std(ddof=1)
