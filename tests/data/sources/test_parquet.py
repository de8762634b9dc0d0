from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardy.data import Streaming, load_data
from hardy.data.sources import folder
from hardy.data.sources.parquet import load
from hardy.data.streaming import room
from hardy.data.streaming.stream import Streamed
from hardy.data.tables import columns, contents
from hardy.data.tables.files import split_of

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def declared(**labels: Sequence[str]) -> dict[str, str]:
    """The metadata that Hugging Face `datasets` writes for columns of classes."""
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {
        name: {"names": list(names), "_type": "ClassLabel"} for name, names in labels.items()
    }
    return {"huggingface": json.dumps({"info": {"features": features}})}


@pytest.fixture
def written(tmp_path: Path, picture: Callable[..., bytes]) -> Callable[..., Path]:
    """Writes rows (red, label) to a file of the folder `pets`, and gives that folder."""

    def write(
        name: str,
        rows: Sequence[tuple[int, Any]],
        kind: Any = None,
        names: Sequence[str] | None = None,
        size: int = 4,
        **more: Any,
    ) -> Path:
        pictures = [
            {"bytes": picture((red, 9, 200), (size, size)), "path": f"{red}.png"} for red, _ in rows
        ]
        table = pa.table(
            {
                "image": pa.array(pictures, IMAGE),
                "label": pa.array([label for _, label in rows], kind or pa.int64()),
                **more,
            }
        )
        if names is not None:
            table = table.replace_schema_metadata(declared(label=names))
        path = tmp_path / "pets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return tmp_path / "pets"

    return write


def reds(part) -> list[int]:
    return part.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"), "test-0-of-1.parquet"),
        (("data/train-0.parquet", "data/train-1.parquet"), "data/test-0.parquet"),
        (("train/0000.parquet", "train/0001.parquet"), "test/0000.parquet"),
        (("a/partial-train/0.parquet", "a/partial-train/1.PARQUET"), "a/test/0.parquet"),
        (("pets_train.1.parquet", "pets_train.2.parquet"), "pets_evaluation.parquet"),
    ],
)
def test_the_splits_of_the_hubs_layouts_and_their_rows_in_order(written, train, test):
    written(train[1], [(3, 1), (2, 0)], names=("dog", "cat"))
    written(train[0], [(7, 1), (5, 0)], names=("dog", "cat"))
    raw = load(written(test, [(1, 0)], names=("dog", "cat")))
    assert list(raw.parts) == ["train", "test"]
    assert reds(raw.parts["train"]) == [7, 5, 3, 2]
    assert raw.parts["train"].labels.tolist() == [1, 0, 1, 0]
    assert reds(raw.parts["test"]) == [1]
    assert (raw.classes, raw.source, raw.notes) == (("dog", "cat"), "pets", "")


def test_val_by_any_of_its_names(written):
    for name in ("val", "valid", "validation", "dev"):
        assert split_of(f"data/{name}-00000-of-00001.parquet") == "val"
    assert split_of("train/validity.parquet") == "train"
    with pytest.raises(ValueError, match=r"train-test\.parquet says test and train"):
        load(written("train-test.parquet", [(0, 0), (1, 1)]))


def test_a_file_without_a_split_is_one_part(written):
    root = written("all_of_them.parquet", [(4, 0), (5, 2), (6, 1)])
    for path in (root, root / "all_of_them.parquet"):
        raw = load(path)
        assert list(raw.parts) == ["all"]
        assert (reds(raw.parts["all"]), raw.classes) == ([4, 5, 6], ("0", "1", "2"))


