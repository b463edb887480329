import os
import re
import statistics
import time
from collections import Counter
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.compare.cells import OFFICIAL, Settings, cells
from benchmarks.compare.runs import run_cell
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS
from benchmarks.show import published
from benchmarks.show.report import page as page_module
from benchmarks.show.report import svg as svg_module
from benchmarks.show.report.appendix import caught, searches
from benchmarks.show.report.page import render, write_report
from benchmarks.show.report.sections import usable
from skrelmetric.plotting import plot_embedding
from tests.browser import CONTRASTS, chromium, device, scheme

VOID = {"meta", "link", "input", "br", "img", "hr"}
METHODS = ["MLkNN", "PCA + MLkNN", "RAMLLinear + MLkNN"]
TITLES = [criterion.title for criterion in TASKS["multilabel"].criteria if criterion.ranked]
MARKUP = "<script>alert('$x$')</script> & \"more\""
COMMAND = "python -m benchmarks --methods 'RAMLLinear + MLkNN' <&>"


class Element:
    def __init__(self, tag, attributes, parent):
        self.tag, self.attributes, self.parent, self.children = tag, attributes, parent, []

    def __getitem__(self, name):
        return self.attributes.get(name)

    def all(self, tag=None, **attributes):
        for child in self.children:
            if isinstance(child, Element):
                wanted = {name.rstrip("_"): value for name, value in attributes.items()}
                if tag in (None, child.tag) and all(child[name] == value for name, value in wanted.items()):
                    yield child
                yield from child.all(tag, **attributes)

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def words(self):
        return " ".join(self.text.split())


class Page(HTMLParser):
    """Tree of a page; it fails where an element is not closed by its own tag."""

    def __init__(self, text):
        super().__init__()
        self.root = self.open = Element("", {}, None)
        self.feed(text)
        self.close()
        assert self.open is self.root

    def handle_starttag(self, tag, attributes):
        element = Element(tag, dict(attributes), self.open)
        self.open.children.append(element)
        if tag not in VOID:
            self.open = element

    def handle_startendtag(self, tag, attributes):
        self.open.children.append(Element(tag, dict(attributes), self.open))

    def handle_endtag(self, tag):
        assert tag == self.open.tag
        self.open = self.open.parent

    def handle_data(self, text):
        self.open.children.append(text)


def parsed(text):
    return Page(text).root


def record(dataset, method, fold, shift, **others):
    scores = {title: 0.2 + 0.01 * k + shift for k, title in enumerate(TITLES)}
    return {
        "dataset": dataset,
        "task": "multilabel",
        "method": method,
        "folds": OFFICIAL,
        "repeat": fold,
        "fold": 0,
        "seed": fold,
        "n_train": 100,
        "n_test": 50,
        "fit_seconds": 0.1 + shift,
        "scores": scores,
        "grid": {},
        "versions": {"python": "3.11", "numpy": "2.0"},
        "warnings": [],
        **others,
    }


def failed(record, error):
    return {key: value for key, value in record.items() if key not in ("scores", "fit_seconds")} | {"error": error}


@pytest.fixture(scope="module")
def records():
    """Real records of two data sets that are there anyway, a failure, and one with a search and a warning."""
    found = []
    of_emotions = cells(DATASETS["emotions"], METHODS, Settings(OFFICIAL, 2))
    found += [run_cell(cell) for cell in of_emotions]
    found += [record("yeast", method, fold, 0.01 * (k + fold)) for k, method in enumerate(METHODS) for fold in (0, 1)]
    found.append(failed(record("yeast", "NCA + MLkNN", 0, 0.0), f"ValueError: {MARKUP}"))
    found[-2] |= {
        "grid": {"scale": ["StandardScaler()", "MinMaxScaler()"], "metric__alpha": [1.0, 3.0]},
        "chosen": {"scale": "MinMaxScaler()", "metric__alpha": 3.0},
        "search_seconds": 4.0,
        "warnings": [f"UserWarning: {MARKUP}"],
    }
    return found


