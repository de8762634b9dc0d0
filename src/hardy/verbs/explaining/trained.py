"""What the run folder of a network still says of its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hardy.evaluation.results import FILE_NAME, Measurement, read
from hardy.models.hub import is_hub

LAST = ", last epoch − "


def of_training(path: Path | None, network: str, note: Callable[[str], None]) -> list[Measurement]:
    """The curves over the epochs of a run of hardy train, and by how much its last epoch differs
    from the one that was kept on test, under the name that the network has here; nothing of
    anything else. A folder that can no longer be read is noted."""
    if path is None or is_hub(path) or not (path / FILE_NAME).is_file():
        return []
    try:
        results = read(path)
    except ValueError as error:
        note(f"What {network} was like in training is not told: {error}.")
        return []
    if results.verb != "train":
        return []
    curves = [m for m in results.measurements if "epoch" in m.setting]
    if not curves:
        return []
    # The main network comes first in each epoch.
    main = curves[0].subject

    def here(subject: str) -> str:
        return network if subject == main else f"{network}, {subject}"

    found = [replace(m, subject=here(m.subject)) for m in curves]
    falls = [m for m in results.measurements if m.subject == f"{main}{LAST}{main}"]
    return [replace(m, subject=f"{network}{LAST}{network}") for m in falls] + found
