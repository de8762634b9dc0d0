"""Made-up evaluations: any number of networks and classes, every quantity that the verb writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reported_runs import EVIL

from hardy.evaluation.results import Finding, Measurement, Results, Scalar

N = 1000
Setting = dict[str, Scalar]
TERMS: Setting = {"norm": "linf", "eps": 8 / 255, "seed": 0, "dtype": "fp32"}
PGD: Setting = {"attack": "PGD", **TERMS, "steps": 10, "step_size": 2 / 255, "restarts": 3}
AA: Setting = {
    "attack": "AutoAttack",
    **TERMS,
    "runs": "APGD-CE × 1, APGD-T × 9, FAB-T × 9, Square × 1",
}
FAMILIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
EXTRA = {
    "speckle_noise": "noise",
    "gaussian_blur": "blur",
    "spatter": "weather",
    "saturate": "digital",
}
MADE: Setting = {"source": "generated", "parameters": "cifar", "seed": 0}
CIFAR = ("airplane", "automobile", EVIL, "$cat_1$", "deer", "dog", "frog", "horse", "ship", "lorry")


def share(quantity: str, value: float, subject: str, setting: Setting, n: int = N) -> Measurement:
    half = 1.96 * (value * (1 - value) / n) ** 0.5
    ends = (max(0.0, value - half), min(1.0, value + half))
    return Measurement(quantity, value, "test", n, subject, ends, setting=dict(setting))


def difference(
    quantity: str, value: float, subject: str, p: float | None, setting: Setting
) -> Measurement:
    more: Setting = {} if p is None else {"gained": 30, "lost": 10, "p": p}
    ends = (value - 0.01, value + 0.01)
    return Measurement(quantity, value, "test", N, subject, ends, setting={**setting, **more})


def of_accuracy(network: str, index: int) -> list[Measurement]:
    """Clean .80 + .01 i; PGD .50 + .02 i; AutoAttack, from stage to stage, .48, .46, .46, .459,
    each + .02 i."""
    up = 0.02 * index
    found = [
        share("clean accuracy", 0.8 + 0.01 * index, network, {"dtype": "fp32"}),
        share("robust accuracy", 0.5 + up, network, PGD),
        share("robust accuracy", 0.459 + up, network, AA),
    ]
    clean = round((0.8 + 0.01 * index) * N)
    standing = [round((value + up) * N) for value in (0.48, 0.46, 0.46, 0.459)]
    before = [clean, *standing]
    for stage, old, new in zip(
        ("APGD-CE", "APGD-T", "FAB-T", "Square"), before, standing, strict=False
    ):
        about: Setting = {**AA, "stage": stage, "broken": old - new}
        found.append(share("robust accuracy so far", new / N, network, about))
    return found


def of_radius(network: str, index: int, points: int = 9) -> list[Measurement]:
    found = []
    for i in range(points):
        eps = 16 / 255 * i / (points - 1)
        value = (0.8 + 0.01 * index) * (1 - (i / (points - 1)) ** (1 + 0.1 * index)) + 0.01
        about: Setting = {**PGD, "eps": eps, "step_size": eps / 4, "restarts": 1}
        found.append(share("robust accuracy at radius", value, network, about, n=500))
    return found


def of_equal_clean(networks: Sequence[str]) -> list[Measurement]:
    """The i-th starts at .80 + .01 i clean and .55 + .02 i robust; each tenth of the way brings a
    point and costs one. So all come to the last one's own, the first of two with .54 robust."""
    found, top = [], len(networks) - 1
    once: Setting = {**PGD, "restarts": 1}
    for i, network in enumerate(networks):
        for tenth in range(11):
            along: Setting = {"alpha": tenth / 10, "dtype": "fp32"}
            clean, robust = 0.8 + 0.01 * (i + tenth), 0.55 + 0.02 * i - 0.01 * tenth
            found.append(share("clean accuracy at alpha", clean, network, along))
            found.append(share("robust accuracy at alpha", robust, network, {**once, **along}))
        at: Setting = {**once, "level": 0.8 + 0.01 * top, "alpha": (top - i) / 10}
        value = 0.55 + 0.02 * i - 0.01 * (top - i)
        found.append(share("robust accuracy at equal clean accuracy", value, network, at))
        if i:
            quantity = "robust accuracy at equal clean accuracy gain"
            pair = f"{network} − {networks[0]}"
            found.append(difference(quantity, 0.03 * i, pair, None, {**once, "level": at["level"]}))
    return found


def of_classes(network: str, index: int, classes: Sequence[str]) -> list[Measurement]:
    draws, found = np.random.default_rng(index), []
    for name in classes:
        clean = round(float(draws.uniform(0.5, 0.95)), 2)
        for kind, value, more in (
            ("clean", clean, {"dtype": "fp32"}),
            ("adversarial", round(clean * float(draws.uniform(0.1, 0.9)), 2), AA),
        ):
            about: Setting = {"class": name, "kind": kind, **more}
            found.append(share("class accuracy", value, network, about, n=100))
    return found


