"""Benchmarks of images of classes that were not seen."""

import numpy as np
import pytest
import torch

from benchmarks.cli import main
from benchmarks.compare import images, runs
from benchmarks.compare.cells import OFFICIAL, Settings, cells
from benchmarks.compare.images import conv_trunk
from benchmarks.compare.tasks import TASKS
from benchmarks.data.sources import DATASETS, load
from tests.benchmarks.comparison import records_of


def test_trunk_comes_from_its_seed_alone():
    state = torch.get_rng_state()
    trunks = [conv_trunk(seed, widths=(4, 4, 4, 8)) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert trunks[0](torch.zeros(3, 1, 28, 28)).shape == (3, 8)
    weights = [trunk[0].weight for trunk in trunks]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


IMAGE_METHODS = TASKS["retrieval"].methods


@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_methods_of_images_train(name, rng):
    images_, y = rng.random((24, 1, 28, 28), dtype=np.float32), np.arange(24) % 6
    model = IMAGE_METHODS[name].build(0)
    if name != "Raw pixels":
        model.set_params(max_epochs=1)
    scores = images.scores(model.fit(images_, y), images_, y)
    assert scores.keys() == {criterion.scorer for criterion in TASKS["retrieval"].criteria}
    assert all(0 <= score <= 1 for score in scores.values())


@pytest.mark.parametrize("name", images.LOSSES)
def test_methods_of_images_start_alike(name, rng):
    images_, y = rng.random((12, 1, 28, 28), dtype=np.float32), np.arange(12) % 3
    starts = []
    for method in (name, f"DRML-{name}", f"DRML-{name}, paper"):
        model = IMAGE_METHODS[method].build(3).set_params(max_epochs=1, learning_rate=1e-30, loss_learning_rate=1e-30)
        encoder = model.set_params(weight_decay=0.0).fit(images_, y).encoder_
        starts.append([encoder.trunk[0].weight, encoder.head.nodes.weight])
    for other in starts[1:]:
        for a, b in zip(starts[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-20)  # but for the steps, of which zeros show something


def test_images_of_unseen_classes(data_home, monkeypatch):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    source = DATASETS["omniglot"]
    (official,) = cells(source, ["Raw pixels"], Settings(OFFICIAL, 1))
    assert (len(official.train), len(official.test)) == (2200, 2640)
    scores = runs.run_cell(official)["scores"]
    assert scores["R@1 ↑"] == pytest.approx(0.335, abs=0.001)
    assert scores["MAP@R ↑"] == pytest.approx(0.057, abs=0.001)
    y = load(source).Y
    for cell in cells(source, ["Raw pixels"], Settings(3, 2)):
        assert not set(y[cell.train]) & set(y[cell.test])


def test_images_have_the_official_split_and_five_seeds_by_default(tmp_path, monkeypatch, data_home):
    monkeypatch.setenv("SKRELMETRIC_DATA", str(data_home))
    arguments = ["--datasets", "omniglot", "--methods", "Raw pixels", "--jobs", "1"]
    monkeypatch.setattr(runs, "run_cell", lambda cell: cell.identity() | {"error": "-"})
    assert main([*arguments, "--out", str(tmp_path / "r.jsonl")]) == 1
    records = records_of(tmp_path / "r.jsonl")
    assert [(record["folds"], record["repeat"]) for record in records] == [("official", n) for n in range(5)]
