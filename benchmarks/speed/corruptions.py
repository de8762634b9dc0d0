"""Common corruptions of CIFAR-sized pictures.

    python benchmarks/speed/corruptions.py [--pictures 500] [--severity 3]

The usual way is that of the published generator: a picture at a time through NumPy, SciPy and PIL.
Ours takes a batch. So that the results can be compared, the usual way draws its random numbers and
then takes ours. Where the two round otherwise, a pixel may differ by one grey level.
All 19 corruptions and severities by themselves: benchmarks/corruptions.py.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Mapping
from functools import partial

import command
import inputs
import numpy as np
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage
from torch import Tensor
from turns import Subject, Way

from hardy.data.corruptions import corrupted
from hardy.data.corruptions.blur import _disk as disk
from hardy.data.corruptions.parameters import values
from hardy.data.splits import Split
from hardy.draws import Draws

Picture = np.ndarray  # uint8 (S, S, 3)
# One picture, its random numbers (S, S, 3) and the parameters of the severity; uint8 values 0..255.
Corruption = Callable[[Picture, np.ndarray, tuple[float, ...]], np.ndarray]
SEED = 0
RANDOM = np.random.default_rng(SEED)


def levels(x: np.ndarray) -> Picture:
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(picture: Picture, noise: np.ndarray, c: tuple[float, ...]) -> Picture:
    RANDOM.normal(size=picture.shape)  # drawn in its time, though not what is added
    return levels(picture / 255 + c[0] * noise)


def gaussian_blur(picture: Picture, _: np.ndarray, c: tuple[float, ...]) -> Picture:
    return levels(ndimage.gaussian_filter(picture / 255, (c[0], c[0], 0), mode="nearest"))


def defocus_blur(picture: Picture, _: np.ndarray, c: tuple[float, ...]) -> Picture:
    kernel = disk(*c).numpy()
    x = picture / 255
    channels = [ndimage.correlate(x[..., i], kernel, mode="mirror") for i in range(3)]
    return levels(np.stack(channels, axis=-1))


def zoom_blur(picture: Picture, _: np.ndarray, c: tuple[float, ...]) -> Picture:
    x, size = picture / 255, len(picture)
    total, factors = x.copy(), np.arange(1, c[0], 0.01)
    for factor in factors:
        kept = int(np.ceil(size / factor))
        top = (size - kept) // 2
        part = x[top : top + kept, top : top + kept]
        enlarged = np.asarray(ndimage.zoom(part, (factor, factor, 1), order=1))
        trim = (len(enlarged) - size) // 2
        total += enlarged[trim : trim + size, trim : trim + size]
    return levels(np.asarray(total / (len(factors) + 1)))


def brightness(picture: Picture, _: np.ndarray, c: tuple[float, ...]) -> Picture:
    x = rgb_to_hsv(picture / 255)
    x[..., 2] = np.clip(x[..., 2] + c[0], 0, 1)
    return levels(hsv_to_rgb(x))


def contrast(picture: Picture, _: np.ndarray, c: tuple[float, ...]) -> Picture:
    x = picture / 255
    means = x.mean((0, 1), keepdims=True)
    return levels((x - means) * c[0] + means)


def pixelate(picture: Picture, _: np.ndarray, c: tuple[float, ...]) -> Picture:
    size = len(picture)
    side = int(size * c[0])
    small = Image.fromarray(picture).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small.resize((size, size), Image.Resampling.BOX))


def jpeg_compression(picture: Picture, _: np.ndarray, c: tuple[float, ...]) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=int(c[0]))
    return np.asarray(Image.open(buffer))


USUAL: dict[str, Corruption] = {
    make.__name__: make
    for make in (
        gaussian_noise,
        gaussian_blur,
        defocus_blur,
        zoom_blur,
        brightness,
        contrast,
        pixelate,
        jpeg_compression,
    )
}


def one_by_one(
    split: Split, noise: np.ndarray, names: tuple[str, ...], severity: int
) -> dict[str, np.ndarray]:
    """Every corruption of every picture, uint8 (N, S, S, 3), by its name."""
    pictures = split.images[:].permute(0, 2, 3, 1).numpy()
    found = {}
    for name in names:
        c = values(name, severity, 3, pictures.shape[1])
        each = zip(pictures, noise, strict=True)
        found[name] = np.stack([USUAL[name](picture, draws, c) for picture, draws in each])
    return found


def ours(split: Split, names: tuple[str, ...], severity: int) -> dict[str, np.ndarray]:
    """The same in batches."""
    made = {name: corrupted(split, name, severity, seed=SEED).images[:] for name in names}
    return {name: images.permute(0, 2, 3, 1).numpy() for name, images in made.items()}


def the_same(found: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Whether no pixel differs by more than one grey level, and few do at all."""
    usual, other = found.values()
    worst, most = 0, 0.0
    for name, pictures in usual.items():
        apart = np.abs(pictures.astype(int) - other[name].astype(int))
        if apart.max() > 1 or (apart > 0).mean() > 0.01:
            raise SystemExit(f"{name} differs by up to {apart.max()} grey levels")
        worst, most = max(worst, int(apart.max())), max(most, float((apart > 0).mean()))
    return f"At most {worst} grey levels apart, in {100 * most:.2g} % of a corruption's pixels."


def noise_of(split: Split, severity: int) -> Tensor:
    """What our Gaussian noise draws, float32 (N, S, S, 3)."""
    draws = Draws(SEED, severity, split.index)
    return draws.normal(tuple(split.images.shape[1:]), "gaussian_noise").permute(0, 2, 3, 1)


def parser() -> argparse.ArgumentParser:
    made = command.parser(__doc__)
    made.add_argument("--pictures", type=int, default=500)
    made.add_argument("--severity", type=int, default=3)
    return made


def subjects(options: argparse.Namespace) -> list[Subject]:
    count = 20 if options.quick else options.pictures
    split = inputs.pictures(count)
    noise = noise_of(split, options.severity).numpy()
    found = []
    for names in (
        ("gaussian_noise",),
        ("gaussian_blur", "defocus_blur"),
        ("zoom_blur",),
        ("brightness", "contrast"),
        ("pixelate", "jpeg_compression"),
    ):
        ways = [
            Way(
                "usual: a picture at a time",
                partial(one_by_one, split, noise, names, options.severity),
            ),
            Way("ours", partial(ours, split, names, options.severity)),
        ]
        found.append(Subject(f"{' and '.join(names)}, {count} pictures", ways, the_same))
    return found


def main() -> None:
    options = parser().parse_args()
    command.run([lambda: subjects(options)], options)


if __name__ == "__main__":
    main()