@pytest.fixture(scope="module")
def text(records):
    return render(records, COMMAND)


@pytest.fixture(scope="module")
def page(text):
    return parsed(text)


@pytest.fixture
def plain(monkeypatch):
    """Without the pictures that take fits."""
    monkeypatch.setattr(page_module, "illustrations", lambda source, record, name: [])


def table_of(page, name):
    (table,) = (t for t in page.all("table") if t["data-name"] == name)
    return table


def test_page_needs_nothing_else(text, page):
    assert len(text.encode()) < 3e6
    addresses = [e[name] for e in page.all() for name in ("src", "href", "action", "srcset", "poster") if e[name]]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"url\((?!#)|@import|xmlns", text)
    assert not list(page.all("iframe")) + list(page.all("object"))
    (policy,) = (e["content"] for e in page.all("meta") if e["http-equiv"] == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


def test_links_and_labels_lead_somewhere(page):
    ids = [e["id"] for e in page.all() if e["id"]]
    assert max(Counter(ids).values()) == 1
    for element in page.all():
        for name in ("aria-labelledby", "for"):
            assert element[name] is None or element[name] in ids
        for name, value in element.attributes.items():
            used = re.findall(r"url\(#([^)]+)\)", value or "") + (
                [value[1:]] if name == "href" and value[0] == "#" else []
            )
            assert set(used) <= set(ids)


@pytest.mark.parametrize("dataset", ["emotions", "yeast"])
def test_numbers_are_those_of_the_records(records, page, dataset):
    table = table_of(page, dataset)
    (body,), (head,) = table.all("tbody"), table.all("thead")
    assert [th.words.partition(" (")[0].replace("‑", "-").replace("\xa0", " ") for th in head.all("th")][1:6] == TITLES
    rows = list(body.all("tr"))
    if dataset == "yeast":
        (failing,) = [row for row in rows if "NCA" in row.words]
        rows.remove(failing)
        assert [cell.words for cell in failing.all("td")] == ["failed"] * 5 + ["", "0 of 2"]
    assert [next(row.all("th")).words for row in rows] == METHODS
    for row, method in zip(rows, METHODS, strict=True):
        of_method = [r for r in records if r["dataset"] == dataset and r["method"] == method]
        cells = list(row.all("td"))
        for cell, title in zip(cells, TITLES, strict=False):
            values = [r["scores"][title] for r in of_method]
            assert float(cell["data-value"]) == pytest.approx(statistics.mean(values))
            assert cell.words.split()[0] == f"{statistics.mean(values):.4f}"
            assert f"±{statistics.pstdev(values):.4f}" in cell.words
        seconds = statistics.median(r["fit_seconds"] for r in of_method)
        assert float(cells[5]["data-value"]) == pytest.approx(seconds)


@pytest.mark.parametrize("dataset", ["emotions", "yeast"])
def test_best_is_bold_and_said_to_be(page, dataset):
    (body,) = table_of(page, dataset).all("tbody")
    rows = [list(row.all("td")) for row in body.all("tr") if "failed" not in row.words]
    columns = list(zip(*rows, strict=True))
    criteria = [criterion for criterion in TASKS["multilabel"].criteria if criterion.ranked]
    for column, criterion in zip(columns, criteria, strict=False):
        values = [float(cell["data-value"]) for cell in column]
        best = (max if criterion.sign > 0 else min)(values)
        assert [bool(list(cell.all("strong"))) for cell in column] == [value == best for value in values]
        assert ["best" in cell.words for cell in column] == [value == best for value in values]


def test_figures_of_the_paper_stand_beside_those_of_the_same_method(page):
    table = table_of(page, "emotions")
    (body,), (foot,) = table.all("tbody"), table.all("tfoot")
    in_italics = [[i.text for i in row.all("i")] for row in body.all("tr")]
    figures = published.PAPER["emotions"]["MLkNN"].values()
    assert in_italics == [[f"{figure:.4f}" for figure in figures], [], []]
    assert [i.text for i in foot.all("i")] == [f"{figure:.4f}" for figure in published.best("emotions").values()]
    assert not list(table_of(page, "yeast").all("tfoot"))


def test_what_others_wrote_stays_text(text, page):
    assert text.count("<script") == 1
    assert "alert(" not in text.partition("</script>")[0]
    (failure,) = (e for e in page.all("div") if e["class"] == "failures")
    assert f"ValueError: {MARKUP}" in failure.text
    assert any(MARKUP in li.text for li in page.all("li") if "UserWarning" in li.text)
    assert COMMAND in [code.text for code in page.all("code")]


def test_names_of_methods_are_no_markup_in_pictures(plain):
    names = [f"$\\frac$ {MARKUP}", "</svg>&lt;"]
    root = parsed(render([record(d, m, 0, 0.1 * k) for k, m in enumerate(names) for d in ("a", "b")], ""))
    for svg in root.all("svg"):
        drawn = {e.text for e in svg.all("text")}
        assert any(names[0] in line for line in drawn)
        assert any(names[1] in line for line in drawn)
        assert not list(svg.all("script"))


def test_points_stay_where_they_are(rng):
    places, classes = rng.normal(size=(80, 2)), np.arange(80) % 8
    with svg_module.style("p"):
        ax = Figure().subplots()
        plot_embedding(places, classes, ax=ax)
        drawn = BytesIO()
        ax.figure.savefig(drawn, format="svg", bbox_inches="tight", pad_inches=0.05)
        svg = parsed(svg_module.inlined(ax.figure, "Points. Many", "p"))
    expected = [
        e["d"] for e in parsed(drawn.getvalue().decode()).all("path") if "stroke-width: 0.25" in (e["style"] or "")
    ]
    shapes = {f"#{e['id']}": coordinates(e["d"]) for e in svg.all("path") if "shape" in (e["id"] or "")}
    points = [e for e in svg.all("use") if e["href"] in shapes]
    assert all(re.fullmatch(r"fill: var\(--data-\d\)", e["style"]) for e in points), "colours are the page's"
    assert len(points) == len(expected) == 80
    assert len(shapes) < 10
    for point, path in zip(points, expected, strict=True):
        corner = float(point["x"]), float(point["y"])
        np.testing.assert_allclose(shapes[point["href"]] + corner, coordinates(path), atol=0.02)


def coordinates(path):
    return np.array(re.findall(r"-?\d+(?:\.\d+)?", path), dtype=float).reshape(-1, 2)


def test_structure_is_for_every_reader(page):
    levels = [int(e.tag[1]) for e in page.all() if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for tag in ("header", "nav", "main"):
        assert len(list(page.all(tag))) == 1
    assert next(page.all("html"))["lang"] == "en"
    assert next(page.all("a"))["href"] == "#" + next(page.all("main"))["id"]
    pictures = [*page.all("svg"), *page.all("div", role="img")]
    assert len(pictures) > 10
    assert all(e["role"] == "img" and len(e["aria-label"]) > 30 for e in pictures)
    for table in page.all("table"):
        assert next(table.all("caption")).words
        assert (table.parent["role"], table.parent["tabindex"]) == ("region", "0")
        assert all(th["scope"] for th in table.all("th"))
    for svg in page.all("svg"):
        assert not list(svg.all("style"))
        if "test samples" not in svg["aria-label"]:  # whose colours are a scale
            assert not re.search(r": ?#[0-9a-f]{3}", str([e["style"] for e in svg.all()])), "colours are the page's"


def test_what_is_around_the_numbers(page):
    words = page.words
    for phrase in ("Average rank", "Before and after: emotions", "A training", "Cores", "Seeds"):
        assert phrase in words
    facts = {next(div.all("dt")).text: next(div.all("dd")).text for div in page.all("div") if div.parent.tag == "dl"}
    assert facts["Seeds"] == "0, 1"
    assert facts["numpy"].endswith(", 2.0"), "records made by several versions say so"
    ranks = table_of(page, "Ranks: multilabel")
    each = table_of(page, "Ranks on each data set: multilabel")
    assert [th.words for th in next(each.all("thead")).all("th")][1:] == ["emotions", "yeast"]
    rows = [[float(td.words) for td in row.all("td")] for row in next(each.all("tbody")).all("tr")]
    assert [sorted(column) for column in zip(*rows, strict=True)] == [[1, 2, 3]] * 2
    (best, other) = (list(row.all("td"))[1:6] for row in list(next(ranks.all("tbody")).all("tr"))[:2])
    assert [td.words for td in best] == ["–"] * 5
    assert re.fullmatch(r"[+-]\d+\.\d", other[0].words)
    assert re.fullmatch(r"\d+/\d+/\d+", other[4].words)
    assert "Left out: NCA + MLkNN (not run on emotions, failed on yeast)." in words
    assert re.search(
        r"The losses of .* are [+-]\d+\.\d percent against those of .*: better on \d and worse on \d of 2", words
    )
    assert not re.search(r"[a-z0-9][.:;][A-Z][a-z]", " ".join(p.words for p in page.all("p")))
    assert "MinMaxScaler() × 1" in words.replace("\xa0", " ")


def test_search_counts_what_was_chosen():
    setting = {"grid": {"alpha": [1.0, 3.0]}, "chosen": {"alpha": 3.0}, "search_seconds": 2.0}
    (search,) = searches([record("a", "m", k, 0.0, **setting) for k in range(3)] + [record("a", "m", 3, 0.0)])
    assert search.grid == (("alpha", (("1.0", 0), ("3.0", 3))),)
    assert (search.n_fits, search.seconds) == (3, 2.0)


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ([], "no record was given"),
        ([{"method": "MLkNN"}, record("a", "m", 0, 0.0, task="unheard of")], "2 records of another format"),
        (
            [failed(record("emotions", m, 0, 0.0), "ValueError: no") for m in METHODS],
            "every fold of every method failed",
        ),
        (
            [failed(record(d, m, 0, 0.0), "no") for m in METHODS for d in ("a", "b")],
            "every fold of every method failed",
        ),
        ([record("a", METHODS[0], 0, 0.0), failed(record("a", METHODS[1], 0, 0.0), "no")], "nothing to compare"),
    ],
)
def test_little_is_shown_as_little(given, phrase, plain):
    root = parsed(render(given, ""))
    assert phrase in root.words.replace("Every", "every")
    assert len(list(root.all("h1"))) == 1


