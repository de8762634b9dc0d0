"""What a network costs in use: its size, the operations of a forward pass, and its time.

Operations are those of convolutions and matrix products, a multiply-add as two, as
torch.utils.flop_counter sees them. F is one forward pass of one picture.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from torch.utils.module_tracker import ModuleTracker

from hardy.evaluation.results import Measurement, Scalar
from hardy.modes import evaluating, without_tf32

RUNS = 5  # that are timed after the first, which warms up
PATIENCE = 20.0  # seconds after which no further one is begun
PASSES = 50  # of which the latency is the median
PATIENCE_FOR_PASSES = 5.0


@dataclass(frozen=True)
class Timing:
    """seconds: the median of `runs` runs after a first, or the first where it took too long."""

    seconds: float
    runs: int


def parameters(model: nn.Module) -> int:
    """How many numbers training could move, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def saved_bytes(model: nn.Module) -> int:
    """Bytes of a network's weights as `hardy.models.load.save` writes them, without the file's
    header: all of the state dict, buffers too, and shared ones at each of their names."""
    kept = [value for value in model.state_dict().values() if isinstance(value, Tensor)]
    return sum(value.numel() * value.element_size() for value in kept)


def operations(work: Callable[[], object]) -> int:
    """The operations of some work, those of its backward passes among them."""
    # torch counts the weights' gradient of a grouped convolution once for each group too many.
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    counter.mod_tracker = _NoModules()
    with _plain_attention(), counter:
        work()
    return counter.get_total_flops()


def forward_operations(model: nn.Module, picture: Tensor) -> int:
    """F: the operations of the forward pass of one picture (1, C, H, W)."""
    with _in_use(model, picture.device):
        return operations(lambda: model(picture))


def latency(
    model: nn.Module, pictures: Tensor, runs: int = PASSES, patience: float = PATIENCE_FOR_PASSES
) -> Timing:
    """How long a forward pass of some pictures (B, C, H, W) takes where they and the network
    lie: in eval mode, without gradients, in full precision."""
    with _in_use(model, pictures.device):
        return timed(lambda: model(pictures), pictures.device, runs, patience)


def timed(
    work: Callable[[], object],
    device: torch.device,
    runs: int = RUNS,
    patience: float = PATIENCE,
) -> Timing:
    """How long some work takes on a device."""
    seconds: list[float] = []
    while len(seconds) <= runs and (not seconds or sum(seconds) < patience):
        began = _now(device)
        work()
        seconds.append(_now(device) - began)
    later = seconds[1:] or seconds
    return Timing(statistics.median(later), len(later))


def sizes(model: nn.Module, picture: Tensor, split: str, subject: str) -> list[Measurement]:
    """Parameters, bytes of the saved weights, and F as measurements; picture: (1, C, H, W)."""
    about: dict[str, Scalar] = {"image_size": _size(picture)}
    found: tuple[tuple[str, int, dict[str, Scalar]], ...] = (
        ("parameters", parameters(model), {}),
        ("weights", saved_bytes(model), {"unit": "bytes"}),
        ("operations", forward_operations(model, picture), about),
    )
    return [
        Measurement(name, value, split, 1, subject, no_interval="counted", setting=setting)
        for name, value, setting in found
    ]


def latencies(model: nn.Module, pictures: Tensor, split: str, subject: str) -> list[Measurement]:
    """The latency of the first picture alone and of all of them at once, as measurements in
    seconds."""
    device = pictures.device
    where: dict[str, Scalar] = {"device": "cpu", "threads": torch.get_num_threads()}
    if device.type == "cuda":
        where = {"device": torch.cuda.get_device_name(device)}
    found = []
    for count in sorted({1, len(pictures)}):
        timing = latency(model, pictures[:count])
        passes = f"median of {timing.runs} passes" if timing.runs > 1 else "one pass"
        about = {"image_size": _size(pictures), "batch": count, "dtype": "fp32", **where}
        one = Measurement("latency", timing.seconds, split, count, subject, None, passes, about)
        found.append(one)
    return found


def _size(pictures: Tensor) -> str:
    return "×".join(map(str, pictures.shape[1:]))


@contextmanager
def _in_use(model: nn.Module, device: torch.device) -> Iterator[None]:
    """As accuracies are measured; a network that draws random numbers finds them again after."""
    aside = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with aside, torch.no_grad(), evaluating(model), without_tf32():
        yield


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as matrix products: of its fused kernels torch counts some, on some devices."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class _NoModules(ModuleTracker):
    """Tells no modules apart: torch's way to do so puts hooks on what goes into them, which
    fail where a gradient is taken to exactly that, as attacks do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _convolution_backward(
    out: list[int], x: list[int], weight: list[int], *more: Any, **_: Any
) -> int:
    """Both gradients of a convolution take the operations of its forward pass."""
    transposed, wanted = more[4], more[7]
    return sum(wanted[:2]) * conv_flop_count(x, weight, out, transposed=transposed)
