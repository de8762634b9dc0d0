"""What forward passes alone show: randomness, company, probabilities, an input that is rounded.

Shapes: x (B, C, H, W) pixels, logits (B, K).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hardy.evaluation.results import Finding
from hardy.losses import full
from hardy.memory import Halving
from hardy.modes import Forward

# Of a picture's own logits, largest less smallest. What another algorithm of a convolution
# rounds differently, in TF32 even, stays below the first.
ROUNDING, NOTABLE = 1e-3, 1e-2
DISTRIBUTION = 1e-4
BELOW_A_PIXEL = 0.01 / 255
OUTSIDE = 0.1


@torch.no_grad()
def logits_of(forward: Forward, x: Tensor, batch_size: int) -> Tensor:
    """The logits of all pictures, batch by batch, in a type in which they can be compared."""
    found = Halving()(x.split(batch_size), lambda part: full(forward(part)))
    return torch.cat([logits for _, logits in found])


def randomised(logits: Tensor, repeats: Sequence[Tensor]) -> Finding | None:
    """The same pictures give other logits: mild, serious where a class changes or logits move
    by more than 1 % of their range."""
    moved = torch.stack([_moved(logits, again) for again in repeats]).amax(0)
    changed = torch.stack([again.argmax(1) != logits.argmax(1) for again in repeats]).any(0)
    largest, classes = float(moved.max()), int(changed.sum())
    if largest <= ROUNDING and not classes:
        return None
    return Finding(
        "randomised forward",
        "serious" if classes or largest > NOTABLE else "mild",
        f"The same picture gives other logits each time: in {len(repeats) + 1} passes they move by "
        f"up to {_percent(largest)} of their range, and the class of {classes} of {len(logits)} "
        "pictures changes. Gradients of one pass mislead an attack: use --attack autoattack-rand, "
        "or switch the randomness off in eval mode.",
        evidence={"largest": largest, "classes_changed": classes, "pictures": len(logits)},
    )


def depends_on_company(
    forward: Forward, x: Tensor, logits: Tensor, batch_size: int
) -> Finding | None:
    """The logits of the first half of a batch change where the other half turns black: serious.
    The batch keeps its size, so a device takes the same algorithms."""
    x, logits = x[:batch_size], logits[:batch_size]
    kept = len(x) // 2
    if not kept:
        return None
    with torch.no_grad():
        other = full(forward(torch.cat([x[:kept], torch.zeros_like(x[kept:])])))[:kept]
    largest = float(_moved(logits[:kept], other).max())
    if largest <= ROUNDING:
        return None
    classes = int((logits[:kept].argmax(1) != other.argmax(1)).sum())
    return Finding(
        "depends on the batch",
        "serious",
        "What the network says of a picture depends on the others of its batch: with other "
        f"company the logits move by up to {_percent(largest)} of their range, and the class of "
        f"{classes} of {kept} pictures changes. Give BatchNorm running statistics that eval mode "
        "uses; until then accuracies belong to batches, and the attacks were not compared.",
        evidence={"largest": largest, "classes_changed": classes, "pictures": kept},
    )


def probabilities(logits: Tensor) -> Finding | None:
    """The outputs are a distribution (serious) or its logarithm (mild) for every picture."""
    total, log_total = logits.sum(1), logits.logsumexp(1)
    if logits.amin() >= -DISTRIBUTION and (total - 1).abs().amax() < DISTRIBUTION:
        return Finding(
            "probabilities",
            "serious",
            f"All {len(logits)} outputs are probabilities (not negative, sum 1): the network ends "
            "in a softmax. Losses take another one, which flattens gradients and weakens "
            "attacks: give the network without its softmax.",
            evidence={"furthest_from_1": float((total - 1).abs().amax()), "log": False},
        )
    if log_total.abs().amax() < DISTRIBUTION:
        return Finding(
            "probabilities",
            "mild",
            f"All {len(logits)} outputs are logarithms of probabilities: the network ends in a "
            "log-softmax. Losses see the same as before it; give the network without it to be safe "
            "from its rounding.",
            evidence={"furthest_from_1": float(log_total.abs().amax()), "log": True},
        )
    return None


def rounded_input(forward: Forward, x: Tensor, logits: Tensor, batch_size: int) -> Finding | None:
    """For half of the pictures or more, a hundredth of a grey level changes no bit: mild."""
    nudged = torch.where(x < 1, x + BELOW_A_PIXEL, x - BELOW_A_PIXEL)
    same = (logits_of(forward, nudged, batch_size) == logits).all(1)
    if int(same.sum()) * 2 < len(x):
        return None
    return Finding(
        "rounded input",
        "mild",
        "A change of a hundredth of a grey level is invisible to the network in "
        f"{int(same.sum())} of {len(x)} pictures, to the last bit: it rounds its input (or looks "
        "at none of it). Small steps of attacks are lost: see what is said of its gradients, and "
        "use --attack square, which needs none.",
        evidence={"unchanged": int(same.sum()), "pictures": len(x)},
    )


def clamped_input(forward: Forward, x: Tensor, logits: Tensor, batch_size: int) -> Finding | None:
    """Pushing black and white pixels out of [0, 1] changes no bit of any picture: mild. Says
    nothing of pictures without black or white."""
    outwards = OUTSIDE * ((x == 1).to(x.dtype) - (x == 0).to(x.dtype))
    rows = outwards.flatten(1).ne(0).any(1)
    if int(rows.sum()) * 2 < len(x):
        return None
    pushed = logits_of(forward, x[rows] + outwards[rows], batch_size)
    if not torch.equal(pushed, logits[rows]):
        return None
    return Finding(
        "clamped input",
        "mild",
        f"Pixels pushed out of [0, 1] change nothing in {int(rows.sum())} pictures: the network "
        "clamps its input. In the box that is harmless unless the clamp stops gradients at black "
        "and white pixels (Hardtanh does, torch.clamp does not): give the network without it.",
        evidence={"pictures": int(rows.sum())},
    )


def _moved(logits: Tensor, other: Tensor) -> Tensor:
    """The largest change of each picture's logits as a share of their range, (B,)."""
    spread = logits.amax(1) - logits.amin(1)
    return (other - logits).abs().amax(1) / spread.clamp(min=torch.finfo(logits.dtype).tiny)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