def test_older_records_have_less(plain):
    old = {"dataset": "yeast", "method": "MLkNN", "fold": 0, "scores": record("a", "", 0, 0.0)["scores"]}
    assert usable([old]) == []
    old["fit_seconds"] = 1.0
    assert [r["task"] for r in usable([old])] == ["multilabel"]
    assert "0.2400" in table_of(parsed(render([old], "")), "yeast").words


def test_metrics_are_ranked_over_all_targets(plain):
    scores = {criterion.title: 0.5 for criterion in TASKS["classification"].criteria}
    given = [record("emotions", m, 0, 0.1 * k) for k, m in enumerate(METHODS)]
    given += [record("wine", f"{m}kNN", 0, 0.0, task="classification", scores=scores) for m in ("", "PCA + ")]
    root = parsed(render(given, ""))
    (body,) = table_of(root, "Ranks: all targets").all("tbody")
    assert {th.words for th in body.all("th")} == {"no metric", "PCA"}
    assert "Left out: RAMLLinear (not run on wine)." in root.words
    assert "has the best average rank, 1.25 among 2 methods over 2 data sets" in root.words


def empty_columns(table):
    (head,), (body,) = table.all("thead"), table.all("tbody")
    rows = [list(row.all("td")) for row in body.all("tr")]
    titles = [th.words for th in head.all("th")][1:]
    return [
        title for title, column in zip(titles, zip(*rows, strict=True), strict=True) if not any(c.words for c in column)
    ]


