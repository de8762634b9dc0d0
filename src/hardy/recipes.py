"""Published settings: one function a setting, which returns a configuration.

    hardy rift --recipe rift_official --checkpoint at.pt --model resnet18
    hardy.rift(**vars(hardy.recipes.rift_official(checkpoint=Path("at.pt"), model="resnet18")))

Flags that are given beside a recipe win over it. The ones named `…_official` do what the
authors' code does, habits such as choosing on the test split included; their docstrings name
what is still different.
"""

from __future__ import annotations

import difflib
from typing import Any

from hardy import config


def rift_official(**more: Any) -> config.Rift:
    """RiFT as microsoft/robustlearn runs it on CIFAR (Zhu et al., ICCV 2023).

    MRC on the whole test split, with PGD-10 at step 2/225 (a typo for 255, kept), SGD of
    lr 1 over minibatches of 512 projected each epoch; fine-tuning in train mode of every
    parameter whose name contains the module's; one attack run; alpha chosen on test.

    Different from it: the last epoch is kept (theirs: the best on test), a tenth of train is
    left out as val, and a criticality is never below zero.
    """
    return config.Rift(
        **{
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "restarts": 1,
            "mrc_pictures": 0,
            "mrc_split": "test",
            "mrc_ascent": "official",
            "mrc_step_size": 2 / 225,
            "batchnorm": ("reestimated",),
            "trainable": "substring",
            "choose_on": "test",
            "choose_pictures": None,
            **more,
        }
    )


def rift_official_mrc(**more: Any) -> config.Mrc:
    """The criticality measurement of rift_official alone."""
    return config.Mrc(
        **{
            "eps": 8 / 255,
            "step_size": 2 / 255,
            "mrc_pictures": 0,
            "mrc_split": "test",
            "mrc_ascent": "official",
            "mrc_step_size": 2 / 225,
            **more,
        }
    )


def pgd_at_rift(**more: Any) -> config.Train:
    """The adversarial training that RiFT starts from: PGD-10 at 8/255 with step 2/255, 110
    epochs, lr 0.1 and a tenth of it from epochs 100 and 105, batches of 128, weight decay
    5e-4, attacked in eval mode (Pang et al. 2021)."""
    return config.Train(**{"model": "resnet18", **more})


def pgd_at_rice(**more: Any) -> config.Train:
    """Rice et al. 2020: PreActResNet-18, 200 epochs, a tenth at half and three quarters of
    them, attacked in train mode."""
    return config.Train(
        **{
            "model": "preact_resnet18",
            "method_options": ("attack_mode=train",),
            "epochs": 200,
            "milestones": (100, 150),
            **more,
        }
    )


RECIPES = {f.__name__: f for f in (rift_official, rift_official_mrc, pgd_at_rift, pgd_at_rice)}


def recipe(name: str, kind: type) -> Any:
    """The configuration of a recipe, for the verb whose configuration is of that kind.

    Raises ValueError for an unknown name or a recipe of another verb.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"no recipe {name!r}: there are {', '.join(RECIPES)}{hint}")
    found = RECIPES[name]()
    if not isinstance(found, kind):
        verb = type(found).__name__.lower()
        raise ValueError(f"the recipe {name} is for hardy {verb}, not {kind.__name__.lower()}")
    return found
