"""From --teacher to the networks that a student learns from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hardy import config
from hardy.console import say
from hardy.data.splits import DataSet
from hardy.models.load import Checkpoint
from hardy.verbs.asked.inputs import checkpoint_of, device_of

NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)", re.DOTALL)


def teachers_of(asked: config.Train, roles: Sequence[str], data: DataSet) -> dict[str, Checkpoint]:
    """The teachers by role, on the CPU.

    Raises ValueError where there is no such device, where the method takes other roles, where a
    file cannot be read, and where a network does not take these pictures or tells other classes
    apart.
    """
    teacher_device(asked, torch.device("cpu"))
    given = _by_role(asked.teacher, roles, "--teacher")
    _must_be_of(asked, given)
    models = _by_role(asked.teacher_model, roles, "--teacher-model", shared=True)
    norms = _by_role(asked.teacher_normalize, roles, "--teacher-normalize", shared=True)
    for flag, named in (("", given), ("-model", models), ("-normalize", norms)):
        if extra := [role for role in named if role not in roles]:
            takes = f"takes {' and '.join(roles)}" if roles else "takes none: leave it out"
            raise ValueError(
                f"--teacher{flag}: {asked.method} has no {' or '.join(extra)} teacher; it {takes}"
            )
    if missing := [role for role in roles if role not in given]:
        how = (
            "--teacher FILE" if len(roles) == 1 else " ".join(f"--teacher {r}=FILE" for r in roles)
        )
        raise ValueError(
            f"{asked.method} learns from a {' and a '.join(roles)} teacher, and the "
            f"{' and '.join(missing)} one is missing: give {how}"
        )
    found: dict[str, Checkpoint] = {}
    for role in roles:
        network = given[role]
        own = isinstance(network, nn.Module)
        if own and role in models:
            raise ValueError(f"teacher {role} is a network from Python: leave --teacher-model out")
        one = config.FromCheckpoint(
            checkpoint=None if own else network,
            model=network if own else models.get(role),
            normalize=norms.get(role),
        )
        try:
            read = checkpoint_of(one, data, torch.device("cpu"))
        except ValueError as error:
            raise ValueError(f"teacher {role}: {_flags(str(error))}") from None
        found[role] = replace(read, notes=[_flags(note) for note in read.notes])
        for sentence in found[role].notes:
            say(f"teacher {role}: {sentence}")
    return found


def _must_be_of(asked: config.Train, given: Mapping[str, Any]) -> None:
    """Raises ValueError for what is said of a teacher where there is none."""
    said = {
        "--teacher-model": asked.teacher_model,
        "--teacher-normalize": asked.teacher_normalize,
        "--teacher-device": asked.teacher_device,
        "--teacher-precision": asked.teacher_precision != "auto",
    }
    for flag, value in said.items():
        if value and not given:
            raise ValueError(f"{flag} is said of a teacher: give --teacher too, or leave it out")


def _flags(sentence: str) -> str:
    """What is said of a network, with the flags that a teacher has for it."""
    return re.sub(r"--(model|normalize)\b", r"--teacher-\1", sentence)


def _by_role(
    given: Any, roles: Sequence[str], flag: str, *, shared: bool = False
) -> dict[str, Any]:
    """What was given for each role. A value without a role is for the first one, or where it is
    `shared` for all."""
    if isinstance(given, Mapping):
        return dict(given)
    found: dict[str, Any] = {}
    for each in given if isinstance(given, tuple | list) else (given,):
        named = NAMED.fullmatch(each) if isinstance(each, str) else None
        unnamed = roles if shared else roles[:1] or ("robust",)
        for role in (named[1],) if named else unnamed:
            if role in found:
                raise ValueError(f"{flag}: there are two for {role}: name them, as in {role}=…")
            found[role] = named[2] if named else each
    return found


def teacher_device(asked: config.Train, usual: torch.device) -> torch.device:
    """Where the teachers compute. Raises ValueError where there is no such device."""
    return usual if asked.teacher_device is None else device_of(asked.teacher_device)
