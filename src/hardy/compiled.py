"""torch.compile without its silences, in the only file that knows it.

A network's whole forward pass is compiled, as a graph for each combination of modes, of what needs
a gradient, and of batch sizes (the first one by itself, all others together). Where torch would
run a part as it is written, or all of it when there are too many graphs, a ValueError says so.

The backward pass of such a graph computes the gradient of everything that needs one: who wants the
gradient to the pictures alone must freeze the parameters before. It runs once for each forward
pass, and cannot be differentiated itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hardy.modes import Forward

# Graphs of one network. Torch's own 8 are few where modes, gradients and sizes multiply.
LIMIT = 16
INSTEAD = "leave --compile out"


class Compiled(nn.Module):
    """The network, which it holds as `network`, by its compiled forward pass: the same logits up
    to rounding. State, modes and gradients stay the network's own.

    A call raises ValueError where the network cannot be compiled as a whole.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._run: tuple[Forward] = (torch.compile(network, fullgraph=True),)  # no second child

    def forward(self, x: Tensor) -> Tensor:
        with _strictly():
            return self._run[0](x)


def forget() -> None:
    """Drop all graphs of this process, before another network is compiled."""
    torch.compiler.reset()


def must_compile(
    device: torch.device,
    networks: Sequence[nn.Module],
    x: Tensor,
    modes: Sequence[bool] = (False, True),
) -> None:
    """Raises ValueError where torch cannot compile for the device, or the forward pass of one of
    the networks not as a whole. They are on the CPU, and x are some pictures, (B, C, H, W), there.
    modes: those of training that are tried.
    """
    import torch._dynamo

    forget()
    backend = torch._dynamo.lookup_backend("inductor")
    graphs = []

    def seen(graph: Any, inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return backend(graph, inputs)

    failed = None
    try:
        torch.compile(_trial, fullgraph=True, backend=seen)(torch.ones(8, device=device))
    except Exception as error:  # whatever is missing here, and whoever says so
        failed = error
    if not graphs:  # some versions of torch then say so, others run the function as it is written
        raise ValueError(
            "--compile: torch.compile is switched off here: unset TORCH_COMPILE_DISABLE and "
            f"TORCHDYNAMO_DISABLE, or {INSTEAD}"
        ) from failed
    if failed is not None:
        raise ValueError(
            f"--compile: torch cannot compile for {device} here ({_said(failed)}): install a C++ "
            f"compiler such as g++, for a GPU triton too, or {INSTEAD}"
        ) from failed
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for network in networks:
            network = copy.deepcopy(network)  # BatchNorm in train mode would learn from x
            traced = torch.compile(network, fullgraph=True, backend="eager")
            for training in modes:
                network.train(training)
                with _strictly():
                    traced(x)
    forget()


def _trial(x: Tensor) -> Tensor:
    return x.sin() * 2


@contextmanager
def _strictly() -> Iterator[None]:
    import torch._dynamo
    from torch._dynamo import exc

    with torch._dynamo.config.patch(
        recompile_limit=LIMIT, fail_on_recompile_limit_hit=True, suppress_errors=False
    ):
        try:
            yield
        except exc.FailOnRecompileLimitHit as error:
            raise ValueError(
                f"--compile: the network needs more than {LIMIT} graphs: {INSTEAD}"
            ) from error
        except exc.TorchDynamoException as error:
            raise ValueError(
                f"--compile: the network cannot be compiled as a whole ({_said(error)}): {INSTEAD}"
            ) from error


def _said(error: Exception) -> str:
    """The first line of an error that is more than the heading of another."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = (line for line in lines if not line.endswith(":"))
    return next(telling, lines[0] if lines else type(error).__name__)
