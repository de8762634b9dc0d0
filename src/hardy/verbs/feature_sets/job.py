"""What a set of features is made of, put together from its arguments, or from the provenance of
such a set, before a file is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hardy
from hardy import config
from hardy.attacks.pgd import PGD
from hardy.data.made import KIND
from hardy.data.splits import DataSet, Split
from hardy.diagnosis.features import (
    ATTACK,
    KINDS,
    STEP_SIZE,
    STEPS,
    Kind,
    penultimate,
    starts,
    targets,
)
from hardy.draws import Draws
from hardy.models.heads import head_of, named_head
from hardy.models.load import Checkpoint
from hardy.modes import evaluating
from hardy.threat import threat_of
from hardy.verbs.asked.arguments import check
from hardy.verbs.asked.inputs import (
    USUAL_EPS,
    checkpoint_of,
    data_of,
    fingerprint,
)
from hardy.verbs.asked.networks import placed_on
from hardy.verbs.feature_sets.again import SETTINGS, again, known_of, must_match
from hardy.verbs.runs.same import weights_of

OWN, ROBUST = "network", "robust network"

_OF_INVERSION = ("inversion_steps", "inversion_step_size", "head")
_OF_ATTACK = ("norm", "eps", "steps", "step_size")
_OF_ROBUST = ("robust", "robust_model", "robust_normalize")


@dataclass(frozen=True)
class Job:
    """A set before its first picture, on the CPU or, by `to`, where it is computed.

    asked: with every default filled in. nets: by their roles, OWN and, of a conflicting set,
    ROBUST. known: the provenance that the set is made again from, if any.
    """

    asked: config.Features
    data: DataSet
    nets: Mapping[str, Checkpoint]
    known: Mapping[str, Any] | None

    @property
    def kind(self) -> Kind:
        """How such a set is made."""
        return KINDS[self.asked.set]

    @property
    def originals(self) -> Split:
        """The pictures that it is made from: train, less what is kept for val."""
        return self.data.train

    @property
    def labels(self) -> Tensor:
        """The labels of the set, int64 (N,), on the CPU."""
        split = self.originals
        draws = Draws(self.asked.seed, 0, split.index.cpu())
        return targets(self.kind.target, split.labels.cpu(), self.data.num_classes, draws)

    @property
    def inverts(self) -> nn.Module:
        """The network whose features are taken."""
        return self.nets[ROBUST if ROBUST in self.nets else OWN].model

    @property
    def attack(self) -> PGD:
        """The attack to the labels."""
        asked = self.asked
        assert asked.eps is not None, "filled in"
        threat = threat_of(asked.norm, asked.eps)
        return PGD(threat, asked.steps, asked.step_size, random_start=False)

    @property
    def weights(self) -> dict[str, str]:
        """What tells the networks from others."""
        return {role: fingerprint(weights_of(net.model)) for role, net in self.nets.items()}

    def to(self, device: torch.device) -> Job:
        """The same with its networks on another device; pictures go there in batches."""
        return replace(self, nets=placed_on(device, self.nets))

    def provenance(self, content_hash: str) -> dict[str, Any]:
        """All that is needed to make the set again, and what tells whether it is the same.
        content_hash: of the pictures and labels as they are stored."""
        asked = self.asked
        return {
            "kind": KIND,
            "version": hardy.__version__,
            "set": asked.set,
            "label_shift": self.kind.label_shift,
            "data": self.data.name,
            "spec": asked.data if isinstance(asked.data, str) else None,
            "data_hash": self.data.provenance["content_hash"],
            "weights": self.weights,
            "networks": {role: net.architecture.described() for role, net in self.nets.items()},
            "settings": {name: getattr(asked, name) for name in SETTINGS},
            "pictures": len(self.originals),
            "normalization": self.data.normalization,
            "flips": self.data.flips,
            "torch": torch.__version__,
            "content_hash": content_hash,
        }


def job_of(given: config.Features) -> Job:
    """The job, on the CPU. Raises ValueError for anything that was asked for wrongly."""
    check(given)
    known = None if given.provenance is None else known_of(Path(given.provenance))
    asked = _checked(given) if known is None else again(given, known)
    data = data_of(asked, asked.limit)
    if data.in_channels not in (1, 3):
        raise ValueError(
            f"sets of features are written of grey or coloured pictures, not of "
            f"{data.in_channels} channels: --channels makes such of them"
        )
    nets = {OWN: checkpoint_of(_source(asked), data, torch.device("cpu"))}
    if asked.set == "conflicting":
        robust = config.FromCheckpoint(
            checkpoint=asked.robust,
            model=asked.robust_model,
            normalize=asked.robust_normalize,
            input_size=asked.input_size,
        )
        nets[ROBUST] = checkpoint_of(robust, data, torch.device("cpu"))
    job = Job(asked, data, nets, known)
    if job.kind.inverts:
        job = replace(job, asked=replace(asked, head=_head(job)))
    if known is not None:
        must_match(data, job.provenance(""), known)
    return job


def _source(asked: config.Features) -> config.FromCheckpoint:
    if asked.network is not None and asked.checkpoint is not None:
        raise ValueError("give the network by its position or by --checkpoint, not both")
    path = asked.checkpoint if asked.network is None else asked.network
    if path is None and not isinstance(asked.model, nn.Module):
        raise ValueError("whose features? give a run folder or a checkpoint")
    return config.FromCheckpoint(
        checkpoint=path, model=asked.model, normalize=asked.normalize, input_size=asked.input_size
    )


def _checked(asked: config.Features) -> config.Features:
    """The arguments with their defaults filled in. Raises ValueError where some are of no use."""
    kind = KINDS[asked.set]
    if asked.set == "conflicting" and asked.robust is None:
        raise ValueError("--set conflicting needs the network of its robust features: --robust")
    if asked.set != "conflicting":
        _must_be_unset(asked, _OF_ROBUST, "conflicting")
    usual: dict[str, Any] = {}
    if kind.inverts:
        usual |= {"inversion_steps": STEPS, "inversion_step_size": STEP_SIZE}
    else:
        _must_be_unset(asked, _OF_INVERSION, "d_r, d_nr and conflicting")
    if kind.target == "none":
        _must_be_unset(asked, _OF_ATTACK, "d_det, d_rand and conflicting")
    elif asked.norm == ATTACK.threat.norm:
        usual |= {"eps": ATTACK.threat.eps, "step_size": ATTACK.step_size}
    else:
        usual |= {"eps": USUAL_EPS[asked.norm]}
    unset = {name: value for name, value in usual.items() if getattr(asked, name) is None}
    return replace(asked, **unset)


def _must_be_unset(asked: config.Features, names: tuple[str, ...], sets: str) -> None:
    for name in names:
        if getattr(asked, name) != getattr(config.Features, name):
            raise ValueError(
                f"--{name.replace('_', '-')} is for --set {sets}, not for {asked.set}: leave it out"
            )


def _head(job: Job) -> str:
    """The layer whose input is the features. Raises ValueError where there is none to be had."""
    model, picture = job.inverts, job.originals.pixels(slice(0, 1)).cpu()
    named = job.asked.head
    head = head_of(model, picture) if named is None else named_head(model, named)
    with torch.no_grad(), evaluating(model):
        penultimate(model, head)(picture)
    count = len(job.originals)
    starts(count, torch.zeros(1, dtype=torch.int64), Draws(0, 0, torch.zeros(1, dtype=torch.int64)))
    return head