@pytest.mark.parametrize(("task", "dataset"), [("retrieval", "omniglot"), ("multilabel", "mine.csv")])
def test_what_has_no_pictures_has_no_section_of_them(task, dataset):
    titles = [criterion.title for criterion in TASKS[task].criteria if criterion.ranked]
    methods = list(TASKS[task].methods)[:2]
    given = [
        record(dataset, m, 0, 0.1 * k, task=task, scores=dict.fromkeys(titles, 0.1 * k)) for k, m in enumerate(methods)
    ]
    root = parsed(render(given, ""))
    assert table_of(root, dataset)
    assert "Before and after" not in root.words
    assert "pictures" not in root.words
    assert empty_columns(table_of(root, dataset)) == []


def test_what_was_too_slow_did_not_fail(plain):
    slow = failed(record("a", METHODS[1], 1, 0.0), "stopped after 600 s") | {"too_slow": True, "timeout": 600.0}
    given = [record("a", METHODS[0], 0, 0.1), record("a", METHODS[0], 1, 0.1), record("a", METHODS[1], 0, 0.1), slow]
    given += [record("b", METHODS[0], 0, 0.1), slow | {"dataset": "b", "repeat": 0}]
    root = parsed(render(given, ""))
    (body,) = table_of(root, "b").all("tbody")
    assert [td.words for td in list(body.all("tr"))[1].all("td")] == ["too slow"] * 5 + ["", "0 of 1"]
    (body,) = table_of(root, "a").all("tbody")
    assert [td.words for td in list(body.all("tr"))[1].all("td")][-1] == "1 of 2"
    assert "6 fits, of which 2 were too slow." in root.words
    assert empty_columns(table_of(root, "a")) == []
    assert "Too slow: PCA + MLkNN (stopped after 600 s, 1 fit)." in root.words
    assert not [e for e in root.all() if e["class"] in ("failures", "failed")]


