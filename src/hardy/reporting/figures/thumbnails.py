"""One small picture, and under it what networks say of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

AMPLIFIED = 8
# Darker than the palette's green and vermilion: small text needs the contrast.
RIGHT, WRONG = "#00664A", "#B03A00"


def amplified(clean: np.ndarray, adversarial: np.ndarray) -> np.ndarray:
    """What the attack added to pictures of 0 to 255, eight times, around grey."""
    difference = adversarial.astype(np.int16) - clean.astype(np.int16)
    return np.clip(128 + AMPLIFIED * difference, 0, 255)


def empty(axes: Axes) -> None:
    """A cell without frame or ticks."""
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def picture(axes: Axes, image: np.ndarray) -> None:
    """Draw (1 or 3, H, W), 0 to 255."""
    grey = image.shape[0] == 1
    shown = np.moveaxis(image, 0, -1)[..., 0 if grey else slice(None)].astype(np.uint8)
    axes.imshow(shown, cmap="gray" if grey else None, vmin=0, vmax=255, interpolation="none")


def true_class(axes: Axes, classes: Sequence[str], label: int) -> None:
    """Write the class above the picture."""
    axes.set_title(_named(classes, label), fontsize=8.5, loc="center")


def verdict(
    axes: Axes, classes: Sequence[str], label: int, said: Sequence[tuple[str, int]]
) -> None:
    """Write below the picture, a line a network, what each said: a word before it, the class."""
    for line, (word, index) in enumerate(said):
        right = index == label
        text = f"{word}{'✓' if right else '✗'}\u2009{_named(classes, index)}"
        axes.annotate(
            text,
            (0.5, 0),
            xycoords="axes fraction",
            xytext=(0, -4 - 10.5 * line),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
            color=RIGHT if right else WRONG,
        )


def _named(classes: Sequence[str], index: int) -> str:
    name = " ".join(classes[index].split()) if 0 <= index < len(classes) else str(index)
    return name if len(name) <= 10 else name[:9] + "…"
