"""Networks whose losses and whose best attacks can be worked out without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from golden_net import GoldenNet, golden_file, golden_net
from hardy.data.loader import Batch
from hardy.draws import Draws
from hardy.methods.protocol import Method, Nets
from hardy.modes import Forward

Array = npt.NDArray[np.float64]

# p(x), p(x') and the label: two classes and ten.
TWO = (np.array([3, 1]) / 4, np.array([1, 2]) / 3, 0)
TEN = (
    np.array([1, 1, 1, 9, 1, 1, 1, 1, 1, 1]) / 18,
    np.array([1, 1, 1, 1, 1, 1, 1, 11, 1, 1]) / 20,
    3,
)


class Between(nn.Module):
    """Pictures of one pixel: 0 has the logits `clean`, 1 the logits `attacked`, both (K,)."""

    def __init__(self, clean: Array, attacked: Array, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.clean = nn.Parameter(torch.tensor(clean, dtype=dtype))
        self.attacked = nn.Parameter(torch.tensor(attacked, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.flatten(1) == 0, self.clean, self.attacked)


def between(p: Array, q: Array) -> Between:
    """The net of the probabilities p at the clean picture and q at the attacked one; logits
    are given up to a constant, which must not matter."""
    return Between(np.log(p) + 3, np.log(q) - 5)


def values_of(method: Method, net: Between, *y: int) -> dict[str, Tensor]:
    """The method's loss of the same picture with each of these labels; mostly a batch of one."""
    x = torch.zeros(len(y), 1, 1, 1, dtype=torch.float64)
    draws = Draws(0, 0, torch.arange(len(y)))
    return method.loss(nets_of(net), Batch(x, torch.tensor(y), draws.index, draws), x + 1, 0.5)


def losses_by_hand(values: dict[str, Tensor]) -> dict[str, float]:
    """As numbers, each of which must be a double scalar."""
    assert all(value.shape == () and value.dtype == torch.float64 for value in values.values())
    return {name: value.item() for name, value in values.items()}


def nets_of(net: nn.Module, **more: Any) -> Nets:
    """The networks of a run in one process."""
    return Nets(**{"student": net, "module": net, "forward": net, **more})


@dataclass(frozen=True)
class GivenNoise:
    """Draws whose normal numbers are given."""

    noise: Tensor
    index: Tensor

    def normal(self, shape: torch.Size, stream: str, dtype: torch.dtype) -> Tensor:
        assert shape == self.noise.shape[1:] and dtype == self.noise.dtype
        return self.noise


def golden_teachers(golden: dict[str, Tensor]) -> dict[str, nn.Module]:
    """The robust teacher of a golden file, where it has one."""
    has_one = any(key.startswith("teacher/") for key in golden)
    return {"robust": golden_net(golden, "teacher")} if has_one else {}


def golden_case(name: str) -> tuple[dict[str, Tensor], nn.Module, Batch]:
    """A golden file, its net in train mode, and its batch with the noise of the start."""
    golden = golden_file(name)
    index = torch.arange(len(golden["y"]))
    noise: Any = GivenNoise(golden["start_noise"], index)
    return golden, golden_net(golden).train(), Batch(golden["x"], golden["y"], index, noise)


def assert_golden(method: Method, name: str, attack: Any) -> None:
    """x_adv, the loss and every gradient are the authors' to 1e-8."""
    golden, net, batch = golden_case(name)
    nets = method.prepare(nets_of(net, teachers=golden_teachers(golden)))
    x_adv = method.adversary(nets, batch, attack)
    torch.testing.assert_close(x_adv, golden["x_adv"], rtol=0, atol=1e-8)
    assert (x_adv - batch.x).abs().max() > 0.03, "the golden attack moves"
    loss = method.loss(nets, batch, golden["x_adv"], 0.0)["loss"]
    torch.testing.assert_close(loss.detach(), golden["loss"], rtol=0, atol=1e-8)
    loss.backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and golden[f"grad/{key}"].abs().max() > 1e-4
        torch.testing.assert_close(parameter.grad, golden[f"grad/{key}"], rtol=0, atol=1e-8)


