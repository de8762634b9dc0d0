"""Which classes a network takes for which, on the pictures and under an attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardy.data.splits import Split
from hardy.evaluation.pictures import found_again, write_arrays
from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.robustness import Ensemble, Protocol, Verdicts
from hardy.evaluation.statistics import wilson
from hardy.memory import Halving

KIND = "confusion"


def predicted_under(
    model: nn.Module,
    split: Split,
    protocol: Protocol | Ensemble,
    verdicts: Verdicts,
    clean: Tensor,
) -> Tensor:
    """The class that each picture is taken for under the attack, int64 (N,): its own where it
    withstood, that at the adversarial example where it was broken, and `clean`, the class
    without an attack, where that is wrong already.

    The adversarial examples are searched for again. Where rounding, in a batch of other
    pictures, hides one from that search, the likeliest wrong class stands in for its own.
    """
    assert verdicts.by is not None, "judged a moment ago"
    by, found = verdicts.by.to(clean.device), clean.clone()
    lost = by >= 0
    for rows, x_adv in found_again(model, split, protocol, by):
        with torch.no_grad():
            found[rows] = model(x_adv).argmax(1)
        lost[rows] = False

    @torch.no_grad()
    def said(rows: Tensor) -> Tensor:
        return model(split.pixels(rows))

    for rows, logits in Halving()(lost.nonzero()[:, 0].split(protocol.batch_size), said):
        found[rows] = logits.scatter(1, clean[rows, None], float("-inf")).argmax(1)
    return found


def confusion(labels: Tensor, said: Tensor, num_classes: int) -> Tensor:
    """How many pictures of each class (row) are taken for each class (column), int64 (K, K)."""
    pairs = labels * num_classes + said
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def class_accuracies(
    matrix: Tensor,
    classes: Sequence[str],
    split: str,
    subject: str,
    setting: Mapping[str, Scalar],
) -> list[Measurement]:
    """The accuracy on each class that has pictures, with Wilson intervals."""
    hits, sizes = matrix.diagonal().tolist(), matrix.sum(1).tolist()
    # Two classes of one name, such as ImageNet's cranes, are told apart by their labels.
    counts = zip(range(len(classes)), classes, hits, sizes, strict=True)
    return [
        Measurement(
            "class accuracy",
            hits / n,
            split,
            n,
            subject,
            wilson(hits, n),
            setting={"class": name, "label": label, **setting},
        )
        for label, name, hits, n in counts
        if n
    ]


def write_confusion(
    path: Path, classes: Sequence[str], matrices: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write an npz of the class names and each network's matrices, '<network>/clean' and
    '<network>/adversarial'. Without object arrays: it is read without running anything."""
    kept: dict[str, Any] = {"classes": np.array(classes)}
    for network, by_kind in matrices.items():
        kept |= {f"{network}/{kind}": matrix.cpu().numpy() for kind, matrix in by_kind.items()}
    write_arrays(path, kept)
