from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hardy.data.corruptions import published, wnids_of
from hardy.data.splits import DataSet, Split

WNIDS = ("n03", "n01", "n02")  # in the order of the labels, which is not sorted


def dataset(name: str, size: int = 4) -> DataSet:
    """Six test pictures of three classes, of which only labels and index matter here."""
    images = torch.zeros(6, 3, size, size, dtype=torch.uint8)
    test = Split(images, torch.tensor([2, 0, 1, 1, 0, 2]), torch.arange(6), "test")
    return DataSet(name, test, test, test, ("a", "b", "c"), "none", {})


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    """fog.npy of six pictures a severity, filled with 10·severity + number, and the labels."""
    pictures = np.zeros((30, 4, 4, 3), np.uint8)
    pictures += np.array([10 * s + k for s in range(1, 6) for k in range(6)], np.uint8)[
        :, None, None, None
    ]
    pictures[..., 2] = 200
    labels = np.array([2, 0, 1, 1, 0, 2] * 5, np.uint8)
    return {"fog.npy": pictures, "labels.npy": labels, **changes}


def as_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def written(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def cifar(tmp_path: Path, **changes: np.ndarray) -> Path:
    files = {f"CIFAR-10-C/{name}": as_npy(each) for name, each in arrays(**changes).items()}
    written(tmp_path, files)
    return tmp_path / "CIFAR-10-C"


def jpeg(level: int, size: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (level, level, level)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def tiny(count: int = 6) -> dict[str, bytes]:
    """Tiny-ImageNet-C of the same six pictures: val_10 sorts before val_2, as in Tiny-ImageNet."""
    names = ["val_0", "val_1", "val_10", "val_2", "val_3", "val_4"][:count]
    labels = [2, 0, 1, 1, 0, 2]
    return {
        f"Tiny-ImageNet-C/{corruption}/{severity}/{WNIDS[labels[k]]}/{name}.JPEG": jpeg(
            100 * severity + 10 * k
        )
        for corruption in ("fog", "snow")
        for severity in (1, 2)
        for k, name in enumerate(names)
    }


@pytest.mark.parametrize("where", ["folder", "parent", "tar", "tar in parent"])
def test_cifar_c_from_its_folder_its_parent_and_its_tar(tmp_path: Path, where: str):
    files = {f"CIFAR-10-C/{name}": as_npy(each) for name, each in arrays().items()}
    path = tarred(tmp_path / "CIFAR-10-C.tar", files) if "tar" in where else cifar(tmp_path)
    path = tmp_path if "parent" in where else path
    data = dataset("cifar10")
    split = published(path, "fog", 3, data)
    assert repr(split) == "Split('test (fog 3, published)', n=6)"
    assert split.images.shape == (6, 3, 4, 4) and split.images.dtype == torch.uint8
    assert split.images[:, 0, 1, 2].tolist() == [30, 31, 32, 33, 34, 35]
    assert (split.images[:, 2] == 200).all()
    assert torch.equal(split.labels, data.test.labels)
    assert torch.equal(split.index, data.test.index)


def test_a_part_of_test_gets_its_own_rows(tmp_path: Path):
    data = dataset("cifar10")
    part = data.test.take(torch.tensor([4, 1, 2]))
    split = published(cifar(tmp_path), "fog", 5, data, like=part)
    assert split.images[:, 0, 0, 0].tolist() == [54, 51, 52]
    assert split.labels.tolist() == [0, 0, 1]
    assert split.index.tolist() == [4, 1, 2]


def test_a_test_split_shorter_than_the_file(tmp_path: Path):
    data = dataset("cifar10")
    first = DataSet(
        "cifar10", data.train, data.val, data.test.take(slice(0, 4)), data.classes, "none", {}
    )
    split = published(cifar(tmp_path), "fog", 2, first)
    assert split.images[:, 0, 0, 0].tolist() == [20, 21, 22, 23]


LABELS = arrays()["labels.npy"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels.npy": np.roll(LABELS, 1)}, "has labels that do not match those of test of cifar"),
        ({"labels.npy": LABELS[:29]}, r"labels.npy of .* is uint8 \(29,\), expected 30 whole"),
        ({"labels.npy": LABELS.astype(float)}, "labels.npy of .* is float64"),
        ({"labels.npy": LABELS.astype(object)}, "labels.npy of .* cannot be read as an .npy"),
        ({"fog.npy": np.zeros((30, 4, 4, 3))}, "fog.npy of .* is float64"),
        ({"fog.npy": np.zeros((30, 3, 4, 4), np.uint8)}, r"\(30, 3, 4, 4\), expected uint8"),
        ({"fog.npy": np.zeros((29, 4, 4, 3), np.uint8)}, r"\(29, 4, 4, 3\), expected uint8"),
        ({"fog.npy": np.uint8(3)}, r"fog.npy of .* is uint8 \(\), expected uint8"),
        (
            {"fog.npy": np.zeros((25, 4, 4, 3), np.uint8), "labels.npy": LABELS[:25]},
            "has 5 pictures a severity, but test of cifar10 goes on to number 6",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        published(cifar(tmp_path, **changes), "fog", 1, dataset("cifar10"))
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_named(tmp_path: Path):
    data = dataset("cifar10")
    path = cifar(tmp_path)
    with pytest.raises(ValueError, match=r"has neither snow\.npy nor pictures in snow/1/<class>"):
        published(path, "snow", 1, data)
    with pytest.raises(ValueError, match="unknown corruption 'rain'"):
        published(path, "rain", 1, data)
    with pytest.raises(ValueError, match="severity must be 1 to 5, not 0"):
        published(path, "fog", 0, data)
    with pytest.raises(ValueError, match="does not exist"):
        published(tmp_path / "nothing", "fog", 1, data)
    (path / "fog.npy").write_bytes((path / "fog.npy").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"fog\.npy of .* cannot be read as an \.npy"):
        published(path, "fog", 1, data)
    (path / "labels.npy").unlink()
    with pytest.raises(ValueError, match=r"has fog\.npy but no labels\.npy"):
        published(path, "fog", 1, data)


@pytest.mark.parametrize("where", ["folder", "parent", "tar"])
def test_tiny_imagenet_c_by_the_order_of_its_file_names(tmp_path: Path, where: str):
    data = dataset("tiny-imagenet")
    if where == "tar":
        path = tarred(tmp_path / "Tiny-ImageNet-C.tar", tiny())
    else:
        path = written(tmp_path, tiny())
        path = path if where == "parent" else path / "Tiny-ImageNet-C"
    split = published(path, "fog", 2, data)
    assert split.images[:, 1, 0, 0].tolist() == [200, 210, 220, 230, 240, 250]
    assert torch.equal(split.labels, data.test.labels)
    part = published(path, "snow", 1, data, like=data.test.take(torch.tensor([5, 2])))
    assert part.images[:, 1, 0, 0].tolist() == [150, 120]
    assert part.labels.tolist() == [2, 1] and part.index.tolist() == [5, 2]


def test_tiny_imagenet_c_with_pictures_of_its_own_needs_wnids(tmp_path: Path):
    data = dataset("tiny-imagenet")
    path = written(tmp_path, tiny(4))
    with pytest.raises(ValueError, match="has 4 pictures a severity, but test of tiny-imagenet 6"):
        published(path, "fog", 1, data)
    split = published(path, "fog", 1, data, wnids=WNIDS)
    assert split.labels.tolist() == [2, 0, 1, 1]
    assert split.images[:, 0, 0, 0].tolist() == [100, 110, 120, 130]
    few = published(path, "fog", 1, data, like=data.test.take(slice(0, 2)), wnids=WNIDS)
    assert len(few) == 2 and few.labels.tolist() == split.labels[few.index].tolist()
    with pytest.raises(ValueError, match="has the class folder n03 that wnids do not name"):
        published(path, "fog", 1, data, wnids=WNIDS[1:])


def test_class_folders_that_do_not_match_the_labels_are_refused(tmp_path: Path):
    files = tiny()
    moved = {name.replace("n03/val_1", "n02/val_1"): data for name, data in files.items()}
    path = written(tmp_path, moved)
    with pytest.raises(ValueError, match="has class folders that do not match the labels"):
        published(path, "fog", 1, dataset("tiny-imagenet"))


def test_wnids_of_a_folder_a_zip_and_their_parent(tmp_path: Path, real_data: Path):
    home = written(tmp_path, {"tiny-imagenet-200/wnids.txt": b"n03\nn01\nn02\n"})
    assert wnids_of(home) == wnids_of(home / "tiny-imagenet-200") == WNIDS
    assert len(wnids_of(real_data / "tiny-imagenet-10-classes.zip")) == 10
    with pytest.raises(ValueError, match=r"has 0 files wnids\.txt"):
        wnids_of(written(tmp_path / "empty", {"a.txt": b""}))
