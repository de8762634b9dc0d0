"""Which features a network uses that learns a set whose labels are the next classes.

Such a set (conflicting, d_det) holds for each picture two answers, the class of its original by
its robust features and the next by the others. On pictures as they are, RF accuracy is the share
that is taken for its class, NRF accuracy the share that is taken for the next (Benz et al. 2021,
§5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from hardy.data.made import made_of
from hardy.data.splits import DataSet, Split
from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.robustness import accuracy, predicted
from hardy.modes import evaluating

NAMES = {"rf": "RF accuracy", "nrf": "NRF accuracy"}


def shift_of(data: DataSet) -> int:
    """By how many classes the labels of a set are those of its originals shifted: 0 where they
    are their own, are drawn, or where it is no set of features."""
    made = made_of(data.provenance)
    return 0 if made is None else (made["label_shift"] or 0) % data.num_classes


def by_features(
    data: DataSet, split: Split, model: nn.Module, subject: str, **more: Scalar
) -> list[Measurement]:
    """RF and NRF accuracy of a network that has learned `data`, on a split with its own labels;
    none where the labels of the set are not shifted."""
    shift = shift_of(data)
    if not shift:
        return []
    watch = FeatureWatch(split, shift, data.num_classes, 256)
    return watch.measurements(watch.of(model), subject, **more)


def remarks_on(data: DataSet) -> list[str]:
    """What there is to know of a run on a set of features."""
    made = made_of(data.provenance)
    if made is None:
        return []
    found = [
        f"The pictures of train and val are of the set {made['set']}, and accuracies on val are "
        "under its labels; those of test are originals with their own."
    ]
    if shift_of(data):
        found.append(
            "Test was read after each epoch too, for the curves of RF and NRF accuracy (the class "
            "itself, and the next one); nothing was chosen by them."
        )
    return found


@dataclass(frozen=True)
class FeatureWatch:
    """RF and NRF accuracy on pictures as they are, with their own labels. shift: of the labels
    that were learned."""

    split: Split
    shift: int
    num_classes: int
    batch_size: int

    def of(self, model: nn.Module) -> dict[str, float]:
        """Both, as fractions."""
        with evaluating(model):
            said, y = predicted(model, self.split, self.batch_size), self.split.labels
        shifted = (y + self.shift) % self.num_classes
        return {
            "rf": float((said == y).double().mean()),
            "nrf": float((said == shifted).double().mean()),
        }

    def measurements(
        self, values: Mapping[str, float], subject: str, **more: Scalar
    ) -> list[Measurement]:
        """Both, with Wilson intervals."""
        n = len(self.split)
        setting: dict[str, Scalar] = {"label_shift": self.shift, "dtype": "fp32", **more}
        return [
            accuracy(
                quantity,
                torch.arange(n) < round(values[name] * n),
                self.split.name,
                subject,
                setting,
            )
            for name, quantity in NAMES.items()
            if name in values
        ]

    def said(self, values: Mapping[str, float]) -> str:
        """'RF 61.0 %, NRF 20.0 %, '"""
        told = (f"{name.upper()} {100 * values[name]:.1f} %, " for name in NAMES if name in values)
        return "".join(told)
