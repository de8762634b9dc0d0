"""What a training run is made of, put together from its arguments before a file is written."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from hardy import config
from hardy.attacks.pgd import PGD
from hardy.console import say
from hardy.data.mixing import joined, load_extra
from hardy.data.order import Mix
from hardy.data.splits import DataSet, Split
from hardy.diagnosis.ligs import SIGMA
from hardy.evaluation.robustness import Protocol
from hardy.methods.find import make
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method
from hardy.methods.standard import Standard
from hardy.methods.wrappers.awp import AWP
from hardy.methods.wrappers.ligs import LIGSRegularised
from hardy.models.architecture import Architecture
from hardy.models.load import Checkpoint
from hardy.models.normalize import canonical, must_be_own, own_of
from hardy.threat import threat_of
from hardy.training.averaging import Averaging
from hardy.training.phases import Probing
from hardy.verbs.asked.arguments import check
from hardy.verbs.asked.inputs import (
    attack_of,
    data_of,
    fingerprint,
    fit_for,
    given_network,
    must_run,
    placed,
    protocol_of,
    streaming_of,
)
from hardy.verbs.training.normalised import begun, exchanged
from hardy.verbs.training.published import published
from hardy.verbs.training.renewal import classifier, must_be_consistent, transferred
from hardy.verbs.training.teachers import teachers_of

if TYPE_CHECKING:
    from hardy.training.loop import Settings


@dataclass(frozen=True)
class Job:
    """A training run before its first step.

    subject: its name in tables. attack: of training; protocol: of val and test. train: what is
    trained on, extra pictures included. start: the checkpoint that it goes on from, if any.
    teachers: the networks to learn from, by role. caution: what the method says of this network.
    remarks: what is to be known of a new one.
    """

    subject: str
    method: Method
    attack: PGD
    protocol: Protocol
    data: DataSet
    train: Split
    settings: Settings
    model: nn.Module
    architecture: Architecture
    start: Checkpoint | None
    teachers: dict[str, Checkpoint]
    caution: str | None
    remarks: list[str]

    @functools.cached_property
    def taught_by(self) -> str:
        """The teachers by role, architecture and what tells their weights from others."""
        return ", ".join(
            f"{role}: {each.architecture.model} {fingerprint(each.model.state_dict())}"
            for role, each in self.teachers.items()
        )

    def to(self, device: torch.device) -> Job:
        """The same on another device, but for the teachers: they are placed when they work."""
        data = self.data.to(device)
        own = self.train is self.data.train
        train = data.train if own else self.train.to(device)
        return replace(self, model=placed(self.model, device), train=train, data=data)


def job_of(asked: config.Train) -> Job:
    """The job, on the CPU. Raises ValueError for anything that was asked for wrongly."""
    check(asked)
    if asked.nesterov and not asked.momentum:
        raise ValueError("--nesterov needs --momentum: give one, such as 0.9, or leave it out")
    if asked.ligs_sigma is not None and not (asked.ligs_weight or asked.ligs_pictures):
        raise ValueError(
            "--ligs-sigma is for --ligs-weight and --ligs-pictures: give one of them too, or leave "
            "it out"
        )
    _must_come(asked.keep_epochs, asked.epochs)
    method = make(asked.method, asked.method_options)
    if asked.ligs_weight:
        method = LIGSRegularised(method, asked.ligs_weight, asked.ligs_sigma or SIGMA)
    if asked.awp:  # around it, so that the weights are perturbed against all of the loss
        method = AWP(method, asked.awp, asked.awp_warmup / asked.epochs)
        if asked.awp_warmup >= asked.epochs:
            say(f"--awp-warmup {asked.awp_warmup} lasts the whole run: no weight is perturbed")
    attack, protocol = attack_of(asked), _measured_by(asked)
    data = data_of(asked, asked.limit)
    train, mix = data.train, None
    if asked.extra_data is not None:
        extra = load_extra(
            asked.extra_data,
            asked.data_root,
            data,
            asked.extra_limit,
            streaming_of(asked),
            asked.image_column,
            asked.label_column,
        )
        train, mix = joined(train, extra), Mix(len(train), asked.extra_fraction)
    must_be_consistent(asked, data)
    model, architecture, start, remarks = _network(asked, data)
    if caution := method.check(model, fresh=start is None):
        say(caution)
    probing = _probing(asked, model, data)
    teachers = teachers_of(asked, method.roles, data)
    return Job(
        asked.method + (" + LIGS" if asked.ligs_weight else "") + (" + AWP" if asked.awp else ""),
        method,
        attack,
        protocol,
        data,
        train,
        _settings(asked, mix, probing),
        model,
        architecture,
        start,
        teachers,
        caution,
        remarks,
    )


def _must_come(kept: tuple[int, ...] | int | None, epochs: int) -> None:
    """Raises ValueError where an epoch of --keep-epochs never comes."""
    if isinstance(kept, int):
        raise ValueError(f"--keep-epochs: give several in a tuple: keep_epochs=({kept},)")
    if kept and max(kept) > epochs:
        raise ValueError(f"--keep-epochs {max(kept)} never comes: --epochs is {epochs}")


def _measured_by(asked: config.Train) -> Protocol:
    """How val and test are attacked: as in training, but for what is asked otherwise."""
    own = protocol_of(asked)
    # Memory was sized by a step: no more than twice what a process holds in one of its parts.
    world = int(os.environ.get("WORLD_SIZE", asked.devices))
    held = -(-asked.batch_size // (asked.accumulate * world))
    eps = own.attack.threat.eps if asked.eval_eps is None else asked.eval_eps
    steps = asked.steps if asked.eval_steps is None else asked.eval_steps
    same = (eps, steps) == (own.attack.threat.eps, asked.steps)
    usual = asked.step_size if same else None
    step = usual if asked.eval_step_size is None else asked.eval_step_size
    attack = PGD(threat_of(asked.norm, eps), steps, step)
    return replace(own, attack=attack, batch_size=2 * held)


def _probing(asked: config.Train, model: nn.Module, data: DataSet) -> Probing | None:
    """What the head alone is trained by at first. Raises ValueError where that lasts too long."""
    left = asked.epochs - asked.probe_epochs
    if left < 0:
        raise ValueError(
            f"--probe-epochs are the first of --epochs: {asked.probe_epochs} of {asked.epochs} "
            "are too many"
        )
    if asked.eps_warmup >= max(1, left):
        say(f"--eps-warmup {asked.eps_warmup} lasts the whole run: no epoch is trained at eps")
    if not asked.probe_epochs:
        return None
    method = Standard() if asked.probe == "clean" else PGDAT()
    return Probing(asked.probe_epochs, classifier(asked, model, data), method)


def _settings(asked: config.Train, mix: Mix | None, probing: Probing | None) -> Settings:
    # Its room imports the engine, which takes a second: all else that can be wrong comes first.
    from hardy.training.loop import Settings

    average = None
    if asked.average != "none":
        usual_start, usual_norm = (
            (0.025, "copied") if asked.average == "ema" else (0.75, "reestimated")
        )
        average = Averaging(
            asked.average,
            asked.average_decay,
            usual_start if asked.average_start is None else asked.average_start,
            usual_norm if asked.average_batchnorm == "auto" else asked.average_batchnorm,
        )
    return Settings(
        epochs=asked.epochs,
        batch_size=asked.batch_size,
        accumulate=asked.accumulate,
        lr=asked.lr,
        momentum=asked.momentum,
        nesterov=asked.nesterov,
        weight_decay=asked.weight_decay,
        schedule=asked.schedule,
        milestones=asked.milestones or _usual_milestones(asked.epochs),
        seed=asked.seed,
        average=average,
        mix=mix,
        probing=probing,
        eps_warmup=asked.eps_warmup,
        cuda_graphs=asked.cuda_graphs,
    )


def _usual_milestones(epochs: int) -> tuple[int, ...]:
    """100 and 105 of 110 epochs (Pang et al. 2021), and in that proportion of others."""
    marks = {min(round(epochs * share), epochs - 1) for share in (10 / 11, 21 / 22)}
    return tuple(sorted(marks - {0})) or (epochs,)


def _network(
    asked: config.Train, data: DataSet
) -> tuple[nn.Module, Architecture, Checkpoint | None, list[str]]:
    """A new network, or that of --checkpoint, and then where it comes from; and what is to be
    known of a new one."""
    if asked.pretrained or asked.checkpoint is not None or isinstance(asked.model, nn.Module):
        if asked.pretrained:
            start = published(asked, data)
        else:
            start = transferred(asked, given_network(asked, data), data)
        found = fit_for(exchanged(asked, start, data), data, torch.device("cpu"))
        for sentence in found.notes:
            say(sentence)
        return found.model, found.architecture, found, []
    if asked.model is None:
        raise ValueError("--model is missing: give an architecture, such as resnet18")
    architecture = Architecture(
        asked.model,
        data.num_classes,
        data.in_channels,
        data.normalization if asked.normalize is None else asked.normalize,
        asked.input_size,
        asked.norm_layer,
    )
    with torch.random.fork_rng(devices=[]):  # the caller's own generator stays where it is
        torch.manual_seed(asked.seed)
        model = architecture.build()
    own = own_of(model)
    if own is not None and own != canonical(architecture.normalize):
        must_be_own(own, asked.normalize)
        architecture = replace(architecture, normalize=own)
    model, architecture, remarks = begun(model, architecture, data)
    must_run(model, architecture.model, data)
    for sentence in remarks:
        say(sentence)
    return model, architecture, None, remarks
