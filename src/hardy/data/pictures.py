"""Picture files to arrays."""

from __future__ import annotations

import contextlib
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image
from rich.console import Console
from rich.progress import track

from hardy.data.archive import Member

Result = TypeVar("Result")

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp")
# Not all that Pillow reads: its EPS, for one, would start a program, and its TIFF is read by a
# large C library.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_GREY = ("1", "L", "LA", "La", "I", "F")
# How to turn what a camera held otherwise, by the orientation that Exif says (1: upright).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_THREADS = 4
_WORTH_A_BAR = 5000


def is_picture(name: str) -> bool:
    """Whether the name is that of a picture file that is read here."""
    return name.lower().endswith(SUFFIXES)


def decode(
    members: Sequence[Member], image_size: int | None, channels: int | None = None
) -> np.ndarray:
    """All pictures as uint8 (N, C, H, W), square.

    channels: None takes 1 where all are grey and 3 where any has colour; transparency is
    dropped, 16 bits become 8, and what a camera held otherwise is turned upright (Exif).
    image_size: the shorter side is resized to it (bicubic, antialiased) and the centre cut
    out; without it all pictures must be square and of one size.

    Raises ValueError, naming the file, for one that cannot be read, that has more pixels
    than Pillow's limit against decompression bombs, or whose size differs.
    """
    size, colour = probed(members, image_size)
    channels = channels or (3 if colour else 1)
    images = np.empty((len(members), size, size, channels), np.uint8)

    def place(row: int) -> None:
        picture = _opened(members[row], lambda image: converted(image, channels, image_size))
        images[row] = picture.reshape(size, size, channels)

    with huge_refused(), ThreadPoolExecutor(_THREADS) as pool:
        done = pool.map(place, range(len(members)))
        shown = sys.stderr.isatty() and len(members) > _WORTH_A_BAR
        for _ in track(
            done, "decoding", len(members), console=Console(stderr=True), disable=not shown
        ):
            pass
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def decoded(data: bytes, name: str, channels: int, image_size: int | None) -> np.ndarray:
    """One encoded picture as uint8 (channels, H, W), the same as in `decode`.

    name: what an error calls it. Without image_size it must be square. Raises ValueError as
    `decode`.
    """
    picture = _opened(Member(name, data), lambda image: converted(image, channels, image_size))
    height, width = picture.shape[:2]
    if height != width:
        raise ValueError(
            f"{name} has {width}×{height} pixels, but pictures must be square: pass --image-size"
        )
    return np.ascontiguousarray(picture.reshape(height, width, channels).transpose(2, 0, 1))


def is_grey(image: Image.Image) -> bool:
    """Whether a picture is of a kind that has no colour."""
    return image.mode.startswith(_GREY)


@contextlib.contextmanager
def huge_refused() -> Iterator[None]:
    """What Pillow only warns of beforehand is an error inside, in every thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def probed(
    members: Sequence[Member],
    image_size: int | None,
    advance: Callable[[], object] = lambda: None,
) -> tuple[int, bool]:
    """The size of all pictures and whether any has colour, from the files' heads alone. With
    image_size no more of them are opened than it takes to know; advance: called after each."""
    colour, first = False, None
    with huge_refused():
        for member in members:
            size, mode = _opened(member, lambda image: (image.size, image.mode))
            colour = colour or not mode.startswith(_GREY)
            first = first or size
            if image_size is None and (size != first or size[0] != size[1]):
                rule = (
                    " and is not square"
                    if size == first
                    else ", but pictures must be square and of one size (the first has "
                    f"{first[0]}×{first[1]})"
                )
                raise ValueError(
                    f"{member.name} has {size[0]}×{size[1]} pixels{rule}: pass --image-size N"
                )
            advance()
            if image_size is not None and colour:
                break
    assert first is not None, "there are pictures"
    return image_size or first[0], colour


def _opened(member: Member, use: Callable[[Image.Image], Result]) -> Result:
    try:
        with member.open() as file, Image.open(file, formats=_FORMATS) as image:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:
                raise Image.DecompressionBombError
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


def converted(image: Image.Image, channels: int, image_size: int | None) -> np.ndarray:
    """An open picture as uint8 (H, W) for one channel, (H, W, 3) for three, as in `decode`.

    It is resized in its own colours and greyed (ITU-R 601) last, so that it is the same
    whether it is asked for grey at once or greyed in an array later.
    """
    image.load()
    image = _upright(image)
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip, not scale
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:  # Pillow would warn of losing it
        image = image.convert("RGBA")
    image = image.convert("L" if is_grey(image) else "RGB")
    if image_size is not None:
        image = resized(image, image_size)
    return np.asarray(image.convert("L" if channels == 1 else "RGB"))


def _upright(image: Image.Image) -> Image.Image:
    turn = None
    # What cannot be read of Exif is no fault of the picture.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, OSError, struct.error):
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def resized(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to `size` (bicubic, antialiased), then the centre cut out."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
