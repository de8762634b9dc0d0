"""What else is measured of each epoch's network in training: curves to look at, by which
nothing is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from hardy import config
from hardy.data.splits import Split, limited
from hardy.diagnosis.ligs import SIGMA, Neighbour, ligs
from hardy.evaluation.results import Measurement, Scalar
from hardy.verbs.asked.inputs import DATA_SEED
from hardy.verbs.training.feature_curves import FeatureWatch, shift_of
from hardy.verbs.training.job import Job


class Watch(Protocol):
    """One thing to measure of each epoch's network. A row of log.jsonl and the saved state hold
    its numbers under 'watched'; the page draws a curve of each quantity it makes of them."""

    def of(self, model: nn.Module) -> dict[str, float]:
        """Its numbers by name, finite and the same whenever they are measured again. An epoch
        of which there is nothing to say may have none."""
        ...

    def measurements(
        self, values: Mapping[str, float], subject: str, **more: Scalar
    ) -> list[Measurement]:
        """The same as measurements, from the watched numbers of an epoch alone, its own among
        them or not. more: goes into the setting, the epoch among it."""
        ...

    def said(self, values: Mapping[str, float]) -> str:
        """A piece of the line about an epoch, such as 'LIGS 0.62, ', or nothing."""
        ...


def watches(asked: config.Train, job: Job) -> list[Watch]:
    """What a run watches, on the job's device; mostly nothing."""
    found: list[Watch] = []
    if asked.ligs_pictures:
        few = limited(job.data.val, asked.ligs_pictures, DATA_SEED)
        beside = Neighbour(sigma=asked.ligs_sigma or SIGMA)
        found.append(LIGSWatch(few, beside, asked.seed, job.protocol.batch_size))
    if shift := shift_of(job.data):
        few = limited(job.data.test, asked.val_pictures, DATA_SEED)
        found.append(FeatureWatch(few, shift, job.data.num_classes, job.protocol.batch_size))
    return found


def watched(several: Sequence[Watch], model: nn.Module) -> dict[str, float]:
    """The numbers of all of them."""
    found: dict[str, float] = {}
    for watch in several:
        values = watch.of(model)
        assert not found.keys() & values.keys(), "each watch has names of its own"
        found |= values
    return found


@dataclass(frozen=True)
class LIGSWatch:
    """LIGS of cross-entropy, one draw, with its interval and the share of pictures without."""

    split: Split
    neighbour: Neighbour
    seed: int
    batch_size: int

    def of(self, model: nn.Module) -> dict[str, float]:
        found = ligs(
            model,
            self.split,
            self.neighbour,
            seed=self.seed,
            batch_size=self.batch_size,
            label=f"LIGS on {self.split.name}",
        )
        if not found.kept.any():
            return {}
        low, high = found.interval
        return {
            "ligs": found.value,
            "ligs low": low,
            "ligs high": high,
            "ligs dropped": found.dropped,
        }

    def measurements(
        self, values: Mapping[str, float], subject: str, **more: Scalar
    ) -> list[Measurement]:
        if "ligs" not in values:
            return []
        dropped = values["ligs dropped"]
        setting: dict[str, Scalar] = {
            **self.neighbour.setting,
            "loss": "ce",
            "draws": 1,
            "seed": self.seed,
            "dtype": "fp32",
            "dropped": dropped,
            **more,
        }
        n = round((1 - dropped) * len(self.split))
        interval = (values["ligs low"], values["ligs high"])
        return [
            Measurement(
                "ligs", values["ligs"], self.split.name, n, subject, interval, setting=setting
            )
        ]

    def said(self, values: Mapping[str, float]) -> str:
        return f"LIGS {values['ligs']:.2f}, " if "ligs" in values else ""
