import os
import runpy
import signal
import sys
import time
from copy import deepcopy

import cloudpickle
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from skrelmetric._training.checkpoint import Checkpoint, fingerprint
from skrelmetric._training.loop import OPTIMIZERS
from skrelmetric.relations import GivenPairs, make_relation
from tests._training.trainings import N_EPOCHS, regression, saved, scripted, write
from tests.ranks import started


def slowly(regression, checkpoint):
    regression("adam", checkpoint, max_epochs=100, before_epoch=lambda epoch: time.sleep(0.05))


def killed_in_a_save(regression, checkpoint):
    os.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    regression("adam", checkpoint)


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

        def after_epoch(history, seconds):
            epochs.append(len(saved(path)["history"]["losses"]))
            assert [*path.parent.iterdir()] == [path]
            return False

        scripted([3.0, 2.0, 1.0], checkpoint=Checkpoint(path), after_epoch=after_epoch)
        assert epochs == [1, 2, 3]

    @pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
    @pytest.mark.parametrize("stage", ["os.fsync", "os.replace"])
    @pytest.mark.parametrize("earlier", [False, True])
    def test_an_interrupted_save_leaves_what_was_there(self, earlier, stage, error, path, monkeypatch):
        if earlier:
            regression("adam", path, max_epochs=5)
        before = {file: file.read_bytes() for file in path.parent.iterdir()}
        seen = []

        def fail(*args):
            seen.extend(path.parent.iterdir())
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
        write(state, path)
        with pytest.raises(ValueError, match="(?s)cannot be read .*Delete it to start anew") as caught:
            regression("adam", path)
        assert str(path) in str(caught.value)

    def test_any_changed_byte_is_found(self, path):
        regression("adam", path, max_epochs=2)
        content = path.read_bytes()
        module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

        @settings(max_examples=50, derandomize=True, deadline=None, phases=[Phase.generate])
        @given(place=st.integers(0, len(content) - 1), change=st.integers(1, 255))
        def refused(place, change):
            path.write_bytes(content[:place] + bytes([content[place] ^ change]) + content[place + 1 :])
            with pytest.raises(ValueError, match="changed or cut off since.* Delete it to start anew"):
                Checkpoint(path).load(module, torch.optim.Adam(module.parameters()))

        refused()

    def test_a_file_without_its_digest_is_refused(self, path):
        regression("adam", path, max_epochs=2)
        state = saved(path)
        state["history"]["best_epoch"] = 7
        torch.save(state, path)  # as versions before 0.10 wrote it
        with pytest.raises(ValueError, match="a version before 0.10.* Delete it to start anew"):
            regression("adam", path)

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no limits")
    def test_a_full_disk_leaves_what_was_there(self, path):
        import resource

        regression("adam", path, max_epochs=5)
        before = {file: file.read_bytes() for file in path.parent.iterdir()}
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(OSError, match=r"state\.pt cannot be written .*after the epoch before\. Make room"):
                regression("adam", path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
        assert_same(regression("adam", path), regression("adam"))

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
    def test_what_a_killed_save_left_is_gone_after_the_next(self, path):
        process = started(killed_in_a_save, regression, path)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert len([*path.parent.glob("state.pt.*.part")]) == 1
        assert_same(regression("adam", path), regression("adam"))
        assert [*path.parent.iterdir()] == [path]

    def test_a_file_runs_no_code(self, path):
        write(Malicious(path.parent / "harm"), path)
        with pytest.raises(ValueError, match="cannot be read"):
            regression("adam", path)
        assert not (path.parent / "harm").exists()

    def test_a_killed_process_is_resumed(self, path):
        process = started(slowly, regression, path)
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


def run_as_main(script, told):
    told.write_text(runpy.run_path(str(script), run_name="__main__")["name"])


def test_a_class_of_a_script_has_one_name_in_every_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nfrom skrelmetric._training.checkpoint import fingerprint\n"
        "class Own(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
        "name = fingerprint({'trunk': Own()}, [])\n"
    )
    here, there = tmp_path / "here", tmp_path / "there"
    run_as_main(script, here)
    process = started(run_as_main, script, there)
    process.join()
    assert process.exitcode == 0
    assert there.read_text() == here.read_text()


def test_relations_of_samples_are_told_apart_by_what_they_hold():
    def made(last):
        y = np.array([[0, 1, 0], [1, 1, 0], [0, 0, last]])
        relations = [make_relation(y, name) for name in ("hamming", "jaccard", "discrete", "l1")]
        return [*relations, GivenPairs([[0, 1]], [[1, 2], [2, last]], n_samples=4)]

    names, others = ([fingerprint({"relation": relation}, []) for relation in made(last)] for last in (1, 0))
    assert [fingerprint({"relation": deepcopy(relation)}, []) for relation in made(1)] == names
    assert len({*names, *others}) == 10
