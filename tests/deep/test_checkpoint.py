"""Fits that go on from their file after an interruption."""

import os
import signal
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skrelmetric import HRAMLTransformer
from tests.deep.problems import LINEAR, MLP, SHORT, interrupt
from tests.ranks import started

RESUMED = {
    "ridge": MLP,
    "linear": {**LINEAR, "learn_scale": True},
    "dropout": {**LINEAR, "dropout": 0.3, "batch_size": 20},
    "drawn": {**MLP, "pairs": 100, "optimizer": "sgd"},
    "lbfgs": {**LINEAR, "optimizer": "lbfgs"},
    "votes": {**LINEAR, "loss": "neighbors", "batch_size": 20},
    "votes behind ridge": {**MLP, "loss": "neighbors"},
    "unseeded": {**MLP, "random_state": None},
}


@pytest.mark.parametrize("stopping", [True, False])
@pytest.mark.parametrize("name", RESUMED)
def test_interrupted_fits_resume_to_the_same_end(samples, tmp_path, name, stopping):
    X, Y = samples
    parameters = {**RESUMED[name], "max_epochs": 4, "n_iter_no_change": 4, "early_stopping": stopping}
    ends = []
    for folder, epoch in ((tmp_path / "through", None), (tmp_path / "interrupted", 2)):
        folder.mkdir()
        metric = HRAMLTransformer(**parameters, checkpoint=folder)
        with pytest.MonkeyPatch.context() as monkeypatch:
            if epoch is not None:
                interrupt(monkeypatch, epoch)
                with pytest.raises(KeyboardInterrupt):
                    metric.fit(X, Y)
        ends.append(clone(metric).fit(X, Y))
        assert len(list(folder.iterdir())) == 1
    through, resumed = ends
    np.testing.assert_array_equal(resumed.transform(X), through.transform(X))
    for curve in ("loss_curve_", "validation_curve_", "best_epoch_"):
        assert getattr(resumed, curve) == getattr(through, curve)
    if name != "unseeded":
        plain = HRAMLTransformer(**parameters).fit(X, Y)
        np.testing.assert_array_equal(resumed.transform(X), plain.transform(X))


def fit_that_kills_itself(metric, interrupt, *samples):
    interrupt(pytest.MonkeyPatch(), 3, how=lambda: os.kill(os.getpid(), signal.SIGKILL))
    metric.fit(*samples)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_fits_resume(samples, tmp_path):
    X, Y = samples
    metric = HRAMLTransformer(encoder="mlp", max_epochs=6, n_iter_no_change=6, checkpoint=tmp_path)
    killed = started(fit_that_kills_itself, metric, interrupt, X, Y)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    (file,) = tmp_path.iterdir()
    assert len(torch.load(file, weights_only=True)["history"]["losses"]) == 3
    interrupted = file.read_bytes()
    metric.fit(X, Y)
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_bytes() != interrupted
    (tmp_path / "other").mkdir()
    through = clone(metric).set_params(checkpoint=tmp_path / "other").fit(X, Y)
    np.testing.assert_allclose(metric.transform(X), through.transform(X), atol=1e-9)  # threads may differ


