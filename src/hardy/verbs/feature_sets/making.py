"""The pictures of a set of features, made a batch after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardy.attacks.search import must_be_finite
from hardy.console import progress
from hardy.data.splits import pixels_of
from hardy.diagnosis.features import apart, inverted, penultimate, starts, targets
from hardy.draws import Draws
from hardy.evaluation.steps import Steps
from hardy.modes import autocast, evaluating, forward_in, frozen, without_tf32
from hardy.threat import L2
from hardy.verbs.feature_sets.job import OWN, Job

SHOWN = 8
STAGES = ("original", "start", "inverted", "made")


@dataclass(frozen=True)
class Made:
    """A whole set on the CPU, in the order of the originals.

    images: (N, C, H, W) as they are stored, float16 or uint8. labels: int64 (N,). values: of each
    picture, (N,) by name: 'said/ROLE', the class that a network takes the stored picture for, and
    'exact', that of OWN before it was rounded; distances 'moved' and 'rounding', and 'before' and
    'after' where features were inverted. shown: how the first few were made, (n, C, H, W) pixels
    by stage, 'original' first and 'made' last.
    """

    images: Tensor
    labels: Tensor
    values: Mapping[str, Tensor]
    shown: Mapping[str, Tensor]


def made(job: Job, device: torch.device, steps: Steps) -> Made:
    """Make a set, its networks being on the device; goes on where an earlier call was stopped."""
    count, size, found = len(job.originals), 2 * job.asked.batch_size, []
    kept, shown = steps.within("batches"), steps.tensors("shown")
    nets = [net.model for net in job.nets.values()]
    with (
        evaluating(*nets),
        frozen(*nets),
        without_tf32(),
        progress(job.asked.set, count) as advance,
    ):
        for number, rows in enumerate(torch.arange(count).split(size)):
            batch = kept.tensors(f"{number:06d}")
            if batch is None:
                stages, labels, distances = _stages(job, rows, device)
                if number == 0:
                    shown = {name: x[:SHOWN].cpu() for name, x in stages.items()}
                    steps.keep_tensors("shown", shown)
                batch = {"labels": labels, **distances, **_stored(job, stages)}
                batch = {name: value.cpu() for name, value in batch.items()}
                kept.keep_tensors(f"{number:06d}", batch)
            found.append(batch)
            advance(len(rows))
    whole = {name: torch.cat([batch[name] for batch in found]) for name in found[0]}
    # In the order of their making, which a file of tensors does not keep.
    assert shown is not None, "kept with the first batch"
    shown = {name: shown[name] for name in STAGES if name in shown}
    return Made(whole.pop("images"), whole.pop("labels"), whole, shown)


def _stages(
    job: Job, rows: Tensor, device: torch.device
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Some pictures of the set as they are made, stage by stage, their labels, and how far their
    features were from those of the originals before and after."""
    asked, kind, split = job.asked, job.kind, job.originals
    x, y = split.pixels(rows).to(device), split.labels[rows].to(device)
    draws = Draws(asked.seed, 0, split.index[rows].to(device))
    labels = targets(kind.target, y, job.data.num_classes, draws)
    found, distances, last = {"original": x}, {}, x
    if kind.inverts:
        others = starts(len(split), rows.to(device), draws).cpu()
        found["start"] = split.pixels(others).to(device)
        last, distances = _inverted(job, x, found["start"])
    if kind.inverts and kind.target != "none":
        found["inverted"] = last
    if kind.target != "none":
        forward = forward_in(job.nets[OWN].model, device, asked.precision)
        last = job.attack.towards(forward, last, labels, draws)
    return {**found, "made": last}, labels, distances


def _inverted(job: Job, x: Tensor, start: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    asked, model = job.asked, job.inverts
    assert asked.head and asked.inversion_steps and asked.inversion_step_size, "filled in"
    raw = penultimate(model, asked.head)

    def features(x: Tensor) -> Tensor:
        with autocast(x.device, asked.precision):
            return raw(x)

    with torch.no_grad():
        wanted = features(x)
        before = apart(features(start), wanted)
    found = inverted(features, start, wanted, asked.inversion_steps, asked.inversion_step_size)
    with torch.no_grad():
        return found, {"before": before, "after": apart(features(found), wanted)}


@torch.no_grad()
def _stored(job: Job, stages: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The pictures as they are stored, and what is measured of them."""
    *_, before, last = stages.values()
    images = (last * 255).round().byte() if job.asked.format == "folder" else last.half()
    pixels, distance = pixels_of(images), L2(1.0).distance
    found = {
        "images": images,
        "moved": distance(last, before),
        "rounding": distance(pixels, last),
        "exact": _said(job.nets[OWN].model, last),
    }
    return found | {f"said/{role}": _said(net.model, pixels) for role, net in job.nets.items()}


def _said(model: nn.Module, x: Tensor) -> Tensor:
    logits = model(x)
    must_be_finite(logits)
    return logits.argmax(1)
