from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hardy.data.splits import Split


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, so that no test reads what another run decoded."""
    home = tmp_path / "cache"
    monkeypatch.setenv("HARDY_CACHE", str(home))
    return home


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Path:
    folder = request.config.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real files are not beside this repository (../shared/data)")
    return folder


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """The bytes of a PNG of one colour (or of an array), in a given mode and size."""

    def make(
        colour: int | tuple[int, ...] | np.ndarray = 0,
        size: tuple[int, int] = (4, 4),
        mode: str = "RGB",
        format: str = "PNG",
    ) -> bytes:
        image = (
            Image.fromarray(colour)
            if isinstance(colour, np.ndarray)
            else Image.new(mode, size, colour)
        )
        buffer = io.BytesIO()
        image.save(buffer, format)
        return buffer.getvalue()

    return make


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Writes files under a directory; a name that ends in / becomes an empty folder."""

    def make(files: dict[str, bytes]) -> Path:
        root = tmp_path / "tree"
        for name, data in files.items():
            target = root / name
            if name.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return root

    return make


@pytest.fixture
def split() -> Split:
    """Twenty 1×2×2 pictures, each filled with its row; labels 0 and 1; index = 100 + row."""
    images = torch.arange(20, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    return Split(images, torch.arange(20) % 2, torch.arange(100, 120), "test")