def test_lbfgs_of_two_dtypes_resumes(samples, tmp_path):
    X, Y = samples[0].astype(np.float32), samples[1]  # the encoder is float32, the scale that is learned float64
    metric = HRAMLTransformer(**LINEAR, **SHORT, learn_scale=True, optimizer="lbfgs", checkpoint=tmp_path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupt(monkeypatch, 2)
        with pytest.raises(KeyboardInterrupt):
            metric.fit(X, Y)
    expected = clone(metric).set_params(checkpoint=None).fit(X, Y)
    np.testing.assert_array_equal(metric.fit(X, Y).transform(X), expected.transform(X))
    assert metric.loss_curve_ == expected.loss_curve_


def test_a_finished_fit_is_taken_from_its_file(samples, tmp_path, monkeypatch):
    X, Y = samples
    metric = HRAMLTransformer(**LINEAR, checkpoint=tmp_path, **SHORT).fit(X, Y)
    interrupt(monkeypatch, 0)
    again = HRAMLTransformer(**LINEAR, checkpoint=str(tmp_path), **SHORT).fit(X, Y)
    np.testing.assert_array_equal(again.transform(X), metric.transform(X))
    assert again.loss_curve_ == metric.loss_curve_
    for other in (clone(metric), clone(metric).set_params(max_epochs=2)):
        with pytest.raises(KeyboardInterrupt):
            other.fit(X[:50], Y[:50])
    with pytest.raises(KeyboardInterrupt):  # another number of epochs is another fit
        clone(metric).set_params(max_epochs=2).fit(X, Y)


# Which file


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.linear, self.factor = nn.Linear(4, 3), factor
        nn.init.ones_(self.linear.weight), nn.init.zeros_(self.linear.bias)

    def forward(self, X):
        return (self.factor * self.linear(X)).tanh()


def test_unlike_fits_have_unlike_checkpoints(samples, tmp_path):
    X, Y = samples

    def n_files(encoder, sample_weight=None):
        HRAMLTransformer(encoder=encoder, **SHORT, checkpoint=tmp_path, random_state=0).fit(X, Y, sample_weight)
        return len(list(tmp_path.glob("*.pt")))

    frozen = nn.Sequential(nn.Linear(4, 3))
    assert n_files(frozen) == n_files(deepcopy(frozen)) == 1
    frozen[0].bias.requires_grad_(False)
    assert n_files(frozen) == 2
    same_targets = [i for i in range(len(Y)) if (Y[i] == Y[0]).all()][:2]
    for count, left_out in zip((3, 4), same_targets, strict=True):
        assert n_files(frozen, np.where(np.arange(len(X)) == left_out, 0.0, 1.0)) == count


def test_modules_are_told_apart_by_their_attributes(samples, tmp_path):
    for factor in (1.0, 3.0, 1.0):
        HRAMLTransformer(encoder=Scaled(factor), **SHORT, checkpoint=tmp_path, random_state=0).fit(*samples)
    assert len([*tmp_path.iterdir()]) == 2


def test_memory_maps_have_the_file_of_their_samples(samples, tmp_path):
    X, Y = samples
    np.save(tmp_path / "X.npy", X)
    for array in (X, np.load(tmp_path / "X.npy", mmap_mode="r")):
        HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path / "folder").fit(array, Y)
    assert len([*(tmp_path / "folder").iterdir()]) == 1


def test_the_layout_of_samples_does_not_matter(samples, tmp_path):
    X, Y = samples
    for kept in (X, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]):
        HRAMLTransformer(**SHORT, checkpoint=tmp_path).fit(kept, Y)
    assert len(list(tmp_path.iterdir())) == 1


def test_functions_without_a_name_have_no_checkpoint(samples, tmp_path):
    X, Y = samples
    metric = HRAMLTransformer(relation=lambda a, b: np.abs(a[:, None] - b).sum(-1), checkpoint=tmp_path)
    with pytest.raises(ValueError, match="relation is .*<lambda>, of which a checkpoint cannot tell"):
        metric.fit(X, Y)


def test_fits_share_a_folder(samples, tmp_path):
    X, Y = samples
    metrics = [
        HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path, learning_rate=rate).fit(X, Y) for rate in (0.01, 0.02)
    ]
    metrics.append(HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path, learning_rate=0.01).fit(X[::-1], Y[::-1]))
    assert len(list(tmp_path.iterdir())) == 3
    for metric, (features, labels) in zip(metrics, [(X, Y), (X, Y), (X[::-1], Y[::-1])], strict=True):
        expected = clone(metric).set_params(checkpoint=None).fit(features, labels)
        np.testing.assert_array_equal(metric.transform(X), expected.transform(X))


def test_checkpoint_folders(samples, tmp_path):
    X, Y = samples
    HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path / "new" / "folder").fit(X, Y)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file' cannot be a folder"):
        HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path / "file").fit(X, Y)


def test_unreadable_checkpoints_are_said(samples, tmp_path):
    HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path).fit(*samples)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read .*Delete it to start anew"):
        HRAMLTransformer(**LINEAR, **SHORT, checkpoint=tmp_path).fit(*samples)
