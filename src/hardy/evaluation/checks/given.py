"""What needs no forward pass: how many examples, which modes, which pixels."""

from __future__ import annotations

from torch import Tensor, nn

from hardy.evaluation.results import Finding
from hardy.evaluation.statistics import wilson
from hardy.modes import batchnorms

ENOUGH, HARDLY_ANY = 1000, 100
DIVIDED_TWICE = 1.5 / 255
# Every kind of dropout, for nn has no public name for their base.
DROPOUTS = (nn.modules.dropout._DropoutNd,)


def too_few(n: int, subject: str = "") -> Finding | None:
    """Fewer than 1,000 examples: mild; fewer than 100: serious."""
    if n >= ENOUGH:
        return None
    low, high = wilson(n // 2, n) if n else (0.0, 1.0)
    return Finding(
        "few examples",
        "mild" if n >= HARDLY_ANY else "serious",
        f"{n} examples: an accuracy near one half is known to ±{50 * (high - low):.1f} points "
        f"only. Compare with care, or measure {ENOUGH:,} or more (a larger --limit, or none).",
        subject,
        {"n": n},
    )


def check_pixels(x: Tensor, subject: str = "") -> Finding | None:
    """Whether pictures handed to an attack or a network are float in [0, 1], not empty: fatal
    where they are not, serious where they are so dark that they were divided by 255 twice."""
    if not x.numel():
        return None
    if not x.is_floating_point():
        seen, advice = f"are {x.dtype}", "divide them by 255 as float"
    elif not x.isfinite().all():
        seen, advice = "hold NaN or infinity", "mend the data"
    else:
        low, high = float(x.min()), float(x.max())
        if low >= 0 and high <= 1:
            if not 0 < high <= DIVIDED_TWICE:
                return None
            seen = f"lie in [{low:.3g}, {high:.3g}]: they look divided by 255 twice"
            grade, advice = "serious", "divide once"
            sentence = f"The pictures {seen}; {advice}."
            return Finding("pixels", grade, sentence, subject, {"low": low, "high": high})
        seen = f"lie in [{low:.3g}, {high:.3g}]"
        advice = (
            "divide them by 255"
            if low >= 0 and high > 2
            else "leave the normalisation to the network's first layer"
        )
    sentence = f"The pictures {seen}, not in [0, 1] as float, where radii are measured: {advice}."
    return Finding("pixels", "fatal", sentence, subject)


def as_given(model: nn.Module) -> list[Finding]:
    """BatchNorm or dropout in train mode as the network was handed over: mild. BatchNorm that
    keeps no running statistics: serious."""
    norms = batchnorms(model)
    kinds = {
        "BatchNorm": [norm for norm in norms if norm.training],
        "dropout": [m for m in model.modules() if isinstance(m, DROPOUTS) and m.training],
    }
    found = []
    if any(kinds.values()):
        which = ", ".join(f"{kind}: {len(ms)}" for kind, ms in kinds.items() if ms)
        found.append(
            Finding(
                "train mode",
                "mild",
                f"The network came with layers in train mode ({which}). It is measured in eval "
                "mode and given back as it came: call model.eval() where you use it, or it is "
                "another network.",
                evidence={kind: len(ms) for kind, ms in kinds.items()},
            )
        )
    without = [norm for norm in norms if norm.running_mean is None]
    if without:
        found.append(
            Finding(
                "no running statistics",
                "serious",
                f"{len(without)} of {len(norms)} layers of BatchNorm keep no running statistics, "
                "so eval mode normalises by the batch as well: what the network says of a "
                "picture hangs on the others. Train it with track_running_stats=True.",
                evidence={"layers": len(without)},
            )
        )
    return found