def of_corruptions(
    network: str, index: int, networks: Sequence[str], severities: Sequence[int] = (1, 2, 3, 4, 5)
) -> list[Measurement]:
    """The k-th corruption has .9 − .02 k − .05 s + .01 i at severity s."""
    found = []
    family = {name: of for of, names in FAMILIES.items() for name in names}
    for k, name in enumerate([*family, *EXTRA]):
        for s in severities:
            about: Setting = {
                "corruption": name,
                "severity": s,
                "family": {**family, **EXTRA}[name],
                "standard": name in family,
                **MADE,
            }
            value = 0.9 - 0.02 * k - 0.05 * s + 0.01 * index
            found.append(share("corruption accuracy", round(value, 4), network, about))
    for of, value in (("standard 15", 0.61), ("noise", 0.73), ("extra 4", 0.42)):
        own: Setting = {"of": of, **MADE}
        found.append(share("mean corruption accuracy", value + 0.01 * index, network, own))
        if index:
            pair = f"{network} − {networks[0]}"
            gain = difference("mean corruption accuracy gain", 0.01 * index, pair, None, own)
            found.append(gain)
    return found


def gains(networks: Sequence[str], p: float = 0.002) -> list[Measurement]:
    found = []
    for i, network in enumerate(networks[1:], 1):
        pair = f"{network} − {networks[0]}"
        found += [
            difference("clean accuracy gain", 0.01 * i, pair, 0.04, {"dtype": "fp32"}),
            difference("robust accuracy gain", 0.02 * i, pair, p, PGD),
            difference("robust accuracy gain", 0.02 * i, pair, p, AA),
        ]
    return found


def write_confusion(results: Results, networks: Sequence[str], classes: Sequence[str]) -> None:
    """Of 100 pictures of class k: clean 80 right and 20 taken for k + 1; attacked 50 right, 40
    taken for k + 1 and 10 for k + 2, but 45 and 5 of class 0."""
    assert results.folder is not None
    k = len(classes)
    one = np.eye(k, dtype=np.int64)
    clean = 80 * one + 20 * np.roll(one, 1, axis=1)
    attacked = 50 * one + 40 * np.roll(one, 1, axis=1) + 10 * np.roll(one, 2, axis=1)
    attacked[0, 1] += 5
    attacked[0, 2] -= 5
    kept: dict[str, Any] = {"classes": np.array(classes)}
    for network in networks:
        kept |= {f"{network}/clean": clean, f"{network}/adversarial": attacked}
    path = results.folder / "confusion.npz"
    np.savez(path, **kept)
    results.add_artifact(path, "confusion")


def write_broken(
    results: Results,
    networks: Sequence[str],
    classes: Sequence[str],
    n: int = 8,
    shape: tuple[int, int, int] = (3, 32, 32),
) -> None:
    """Picture i is of class i mod K. The j-th network is broken in it (class + 1) where i + j is
    even; else it stands, but the last picture is wrong already (class + 2)."""
    assert results.folder is not None
    draws, k = np.random.default_rng(5), len(classes)
    ramp = np.linspace(0, 1, shape[1])
    waves = np.sin(ramp[:, None] * draws.uniform(2, 14, (n, shape[0], 1, 1)))
    clean = np.broadcast_to(110 + 70 * waves * np.cos(6 * ramp), (n, *shape)).astype("uint8")
    labels = np.arange(n) % k
    kept: dict[str, Any] = {"clean": clean, "labels": labels, "classes": np.array(classes)}
    for j, network in enumerate(networks):
        broken = (np.arange(n) + j) % 2 == 0
        noise = draws.choice([-8, 8], clean.shape) * broken[:, None, None, None]
        said = np.where(~broken & (np.arange(n) == n - 1), (labels + 2) % k, labels)
        kept |= {
            f"{network}/adversarial": np.clip(clean.astype(int) + noise, 0, 255).astype("uint8"),
            f"{network}/clean class": said,
            f"{network}/adversarial class": np.where(broken, (labels + 1) % k, said),
            f"{network}/broken": broken,
        }
    path = results.folder / "broken.npz"
    np.savez(path, **kept)
    results.add_artifact(path, "broken pictures")


def found_before(networks: Sequence[str]) -> list[Finding]:
    first, last = networks[0], networks[-1]
    return [
        Finding("few pictures", "mild", "1,000 pictures leave ±3 points.", "", {"n": N}),
        Finding(
            "zero gradients",
            "fatal",
            "The gradient is zero on 93 % of the pictures: attack it with --attack square.",
            first,
            {"share": 0.93125, "pictures": 256},
        ),
        Finding("random answers", "serious", "It draws random numbers.", last, {"flips": 0.1}),
    ]


def write_evaluation(
    folder: Path,
    networks: Sequence[str] = ("pgd_at", "trades"),
    classes: Sequence[str] = CIFAR,
    p: float = 0.002,
    found: bool = False,
) -> Results:
    """An evaluation with everything, written into a folder."""
    results = Results(
        "evaluate",
        facts={"model": "resnet18", "data": "cifar10", "threat": "Linf(8/255)", "preflight": 256},
        notes=["Frost is a procedural texture, not the photographs of the paper."],
        folder=folder,
    )
    for i, network in enumerate(networks):
        results.measurements += [
            *of_accuracy(network, i),
            *of_radius(network, i),
            *of_classes(network, i, classes),
            *of_corruptions(network, i, networks),
        ]
    results.measurements += gains(networks, p)
    if len(networks) > 1:
        results.measurements += of_equal_clean(networks)
    results.findings = found_before(networks) if found else []
    write_confusion(results, networks, classes)
    write_broken(results, networks, classes)
    results.write()
    return results
