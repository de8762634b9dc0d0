"""The part of an evaluation that brings all networks to one clean accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from hardy.console import say
from hardy.data.augment import augment_of
from hardy.evaluation.crossing import RESAMPLES, Estimate, level_of, readings
from hardy.evaluation.results import Measurement, Scalar
from hardy.evaluation.robustness import Protocol, accuracy
from hardy.evaluation.steps import Steps
from hardy.verbs.asked.inputs import attack_of
from hardy.verbs.evaluating.measuring import Job

if TYPE_CHECKING:
    from hardy.finetuning.interpolate import Point

AT_EQUAL = "robust accuracy at equal clean accuracy"


def at_equal_clean(job: Job, steps: Steps, note: Callable[[str], None]) -> list[Measurement]:
    """The networks' curves of clean against robust accuracy, and their robust accuracy where all
    have the same clean accuracy; `note` is told of those that never have it. The networks stay
    as they are.

    Raises ValueError where a fine-tuning comes to numbers that are not finite.
    """
    # The engine takes a second to import: nothing that does not train waits for it.
    from hardy.finetuning.equal_clean import ALPHAS, towards_clean
    from hardy.training.engine import Engine
    from hardy.training.loop import Settings

    asked, split = job.asked, job.at_equal_clean
    device = split.device
    train, engine = job.data.train.to(device), Engine(device, asked.precision)
    settings = Settings(
        epochs=asked.equal_clean_epochs,
        batch_size=asked.batch_size,
        lr=asked.equal_clean_lr,
        schedule="cosine",
        seed=asked.seed,
    )
    protocol = Protocol(attack_of(asked), 1, asked.seed, asked.precision, job.batch_size)
    curves: dict[str, list[Point]] = {}
    for number, (label, net) in enumerate(job.nets.items()):
        say(f"{label}: from its own weights to clean ones, {len(ALPHAS)} points on {split!r}")
        try:
            curves[label] = towards_clean(
                engine,
                net.model,
                train,
                augment_of(job.data, "zero"),
                settings,
                split,
                protocol,
                steps.within(f"{number} equal clean"),
            )
        except ValueError as error:
            raise ValueError(f"--equal-clean-lr, {label}: {error}") from None
    about: dict[str, Scalar] = {
        "epochs": settings.epochs,
        "lr": settings.lr,
        "batch_size": settings.batch_size,
    }
    points = _points(curves, protocol, split.name, about)
    return [*points, *_readings(curves, protocol, split.name, about, note)]


def _points(
    curves: Mapping[str, Sequence[Point]], protocol: Protocol, split: str, about: dict[str, Scalar]
) -> Iterator[Measurement]:
    for label, points in curves.items():
        for point in points:
            here: dict[str, Scalar] = {"alpha": point.alpha, **about}
            clean: dict[str, Scalar] = {"dtype": "fp32", "seed": protocol.seed, **here}
            robust = {**protocol.setting, **here}
            verdicts = point.verdicts
            yield accuracy("clean accuracy at alpha", verdicts.clean, split, label, clean)
            yield accuracy("robust accuracy at alpha", verdicts.robust, split, label, robust)


def _readings(
    curves: Mapping[str, Sequence[Point]],
    protocol: Protocol,
    split: str,
    about: dict[str, Scalar],
    note: Callable[[str], None],
) -> Iterator[Measurement]:
    first, *_ = curves
    clean = [torch.stack([p.verdicts.clean for p in points]) for points in curves.values()]
    robust = [torch.stack([p.verdicts.robust for p in points]) for points in curves.values()]
    alphas, n = [point.alpha for point in curves[first]], clean[0].shape[1]
    level = level_of(clean)
    setting = {**protocol.setting, **about, "level": level, "resamples": RESAMPLES}
    found = readings(alphas, clean, robust, level, protocol.seed)
    for label, right, one in zip(curves, clean, found, strict=True):
        if one is None:
            note(
                f"{label} has no robust accuracy at equal clean accuracy: on its way it reaches "
                f"{100 * int(right.sum(1).max()) / n:.2f} % clean at most, not {100 * level:.2f} %."
            )
            continue
        here = {**setting, "alpha": one.alpha}
        yield _estimated(AT_EQUAL, one.robust, split, n, label, here)
        if one.gain is not None:
            pair = f"{label} − {first}"
            yield _estimated(f"{AT_EQUAL} gain", one.gain, split, n, pair, setting)


def _estimated(
    quantity: str, one: Estimate, split: str, n: int, subject: str, setting: dict[str, Scalar]
) -> Measurement:
    why = ""
    if one.interval is None:
        why = f"on {100 * one.unread:.0f} % of the resampled pictures the level is never reached"
    setting = {**setting, "unread": one.unread}
    return Measurement(
        quantity, one.value, split, n, subject, one.interval, no_interval=why, setting=setting
    )
