"""A measurement of criticality as a verb asks for it: on what, how, and of how many modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hardy import config
from hardy.data.splits import DataSet, Split, limited
from hardy.evaluation.results import Scalar
from hardy.evaluation.robustness import Protocol
from hardy.evaluation.steps import Steps
from hardy.finetuning.ascents import Ascent, OfficialAscent
from hardy.finetuning.mrc import Criticality, candidates
from hardy.finetuning.rift import criticalities
from hardy.verbs.asked.inputs import DATA_SEED, protocol_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """The pictures, how their adversarial examples are made, the ascent, and of how many least
    critical modules it is a race (None: none)."""

    sample: Split
    protocol: Protocol
    ascent: Ascent | OfficialAscent
    racing: int | None

    @property
    def setting(self) -> dict[str, Scalar]:
        """What a measurement must say of it."""
        about: dict[str, Scalar] = {**self.protocol.setting, "ascent": repr(self.ascent)}
        return about if self.racing is None else {**about, "race": self.racing}

    def __str__(self) -> str:
        said = f"criticality on {len(self.sample)} pictures of {self.sample.name}: "
        said += f"{self.protocol.attack!r}, {self.ascent!r}"
        return said if self.racing is None else f"{said}, a race for {self.racing}"

    def found(
        self,
        model: nn.Module,
        steps: Steps,
        say: Say,
        note: Say,
        *,
        modules: Sequence[str] | None = None,
        x_adv: Callable[[], Tensor] | None = None,
        copies: int = 1,
    ) -> Iterator[Criticality]:
        """The criticality of these modules (None: all), and what is kept of them first."""
        return criticalities(
            model,
            self.sample,
            self.protocol,
            ascent=self.ascent,
            modules=modules,
            racing=self.racing,
            x_adv=x_adv,
            copies=copies,
            steps=steps,
            say=say,
            note=note,
        )


def job_of(asked: config.Criticality, data: DataSet, device: torch.device) -> Job:
    """The job on a device."""
    split = data.train if asked.mrc_split == "train" else data.test
    sample = limited(split, asked.mrc_pictures or None, DATA_SEED).to(device)
    protocol = protocol_of(asked)
    attack = replace(protocol.attack, step_size=asked.mrc_step_size or asked.step_size)
    ascent = (
        Ascent(radius=asked.radius)
        if asked.mrc_ascent == "full"
        else OfficialAscent(radius=asked.radius, seed=asked.seed)
    )
    racing = asked.k if isinstance(asked, config.Mrc | config.Rift) and asked.racing else None
    return Job(sample, replace(protocol, attack=attack, restarts=1), ascent, racing)


def in_order(found: Sequence[Criticality], model: nn.Module) -> list[Criticality]:
    """In the order in which the network runs the modules."""
    registered = candidates(model)
    return sorted(found, key=lambda one: (one.position, registered.index(one.module)))
