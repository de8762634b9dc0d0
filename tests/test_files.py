"""Files are whole or not there."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from hardy.files import sha256, write_json, write_text, written_whole


def test_a_block_that_ends_well_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_text(path, "old")
    write_text(path, "new: α\n")
    assert path.read_bytes() == "new: α\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with written_whole(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == tmp_path, "a rename is atomic within one file system only"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(error), written_whole(path) as part:
        part.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_leaves_no_file_where_none_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written_whole(tmp_path / "file"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_no_json(tmp_path: Path, value: float) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"deep": [{"value": value}]})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"text": "α → β", "numbers": [1, 0.1, None, True], "none": {}}
    write_json(tmp_path / "file.json", value)
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "α → β" in text


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "text")
        assert os.umask(umask) == umask, "the umask itself is left as it was"
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_sha256_known_value(tmp_path: Path) -> None:
    """The FIPS 180-2 example 'abc'."""
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