def test_columns_of_what_nobody_has_are_left_out(plain):
    titles = {criterion.title for criterion in TASKS["regression"].criteria}
    bad = dict.fromkeys(titles, -3.0)  # losses below 0 have no ratios
    methods = list(TASKS["regression"].methods)[:3]
    given = [record(d, m, k, 0.0, task="regression", scores=bad) for d in "ab" for m in methods for k in range(2)]
    given += [failed(record("c", m, 0, 0.0, task="regression"), "no") for m in methods]
    root = parsed(render([each | {"grid": {"k": [1, 2]}, "chosen": {"k": 1}} for each in given[:12]], ""))
    ranks = table_of(root, "Ranks: regression")
    assert "Loss against" not in next(ranks.all("thead")).words
    assert all(any(td.words != "–" for td in column) for column in zip(*cells_of(ranks), strict=True))
    assert "Search, s" not in root.words.replace("\xa0", " ")
    assert "Fit, s" not in next(table_of(parsed(render(given, "")), "c").all("thead")).words


def cells_of(table):
    return [list(row.all("td")) for row in next(table.all("tbody")).all("tr")]


def test_further_criteria_have_a_table_of_their_own(plain):
    given = [record("a", m, 0, 0.1 * k) for k, m in enumerate(METHODS)]
    for k, each in enumerate(given):
        each["scores"] |= {"Micro F1 ↑": 0.3 + 0.1 * k, "P@1 ↑": 0.5}
    root = parsed(render(given, ""))
    table = table_of(root, "a, further criteria")
    (head,), (body,) = table.all("thead"), table.all("tbody")
    assert [button["data-first"] for button in head.all("button")] == ["ascending", "descending", "descending"]
    assert [[td.words.split()[0] for td in row.all("td")] for row in body.all("tr")] == [
        ["0.3000", "0.5000"],
        ["0.4000", "0.5000"],
        ["0.5000", "0.5000"],
    ]
    assert "Micro" not in next(table_of(root, "a").all("thead")).words
    del given[0]["scores"]["Micro F1 ↑"], given[0]["scores"]["P@1 ↑"]
    assert "further criteria" not in parsed(render(given, "")).words