def test_the_same_pictures_as_a_folder_are_the_same_set(written, tree, picture):
    files = {(0, "cat"): 5, (1, "cat"): 6, (0, "dog"): 8, (1, "dog"): 9}
    rows = [(red, place // 2) for place, red in enumerate(files.values())]
    stored = load(written("train.parquet", rows, names=("cat", "dog")))
    root = tree(
        {f"train/{name}/{at}.png": picture((red, 9, 200)) for (at, name), red in files.items()}
    )
    other = folder.load(root)
    assert (stored.content_hash, stored.classes) == (other.content_hash, other.classes)


def test_through_load_data_with_size_and_channels(written):
    rows = [(red, red % 2) for red in range(20)]
    written("train.parquet", rows, names=("even", "odd"), size=6)
    root = written("test.parquet", rows[:8], names=("even", "odd"), size=4)
    with pytest.raises(ValueError, match=r"row 0 of test\.parquet has 4×4 .* pass --image-size"):
        load(root)
    data = load_data(f"parquet:{root.name}", root.parent, image_size=4, channels=1)
    assert data.test.images.shape == (8, 1, 4, 4)
    assert (data.name, data.classes, data.flips) == ("pets", ("even", "odd"), True)
    assert load_data(f"parquet:{root / 'train.parquet'}").name == "train"


def test_names_as_labels_are_sorted_and_numbered(written):
    for kind in (pa.string(), pa.dictionary(pa.int32(), pa.string())):
        written("train.parquet", [(1, "emu"), (2, "cat"), (3, "emu")], kind)
        raw = load(written("test.parquet", [(4, "emu")], kind))
        assert raw.classes == ("cat", "emu")
        assert raw.parts["train"].labels.tolist() == [1, 0, 1]
        assert raw.parts["test"].labels.tolist() == [1]
    with pytest.raises(ValueError, match="has the class 'yak' in test but not in train"):
        load(written("test.parquet", [(4, "yak")], pa.string()))


@pytest.mark.parametrize("hidden", [[-1, -1], [None, None], []])
def test_a_split_without_labels_is_left_out_and_said(written, hidden):
    written("train.parquet", [(1, 0), (2, 1)])
    raw = load(written("test.parquet", list(enumerate(hidden))))
    assert list(raw.parts) == ["train"]
    assert raw.notes.startswith("the split test ") and raw.notes.endswith(" and is left out")


def test_files_beside_the_splits_are_left_out_and_said(written):
    written("extra-00000.parquet", [(9, 0)])
    raw = load(written("train.parquet", [(1, 0), (2, 1)]))
    assert (list(raw.parts), raw.notes) == (["train"], "1 files outside of the splits are left out")


def cifar100(picture, labels: dict[str, list[int]], name: str = "img") -> Any:
    pictures = [{"bytes": picture((red, 0, 0)), "path": None} for red in range(2)]
    return pa.table({name: pa.array(pictures, IMAGE), **labels})


def test_the_columns_of_cifar_100(tmp_path: Path, picture):
    table = cifar100(picture, {"coarse_label": [0, 0], "fine_label": [1, 0]})
    names = declared(fine_label=("ant", "bee"), coarse_label=("insect",))
    pq.write_table(table.replace_schema_metadata(names), tmp_path / "train.parquet")
    assert load(tmp_path).classes == ("ant", "bee")
    coarse = load(tmp_path, label_column="coarse_label")
    assert (coarse.classes, coarse.parts["train"].labels.tolist()) == (("insect",), [0, 0])


def test_columns_that_are_the_only_ones_are_found(tmp_path: Path, picture):
    table = pa.table({"jpg": [picture(), picture()], "kind": [0, 1], "score": [0.5, 0.2]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert load(tmp_path).classes == ("0", "1")


def test_a_column_that_is_declared_comes_before_other_numbers():
    schema = pa.schema({"image": IMAGE, "id": pa.int64(), "kind": pa.int8(), "width": pa.int32()})
    with pytest.raises(
        ValueError, match=r"several .* \(id, kind, width\): give --label-column one"
    ):
        columns.label_column(schema, None, "x")
    named = schema.with_metadata(declared(kind=("a", "b")))
    assert columns.label_column(named, None, "x") == "kind"
    assert columns.label_column(named, "id", "x") == "id"


@pytest.mark.parametrize(
    ("fields", "asked", "message"),
    [
        (
            {"a": pa.binary(), "b": IMAGE},
            None,
            r"several .* \(a, b\): give --image-column one of a",
        ),
        (
            {"text": pa.string()},
            None,
            r"has no column of pictures \(its columns are text \(string\)\): add one of encoded",
        ),
        ({"image": pa.list_(IMAGE)}, None, r"column image of x has the type list<.*another of"),
        ({"image": IMAGE}, "photo", r"has no column 'photo': give --image-column one of image"),
        (
            {"image": IMAGE, "label": pa.int64()},
            "label",
            "column label of x has the type int64, not",
        ),
    ],
)
def test_columns_of_pictures_that_cannot_be_chosen(fields, asked, message):
    with pytest.raises(ValueError, match=message) as caught:
        columns.image_column(pa.schema(fields), asked, "x")
    assert "\n" not in str(caught.value)


def test_a_file_without_labels_says_what_it_has(tmp_path: Path, picture):
    pq.write_table(pa.table({"image": [picture()] * 4}), tmp_path / "x.parquet")
    with pytest.raises(ValueError) as caught:
        load(tmp_path / "x.parquet")
    assert str(caught.value) == (
        "x.parquet has no column of labels (its columns are image (binary)): add one of whole "
        "numbers or names"
    )


def test_auto_takes_it_by_its_rows_and_first_picture(written, monkeypatch):
    root = written("train-0.parquet", [(row, row % 2) for row in range(30)])
    written("train-1.parquet", [(row, row % 2) for row in range(10)])
    for size, image_size in ((4, None), (9, 9)):
        whole = 40 * 3 * size**2
        for free, lazy in ((4 * whole, False), (4 * whole - 1, True)):
            monkeypatch.setattr(room, "free_memory", lambda free=free: free)
            part = load(root, image_size, streaming=Streaming("auto", 0)).parts["train"]
            assert isinstance(part.images, Streamed) == lazy


@pytest.mark.parametrize("meta", [b"{", b"[]", b'{"info": null}', b'{"info": {"features": []}}'])
def test_metadata_of_another_form_are_passed_over(meta: bytes):
    schema = pa.schema({"label": pa.int64()}, {"huggingface": meta})
    assert columns.declared_names(schema, "label") is None


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([0, None], pa.int64(), r"row 1 of train in .* has no label: label it or take it out"),
        ([0, -1], pa.int64(), r"label of .*pets \(train\) has the label -1: labels begin at 0"),
        ([0, 10**6], pa.int64(), "has the label 1000000: number the classes from 0"),
        ([0.0, 1.0], pa.float64(), "the column label of train.parquet has the type double, not"),
        ([[0], [1]], pa.list_(pa.int64()), "column label of train.parquet has the type list<"),
    ],
)
def test_labels_that_are_none_are_refused(written, labels, kind, message):
    root = written("train.parquet", list(enumerate(labels)), kind)
    with pytest.raises(ValueError, match=message) as caught:
        load(root)
    assert "\n" not in str(caught.value)


def test_a_label_beyond_the_declared_classes_is_refused(written):
    with pytest.raises(ValueError, match=r"pets \(train\) has the label 2: expected 0 to 1"):
        load(written("train.parquet", [(0, 0), (1, 2)], names=("a", "b")))


def test_files_that_name_their_classes_differently_are_refused(written):
    written("train.parquet", [(0, 0), (1, 1)], names=("a", "b"))
    with pytest.raises(ValueError, match=r"test\.parquet names other classes in label than"):
        load(written("test.parquet", [(0, 0)], names=("b", "a")))


def test_splits_in_two_folders_are_refused(written):
    written("cropped/train.parquet", [(0, 0)])
    with pytest.raises(ValueError, match="has files of train in 'cropped' and 'full'"):
        load(written("full/train.parquet", [(0, 0)]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"row 1 of x\.parquet has no picture in image: save it with its bytes"),
        ({"bytes": None, "path": "a.png"}, r"row 1 of x\.parquet has no picture in image: .* path"),
        ({"bytes": b"", "path": None}, r"row 1 of x\.parquet has no picture"),
        ({"bytes": b"text", "path": None}, r"row 1 of x\.parquet cannot be read as a picture"),
    ],
)
def test_a_row_without_a_picture_is_named(tmp_path: Path, picture, value, message):
    rows = pa.array([{"bytes": picture(), "path": None}, value], IMAGE)
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left", [0, 3, 100, -9])
def test_a_damaged_file_is_named(written, left: int):
    root = written("train.parquet", [(0, 0), (1, 1)])
    path = root / "train.parquet"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"train\.parquet cannot be read as parquet .*: get it"):
        load(root)


