from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hardy.data import load_data
from hardy.data.sources.cifar import CIFAR10, CIFAR100, load

NAMES = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse"]
NAMES += [b"ship", b"truck"]


def pictures(first: int, count: int = 4) -> np.ndarray:
    """uint8 (count, 3072): red, green and blue planes of each picture in three constants."""
    rows = np.arange(first, first + count)[:, None]
    planes = np.stack([rows, rows + 50, rows + 100], 1)
    return np.broadcast_to(planes, (count, 3, 1024)).reshape(count, 3072).astype(np.uint8)


def cifar10_files(dump: Callable[[dict], bytes]) -> dict[str, bytes]:
    files = {"batches.meta": dump({b"label_names": NAMES, b"num_vis": 3072})}
    for number in range(6):
        name = "test_batch" if number == 5 else f"data_batch_{number + 1}"
        labels = [(number + row) % 10 for row in range(4)]
        files[name] = dump({b"data": pictures(4 * number), b"labels": labels})
    return {f"cifar-10-batches-py/{name}": data for name, data in files.items()}


def dump(content: dict, protocol: int = 2) -> bytes:
    return pickle.dumps(content, protocol=protocol)


def with_text_keys(content: dict) -> bytes:
    return dump({key.decode(): value for key, value in content.items()})


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("writer", [dump, with_text_keys, lambda each: dump(each, 4)])
def test_cifar10_python_from_a_directory(tree, writer):
    raw = load(tree(cifar10_files(writer)), CIFAR10)
    assert raw.classes == tuple(name.decode() for name in NAMES)
    assert raw.parts["train"].labels.tolist() == [
        (batch + row) % 10 for batch in range(5) for row in range(4)
    ]
    assert raw.parts["train"].images[7, :, 3, 30].tolist() == [7, 57, 107]
    assert raw.parts["test"].images[:, 0, 0, 0].tolist() == [20, 21, 22, 23]
    assert raw.notes == "20 + 4 of 60,000 pictures"


def test_the_same_from_the_archive_in_a_folder_and_by_its_own_path(tmp_path, tree):
    files = cifar10_files(dump)
    expected = load(tree(files) / "cifar-10-batches-py", CIFAR10).content_hash
    path = packed(tmp_path / "cifar-10-python.tar.gz", files)
    assert load(path, CIFAR10).content_hash == expected
    assert load(tmp_path, CIFAR10).content_hash == expected
    assert load_data("cifar10", path).normalization == "cifar10"


def test_python_2_pickles_with_byte_strings(tree):
    # Protocol 0 as Python 2 wrote it: S'…' strings, numpy's old module name.
    batch = (
        b"(dp0\nS'labels'\np1\n(lp2\nI3\nasS'data'\np3\n"
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I1\nI3072\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nS'" + b"\\x07" * 3072 + b"'\ntbs."
    )
    files = cifar10_files(dump)
    files["cifar-10-batches-py/test_batch"] = batch
    test = load(tree(files), CIFAR10).parts["test"]
    assert (test.images == 7).all()
    assert test.images.shape == (1, 3, 32, 32)
    assert test.labels.tolist() == [3]


def test_cifar10_binary(tree):
    record = bytes((9,)) + pictures(5, 1).tobytes()
    files = {"data_batch_1.bin": record * 2, "test_batch.bin": record}
    files["batches.meta.txt"] = b"\n".join(NAMES) + b"\n\n"
    root = tree({f"cifar-10-batches-bin/{name}": data for name, data in files.items()})
    raw = load(root, CIFAR10)
    assert raw.parts["train"].labels.tolist() == [9, 9]
    assert raw.parts["test"].images[0, :, 31, 31].tolist() == [5, 55, 105]
    assert raw.classes[9] == "truck"


def test_cifar100_takes_the_fine_labels_of_both_formats(tree, tmp_path):
    names = [f"class{number}".encode() for number in range(100)]
    batch = {b"data": pictures(0, 2), b"fine_labels": [99, 41], b"coarse_labels": [1, 2]}
    python = {"train": dump(batch), "test": dump(batch), "meta": dump({b"fine_label_names": names})}
    path = packed(
        tmp_path / "cifar-100-python.tar.gz",
        {f"cifar-100-python/{name}": data for name, data in python.items()},
    )
    records = b"".join(
        bytes((coarse, fine)) + row.tobytes()
        for coarse, fine, row in zip((1, 2), (99, 41), pictures(0, 2), strict=True)
    )
    binary = tree({"cifar-100-binary/train.bin": records, "cifar-100-binary/test.bin": records})
    first, second = load(path, CIFAR100), load(binary, CIFAR100)
    assert first.parts["train"].labels.tolist() == [99, 41]
    assert first.content_hash == second.content_hash
    assert first.classes[41] == "class41"
    assert first.normalization == "cifar100"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"data": pictures(0), b"labels": [0, 1, 2, 10]}, "has the label 10: expected 0 to 9"),
        ({b"data": pictures(0), b"labels": [0, -1, 2, 3]}, "has the label -1"),
        ({b"data": pictures(0), b"labels": [0, 1]}, "has 4 pictures but 2 labels"),
        ({b"data": pictures(0)[:, :3000], b"labels": [0] * 4}, r"expected uint8 \(N, 3072\)"),
        ({b"data": pictures(0).astype("i8"), b"labels": [0] * 4}, "has pictures int64"),
        ({b"data": pictures(0), b"labels": ["a"] * 4}, "no whole numbers"),
        ({b"data": pictures(0), b"fine_labels": [0] * 4}, "lacks 'data' or 'labels'"),
        ([1, 2], "holds a list, expected a dict"),
    ],
)
def test_wrong_contents_are_refused(tree, batch, message: str):
    files = cifar10_files(dump)
    files["cifar-10-batches-py/test_batch"] = dump(batch)
    with pytest.raises(ValueError, match=message) as caught:
        load(tree(files), CIFAR10)
    assert "test_batch" in str(caught.value)


def test_a_truncated_pickle_a_missing_test_and_a_broken_record_are_refused(tree):
    files = cifar10_files(dump)
    name = "cifar-10-batches-py/test_batch"
    with pytest.raises(ValueError, match=r"test_batch is a damaged pickle|no CIFAR pickle"):
        load(tree({**files, name: files[name][:-100]}), CIFAR10)
    root = tree({"short/data_batch_1.bin": b"\0" * 3000, "short/test_batch.bin": b"\0" * 3073})
    with pytest.raises(ValueError, match="3000 bytes, no multiple of the 3073"):
        load(root / "short", CIFAR10)
    (root / name).unlink()
    path = packed(root.parent / "cifar-10-other.tar.gz", {"data_batch_1": b""})
    with pytest.raises(ValueError, match="has no test_batch"):
        load(path, CIFAR10)


def test_the_real_first_pictures(real_data: Path):
    data = load_data("cifar10", real_data / "cifar-10-python-head.tar.gz")
    assert len(data.train) + len(data.val) == 5085
    assert len(data.test) == 1017
    assert data.test.labels[:5].tolist() == [3, 8, 8, 0, 6]
    assert data.classes[3] == "cat"
    # The well-known statistics of the whole set are (.4914, .4822, .4465).
    assert data.train.pixels(slice(None)).mean((0, 2, 3)).tolist() == pytest.approx(
        [0.4914, 0.4822, 0.4465], abs=0.01
    )