@dataclass(frozen=True)
class LinearCase:
    """A linear network of three classes, on pictures so grey that the box is far away."""

    net: nn.Module
    batch: Batch
    weight: Array

    def logits(self, x: Array) -> Array:
        return x.reshape(len(x), -1) @ self.weight.T

    def softmax(self, x: Array) -> Array:
        exps = np.exp(self.logits(x))
        return exps / exps.sum(1, keepdims=True)

    def stepped(self, start: Tensor, uphill: Array, length: float) -> Tensor:
        """One step of that length along a gradient to the logits, `uphill` (B, K)."""
        grad = uphill @ self.weight
        grad /= np.linalg.norm(grad, axis=1, keepdims=True)
        return start + length * torch.tensor(grad).view_as(start)


def linear_case(classes: int = 3) -> LinearCase:
    linear = nn.Linear(12, classes, bias=False)
    net = nn.Sequential(nn.Flatten(), linear).double()
    draws = Draws(5, 0, torch.arange(6))
    weight = Draws(3, 0, torch.arange(classes)).normal((12,), "w", torch.float64)
    with torch.no_grad():
        linear.weight.copy_(weight)
    x = 0.4 + 0.2 * draws.uniform((3, 2, 2), "x", torch.float64)
    y = torch.arange(6) % classes
    return LinearCase(net, Batch(x, y, draws.index, draws), weight.numpy())


def with_batchnorm() -> tuple[GoldenNet, Batch]:
    """A net in train mode whose running statistics are not those of the batch."""
    torch.manual_seed(0)
    net = GoldenNet().double()
    draws = Draws(0, 0, torch.arange(5))
    batch = Batch(draws.uniform((3, 8, 8), "x", torch.float64), torch.arange(5), draws.index, draws)
    with torch.no_grad():
        net(batch.x)
    return net, batch


def counted(forward: Forward) -> tuple[Forward, list[int]]:
    """The same forward pass, and the sizes of the batches that it will have seen."""
    sizes: list[int] = []

    def count(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return forward(x)

    return count, sizes


def assert_forwards_matter(method_with: Callable[[str], Method]) -> None:
    """'joint' and 'separate' are two networks in train mode and one in eval mode."""
    net, batch = with_batchnorm()
    x_adv = (batch.x + 0.1).clamp(0, 1)
    teacher, _ = with_batchnorm()

    def loss(forwards: str) -> float:
        method = method_with(forwards)
        nets = method.prepare(nets_of(net, teachers={"robust": teacher}))
        return method.loss(nets, batch, x_adv, 0.9)["loss"].item()

    assert abs(loss("joint") - loss("separate")) > 1e-3
    net.eval()
    assert abs(loss("joint") - loss("separate")) < 1e-12


def taught() -> Between:
    """A teacher of two classes: (1/5, 4/5) on the clean picture, (1/2, 1/2) on the attacked."""
    return between(np.array([1, 4]) / 5, np.array([1, 1]) / 2)


def distilled(
    method: Method,
    progress: float = 0.0,
    student: Between | None = None,
    natural: nn.Module | None = None,
    *,
    backward: bool = False,
) -> dict[str, float]:
    """What a distillation gives of one picture of class 0: the student says (3/4, 1/4) on it and
    (1/3, 2/3) on its attacked twin, the teacher is `taught`."""
    teachers = {"robust": taught()} if natural is None else {"robust": taught(), "natural": natural}
    nets = method.prepare(nets_of(student or between(*TWO[:2]), teachers=teachers))
    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    draws = Draws(0, 0, torch.arange(1))
    values = method.loss(nets, Batch(x, torch.tensor([0]), draws.index, draws), x + 1, progress)
    if backward:
        values["loss"].backward()
    return losses_by_hand(values)
