import os
import runpy
import subprocess
import sys
import time

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

from skrelmetric._training.checkpoint import Checkpoint, fingerprint
from skrelmetric._training.loop import OPTIMIZERS, train
from tests.ranks import started

N_EPOCHS = 8
RATES = {"adam": 0.3, "adamw": 0.3, "sgd": 0.4, "lbfgs": 1.0}


def saved(path):
    return torch.load(path, weights_only=True)


def scripted(losses, scores=None, **options):
    """A training whose losses and scores are given; the module's only weight is the number of epochs it has seen."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)

    def run_epoch(epoch):
        assert int(module.weight) == epoch
        nn.init.constant_(module.weight, epoch + 1)
        return losses[epoch]

    def criterion():
        return scores[int(module.weight)]

    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    options = {"max_epochs": len(losses), "criterion": criterion if scores is not None else None, **options}
    return train(module, optimizer, run_epoch, **options), int(module.weight)


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

        def after_epoch(history):
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


def regression(optimizer="adam", checkpoint=None, *, max_epochs=N_EPOCHS, judged=True, before_epoch=lambda epoch: None):
    """A perceptron fitted to twenty samples and judged on ten; everything is drawn from fixed seeds."""
    generator = torch.Generator().manual_seed(0)
    X, y = (torch.randn(30, k, generator=generator, dtype=torch.float64) for k in (3, 1))
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    optimizer = OPTIMIZERS[optimizer](module.parameters(), RATES[optimizer])

    def loss(rows):
        return (module(X[rows]) - y[rows]).square().mean()

    def run_epoch(epoch):
        before_epoch(epoch)
        drawn = torch.randperm(20, generator=torch.Generator().manual_seed(epoch))[:10]
        rows = slice(20) if isinstance(optimizer, torch.optim.LBFGS) else drawn

        def closure():
            optimizer.zero_grad()
            value = loss(rows)
            value.backward()
            return value

        return float(optimizer.step(closure).detach())

    def criterion():
        with torch.no_grad():
            return float(loss(slice(20, None)))

    history = train(
        module,
        optimizer,
        run_epoch,
        max_epochs=max_epochs,
        criterion=criterion if judged else None,
        patience=max_epochs + 1,
        checkpoint=Checkpoint(checkpoint) if checkpoint else None,
    )
    return module.state_dict(), optimizer.state_dict(), vars(history)


def slow_regression(checkpoint):
    regression("adam", checkpoint, max_epochs=100, before_epoch=lambda epoch: time.sleep(0.05))


def interrupt_at(last):
    def before_epoch(epoch):
        if epoch == last:
            raise KeyboardInterrupt

    return before_epoch


def assert_same(first, second):
    """Equal to the last bit, whatever is nested in it."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert list(first) == list(second)
        assert_same([*first.values()], [*second.values()])
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(optimizer):
    _, _, history = regression(optimizer)
    assert history["losses"][-1] < 0.2 * history["losses"][0]
    assert 0 < history["best_epoch"] < N_EPOCHS
    assert history["scores"][history["best_epoch"]] == min(history["scores"])