def test_paths_that_hold_no_tables(tmp_path: Path):
    with pytest.raises(ValueError, match=r"is no \.parquet file and no folder of such"):
        load(tmp_path / "nothing.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no \.parquet files: expected <split>-<number>"):
        load(tmp_path / "empty")


def test_without_pyarrow_it_says_what_to_install(written, monkeypatch):
    root = written("train.parquet", [(0, 0), (1, 1)])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"^parquet:PATH needs pyarrow: pip install 'hardy\[parq"):
        load(root)


def test_the_second_load_decodes_nothing(written, monkeypatch):
    root = written("train.parquet", [(0, 0), (1, 1)])
    first = load(root)
    monkeypatch.setattr(
        "hardy.data.sources.parquet.decode", lambda *_: pytest.fail("decoded again")
    )
    second = load(root)
    assert second.content_hash == first.content_hash
    with pytest.raises(pytest.fail.Exception):
        load(root, image_size=2)


def test_pictures_come_in_turn_and_not_at_once(written, monkeypatch):
    """More rows than are held: in order, and each read when it is asked for."""
    monkeypatch.setattr(contents, "_AT_ONCE", 2)
    found = contents.examined(written("train.parquet", [(red, red % 2) for red in range(5)]))
    stream = contents.encoded(found, "train")
    assert next(stream).name == "row 0 of train.parquet"
    assert [each.name for each in stream] == [f"row {row} of train.parquet" for row in range(1, 5)]
    assert np.array_equal(found.labels["train"], [0, 1, 0, 1, 0])