def names_of(page, table):
    return [th.words for th in next(table_of(page, table).all("tbody")).all("th")]


def test_methods_with_the_same_scores_share_a_row(plain):
    given = [record(d, m, fold, 0.01 * fold) for d in ("a", "b") for fold in range(2) for m in METHODS]
    given[0], given[1] = given[1], given[0]
    given[2]["fit_seconds"] = 0.001
    given[-1]["scores"] = given[-1]["scores"] | {TITLES[0]: 0.9}
    root = parsed(render(given, ""))
    assert names_of(root, "a") == [", ".join(METHODS)]
    assert [e.words for e in next(table_of(root, "a").all("tbody")).all("td")][5] == "0.06"
    assert names_of(root, "b") == [", ".join(METHODS[:2]), METHODS[2]]
    assert sorted(names_of(root, "Ranks: multilabel")) == sorted(METHODS)
    assert root.words.count("Methods with the same scores on every fold share a row") == 2
    plots = [e for e in root.all("div", class_="plot") if "on b," in e["aria-label"]]
    assert all(e["style"] for plot in plots for e in plot.all("span", class_="reference"))
    assert len([e for plot in plots for e in plot.all("span", class_="reference")]) == 2 * 5


def test_warnings_that_differ_in_numbers_are_one():
    def warned(method, dataset, text):
        return {"method": method, "dataset": dataset, "warnings": [text]}

    told = [
        warned("A", name, f"not done after {n} of 100 steps of float64, 1e-{n}") for name, n in (("a", 3), ("b", 77))
    ]
    told += [warned("B", "a", "not done after 3 of 100 steps of float64, 1e-3"), warned("B", "a", "other")]
    assert caught(told) == [
        ("not done after … of 100 steps of float64, …", ["A on a, b", "B on a"], 3),
        ("other", ["B on a"], 1),
    ]


def test_a_single_data_set_has_a_finding_with_its_spread(plain):
    precisions = {"MLkNN": (0.70, 0.72), "PCA + MLkNN": (0.75, 0.71), "NCA + MLkNN": (0.1, 0.1)}
    given = [
        record("mine.csv", method, fold, 0.0, scores=dict.fromkeys(TITLES, 0.5) | {"Average precision ↑": value})
        for method, values in precisions.items()
        for fold, value in enumerate(values)
    ]
    given[:2] = given[1::-1]  # folds may end in any order
    given.append(record("mine.csv", "HRAML + MLkNN", 0, 0.0, scores=dict.fromkeys(TITLES, 0.9)))  # on one fold alone
    assert (
        "PCA + MLkNN has the best average precision of 3 methods, 0.7300, by 0.0200 before MLkNN "
        "(standard deviation 0.0300 over 2 folds, ahead on 1)."
    ) in parsed(render(given, "")).words
    alone = [each for each in given if each["repeat"] == 0]
    assert "0.9000, by 0.1500 before PCA + MLkNN, on one fold." in parsed(render(alone, "")).words


@pytest.fixture(scope="module")
def many_text():
    """Page on more data sets than can be read at once, with long names, without the pictures that take fits."""
    names = [*METHODS, *(f"Metric number {k} with a long name & relational neighbours" for k in range(9))]
    given = [
        record(f"data_set_{'x' * 30}{d}", m, fold, 0.01 * k + 0.003 * ((d * k) % 7 + fold))
        for d in range(8)
        for k, m in enumerate(names)
        for fold in range(2)
    ]
    for each in given:
        each["fit_seconds"] = 10.0 ** (5 * each["scores"][TITLES[0]] - 2)
    return render(given, COMMAND)


