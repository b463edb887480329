import numpy as np
import pytest

from skrelmetric._training.checkpoint import Checkpoint
from skrelmetric._training.loop import OPTIMIZERS
from tests._training.trainings import N_EPOCHS, regression, saved, scripted


def epochs_until_stalled(values, tol, patience, first):
    """Epochs until `patience` in a row, from `first`, are not below all values before by a share of `tol`."""
    stalled = 0
    for i in range(first, len(values)):
        best = min(values[:i], default=np.inf)
        stalled = stalled + 1 if i and not values[i] < best - tol * abs(best) else 0
        if stalled == patience:
            return i + 1 - first
    return len(values) - first


class TestStopping:
    def test_the_best_weights_are_kept(self):
        history, kept = scripted([1.0] * 6, [9, 5, 3, 2, 4, 6, 7])
        assert kept == history.best_epoch == 3
        assert history.scores == [9, 5, 3, 2, 4, 6, 7]
        assert history.losses == [1.0] * 6
        assert history.n_epochs == 6

    def test_the_weights_before_training_may_be_the_best(self):
        history, kept = scripted([4.0, 3.0, 2.0, 1.0], [1, 2, 3, 4, 5], patience=3)
        assert kept == history.best_epoch == 0
        assert history.n_epochs == 3

    def test_the_first_of_equals_is_the_best(self):
        history, kept = scripted([1.0] * 4, [5, 3, 3, 4, 3])
        assert kept == history.best_epoch == 1

    def test_an_improvement_below_tol_is_kept_and_does_not_count(self):
        history, kept = scripted(
            [1.0] * 9, [1, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.92, 0.91], tol=0.1, patience=4
        )
        assert history.n_epochs == kept == 4
        history, kept = scripted([1.0] * 3, [1, 0.99, 0.98, 0.97], tol=0.0, patience=1)
        assert history.n_epochs == kept == 3

    @pytest.mark.parametrize("judged", [False, True])
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_patience_and_tol(self, sign, judged, rng):
        lengths = []
        for _ in range(200):
            values = list(sign * np.round(np.exp(-rng.random() * np.arange(12)) + rng.random(12) * rng.random(), 2))
            tol, patience = rng.choice([0, 1e-4, 0.05, 0.5]), int(rng.integers(1, 5))
            losses, scores = ([1.0] * 11, values) if judged else (values, None)
            history, kept = scripted(losses, scores, tol=tol, patience=patience)
            assert history.n_epochs == epochs_until_stalled(values, tol, patience, first=int(judged))
            n_seen = history.n_epochs + judged
            assert kept == history.best_epoch == (int(np.argmin(values[:n_seen])) if judged else n_seen)
            lengths.append(history.n_epochs)
        assert len(set(lengths)) > 5

    def test_without_criterion_the_last_weights_are_kept(self):
        history, kept = scripted([3.0, 1.0, 2.0, 2.0, 2.0, 0.0], patience=3)
        assert kept == history.best_epoch == history.n_epochs == 5
        assert history.scores == []
        assert history.best_state is None

    def test_no_epochs(self):
        history, kept = scripted([], [7.0])
        assert (history.n_epochs, history.best_epoch, kept) == (0, 0, 0)
        assert history.scores == [7.0]
        history, kept = scripted([])
        assert (history.n_epochs, history.best_epoch, kept) == (0, 0, 0)

    @pytest.mark.parametrize(("scores", "best"), [([5, 4, 3, 2, 1], 2), ([5, 4, 6, 2, 1], 1), (None, 2)])
    def test_after_epoch_stops(self, scores, best):
        seen = []

        def after_epoch(history, seconds):
            seen.append((history.n_epochs, len(history.scores)))
            return history.n_epochs == 2

        history, kept = scripted([1.0] * 4, scores, after_epoch=after_epoch)
        assert history.n_epochs == 2
        assert kept == history.best_epoch == best
        assert seen == ([(1, 2), (2, 3)] if scores else [(1, 0), (2, 0)])


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_an_error_with_advice(loss, tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.pt")
    with pytest.raises(FloatingPointError, match=rf"became {loss} in epoch 3. Lower learning_rate, or scale features"):
        scripted([2.0, 1.0, loss, 1.0], [5, 4, 3, 2, 1], checkpoint=checkpoint)
    assert saved(checkpoint.path)["history"]["losses"] == [2.0, 1.0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(optimizer):
    _, _, history = regression(optimizer)
    assert history["losses"][-1] < 0.2 * history["losses"][0]
    assert 0 < history["best_epoch"] < N_EPOCHS
    assert history["scores"][history["best_epoch"]] == min(history["scores"])
