"""The way from a network to its fine-tuned self, and the point of it that is kept.

    theta(alpha) = (1 - alpha) * theta_AT + alpha * theta_FT        (RiFT, equation 6)

The paper keeps the most accurate point whose robust accuracy is no more than 0.1 points
below the start's. Every point is attacked from the same random starts on the same pictures,
so the difference is not drowned in the attack's own noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, Verdicts, judge
from hardy.weights import interpolate


@dataclass(frozen=True)
class Point:
    """One alpha and its verdicts on the split where the choice is made."""

    alpha: float
    verdicts: Verdicts

    @property
    def clean(self) -> int:
        return int(self.verdicts.clean.sum())

    @property
    def robust(self) -> int:
        return int(self.verdicts.robust.sum())


def path(
    model: nn.Module,
    end: Mapping[str, Tensor],
    alphas: Sequence[float],
    split: Split,
    protocol: Protocol,
    label: str = "",
) -> list[Point]:
    """The points alpha (in [0, 1]) on the way from the model's weights to `end`, which
    holds the entries that changed; the model keeps its own weights."""
    points = []
    for alpha in alphas:
        with on_the_way(model, end, alpha):
            points.append(Point(alpha, judge(model, split, protocol, f"{label} α={alpha:g}")))
    return points


@contextmanager
def on_the_way(model: nn.Module, end: Mapping[str, Tensor], alpha: float) -> Iterator[None]:
    """The model has the weights of the point alpha inside, and its own again afterwards."""
    start = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        model.load_state_dict(weights_at(start, end, alpha))
        yield
    finally:
        model.load_state_dict(start)


def weights_at(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """The state dict at alpha on the way from `start` to `end`, which holds the entries that
    changed, on any device."""
    whole = {**start, **{key: value.to(start[key].device) for key, value in end.items()}}
    return interpolate(start, whole, alpha)


def allowed_fall(n: int, tolerance: float) -> int:
    """How many of n pictures robust accuracy may lose: the tolerance, or one picture where
    a picture is more than that; none at a tolerance of 0."""
    return max(1, int(tolerance * n + 1e-9)) if tolerance else 0


def lowest(start: Point, tolerance: float) -> int:
    """How many pictures a point must classify rightly under attack to be kept."""
    return start.robust - allowed_fall(len(start.verdicts.robust), tolerance)


def choose(start: Point, points: Sequence[Point], tolerance: float = 0.001) -> Point:
    """The point of most clean accuracy among those that keep robust accuracy within the
    tolerance (a fraction); of equals the nearest to the start, which counts itself."""
    floor = lowest(start, tolerance)
    kept = [point for point in points if point.robust >= floor]
    return max([start, *kept], key=lambda point: (point.clean, -point.alpha))