def test_many_data_sets_are_folded_behind_the_summary(many_text):
    root = parsed(many_text)
    folded = [e for e in root.all("details") if e["class"] == "data"]
    assert len(folded) == 8
    assert all("open" not in e.attributes for e in folded)
    for each in folded:
        summary = next(each.all("summary"))
        assert next(summary.all("h3"))["id"].startswith("data-0-")
        assert re.search(r"Average precision 0\.\d{4}: ", summary.words)
    headings = [h.words for h in root.all("h3")]
    assert headings[:2] == ["Ranking", "Costs"]
    assert sum("against time" in svg["aria-label"] for svg in root.all("svg")) == 6
    assert empty_columns(table_of(root, "multilabel: what a fold takes, over 8 data sets")) == []
    assert "Memory" not in next(root.all("main")).words
    (forest,) = (e for e in root.all("figure") if e["class"] == "forest")
    dots = [float(e.words) for e in forest.all("span", class_="value") if e.words]
    assert dots == sorted(dots)
    assert len(dots) == 12
    assert "criteria" not in next(root.all("dl", class_="findings")).words


def test_page_is_written_whole_or_not_at_all(tmp_path, plain, monkeypatch):
    path = tmp_path / "out.html"
    path.write_text("before")
    path.chmod(0o640)
    write_report([], path, "")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert path.stat().st_mode & 0o777 == 0o640
    whole = path.read_bytes()

    def broken(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="no space"):
        write_report([record("a", "m", 0, 0.0)], path, "")
    assert path.read_bytes() == whole
    assert [file.name for file in tmp_path.iterdir()] == ["out.html"]


def test_without_the_data_the_rest_is_there(monkeypatch):
    def missing(*_):
        raise OSError(f"no file {MARKUP}")

    monkeypatch.setattr(page_module, "illustrations", missing)
    root = parsed(render([record("emotions", "MLkNN", 0, 0.0)], ""))
    assert f"emotions could not be drawn: no file {MARKUP}" in root.words
    assert table_of(root, "emotions")


# In a browser


