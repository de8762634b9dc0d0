"""The first pictures of a set of features: the originals, and what they were made into."""

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

KIND = "feature pictures"
STAGES = {
    "original": "original",
    "start": "started from",
    "inverted": "inverted",
    "made": "in the set",
}
COLUMNS = 8


@drawn
def feature_pictures(results: Results, folder: Path) -> Figure | None:
    """A row for each stage of their making, and what the attack added, amplified; below, what
    the network says of the pictures of the set against their labels there.

    Raises ValueError where the file of pictures is damaged.
    """
    held = stored(results, KIND, folder)
    if held is None:
        return None
    try:
        stages = {name: held[f"stage/{name}"] for name in STAGES if f"stage/{name}" in held}
        classes = [str(name) for name in held["classes"]]
        originals, labels, said = (held[name] for name in ("original labels", "labels", "said"))
        rows = {STAGES[name]: images[:COLUMNS] for name, images in stages.items()}
        count = len(stages["made"])
        if {len(each) for each in (*stages.values(), originals, labels, said)} != {count}:
            raise ValueError("pictures and labels differ in number")
    except DAMAGED as error:
        path = next(a.path for a in results.artifacts if a.kind == KIND)
        raise damaged(folder / path, KIND, error) from None
    before = list(stages)[-2]
    if "start" not in stages or before == "inverted":
        added = amplified(stages[before], stages["made"])[:COLUMNS]
        rows |= {f"difference × {AMPLIFIED}": added, STAGES["made"]: rows.pop(STAGES["made"])}
    count = min(count, COLUMNS)
    figure = Figure(figsize=(WIDTH, 1.13 * len(rows) + 0.4), layout="compressed")
    grid = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for cells, (title, images) in zip(grid, rows.items(), strict=True):
        cells[0].set_ylabel(title)
        for column, axes in enumerate(cells):
            empty(axes)
            if column < count:
                picture(axes, np.asarray(images[column]))
    for column in range(count):
        true_class(grid[0][column], classes, int(originals[column]))
        label = int(labels[column])
        verdict(grid[-1][column], classes, label, [("", int(said[column]))])
    return figure
