"""Tables in the terminal."""

from benchmarks.compare import runs
from benchmarks.compare.cells import OFFICIAL, Settings, cells
from benchmarks.compare.tasks import TASKS
from benchmarks.show.formats import in_terminal
from benchmarks.show.published import PAPER, best
from benchmarks.show.ranking import rankings
from benchmarks.show.tables import comparison_tables, cost_tables, headline_tables
from tests.benchmarks.comparison import EMOTIONS


def test_best_mean_is_bold():
    def record(method, fold, loss, precision):
        scores = dict.fromkeys([criterion.title for criterion in TASKS["multilabel"].criteria], loss)
        scores["Average precision ↑"] = precision
        identity = {"dataset": "emotions", "task": "multilabel", "method": method, "fold": fold}
        return {**identity, "scores": scores, "fit_seconds": 1.0}

    records = [record("MLkNN", 0, 0.1, 0.5), record("MLkNN", 1, 0.3, 0.7), record("NCA + MLkNN", 0, 0.15, 0.9)]
    records += [record("RAMLLinear + MLkNN", fold, 0.4, 0.8) for fold in (0, 1)]
    table, further = comparison_tables(records)
    columns = [list(column.cells) for column in in_terminal(table).columns]
    assert [str(cell) for cell in columns[0]] == ["MLkNN", "NCA + MLkNN", "RAMLLinear + MLkNN"]
    assert [cell.plain for cell in columns[1]] == ["0.2000\n±0.1000", "0.1500", "0.4000\n±0.0000"]
    for losses in columns[1:5]:
        assert [str(cell.style) for cell in losses] == ["bold", "", ""], "half of the folds are no match"
    assert [str(cell.style) for cell in columns[5]] == ["", "", "bold"]
    assert further.title.startswith("emotions: multilabel, further criteria, ")
    assert further.columns[1:4] == ("Micro\nF1 ↑", "Macro\nF1 ↑", "Samples\nF1 ↑")
    assert [cell.text.partition("\n")[0] for cell in further.rows[0][1:4]] == ["0.2000"] * 3


def test_the_paper_stands_beside():
    comparison = cells(EMOTIONS, ["MLkNN", "RAMLLinear + MLkNN"], Settings(OFFICIAL, 1))
    records = [runs.run_cell(cell) for cell in comparison]
    table, further = comparison_tables(records, paper=True)
    columns = [[str(cell) for cell in column.cells] for column in in_terminal(table).columns]
    others = ["RAML-SVR + MLkNN", "RAML-KRR + MLkNN", "HRAML as published + MLkNN"]
    assert columns[0] == [
        "MLkNN",
        "  in the paper",
        "RAMLLinear + MLkNN",
        *(f"{name}, in the paper" for name in others),
    ]
    assert columns[5] == ["0.7839", "0.7808", "0.8033", "0.8101", "0.8225", "0.8052"]
    assert len(further.rows) == 2, "the paper has no further criteria"
    table, _ = comparison_tables(records)
    assert len(table.rows) == 2
    assert best("emotions") == dict(
        zip(PAPER["emotions"]["MLkNN"], (0.2046, 0.1382, 0.2376, 1.7327, 0.8225), strict=True)
    )
    assert best("flags") == dict(zip(PAPER["flags"]["MLkNN"], (0.2791, 0.2021, 0.2, 3.6769, 0.8244), strict=True))
    scene = (0.2907, 1.6865, 3.8419, 0.7321, 0.5929)
    assert best("Natural_Scene") == dict(zip(PAPER["Natural_Scene"]["AAKNN"], scene, strict=True))
    assert best("yeast") == {}


def test_repeats_of_the_official_split_are_seeds():
    comparison = cells(EMOTIONS, ["MLkNN"], Settings(OFFICIAL, 2))
    table, _ = comparison_tables([runs.run_cell(cell) for cell in comparison])
    assert table.title == "emotions: multilabel, mean ± sd over 2 seeds on one test part"


def test_costs_over_data_sets():
    def record(dataset, method, **measured):
        scores = dict.fromkeys([criterion.title for criterion in TASKS["multilabel"].criteria], 0.5)
        return {"dataset": dataset, "task": "multilabel", "method": method, "fold": 0, "scores": scores} | measured

    def memory(peak):
        return {"before": 100.0, "peak": peak}

    records = [
        record("emotions", "MLkNN", fit_seconds=1.0, score_seconds=0.5, memory_mib=memory(110.0)),
        record("yeast", "MLkNN", fit_seconds=3.0, score_seconds=1.5, memory_mib=memory(150.0)),
        record("yeast", "LDA + MLkNN", fit_seconds=7.0),
    ]
    (table,) = cost_tables(records)
    assert table.title == "multilabel: what a fold takes, over 2 data sets"
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["MLkNN", "2.00", "3.0", "1.00", "50", "2"],
        ["LDA + MLkNN", "7.00", "7.0", "", "", "1"],
    ]
    assert cost_tables(records[:1]) == []


def test_published_precision_stands_below():
    def records(**folds):
        scores = dict.fromkeys([criterion.title for criterion in TASKS["multilabel"].criteria], 0.5)
        return [
            {"dataset": "bibtex", "task": "multilabel", "method": "MLkNN", "scores": scores, "fit_seconds": 1.0} | folds
        ]

    *_, further = comparison_tables(records(folds=OFFICIAL))
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in further.rows}
    place = further.columns.index("P@1 ↑") - 1
    assert rows["SLEEC, published"][place : place + 3] == ["0.6508", "0.3964", "0.2887"]
    assert rows["MLkNN"][place] == "0.5000"
    assert {len(row) for row in rows.values()} == {len(further.columns) - 1}
    *_, further = comparison_tables(records(folds=3))
    assert [row[0].text for row in further.rows] == ["MLkNN"], "other folds are another task"
    for n_test, n_rows in ((100, 1), (99, 9)):
        *_, further = comparison_tables(records(folds=OFFICIAL, most_samples=100, n_train=90, n_test=n_test))
        assert len(further.rows) == n_rows, "samples were drawn where there are as many as may be"


def test_headline_has_what_is_ranked_everywhere():
    def record(task, dataset, method, loss):
        scores = {c.title: loss if c.sign < 0 else 1 - loss for c in TASKS[task].criteria}
        return {"dataset": dataset, "task": task, "method": method, "scores": scores, "fit_seconds": 1.0, "n_test": 9}

    losses = {"Relational neighbours": 0.1, "Ridge": 0.2, "RandomForest": 0.05}
    records = [
        record(task, f"{task} {k}", method, loss)
        for task in ("multilabel", "regression")
        for k in range(3)
        for method, loss in (losses | {"MLkNN": 0.3} if task == "multilabel" else losses).items()
    ]
    (table,) = headline_tables(rankings(records))
    columns = tuple(
        f"{task}:\n{n} data sets,\n{n_methods} methods"
        for task, n, n_methods in (("multilabel", 3, 4), ("regression", 3, 3), ("all targets", 6, 3))
    )
    assert table.columns == ("", *columns)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["RandomForest", "1.0, -50 %", "1.0, -50 %", "1.0\n[1.0,1.0], -50 %"],
        ["Relational neighbours", "2.0", "2.0", "2.0\n[2.0,2.0]"],
        ["Ridge", "3.0, +100 %", "3.0, +100 %", "3.0\n[3.0,3.0], +100 %"],
    ]
    assert [cell.style for cell in table.rows[0]] == ["", "bold", "bold", "bold"]
    assert headline_tables(rankings(records[:12])) == []
