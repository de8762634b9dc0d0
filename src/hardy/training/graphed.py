"""A training attack as one CUDA graph: its thousands of launches become one.

A graph is captured once for a shape of the batch, an epoch (the random numbers of its examples
are constants in it), a method and the modes of the network; the later batches are copied into
the tensors that it reads. Weights and BatchNorm's statistics are changed in place by whoever
changes them, so it sees them as they are. Not for evaluation: there an attack goes on with what
still stands, and each batch has another size.

Not yet measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from hardy.data.loader import Batch
from hardy.memory import ran_out

# Libraries set themselves up, and choose their algorithms, in the first runs of a shape.
WARM_UP = 3


class Capturing(Protocol):
    """What makes work repeatable. Both leave the generators where running it once would not
    have moved them."""

    def capture(self, work: Callable[[], Tensor], warm_up: int) -> Callable[[], Tensor]:
        """A function that does the same work once more on what the tensors that it reads hold
        then, and gives the same tensor, filled anew. warm_up: how often to run it before."""
        ...


class CudaGraphs:
    """Captures CUDA graphs. Raises ValueError where the device is no GPU."""

    def __init__(self, device: torch.device) -> None:
        must_be_possible(device)
        self.device = device

    def capture(self, work: Callable[[], Tensor], warm_up: int) -> Callable[[], Tensor]:
        generator = torch.cuda.get_rng_state(self.device)
        aside, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(warm_up):
                work()
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: those that read pictures ahead do.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = work()
        torch.cuda.set_rng_state(generator, self.device)

        def replay() -> Tensor:
            graph.replay()
            return found

        return replay


def must_be_possible(device: torch.device) -> None:
    """Raises ValueError where there can be no CUDA graph."""
    if device.type != "cuda":
        raise ValueError(
            f"--cuda-graphs needs a GPU, and this run is on {device}: leave it out, or give "
            "--device cuda"
        )


class Graphed:
    """Attacks, captured where they are met for the second time."""

    def __init__(self, capturing: Capturing) -> None:
        self.capturing = capturing
        self._drawn: Hashable = None
        self._graphs: dict[Hashable, _Graph] = {}
        self._seen: dict[Hashable, bool] = {}  # whether there is anything to capture
        self._warm: set[Hashable] = set()

    def clear(self) -> None:
        """Let go of all graphs, and of the memory that they hold."""
        self._graphs.clear()

    def __call__(
        self, attack: Callable[[Batch], Tensor], batch: Batch, name: str, *about: Hashable
    ) -> Tensor:
        """What the attack makes of the batch. about: on what it depends beside the batch and the
        weights; one attack of that is like another.

        Raises ValueError, by that name, where it cannot be captured.
        """
        x, draws = batch.x, batch.draws
        kind = (x.shape, x.stride(), x.dtype, *about)
        if kind not in self._seen:
            found = attack(batch)  # what is wrong with it by itself is said here
            self._seen[kind] = found.data_ptr() != x.data_ptr()
            return found
        if not self._seen[kind]:
            return attack(batch)
        if (drawn := (draws.seed, draws.epoch, draws.restart)) != self._drawn:
            self.clear()
            self._drawn = drawn
        if kind not in self._graphs:
            warm_up = 0 if kind in self._warm else WARM_UP
            self._graphs[kind] = self._captured(attack, batch, name, warm_up)
            self._warm.add(kind)
        return self._graphs[kind](batch)

    def _captured(
        self, attack: Callable[[Batch], Tensor], batch: Batch, name: str, warm_up: int
    ) -> _Graph:
        x, y, index = batch.x.clone(), batch.y.clone(), batch.index.clone()

        def work() -> Tensor:
            # A view of its own each time: what a teacher has said of these pictures is kept by
            # the tensor, and must be asked again in the graph.
            return attack(Batch(x.detach(), y, index, replace(batch.draws, index=index)))

        try:
            return _Graph(x, y, index, self.capturing.capture(work, warm_up))
        except RuntimeError as error:
            if ran_out(error):
                raise
            why = str(error).strip().splitlines()[0]
            raise ValueError(
                f"the attack of {name} cannot be captured as a CUDA graph ({why}): leave "
                "--cuda-graphs out"
            ) from error


@dataclass(frozen=True)
class _Graph:
    """A captured attack, and the tensors that it reads."""

    x: Tensor
    y: Tensor
    index: Tensor
    replay: Callable[[], Tensor]

    def __call__(self, batch: Batch) -> Tensor:
        self.x.copy_(batch.x)
        self.y.copy_(batch.y)
        self.index.copy_(batch.index)
        return self.replay().clone()  # the next batch is written over it