class TestCheckpoint:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "state.pt"

    @pytest.mark.parametrize("judged", [False, True])
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_an_interrupted_training_ends_as_if_it_had_not_been(self, optimizer, judged, path):
        for last in (2, 6):
            with pytest.raises(KeyboardInterrupt):
                regression(optimizer, path, judged=judged, before_epoch=interrupt_at(last))
            assert len(saved(path)["history"]["losses"]) == last
        epochs = []
        resumed = regression(optimizer, path, judged=judged, before_epoch=epochs.append)
        assert epochs == [*range(6, N_EPOCHS)]
        assert_same(resumed, regression(optimizer, judged=judged))

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_more_epochs_go_on_from_a_finished_training(self, optimizer, path):
        regression(optimizer, path, max_epochs=5)
        assert_same(regression(optimizer, path), regression(optimizer))

    def test_an_interruption_in_the_first_epoch_leaves_no_file(self, path):
        with pytest.raises(KeyboardInterrupt):
            regression("adam", path, before_epoch=interrupt_at(0))
        assert not any(path.parent.iterdir())

    def test_a_finished_training_is_not_trained_any_more(self, path):
        first = regression("adam", path)
        before = path.read_bytes()
        assert_same(regression("adam", path, before_epoch=interrupt_at(N_EPOCHS)), first)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("scores", [None, [9, 5, 3, 4, 6, 7, 8, 1]])
    def test_a_stopped_training_is_not_trained_any_more(self, scores, path):
        losses = [1.0] * 7
        first, kept = scripted(losses, scores, patience=3, checkpoint=Checkpoint(path))
        assert first.n_epochs == (5 if scores else 4)
        again, kept_again = scripted([], scores, max_epochs=7, patience=3, checkpoint=Checkpoint(path))
        assert_same(vars(again), vars(first))
        assert kept_again == kept == (2 if scores else 4)

    def test_the_file_is_there_after_each_epoch(self, path):
        epochs = []

        def after_epoch(history):
            epochs.append(len(saved(path)["history"]["losses"]))
            assert [*path.parent.iterdir()] == [path]
            return False

        scripted([3.0, 2.0, 1.0], checkpoint=Checkpoint(path), after_epoch=after_epoch)
        assert epochs == [1, 2, 3]

    @pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
    @pytest.mark.parametrize("stage", ["torch.save", "os.replace"])
    @pytest.mark.parametrize("earlier", [False, True])
    def test_an_interrupted_save_leaves_what_was_there(self, earlier, stage, error, path, monkeypatch):
        if earlier:
            regression("adam", path, max_epochs=5)
        before = {file: file.read_bytes() for file in path.parent.iterdir()}
        seen = []

        def fail(state, file):
            seen.extend(path.parent.iterdir())
            if stage == "torch.save":
                file.write(b"half of it")
            raise error

        monkeypatch.setattr(stage, fail)
        with pytest.raises(type(error)):
            regression("adam", path)
        monkeypatch.undo()
        assert len(seen) == earlier + 1  # there was a partial file
        assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
        assert_same(regression("adam", path), regression("adam"))

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda content: b"",
            lambda content: b"not a checkpoint",
            lambda content: content[: len(content) // 2],
            lambda content: content[:100] + bytes(100) + content[200:],
        ],
        ids=["empty", "text", "cut", "overwritten"],
    )
    def test_a_corrupt_file_is_an_error_that_names_it(self, spoil, path):
        regression("adam", path, max_epochs=2)
        path.write_bytes(spoil(path.read_bytes()))
        with pytest.raises(ValueError, match="(?s)cannot be read .*Delete it to start anew") as caught:
            regression("adam", path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda state: state.pop("history"),
            lambda state: state["history"].pop("losses") and state["history"].update(lost=1),
            lambda state: state["module"].update({"0.weight": torch.zeros(2, 2)}),
            lambda state: state["module"].pop("0.weight"),
            lambda state: state["optimizer"]["param_groups"].append({}),
        ],
        ids=["part", "history", "shape", "weight", "group"],
    )
    def test_the_state_of_something_else_is_an_error_that_names_the_file(self, spoil, path):
        regression("adam", path, max_epochs=2)
        state = saved(path)
        spoil(state)
        torch.save(state, path)
        with pytest.raises(ValueError, match="(?s)cannot be read .*Delete it to start anew") as caught:
            regression("adam", path)
        assert str(path) in str(caught.value)

    def test_a_file_runs_no_code(self, path):
        torch.save(Malicious(path.parent / "harm"), path)
        with pytest.raises(ValueError, match="cannot be read"):
            regression("adam", path)
        assert not (path.parent / "harm").exists()

    def test_a_killed_process_is_resumed(self, path):
        process = started(slow_regression, path)
        try:
            while not path.exists() or len(saved(path)["history"]["losses"]) < 5:
                assert process.is_alive()
                time.sleep(0.01)
        finally:
            process.kill()
        process.join()
        assert process.exitcode != 0
        n_done = len(saved(path)["history"]["losses"])
        assert 5 <= n_done < 100
        epochs = []
        resumed = regression("adam", path, max_epochs=100, before_epoch=epochs.append)
        assert epochs == [*range(n_done, 100)]
        assert_same(resumed, regression("adam", max_epochs=100))


class Malicious:
    def __init__(self, harm):
        self.harm = harm

    def __reduce__(self):
        return os.mkdir, (str(self.harm),)


class Counting(nn.Module):
    def __init__(self, margin):
        super().__init__()
        self.margin, self.layer = margin, nn.Linear(2, 2)

    def loss(self, Z, y):
        return self.margin * Z.sum()


def test_modules_are_told_apart_by_their_classes_attributes_and_weights():
    torch.manual_seed(0)
    module = Counting(0.5)
    name = fingerprint({"loss": module}, [])
    # What comes out of a notebook has another class object in every process.
    again = cloudpickle.loads(cloudpickle.dumps(module))
    assert fingerprint({"loss": again.eval()}, []) == name
    again.margin = 0.6
    assert fingerprint({"loss": again}, []) != name
    again.margin = 0.5
    with torch.no_grad():
        again.layer.bias += 1
    assert fingerprint({"loss": again}, []) != name
    assert fingerprint({"loss": nn.Sequential(module)}, []) != name


def test_memory_maps_are_named_by_their_numbers(tmp_path, rng):
    X = rng.standard_normal((5, 2))
    np.save(tmp_path / "X.npy", X)
    assert fingerprint({}, [np.load(tmp_path / "X.npy", mmap_mode="r")]) == fingerprint({}, [X])
    assert fingerprint({}, [X + 1]) != fingerprint({}, [X])


def test_methods_are_told_apart_by_their_objects():
    torch.manual_seed(0)
    module = Counting(0.5)
    name = fingerprint({"loss": module.loss}, [])
    assert fingerprint({"loss": module.loss}, []) == name
    module.margin = 0.6
    assert fingerprint({"loss": module.loss}, []) != name


def test_a_class_of_a_script_has_one_name_in_every_process(tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nfrom skrelmetric._training.checkpoint import fingerprint\n"
        "class Own(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
        "print(fingerprint({'trunk': Own()}, []))\n"
    )
    elsewhere = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=elsewhere, check=False)
    assert done.returncode == 0, done.stderr
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out == done.stdout
