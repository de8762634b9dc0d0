"""The published parameters of every corruption and severity, and what becomes of them at other
sizes.

Hendrycks and Dietterich 2019 (arXiv 1903.12261), the values of CIFAR-10-C and of
Tiny-ImageNet-C; a corruption that the second table lacks has the values of the first.
"""

from __future__ import annotations

from typing import Literal

Parameters = Literal["auto", "cifar", "tiny-imagenet"]
Values = tuple[float, ...]
Table = dict[str, tuple[Values, Values, Values, Values, Values]]

FAMILIES = {
    "gaussian_noise": "noise",
    "shot_noise": "noise",
    "impulse_noise": "noise",
    "defocus_blur": "blur",
    "glass_blur": "blur",
    "motion_blur": "blur",
    "zoom_blur": "blur",
    "snow": "weather",
    "frost": "weather",
    "fog": "weather",
    "brightness": "weather",
    "contrast": "digital",
    "elastic_transform": "digital",
    "pixelate": "digital",
    "jpeg_compression": "digital",
    "speckle_noise": "noise",
    "gaussian_blur": "blur",
    "spatter": "weather",
    "saturate": "digital",
}
STANDARD = tuple(FAMILIES)[:15]
EXTRA = tuple(FAMILIES)[15:]
SEVERITIES = (1, 2, 3, 4, 5)

_CIFAR: Table = {
    "gaussian_noise": ((0.04,), (0.06,), (0.08,), (0.09,), (0.1,)),
    "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
    "impulse_noise": ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((1.06,), (1.11,), (1.16,), (1.21,), (1.26,)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2, 200), (1, 0.3, 200), (0.9, 0.4, 200), (0.85, 0.4, 200), (0.75, 0.45, 200)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    "contrast": ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ),
    "pixelate": ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
    "jpeg_compression": ((80,), (65,), (58,), (50,), (40,)),
    "speckle_noise": ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
    "gaussian_blur": ((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0, 20),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0, 20),
        (0.65, 0.3, 1, 0.69, 0.5, 0, 20),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1, 20),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1, 20),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}
_TINY: Table = {
    "gaussian_noise": ((0.04,), (0.08,), (0.12,), (0.15,), (0.18,)),
    "shot_noise": ((250,), (100,), (50,), (30,), (15,)),
    "impulse_noise": ((0.01,), (0.02,), (0.05,), (0.08,), (0.14,)),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": ((1, 0.3, 300), (0.9, 0.4, 300), (0.8, 0.45, 300), (0.75, 0.5, 300), (0.7, 0.55, 300)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "elastic_transform": (
        (0, 0, 0.08),
        (0.05, 0.3, 0.06),
        (0.1, 0.08, 0.06),
        (0.1, 0.03, 0.03),
        (0.16, 0.03, 0.02),
    ),
    "pixelate": ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,)),
    "jpeg_compression": ((65,), (58,), (50,), (40,), (25,)),
    "speckle_noise": ((0.15,), (0.2,), (0.25,), (0.3,), (0.35,)),
    "gaussian_blur": ((0.5,), (0.75,), (1,), (1.25,), (1.5,)),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0, 20),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0, 20),
        (0.65, 0.3, 1, 0.69, 0.6, 0, 20),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1, 20),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1, 20),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}

# Which of the values are lengths in pixels: they grow with the picture.
_LENGTHS = {
    "defocus_blur": (0, 1),
    "glass_blur": (0, 1),
    "motion_blur": (0, 1),
    "snow": (2, 4, 5),
    "frost": (2,),
    "gaussian_blur": (0,),
    # Smoothing a field over s pixels divides its deviation by s, hence the scale, in place 1.
    "spatter": (1, 2, 4, 6),
}
_MUD_SIGMA = 4  # of spatter: the same place is a strength where there is water
_SMALLEST = 8
_SMALLEST_SCALED = 24  # below it the milder blurs and zooms no longer change a grey level
_SCALED = (*_LENGTHS, "zoom_blur")
_NEEDS_COLOUR = ("saturate",)


def table_for(size: int) -> Literal["cifar", "tiny-imagenet"]:
    """Whose parameters 'auto' takes for pictures of size × size pixels: CIFAR-10-C's below 48,
    Tiny-ImageNet-C's from there on."""
    return "tiny-imagenet" if size >= 48 else "cifar"


def values(
    name: str, severity: int, channels: int, size: int, parameters: Parameters = "auto"
) -> Values:
    """The parameters of one corruption for pictures of size × size pixels.

    'auto' goes by `table_for`. At any size other than the table's own (32, 64) lengths in pixels
    are scaled with the size.
    Raises ValueError for an unknown name, severity or table, and for pictures on which the
    corruption has no meaning.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown corruption {name!r}: expected one of {', '.join(FAMILIES)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1 to 5, not {severity}")
    if parameters not in ("auto", "cifar", "tiny-imagenet"):
        raise ValueError(f"parameters must be auto, cifar or tiny-imagenet, not {parameters!r}")
    _check(name, channels, size)
    tiny = (table_for(size) if parameters == "auto" else parameters) == "tiny-imagenet"
    found = {**_CIFAR, **_TINY}[name] if tiny else _CIFAR[name]
    return _scaled(name, found[severity - 1], size / (64 if tiny else 32))


def _check(name: str, channels: int, size: int) -> None:
    if channels not in (1, 3):
        raise ValueError(f"corruptions are of grey or RGB pictures, not of {channels} channels")
    if channels == 1 and name in _NEEDS_COLOUR:
        raise ValueError(f"{name} changes colours and grey pictures have none: leave it out")
    smallest = _SMALLEST_SCALED if name in _SCALED else _SMALLEST
    if size < smallest:
        raise ValueError(
            f"{name} takes pictures from {smallest}×{smallest} pixels on, not {size}×{size}: "
            "leave it out"
        )


def _scaled(name: str, found: Values, scale: float) -> Values:
    lengths = set(_LENGTHS.get(name, ()))
    if name == "spatter" and not found[5]:
        lengths.discard(_MUD_SIGMA)
    return tuple(value * scale if place in lengths else value for place, value in enumerate(found))
