"""The schema of results: what goes in comes out, and what is no result is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hardy.evaluation.results import FILE_NAME, Artifact, Measurement, Results, read
from hardy.files import sha256


def some_results(folder: Path) -> Results:
    setting = {"norm": "linf", "eps": 8 / 255, "steps": 20}
    return Results(
        "evaluate",
        facts={"model": "resnet18", "share": 0.1, "epochs": 3, "tuned": True, "teacher": None},
        notes=["Measured on 256 examples: α ≤ 1."],
        measurements=[
            Measurement("clean accuracy", 0.9, "test", 10, "a", interval=(0.6, 0.98)),
            Measurement("robust accuracy", 0.5, "test", 10, "a", (0.24, 0.76), setting=setting),
            Measurement("robust accuracy", 0.4, "test", 10, "b", (0.17, 0.69), setting=setting),
            Measurement("mrc", 0.1 + 0.2, "train", 8, "conv1", no_interval="one sample only"),
        ],
        folder=folder,
    )


def test_round_trip_to_the_bit(tmp_path: Path) -> None:
    results = some_results(tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.svg").write_text("<svg/>")
    results.add_artifact(tmp_path / "figures" / "a.svg", "figure")
    assert results.write() == tmp_path / FILE_NAME
    assert read(tmp_path) == results


def test_an_artifact_is_noted_once_with_the_hash_of_today(tmp_path: Path) -> None:
    results, path = some_results(tmp_path), tmp_path / "page.html"
    for text in ("old", "new"):
        path.write_text(text)
        results.add_artifact(path, "page")
    assert results.artifacts == [Artifact("page.html", "page", sha256(path))]


def test_select_by_fields_and_settings(tmp_path: Path) -> None:
    results = some_results(tmp_path)
    assert [m.subject for m in results.select("robust accuracy")] == ["a", "b"]
    assert [m.value for m in results.select("robust accuracy", norm="linf", subject="b")] == [0.4]
    assert not list(results.select("robust accuracy", norm="l2"))
    assert not list(results.select("clean accuracy", steps=20)), "it has no such setting"


def test_one_is_exactly_one(tmp_path: Path) -> None:
    results = some_results(tmp_path)
    assert results.one("mrc", n=8).subject == "conv1"
    with pytest.raises(ValueError, match=r"expected one robust accuracy with \{\}, found 2"):
        results.one("robust accuracy")
    with pytest.raises(ValueError, match="found 0"):
        results.one("clean accuracy", split="val")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_no_result(value: float) -> None:
    with pytest.raises(ValueError, match=r"mrc of conv1 is .*: not a result"):
        Measurement("mrc", value, "test", 5, "conv1", no_interval="one sample only")
    with pytest.raises(ValueError, match=r"mrc of the run has the interval .*: not a result"):
        Measurement("mrc", 0.0, "test", 5, interval=(0.0, value))


def test_an_interval_or_the_reason_why_there_is_none() -> None:
    with pytest.raises(ValueError, match="neither an interval nor the reason"):
        Measurement("mrc", 0.0, "test", 5)


def test_a_fact_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    results = some_results(tmp_path)
    results.write()
    before = (tmp_path / FILE_NAME).read_bytes()
    results.facts["loss"] = math.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write()
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_no_results_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no results\.json in .*: give the folder of a finished"):
        read(tmp_path)


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_another_schema_is_refused(tmp_path: Path, schema: object) -> None:
    results = some_results(tmp_path)
    results.schema = schema  # type: ignore[assignment]
    results.write()
    with pytest.raises(ValueError, match=rf"has schema {schema}, this hardy reads 1"):
        read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b"{}",
        b"\xff\xfe\x00",
        b'{"schema": 1}',
        b'{"schema": 1, "verb": "x", "measurements": 5, "artifacts": []}',
        b'{"schema": 1, "verb": "x", "measurements": [5], "artifacts": []}',
        b'{"schema": 1, "verb": "x", "measurements": [{"value": 1}], "artifacts": []}',
        b'{"schema": 1, "verb": "x", "measurements": [], "artifacts": [], "more": 1}',
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"results\.json is not a results file of hardy") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_named_in_one_line(tmp_path: Path, keep: float) -> None:
    content = some_results(tmp_path).write().read_bytes()
    (tmp_path / FILE_NAME).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match="is not a results file of hardy"):
        read(tmp_path)