@pytest.fixture(scope="module")
def browser(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(text, encoding="utf-8")
    with chromium() as chrome:
        chrome.page = path.as_uri()
        yield chrome


@pytest.fixture
def shown(browser):
    """The page afresh, in light colours on a desktop."""
    device(browser, 1280)
    scheme(browser, "light")
    browser.get(browser.page)
    browser.execute_script("localStorage.clear()")
    assert eventually(lambda: browser.execute_script("return localStorage.length") == 0, opening=browser)
    return browser


def eventually(holds, *, opening=None):
    """Whether something comes to hold in a while, where browsers take their own time; the page is opened each time."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if opening:
            opening.get(opening.page)
        if holds():
            return True
        time.sleep(0.05)
    return False


def state(browser, column):
    """Values of a column from above, and what the headings say of their order."""
    return browser.execute_script(
        "const table = document.querySelector('table[data-name=yeast]');"
        "return [[...table.tBodies[0].rows].map(row => row.cells[arguments[0]].dataset.value),"
        "[...table.tHead.rows[0].cells].map(cell => cell.getAttribute('aria-sort'))]",
        column,
    )


def test_headings_sort(shown):
    keys = pytest.importorskip("selenium.webdriver").Keys
    buttons = shown.find_elements("css selector", "table[data-name=yeast] thead button")
    told = shown.find_element("id", "sorted")
    buttons[5].click()
    values, order = state(shown, 5)
    assert values == [*sorted(values[:-1], key=float, reverse=True), ""], "best first, failures last"
    assert order == [None] * 5 + ["descending"] + [None] * 2
    assert told.get_attribute("textContent").endswith("(higher is better), descending")
    buttons[5].send_keys(keys.ENTER)
    values, order = state(shown, 5)
    assert values == [*sorted(values[:-1], key=float), ""]
    assert order[5] == "ascending"
    buttons[0].send_keys(keys.SPACE)
    values, order = state(shown, 0)
    assert values == sorted(values)
    assert order == ["ascending"] + [None] * 7
    assert told.get_attribute("textContent") == "yeast sorted by Method, ascending"
    buttons[1].click()
    assert state(shown, 1)[1][1] == "ascending", "the best of a loss is the lowest"
    assert shown.get_log("browser") == []


def test_scheme_follows_the_system_and_the_button(shown):
    def background():
        return shown.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = background()
    scheme(shown, "dark")
    dark = background()
    assert light != dark
    button = shown.find_element("id", "scheme")
    assert button.text == "Light colours"
    button.click()
    assert (background(), button.text) == (light, "Dark colours")
    assert eventually(lambda: background() == light, opening=shown), "remembered"
    shown.find_element("id", "scheme").click()
    assert background() == dark
    assert shown.get_log("browser") == []


def test_scheme_without_storage(shown):
    forbid = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }})"
    hook = shown.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": forbid})
    try:
        shown.get(shown.page)
        shown.find_element("id", "scheme").click()
        assert shown.execute_script("return document.documentElement.dataset.scheme") == "dark"
        assert shown.get_log("browser") == []
    finally:
        shown.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", hook)


OUTSIDE = """
for (const folded of document.querySelectorAll("details")) folded.open = true;
const outside = [];
for (const svg of document.querySelectorAll("svg")) {
  const box = svg.getBoundingClientRect();
  for (const text of svg.querySelectorAll("text")) {
    const r = text.getBoundingClientRect();
    const over = Math.max(box.left - r.left, r.right - box.right, box.top - r.top, r.bottom - box.bottom);
    if (over > 0.5) outside.push([text.textContent, over]);
  }
}
return [document.querySelectorAll("svg text").length, outside,
        innerWidth, document.documentElement.scrollWidth];
"""


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_cut(shown, many_text, tmp_path, width):
    path = tmp_path / "many.html"
    path.write_text(many_text, encoding="utf-8")
    device(shown, width)
    shown.get(path.as_uri())
    n_texts, outside, inner, scrolled = shown.execute_script(OUTSIDE)
    assert n_texts > 100
    assert outside == []
    assert inner == width
    assert scrolled <= width


def test_a_link_opens_what_is_folded(shown, many_text, tmp_path):
    path = tmp_path / "many.html"
    path.write_text(many_text, encoding="utf-8")
    shown.get(f"{path.as_uri()}#data-0-3")
    opened = "return [...document.querySelectorAll('details.data')].map(folded => folded.open)"
    assert shown.execute_script(opened) == [k == 3 for k in range(8)]
    shown.execute_script("location.hash = '#data-0-5'")
    assert eventually(lambda: shown.execute_script(opened) == [k in (3, 5) for k in range(8)])
    shown.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert shown.execute_script(opened) == [True] * 8
    assert shown.get_log("browser") == []


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_stands_off_its_background(shown, name):
    scheme(shown, name)
    n_texts, low, background = shown.execute_script(CONTRASTS)
    assert n_texts > 200
    assert low == []
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 382) == (name == "light")


def test_no_part_is_wider_than_a_phone(shown):
    device(shown, 360)
    shown.get(shown.page)
    assert shown.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    sticky = shown.execute_script(
        "const region = document.querySelector('.scroll'); region.scrollLeft = 150;"
        "return region.scrollLeft + ' ' + Math.round(region.querySelector('tbody th').getBoundingClientRect().left"
        " - region.getBoundingClientRect().left)"
    )
    assert sticky == "150 0"


def test_one_criterion_at_a_time(shown):
    keys = pytest.importorskip("selenium.webdriver").Keys

    def visible():
        plots = shown.find_elements("css selector", "fieldset:first-of-type .plot")[:5]
        return [plot.is_displayed() for plot in plots]

    assert visible() == [False] * 4 + [True]
    shown.find_element("id", "plot-0-0-4").send_keys(keys.ARROW_LEFT)
    assert visible() == [False] * 3 + [True, False]
