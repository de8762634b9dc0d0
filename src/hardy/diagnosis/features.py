"""Robust and non-robust features as data sets: what each picture is made into, and its label.

    >>> g = penultimate(robust, head_of(robust))
    >>> d_r = inverted(g, start, g(x))                                  # labelled y
    >>> d_rand = towards(standard, x, targets("random", y, 10, draws))  # labelled by the target

D_R and D_NR hold of the pictures x what a robust, or a standard, network makes of them: other
pictures that have their features, and their labels. In D_det and D_rand the label is the class
that the picture was attacked to. In the conflicting set (Benz et al. 2021) the pictures of D_R are
attacked to the next class: a network that learns it and predicts the label of x uses robust
features, one that predicts the next class the others.

Sources: Ilyas et al., Adversarial examples are not bugs, they are features (2019), §3 and appendix
C; Benz et al., Batch normalization increases adversarial vulnerability and decreases adversarial
transferability (2021), §5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.draws import Draws
from hardy.modes import Forward
from hardy.threat import L2

Target = Literal["none", "next", "random"]

STEPS, STEP_SIZE = 1000, 0.1  # of inversion
ATTACK = PGD(L2(0.5), steps=100, step_size=0.1, random_start=False)


@dataclass(frozen=True)
class Kind:
    """How a set is made: whether features are inverted, and which class is then attacked to."""

    inverts: bool
    target: Target

    @property
    def label_shift(self) -> int | None:
        """What is added to the classes of the originals, modulo their number, to give the labels;
        None where they are drawn."""
        return {"none": 0, "next": 1, "random": None}[self.target]


KINDS = {
    "d_r": Kind(True, "none"),
    "d_nr": Kind(True, "none"),
    "d_det": Kind(False, "next"),
    "d_rand": Kind(False, "random"),
    "conflicting": Kind(True, "next"),
}


def penultimate(model: nn.Module, head: str) -> Forward:
    """g: pixels (B, C, H, W) to what the layer `head` is given, (B, D) in float32 or float64, for
    the network in whatever mode it is.

    g raises ValueError where the layer is not run just once, or not given a tensor.
    """
    layer = model.get_submodule(head)

    def features(x: Tensor) -> Tensor:
        given: list[Tensor] = []

        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given.extend(inputs[:1])

        handle = layer.register_forward_pre_hook(keep)
        try:
            model(x)
        finally:
            handle.remove()
        count = sum(isinstance(value, Tensor) for value in given)
        if not count == len(given) == 1:
            raise ValueError(
                f"the layer {head} is given {count} tensors for one batch, and its features "
                "are those of a layer that is run once: name another with --head"
            )
        found = given[0].flatten(1)
        return found if found.dtype == torch.float64 else found.float()

    return features


def apart(found: Tensor, wanted: Tensor) -> Tensor:
    """||found - wanted||_2 of each example, (B,); both are features (B, D)."""
    return (found - wanted).norm(dim=1)


def inverted(
    features: Forward,
    start: Tensor,
    wanted: Tensor,
    steps: int = STEPS,
    step_size: float = STEP_SIZE,
) -> Tensor:
    """Pictures with given features: the last iterate of descent on ||g(x_t) - wanted||_2 from
    `start` (B, C, H, W), in steps of Euclidean length `step_size` (pixels), clamped to [0, 1].

    Where features are all but met the last steps go to and fro, each as long as the others.
    Raises ValueError where steps or step_size is not positive.
    """
    # No ball: two pictures in [0, 1] are nowhere further apart than this, so none is cut.
    whole = L2(math.sqrt(max(1, start[:1].numel())) + 1)
    descent = PGD(whole, steps, step_size, random_start=False)
    return descent.ascend(lambda x: -apart(features(x), wanted), start, start)


def targets(target: Target, y: Tensor, num_classes: int, draws: Draws) -> Tensor:
    """The labels of a set, int64 (B,): y itself, the next class y + 1 mod K, or one drawn
    uniformly from all K.

    y too is drawn, once in K times, as in Ilyas et al.: so a label tells nothing of the class of
    the original.
    """
    if target == "next":
        return (y + 1) % num_classes
    if target == "random":
        return draws.integers(num_classes, (), "features/target")
    return y


def starts(count: int, rows: Tensor, draws: Draws) -> Tensor:
    """Where inversion of the pictures `rows`, int64 (B,), of `count` starts: the row of another of
    them each, drawn uniformly. Raises ValueError where there is no other."""
    if count < 2:
        raise ValueError("features are inverted from another picture: give at least two")
    drawn = draws.integers(count - 1, (), "features/start")
    return drawn + (drawn >= rows)
