"""hardy demo: the whole story on the embedded digits, in a few minutes on two cores."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

from hardy import config
from hardy.console import say
from hardy.evaluation.results import Results
from hardy.reporting.tables import is_final
from hardy.verbs import rift, train
from hardy.verbs.asked.arguments import keywords
from hardy.verbs.asked.inputs import device_of
from hardy.verbs.runs.folder import NOT_ASKED, RunFolder, finish, read_config

EPS = 0.2


def run(asked: config.Demo) -> Results:
    """Standard training, adversarial training, RiFT; one page with all of it."""
    device_of(asked.device)
    out = Path(asked.out)
    _clear(out)
    folder = RunFolder("demo", asked)
    common = {"data": "digits", "val_fraction": 0.3, "eps": EPS}
    common |= {"seed": asked.seed, "device": asked.device}
    robust = config.Train(
        **common,
        out=out / "pgd_at",
        model="small_resnet",
        epochs=20,
        schedule="onecycle",
    )
    say("1/3 training without an attacker in mind, to see what robustness will cost")
    plain = train.run(replace(robust, method="standard", out=out / "standard"))
    say("2/3 adversarial training")
    hardened = train.run(robust)
    say("3/3 RiFT")
    better = rift.run(
        config.Rift(
            **common,
            checkpoint=robust.out,
            out=out / "rift",
            choose="both",
            k=2,
            lr=(0.003, 0.01, 0.03),
        )
    )

    kept = [m for m in plain.measurements if is_final(m) and "last" not in m.setting]
    standard = [replace(m, subject="standard") for m in kept]
    curves = [m for each in (plain, hardened) for m in each.measurements if "epoch" in m.setting]
    cost = standard[0].value - next(better.select("clean accuracy", subject="start")).value
    results = folder.results()
    results.facts |= better.facts
    results.measurements += [*standard, *better.measurements, *curves]
    results.notes += [
        f"Adversarial training cost {100 * cost:.1f} points of clean accuracy here against the "
        f"same network trained plainly. The test split has only {standard[0].n} pictures: a gain "
        "of a point lies within the interval, and nothing about larger data follows from it.",
        *better.notes,
    ]
    for artifact in better.artifacts:
        if artifact.kind != "figure":
            results.add_artifact(out / "rift" / artifact.path, artifact.kind)
    return finish(results)


demo = keywords(config.Demo, run)


def _clear(out: Path) -> None:
    """Take away an earlier demo, whole or interrupted, and nothing that is not one."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    known = read_config(out) or {}
    if known.keys() - NOT_ASKED != {f.name for f in fields(config.Demo)} - NOT_ASKED:
        raise ValueError(f"{out} is not an earlier demo: give another --out")
    shutil.rmtree(out)
