from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from hardy.data import load_data
from hardy.data.sources.mnist import load, read_idx

IMAGES = struct.pack(">4I", 0x0803, 2, 2, 3) + bytes(range(12))
LABELS = struct.pack(">2I", 0x0801, 2) + bytes((7, 3))


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_an_idx_pair_is_read_under_its_published_names(tmp_path: Path, mark: str, packed: bool):
    for stem, data in (("images{}idx3", IMAGES), ("labels{}idx1", LABELS)):
        name = f"train-{stem.format(mark)}-ubyte" + (".gz" if packed else "")
        (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    part = load(tmp_path).parts["train"]
    assert part.images.tolist() == np.arange(12).reshape(2, 1, 2, 3).tolist()
    assert part.labels.tolist() == [7, 3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LABELS, "not with the magic number 00000803"),
        (b"", "begins with nothing"),
        (struct.pack(">4I", 0x0D03, 1, 1, 1) + b"\0" * 4, "magic number"),
        (IMAGES[:-1], "promises 2×2×3 bytes but holds 11"),
        (IMAGES + b"\0", "promises 2×2×3 bytes but holds 13"),
        (struct.pack(">4I", 0x0803, *[2**32 - 1] * 3), "holds 0"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_idx(path, 3)


@pytest.mark.parametrize(
    "data", [gzip.compress(IMAGES, mtime=0)[:-6], b"no gzip", gzip.compress(b"", mtime=0)[:5]]
)
def test_a_damaged_gzip_is_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "file.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged gzip"):
        read_idx(path, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "has t10k-images-idx3-ubyte but no t10k-labels-idx1-ubyte"),
        (struct.pack(">2I", 0x0801, 1) + b"\1", "has 2 pictures but 1 labels"),
        (struct.pack(">2I", 0x0801, 2) + bytes((1, 10)), "has the label 10: expected 0 to 9"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: bytes | None, message: str):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(IMAGES)
    if labels is not None:
        (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_the_real_test_files(real_data: Path):
    data = load_data("mnist", real_data)
    assert [len(each) for each in (data.train, data.val, data.test)] == [6750, 750, 2500]
    raw = load(real_data).parts["test"]
    assert raw.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(raw.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
