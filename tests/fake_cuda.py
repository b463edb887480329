"""Torch with a "cuda" device, on a machine without a GPU: its own rules for every operation, and true values beside.

Under `FakeTensorMode` torch runs no kernel, but says of every operation which device, dtype and shape its result has,
and refuses what a GPU would refuse. It has no values, and algorithms ask for values: whether a solver is done, how many
eigenvalues are positive, which entries of a mask are set. So `Values` carries the true tensors along, on the CPU, and
answers from them. Each operation of a true path is then judged by the rules for "cuda".

What autograd makes of a path is not: torch that was built without CUDA has no engine for it.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

import skrelmetric
from skrelmetric._interop import randomness

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten

_PACKAGE = str(Path(skrelmetric.__file__).parent)

_ON_CUDA: list[torch.Generator] = []

_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
_PRODUCTS = {aten.mm, aten.mv, aten.dot, aten.bmm, aten.addmm, aten.addmv, aten.addmm_, aten.baddbmm}


class Values(TorchDispatchMode):
    """Gives every fake tensor its values, `truth`, and notes what happens.

    Attributes
    ----------
    to_host : set of tuple of int
        Shapes of the tensors, numbers apart, that were copied from the GPU.
    entered : set of (str, str, int)
        File, name and first line of the functions of the package that were entered.
    """

    def __init__(self):
        super().__init__()
        self.to_host, self.entered = set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.prim.device.default:
            return func(*args)
        profile = sys.getprofile()
        sys.setprofile(None)  # torch enters many functions of its own
        try:
            return self._run(func, args, kwargs or {})
        finally:
            sys.setprofile(profile)

    def _run(self, func, args, kwargs):
        leaves, structure = tree_flatten((args, kwargs))
        _refuse(func, args, leaves)
        try:
            result = func(*args, **kwargs)
        except (DynamicOutputShapeException, DataDependentOutputException):
            if func not in _INDEXING and len(_devices(leaves)) > 1:
                raise RuntimeError(f"{func}: Expected all tensors to be on the same device") from None
            result = None
        with unset_fake_temporarily():
            true_args, true_kwargs = tree_unflatten([_truth(leaf) for leaf in leaves], structure)
            truth = func(*true_args, **true_kwargs)
        there = {leaf.device for leaf in leaves if isinstance(leaf, Tensor)}
        if result is None:  # its shape, or all of it, depends on values
            device = CUDA if CUDA in there else torch.device("cpu")
            result = tree_map_only(Tensor, lambda true: torch.empty_like(true, device=device), truth)
        for fake, true in zip(tree_leaves(result), tree_leaves(truth), strict=True):
            if isinstance(fake, FakeTensor):
                assert (fake.shape, fake.dtype) == (true.shape, true.dtype), f"{func} gives another result on CUDA"
                fake.truth = true
                if CUDA in there and fake.device != CUDA and fake.dim():
                    self.to_host.add(tuple(fake.shape))
        return result

    def note(self, frame, event, argument):
        """To be called at every call; see sys.setprofile."""
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_PACKAGE):
            self.entered.add((code.co_filename, code.co_qualname, code.co_firstlineno))


def _devices(leaves):
    """Devices that meet in an operation; numbers may come from the CPU."""
    return {leaf.device for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()}


def _refuse(func, args, leaves):
    """Refuse what CUDA refuses and fake kernels do not."""
    if func in _INDEXING:
        indices = {index.device for index in args[1] if index is not None}
        if indices - {args[0].device, torch.device("cpu")}:
            raise RuntimeError(f"{func}: indices should be on the CPU or on the same device as what is indexed")
    if CUDA not in _devices(leaves) | {leaf for leaf in leaves if isinstance(leaf, torch.device)}:
        return
    if func.overloadpacket in _PRODUCTS and not args[0].is_floating_point():
        raise RuntimeError(f"{func} is not implemented for {args[0].dtype} on CUDA")
    there = {generator._cdata for generator in _ON_CUDA}
    if any(isinstance(leaf, torch.Generator) and leaf._cdata not in there for leaf in leaves):
        raise RuntimeError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")


def _truth(leaf):
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    return leaf.truth if isinstance(leaf, FakeTensor) else leaf


def _generator(device):
    """Generator that draws the true values, and is known to be asked for on the GPU."""
    generator = torch.Generator()
    if device == CUDA:
        _ON_CUDA.append(generator)
    return generator


def _numpy(fake):
    if fake.device.type != "cpu":
        raise TypeError(f"can't convert {fake.device} device type tensor to numpy. Use Tensor.cpu() first.")
    with _disable_current_modes():
        return fake.truth.numpy()


def _moved(module, change, recurse=True):
    for part in module.modules():
        with torch.no_grad():
            for name, parameter in part.named_parameters(recurse=False):
                part._parameters[name] = nn.Parameter(change(parameter), parameter.requires_grad)
            part._buffers.update({name: change(buffer) for name, buffer in part.named_buffers(recurse=False)})
    return module


@contextmanager
def _guarded() -> Iterator[None]:
    """Torch's own provision for a machine without a GPU, also where torch was built without CUDA.

    Python's methods and autograd guard the current device. If the guard of CUDA counts no devices, torch puts one in
    its place that does nothing; a build without CUDA has no guard there to be asked, and gets one that counts none.
    """
    if torch.backends.cuda.is_built():
        yield
        return
    library = next((Path(torch.__file__).parent / "lib").glob("libc10.*"), None)
    if library is None:
        pytest.skip("torch was built without CUDA, and its guards of devices are not where Linux and macOS have them")
    guards = (ctypes.c_void_p * 2).in_dll(ctypes.CDLL(str(library)), "_ZN3c104impl26device_guard_impl_registryE")
    count = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
    methods = (ctypes.c_void_p * 64)(*[ctypes.cast(count, ctypes.c_void_p)] * 64)
    guard = ctypes.c_void_p(ctypes.addressof(methods))
    guards[1] = ctypes.addressof(guard)  # that of the CPU comes first
    torch._C._ensureCUDADeviceGuardSet()
    try:
        assert guards[1] != ctypes.addressof(guard), "this torch keeps a guard that counts no devices"
        yield
    finally:
        guards[1] = None


@contextmanager
def fake_cuda() -> Iterator[Values]:
    """Torch as on a machine with a GPU; no operation is run in the place of one that a GPU lacks."""
    fake = FakeTensorMode(allow_non_fake_inputs=True, allow_fallback_kernels=False)
    with pytest.MonkeyPatch.context() as patch, _guarded(), fake, Values() as values:
        patch.setattr(FakeTensor, "numpy", _numpy, raising=False)
        patch.setattr(randomness, "Generator", _generator)
        patch.setattr(nn.Module, "_apply", _moved)  # torch's own swaps tensors, which fake ones do not bear
        yield values
