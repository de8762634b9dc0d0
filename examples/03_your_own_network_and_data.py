"""Your own network and your own pictures, as Python objects.

    python examples/03_your_own_network_and_data.py

Some seconds on one core. A network is any torch.nn.Module from pixels in [0, 1] to logits; a
data set is three splits of uint8 pictures with labels.
"""

from pathlib import Path

import torch
from torch import nn

import hardy
from hardy.data.splits import DataSet, Split

CLASSES = ("rows", "columns")


def stripes(name: str, n: int, seed: int) -> Split:
    """Grey pictures of 16x16 with stripes in one of two directions, under noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    rows = (torch.arange(16) % 4 < 2).float().view(1, 1, 16, 1).expand(n, 1, 16, 16)
    pattern = torch.where(labels.view(-1, 1, 1, 1) == 0, rows, rows.transpose(2, 3))
    noise = torch.rand(pattern.shape, generator=draw)
    return Split((255 * (0.4 * pattern + 0.6 * noise)).byte(), labels, torch.arange(n), name)


def network() -> nn.Module:
    """Pixels (B, 1, 16, 16) to logits (B, 2)."""
    features = (nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(8 * 4 * 4, len(CLASSES)))


def main(folder: Path = Path("runs/example-3"), pictures: int = 1024) -> None:
    splits = stripes("train", pictures, 0), stripes("val", 256, 1), stripes("test", 512, 2)
    data = DataSet("stripes", *splits, CLASSES, normalization="none", provenance={})

    torch.manual_seed(0)
    once = {"data": data, "eps": 0.1}
    hardy.train(**once, model=network(), epochs=5, schedule="onecycle", out=folder / "train")

    # The weights come from the run folder, the code from you: a file never chooses code.
    trained = hardy.load(folder / "train", model=network())
    critical = hardy.mrc(**once, model=trained, mrc_pictures=256, out=folder / "mrc")
    for module in critical.select("mrc"):
        print(f"module {module.subject}: criticality {module.value:.3f}")
    found = hardy.evaluate(**once, model=trained, out=folder / "evaluate")
    for accuracy in found.measurements:
        print(f"{accuracy.quantity}: {100 * accuracy.value:.1f} % on {accuracy.n} pictures")


if __name__ == "__main__":
    main()
