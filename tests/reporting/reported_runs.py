"""Made-up but realistic runs: a RiFT run of a ResNet-18 and smaller ones of other verbs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hardy.evaluation.results import Measurement, Results, Scalar

EVIL = "<script>alert(1)</script>"
NO_INTERVAL = "one attack run of one sample"
ATTACK: dict[str, Scalar] = {
    "attack": "PGD",
    "norm": "linf",
    "eps": 8 / 255,
    "steps": 10,
    "restarts": 3,
    "step_size": 2 / 255,
    "seed": 0,
    "dtype": "float32",
}
BLOCKS = [(n, b) for n in (1, 2, 3, 4) for b in (0, 1)]
MODULES = ["conv1"]
for stage, block in BLOCKS:
    MODULES += [f"layer{stage}.{block}.conv1", f"layer{stage}.{block}.conv2"]
    MODULES += [f"layer{stage}.0.shortcut.0"] if block == 0 and stage > 1 else []
MODULES += ["linear"]


def accuracy(
    kind: str, value: float, subject: str, split: str = "test (reported half)", n: int = 5000
) -> Measurement:
    half = 1.96 * (value * (1 - value) / n) ** 0.5
    setting = ATTACK if kind == "robust" else {}
    ends = (value - half, value + half)
    return Measurement(f"{kind} accuracy", value, split, n, subject, ends, setting=dict(setting))


def of_modules(names: list[str]) -> list[Measurement]:
    draws = np.random.default_rng(7)
    found: list[Measurement] = []
    for depth, name in enumerate(names):
        small = "shortcut" in name
        mrc = float(
            0.02 * 150 ** (depth / len(names)) * draws.lognormal(0, 0.5) * (0.3 if small else 1)
        )
        setting: dict[str, Scalar] = {**ATTACK, "parameters": 64 * 9 * 64 * (1 + depth)}
        values = {
            "mrc": mrc,
            "robust accuracy drop": 0.075 * mrc - 0.004,
            "clean potential": float(0.4 + 2.5 * depth / len(names) * draws.uniform(0.4, 1.2)),
            "conflict": float(-0.75 + depth / len(names) * draws.uniform(0.6, 1.2)),
        }
        for quantity, value in values.items():
            found.append(
                Measurement(quantity, value, "train", 1024, name, None, NO_INTERVAL, setting)
            )
    return found


def of_candidates(labels: list[str], chosen: tuple[int, float] | None) -> list[Measurement]:
    found: list[Measurement] = []
    for index, label in enumerate(labels):
        for step in range(11):
            alpha = step / 10
            clean = 0.8146 + (0.020 - 0.004 * index) * alpha - 0.006 * alpha**2
            robust = 0.5363 + 0.002 * alpha - (0.006 + 0.004 * index) * alpha**2
            setting: dict[str, Scalar] = {"alpha": alpha}
            if (index, alpha) == chosen:
                setting["chosen"] = True
            for quantity, value in (("clean accuracy", clean), ("robust accuracy", robust)):
                full = {**(ATTACK if "robust" in quantity else {}), **setting}
                split = "test (choosing half)"
                found.append(Measurement(quantity, value, split, 5000, label, None, "paired", full))
    return found


def of_training(runs: list[str], epochs: int = 20) -> list[Measurement]:
    found: list[Measurement] = []
    for index, run in enumerate(runs):
        for epoch in range(1, epochs + 1):
            share = 1 - np.exp(-epoch / (5 + 2 * index))
            setting: dict[str, Scalar] = {"epoch": epoch, "seconds": 11.5 * epoch}
            if epoch == epochs - 3:
                setting["chosen"] = True
            for quantity, value, split in (
                ("train loss", 2.2 - 1.2 * share, "train"),
                ("clean accuracy", 0.1 + (0.85 - 0.1 * index) * share, "val"),
                ("robust accuracy", 0.05 + (0.1 + 0.4 * index) * share, "val"),
            ):
                full = {**(ATTACK if "robust" in quantity else {}), **setting}
                found.append(
                    Measurement(quantity, float(value), split, 1000, run, None, NO_INTERVAL, full)
                )
    return found


def write_pictures(results: Results, shape: tuple[int, int, int] = (3, 32, 32)) -> None:
    assert results.folder is not None
    draws = np.random.default_rng(3)
    count, ramp = 10, np.linspace(0, 1, shape[1])
    waves = np.sin(ramp[:, None] * draws.uniform(2, 14, (count, shape[0], 1, 1)))
    clean = (110 + 70 * waves * np.cos(6 * ramp) + 20 * draws.random((count, *shape))).astype(
        "uint8"
    )
    noise = draws.choice([-8, 8], clean.shape)
    adversarial = np.clip(clean.astype(int) + noise, 0, 255).astype("uint8")
    labels = np.arange(count)
    path = results.folder / "pictures.npz"
    np.savez(
        path,
        clean=clean,
        adversarial=adversarial,
        labels=labels,
        classes=np.array([EVIL, "$car_1$", "bird", "a very long class name", *"efghij"]),
        **{
            "start/clean": np.where(labels % 3 == 1, 2, labels),
            "start/adversarial": np.where(labels % 2 == 1, 3, labels),
            "result/clean": labels,
            "result/adversarial": np.where(labels % 2 == 1, 2, labels),
        },
    )
    results.add_artifact(path, "pictures")


def write_rift(folder: Path) -> Results:
    results = Results(
        "rift",
        facts={
            "model": "resnet18",
            "data": "cifar10",
            "module": "layer2.1.conv2",
            "learning rate": 0.001,
            "alpha": 0.6,
            "classes": f"{EVIL}, $car_1$, bird",
        },
        notes=[
            "The checkpoint comes from elsewhere: module and α were chosen on one half of test."
        ],
        measurements=[
            accuracy("clean", 0.8146, "start"),
            accuracy("robust", 0.5363, "start"),
            accuracy("clean", 0.8162, "bn only"),
            accuracy("robust", 0.5348, "bn only"),
            accuracy("clean", 0.8270, "result"),
            accuracy("robust", 0.5361, "result"),
            gain("clean", 0.0124, (0.004, 0.021)),
            gain("robust", -0.0002, (-0.003, 0.003)),
            *of_modules(MODULES),
            *of_candidates(["layer2.1.conv2, lr 0.001", "layer4.1.conv1, lr 0.01"], (0, 0.6)),
            *of_training(["standard", "pgd_at"]),
        ],
        folder=folder,
    )
    write_pictures(results)
    config = {
        "model": "resnet18",
        "data": "cifar10",
        "eps": 8 / 255,
        "steps": 10,
        "modules": ["layer2.1.conv2", "layer4.1.conv1"],
        "optimizer": {"name": "sgd", "lr": [0.001, 0.01]},
        "command": "hardy rift --model resnet18 --data cifar10 --eps 8/255 --out runs/rift",
        "environment": {"hardy": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    results.write()
    return results


def gain(kind: str, value: float, interval: tuple[float, float]) -> Measurement:
    setting = ATTACK if kind == "robust" else {}
    return Measurement(
        f"{kind} accuracy gain",
        value,
        "test (reported half)",
        5000,
        "result",
        interval,
        "",
        dict(setting),
    )
