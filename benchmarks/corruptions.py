"""The speed of the corruptions, and a picture of them all.

    python benchmarks/corruptions.py --data-root data --images 1000
    python benchmarks/corruptions.py --data-root data --picture docs/img/corruptions.png

The table gives milliseconds per 1,000 CIFAR-10 test pictures for every corruption and
severity; its last line what 10,000 pictures take at that speed, with the 15 standard ones
and with all 19. The picture shows one test picture (--index) clean and under all of them. Beside
the usual way, a picture at a time: benchmarks/speed/corruptions.py.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from hardy.data import Split, load_data
from hardy.data.corruptions import EXTRA, FAMILIES, SEVERITIES, STANDARD, corrupted

ZOOM, GAP, HEAD = 3, 4, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--picture", type=Path, default=None, help="draw into this .png instead")
    parser.add_argument("--index", type=int, default=7, help="the test picture that is drawn")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    test = load_data("cifar10", arguments.data_root).test
    test = test.take(test.index.argsort())
    if arguments.picture is None:
        measure(test.take(slice(0, arguments.images)))
    else:
        draw(test.take(slice(arguments.index, arguments.index + 1)), arguments.picture)


def measure(split: Split) -> None:
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"\nms per 1,000 pictures, measured on {len(split):,}\n")
    print("| corruption | " + " | ".join(map(str, SEVERITIES)) + " |")
    print("|---|" + "---:|" * len(SEVERITIES))
    total = {}
    for name in FAMILIES:
        times = []
        for severity in SEVERITIES:
            corrupted(split.take(slice(0, 2)), name, severity)  # tables are made once
            start = time.perf_counter()
            corrupted(split, name, severity)
            times.append((time.perf_counter() - start) / len(split))
        total[name] = sum(times)
        cells = " | ".join(f"{1e6 * each:.0f}" for each in times)
        print(f"| {name} | {cells} |", flush=True)
    standard = sum(total[name] for name in STANDARD)
    both = standard + sum(total[name] for name in EXTRA)
    print(
        f"\n10,000 pictures × 5 severities: {1e4 * standard:.0f} s for {len(STANDARD)}, "
        f"{1e4 * both:.0f} s for {len(FAMILIES)}"
    )


def draw(split: Split, path: Path) -> None:
    """One column a corruption, one row a severity; the clean picture at the left."""
    cell = split.images.shape[-1] * ZOOM
    width = (cell + GAP) * (len(FAMILIES) + 1) + GAP
    height = (cell + GAP) * len(SEVERITIES) + 2 * HEAD
    page = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(page)
    for column, name in enumerate(("clean", *FAMILIES)):
        left = GAP + column * (cell + GAP)
        for line, word in enumerate(name.split("_")):
            pen.text((left, line * (HEAD - 3)), word, fill="black", font_size=13)
        for severity in SEVERITIES[:1] if name == "clean" else SEVERITIES:
            shown = split if name == "clean" else corrupted(split, name, severity)
            picture = np.ascontiguousarray(shown.images[:1][0].permute(1, 2, 0).numpy())
            large = Image.fromarray(picture).resize((cell, cell), Image.Resampling.NEAREST)
            page.paste(large, (left, 2 * HEAD + (severity - 1) * (cell + GAP)))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
