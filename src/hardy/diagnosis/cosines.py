"""The cosines of LIGS as numbers that a reader can weigh: means, intervals, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hardy.data.splits import Split
from hardy.evaluation.pictures import write_arrays
from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.statistics import mean_share, paired_means

KIND = "ligs values"


def write_ligs(path: Path, split: Split, classes: Sequence[str], found: Mapping[str, Ligs]) -> None:
    """Write an npz of the labels, each picture's index in its file, the class names and each
    network's cosines, '<network>/cosines', float32 (draws, N), NaN where there is none."""
    kept: dict[str, Any] = {
        "labels": split.labels.cpu().numpy(),
        "index": split.index.cpu().numpy(),
        "classes": np.array(classes),
    }
    kept |= {f"{network}/cosines": one.cosines.numpy() for network, one in found.items()}
    write_arrays(path, kept)


@dataclass(frozen=True)
class Ligs:
    """The cosines of a network's pictures, (draws, N) on the CPU, NaN where there is none; their
    labels, int64 (N,); and the setting."""

    cosines: Tensor
    labels: Tensor
    setting: dict[str, Scalar] = field(default_factory=dict)

    @property
    def of_pictures(self) -> Tensor:
        """Of each picture the mean over the draws that have a cosine, float64 (N,), or NaN."""
        return self.cosines.double().nanmean(0)

    @property
    def kept(self) -> Tensor:
        """Which pictures have a cosine, bool (N,)."""
        return ~self.of_pictures.isnan()

    @property
    def value(self) -> float:
        """The mean over the pictures that have a cosine. Raises ValueError where none has."""
        return self._mean[0]

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval over the pictures."""
        return self._mean[1]

    @property
    def dropped(self) -> float:
        """The share of pictures that have no cosine."""
        return 1 - float(self.kept.double().mean())

    @property
    def _mean(self) -> tuple[float, tuple[float, float]]:
        found = self.of_pictures[self.kept]
        if not len(found):
            raise ValueError(
                f"no picture of {len(self.labels)} has a LIGS: the gradient of the loss is zero "
                "at all of them, so the network's output does not depend on them"
            )
        # Cosines as shares of [-1, 1], whose interval the statistics know.
        share, (low, high) = mean_share((1 + found) / 2)
        return 2 * share - 1, (2 * low - 1, 2 * high - 1)

    def measurement(self, split: str, subject: str = "", **more: Scalar) -> Measurement:
        """'ligs' with all its settings; n counts the pictures that have a cosine. Raises
        ValueError where none has."""
        value, interval = self._mean
        setting = {**self.setting, "dropped": self.dropped, **more}
        n = int(self.kept.sum())
        return Measurement("ligs", value, split, n, subject, interval, setting=setting)

    def by_class(self, classes: Sequence[str], split: str, subject: str = "") -> list[Measurement]:
        """'class ligs' of every class of which a picture has a cosine."""
        found = []
        for number, name in enumerate(classes):
            rows = self.labels == number
            own = replace(self, cosines=self.cosines[:, rows], labels=self.labels[rows])
            if own.kept.any():
                one = own.measurement(split, subject, **{"class": name, "label": number})
                found.append(replace(one, quantity="class ligs"))
        return found

    def less(self, other: Ligs, split: str, subject: str) -> Measurement | None:
        """'ligs gain', the mean difference self - other on the pictures that have a cosine in
        both, with the interval of pairs; None where there are none."""
        both = self.kept & other.kept
        if not both.any():
            return None
        mine, theirs = ((1 + one.of_pictures[both]) / 2 for one in (self, other))
        half, (low, high) = paired_means(theirs, mine)
        n, interval = int(both.sum()), (2 * low, 2 * high)
        return Measurement("ligs gain", 2 * half, split, n, subject, interval, setting=self.setting)
