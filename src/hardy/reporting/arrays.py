"""The arrays that a run left beside its results: pictures and confusion matrices."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardy.evaluation.results import Results

DAMAGED = (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
KINDS = ("clean", "adversarial")


@dataclass(frozen=True)
class Confusion:
    """One network's matrices by kind ('clean', 'adversarial'): int (K, K), row = true class."""

    network: str
    matrices: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Broken:
    """What breaks pictures (n, C, H, W) for one network, the classes that it says, (n,), and
    which of them are broken: right when clean and wrong when attacked, bool (n,)."""

    network: str
    adversarial: np.ndarray
    clean_class: np.ndarray
    adversarial_class: np.ndarray
    broken: np.ndarray


def stored(results: Results, kind: str, folder: Path | None) -> dict[str, np.ndarray] | None:
    """The arrays of the artifact of a kind, or None where there is none or its file is gone.

    Raises ValueError where the file is damaged.
    """
    if folder is None:
        return None
    path = next((folder / a.path for a in results.artifacts if a.kind == kind), None)
    if path is None or not path.is_file():
        return None
    try:
        # Opened here, for numpy leaves what is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except DAMAGED as error:
        raise damaged(path, kind, error) from None


def damaged(path: Path | str, kind: str, error: Exception) -> ValueError:
    """The mistake to raise for a file that does not hold what it should."""
    return ValueError(f"{path} does not hold the {kind} of a run ({error})")


def confusions(results: Results, folder: Path | None) -> tuple[list[str], list[Confusion]]:
    """The names of the classes and the matrices of each network; empty where there are none.

    Raises ValueError where the file is damaged.
    """
    held = stored(results, "confusion", folder)
    if held is None:
        return [], []
    try:
        classes = [str(name) for name in held["classes"]]
        found = [
            Confusion(network, {k: held[f"{network}/{k}"] for k in KINDS})
            for network in _networks(held, "/clean")
        ]
        if any(m.shape != 2 * (len(classes),) for one in found for m in one.matrices.values()):
            raise ValueError("matrices and classes differ in size")
    except DAMAGED as error:
        raise damaged("the artifact", "confusion", error) from None
    return classes, found


def broken(
    results: Results, folder: Path | None
) -> tuple[np.ndarray, np.ndarray, list[str], list[Broken]] | None:
    """Pictures that an attack breaks (n, C, H, W), labels (n,), classes and what each network
    makes of them; None where there are none.

    Raises ValueError where the file is damaged.
    """
    held = stored(results, "broken pictures", folder)
    if held is None:
        return None
    try:
        clean, labels = held["clean"], held["labels"]
        of = [
            Broken(
                network,
                held[f"{network}/adversarial"],
                held[f"{network}/clean class"],
                held[f"{network}/adversarial class"],
                held[f"{network}/broken"],
            )
            for network in _networks(held, "/broken")
        ]
        same = [one.adversarial.shape == clean.shape for one in of]
        if clean.ndim != 4 or not all(same) or any(len(one.broken) != len(clean) for one in of):
            raise ValueError("pictures differ in size")
        return clean, labels, [str(name) for name in held["classes"]], of
    except DAMAGED as error:
        raise damaged("the artifact", "broken pictures", error) from None


def _networks(held: Mapping[str, np.ndarray], ending: str) -> list[str]:
    return [name.removesuffix(ending) for name in held if name.endswith(ending)]
