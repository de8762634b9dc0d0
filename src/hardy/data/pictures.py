"""Picture files to arrays."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from hardy.data.archive import Member

Result = TypeVar("Result")

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# Not all that Pillow reads: its EPS, for one, would start a program.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_GREY = ("1", "L", "LA", "La", "I", "F")
_THREADS = 4
_WORTH_A_BAR = 5000


def is_picture(name: str) -> bool:
    """Whether the name is that of a picture file that is read here."""
    return name.lower().endswith(_SUFFIXES)


def decode(
    members: Sequence[Member], image_size: int | None, channels: int | None = None
) -> np.ndarray:
    """All pictures as uint8 (N, C, H, W), square.

    channels: None takes 1 where all are grey and 3 where any has colour; transparency is
    dropped. image_size: the shorter side is resized to it (bicubic, antialiased) and the
    centre cut out; without it all pictures must be square and of one size.

    Raises ValueError, naming the file, for one that cannot be read, that has more pixels
    than Pillow's limit against decompression bombs, or whose size differs.
    """
    size, colour = _probed(members, image_size)
    channels = channels or (3 if colour else 1)
    images = np.empty((len(members), size, size, channels), np.uint8)

    def place(row: int) -> None:
        picture = _opened(members[row], lambda image: _converted(image, channels, image_size))
        images[row] = picture.reshape(size, size, channels)

    with ThreadPoolExecutor(_THREADS) as pool:
        done = pool.map(place, range(len(members)))
        shown = sys.stderr.isatty() and len(members) > _WORTH_A_BAR
        for _ in track(
            done, "decoding", len(members), console=Console(stderr=True), disable=not shown
        ):
            pass
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _probed(members: Sequence[Member], image_size: int | None) -> tuple[int, bool]:
    """The size of all pictures and whether any has colour, from the files' heads alone."""
    colour, first = False, None
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for member in members:
            size, mode = _opened(member, lambda image: (image.size, image.mode))
            colour = colour or not mode.startswith(_GREY)
            first = first or size
            if image_size is None and (size != first or size[0] != size[1]):
                raise ValueError(
                    f"{member.name} has {size[0]}×{size[1]} pixels, but pictures must be square "
                    f"and of one size (the first has {first[0]}×{first[1]}): pass --image-size"
                )
    assert first is not None, "there are pictures"
    return image_size or first[0], colour


def _opened(member: Member, use: Callable[[Image.Image], Result]) -> Result:
    try:
        with member.open() as file, Image.open(file, formats=_FORMATS) as image:
            return use(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{member.name} has more than the {Image.MAX_IMAGE_PIXELS:,} pixels that are read: "
            "make it smaller"
        ) from error
    except (OSError, SyntaxError, EOFError, ValueError) as error:
        # Pillow says all of these of files that are cut off or are no pictures.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{member.name} cannot be read as a picture ({reason}): mend it or take it out"
        ) from error


def _converted(image: Image.Image, channels: int, image_size: int | None) -> np.ndarray:
    image.load()
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip, not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    if image_size is not None:
        image = _resized(image, image_size)
    return np.asarray(image)


def _resized(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size`, then cut the centre."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
