"""What tests need to run a function in another real process, or in several, as torchrun starts them."""

import multiprocessing
import os
import pickle
import socket
import sys
import traceback
from contextlib import closing
from functools import partial
from multiprocessing import forkserver

import cloudpickle
import torch

CONTEXT = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
# What each process would otherwise load for itself; the last is what torch loads with its first optimizer.
CONTEXT.set_forkserver_preload(["skrelmetric.deep", "skrelmetric.drml", "skrelmetric.linear", "torch._dynamo"])


def start_server():
    """Start the process that others are forked from, which has loaded what they need."""
    if CONTEXT.get_start_method() == "forkserver":
        forkserver.ensure_running()


def started(function, *args):
    """A process that runs a function of a test module; it has torch and the estimators already, which take seconds."""
    process = CONTEXT.Process(target=_ByValue(function, *args))
    process.start()
    return process


def in_ranks(size, function, *args, timeout=60.0):
    """What ``function(ranks, *args)`` returns in each of `size` processes within `shards()`, or the error it raises.

    None stands for a process that died.
    """
    from skrelmetric import distributed  # noqa: F401

    with closing(socket.socket()) as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pipes, processes = [], []
    for rank in range(size):
        here, there = CONTEXT.Pipe()
        job = _ByValue(_run, rank, size, port, timeout, function, args)
        processes.append(CONTEXT.Process(target=job, args=(there,)))
        pipes.append(here)
    for process in processes:
        process.start()
    results = [_received(pipe, process) for pipe, process in zip(pipes, processes, strict=True)]
    for process in processes:
        process.join(timeout)
        assert process.exitcode is not None, "a process hangs"
    return results


class _ByValue:
    """A function with its first arguments, of a test module, which cannot be imported elsewhere."""

    def __init__(self, function, *args):
        self.partial = partial(function, *args)

    def __reduce__(self):
        for each in (self.partial.func, *filter(callable, self.partial.args)):
            cloudpickle.register_pickle_by_value(sys.modules[each.__module__])
        return pickle.loads, (cloudpickle.dumps(self.partial),)


def _received(pipe, process):
    while process.is_alive() and not pipe.poll(0.05):
        pass
    try:
        return pipe.recv() if pipe.poll() else None
    except EOFError:
        return None


def _run(rank, size, port, timeout, function, args, pipe):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))
    from skrelmetric.distributed import shards

    try:
        with shards(timeout=timeout) as ranks:
            result = function(ranks, *args)
    except Exception as error:
        traceback.print_exc()
        result = error
    pipe.send(result)
