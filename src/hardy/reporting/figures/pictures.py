"""A few pictures of a run: clean, attacked, and what the nets say of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hardy.evaluation.results import Results
from hardy.reporting.arrays import DAMAGED, damaged, stored
from hardy.reporting.figures.thumbnails import (
    AMPLIFIED,
    amplified,
    empty,
    picture,
    true_class,
    verdict,
)
from hardy.reporting.style import WIDTH, drawn

PICTURES_SHOWN = 8


@drawn
def pictures(results: Results, folder: Path) -> Figure | None:
    """The first pictures, clean and attacked, the difference amplified, what the nets say of them.

    Raises ValueError where the file of pictures is damaged.
    """
    held = stored(results, "pictures", folder)
    if held is None:
        return None
    try:
        clean, adversarial = (
            held[name][:PICTURES_SHOWN].astype(np.int16) for name in ("clean", "adversarial")
        )
        labels, classes = held["labels"], [str(name) for name in held["classes"]]
    except DAMAGED as error:
        path = next(a.path for a in results.artifacts if a.kind == "pictures")
        raise damaged(folder / path, "pictures", error) from None
    if not len(clean):
        return None
    difference = amplified(clean, adversarial)
    columns = len(clean)
    # Eight columns always, so that one picture alone is not blown up to the width of the page.
    figure = Figure(figsize=(WIDTH, 4.2), layout="compressed")
    grid = figure.subplots(3, PICTURES_SHOWN, squeeze=False)
    rows = (("clean", clean), (f"difference × {AMPLIFIED}", difference), ("attacked", adversarial))
    for cells, (title, images) in zip(grid, rows, strict=True):
        cells[0].set_ylabel(title)
        for column, axes in enumerate(cells):
            empty(axes)
            if column < columns:
                picture(axes, images[column])
    changed = "result/clean" in held  # else there is one net only, and no before
    for kind, cells in (("clean", grid[0]), ("adversarial", grid[2])):
        for column in range(columns):
            said = [
                (word, int(held[f"{net}/{kind}"][column]))
                for net, word in (("start", "before " if changed else ""), ("result", "after "))
                if f"{net}/{kind}" in held
            ]
            label = int(labels[column])
            if kind == "clean":
                true_class(cells[column], classes, label)
            verdict(cells[column], classes, label, said)
    return figure
