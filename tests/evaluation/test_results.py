"""The schema of results: what goes in comes out, and what is no result is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hardy.evaluation.results import (
    FILE_NAME,
    SCHEMA,
    Artifact,
    Finding,
    Measurement,
    Results,
    is_accuracy,
    is_difference,
    read,
)
from hardy.files import sha256


def some_results(folder: Path) -> Results:
    setting = {"attack": "PGD", "norm": "linf", "eps": 8 / 255, "steps": 20, "seed": 0}
    setting["dtype"] = "fp32"
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
        findings=[Finding("zero gradients", "fatal", "No slope.", "a", {"share": 0.9, "of": 3})],
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


def test_an_interval_runs_from_low_to_high() -> None:
    with pytest.raises(ValueError, match=r"has the interval \(0\.6, 0\.4\): not a result"):
        Measurement("clean accuracy", 0.5, "test", 5, interval=(0.6, 0.4))


def test_an_interval_or_the_reason_why_there_is_none() -> None:
    with pytest.raises(ValueError, match="neither an interval nor the reason"):
        Measurement("mrc", 0.0, "test", 5)


def test_results_that_are_none_leave_the_old_file(tmp_path: Path) -> None:
    results = some_results(tmp_path)
    results.write()
    before = (tmp_path / FILE_NAME).read_bytes()
    results.facts["loss"] = math.nan
    with pytest.raises(ValueError, match="is not written: facts: 'loss' is nan, not finite"):
        results.write()
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_no_results_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no results\.json in .*: give the folder of a finished"):
        read(tmp_path)


def changed(folder: Path, **fields: Any) -> None:
    """Change fields of the file itself, where writing would refuse."""
    path = folder / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, None, "1"])
def test_another_schema_is_refused(tmp_path: Path, schema: object) -> None:
    some_results(tmp_path).write()
    changed(tmp_path, schema=schema)
    with pytest.raises(ValueError, match=rf"has schema {schema}, this hardy reads {SCHEMA}: run"):
        read(tmp_path)


def test_the_schema_before_findings_is_still_read(tmp_path: Path) -> None:
    results = some_results(tmp_path)
    old = json.loads(results.write().read_text())
    old["schema"] = 1
    del old["findings"]
    (tmp_path / FILE_NAME).write_text(json.dumps(old))
    results.findings = []
    assert read(tmp_path) == results, "and it is of this schema from now on"
    read(tmp_path).write()
    assert json.loads((tmp_path / FILE_NAME).read_text())["schema"] == SCHEMA


def test_the_kind_of_a_quantity_is_in_its_name() -> None:
    accuracies = ("clean accuracy", "robust accuracy so far", "robust accuracy at radius")
    differences = ("mean corruption accuracy gain", "robust accuracy drop")
    assert [is_accuracy(q) for q in (*accuracies, *differences, "mrc")] == [True] * 3 + [False] * 3
    assert [is_difference(q) for q in (*accuracies, *differences)] == [False] * 3 + [True] * 2


FIRST = "measurement 1, clean accuracy of a, "
SECOND = "measurement 2, robust accuracy of a, "


@pytest.mark.parametrize(
    ("kind", "index", "fields", "said"),
    [
        ("measurements", 0, {"value": 90.0}, FIRST + "is 90, not a fraction from 0 to 1"),
        ("measurements", 0, {"value": -0.1}, FIRST + "is -0.1, not a fraction from 0 to 1"),
        ("measurements", 0, {"quantity": "ligs", "value": 1.1}, "1.1, not a number from -1 to 1"),
        ("measurements", 0, {"value": True}, "measurement 1: value is True, of another type"),
        ("measurements", 0, {"value": "0.9"}, "measurement 1: value is '0.9', of another type"),
        ("measurements", 0, {"n": 10.0}, "measurement 1: n is 10.0, of another type"),
        ("measurements", 0, {"n": 0}, FIRST + "is of 0 examples"),
        ("measurements", 0, {"split": ""}, FIRST + "lacks its quantity or split"),
        ("measurements", 0, {"interval": [0.6]}, FIRST + "has the interval [0.6]"),
        ("measurements", 0, {"interval": ["a", 1]}, FIRST + "has the interval ['a', 1]"),
        ("measurements", 0, {"interval": [0.9, 0.6]}, FIRST + "has the interval [0.9, 0.6]"),
        ("measurements", 0, {"interval": None}, FIRST + "has neither an interval nor the reason"),
        ("measurements", 0, {"no_interval": "few"}, FIRST + "has an interval and a reason"),
        ("measurements", 0, {"setting": {"k": [1]}}, FIRST + "setting: 'k' is [1], not a text"),
        ("measurements", 0, {"more": 1}, "measurement 1 has 'more', which is no field of it"),
        ("measurements", 1, {"setting": {"attack": "PGD", "norm": "linf", "eps": 0.1}},
         SECOND + "does not say its seed and dtype"),
        ("measurements", 1, {"subject": "b", "value": 0.4, "interval": [0.1, 0.7]},
         "the measurement robust accuracy of b on test (attack='PGD', dtype='fp32', "),
        ("measurements", 3, {"quantity": "clean accuracy gain", "value": -1.5},
         "measurement 4, clean accuracy gain of conv1, is -1.5, not a fraction from -1 to 1"),
        ("measurements", 3, {"quantity": "mean over seeds", "setting": {"of": "clean accuracy"},
                             "value": 81.0}, "is 81, not a fraction from 0 to 1"),
        ("artifacts", 0, {"path": "../a.svg"}, "artifact 1 has the path '../a.svg': it must lie"),
        ("artifacts", 0, {"path": "/etc/a"}, "artifact 1 has the path '/etc/a': it must lie"),
        ("artifacts", 0, {"path": "b\\..\\..\\a"}, "artifact 1 has the path "),
        ("artifacts", 0, {"path": "C:a.svg"}, "artifact 1 has the path 'C:a.svg'"),
        ("artifacts", 0, {"sha256": "12"}, "artifact 1, 'a.svg', lacks its kind or its SHA-256"),
        ("artifacts", 1, {"path": "a.svg"}, "the artifact a.svg stands there twice"),
        ("findings", 0, {"grade": "bad"}, "finding 1 is 'bad', not mild or serious or fatal"),
        ("findings", 0, {"sentence": ""}, "finding 1 lacks its check or its sentence"),
        ("findings", 0, {"evidence": {"x": None, "y": {}}}, "finding 1 evidence: 'y' is {}, not"),
    ],
)  # fmt: skip
def test_what_is_no_entry_is_named_in_one_line(
    tmp_path: Path, kind: str, index: int, fields: dict[str, Any], said: str
) -> None:
    results = some_results(tmp_path)
    results.artifacts = [Artifact(f"{name}.svg", "figure", "0" * 64) for name in "ab"]
    content = json.loads(results.write().read_text())
    content[kind][index] |= fields
    changed(tmp_path, **content)
    with pytest.raises(ValueError, match=r"results\.json is not a results file of hardy") as error:
        read(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_robust_accuracy_without_its_attack_is_not_written(tmp_path: Path) -> None:
    results = some_results(tmp_path)
    del results.measurements[1].setting["eps"]
    said = "is not written: measurement 2, robust accuracy of a, does not say its eps"
    with pytest.raises(ValueError, match=said):
        results.write()
    assert not (tmp_path / FILE_NAME).exists()


def test_the_same_at_another_radius_is_not_the_same(tmp_path: Path) -> None:
    results = some_results(tmp_path)
    again = results.measurements[1]
    other = {**again.setting, "eps": 4 / 255}
    results.measurements.append(
        Measurement("robust accuracy", 0.6, "test", 10, "a", (0.3, 0.8), setting=other)
    )
    results.write()
    results.measurements.append(again)
    with pytest.raises(ValueError, match="stands there twice"):
        results.write()


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
        b'{"schema": 2, "verb": "x", "facts": [], "notes": [], "measurements": []}',
        b'{"schema": 2, "verb": 5, "facts": {}, "notes": [], "measurements": [], "artifacts": []}',
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"results\.json is not a results file of hardy") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_the_example_of_the_schema_is_valid(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "results-schema.md"
    text = page.read_text(encoding="utf-8").split("```json")[1].split("```")[0]
    (tmp_path / FILE_NAME).write_text(text, encoding="utf-8")
    found = read(tmp_path)
    assert found.one("robust accuracy", norm="linf").setting["eps"] == 8 / 255
    assert found.findings[0].grade == "serious"


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_named_in_one_line(tmp_path: Path, keep: float) -> None:
    content = some_results(tmp_path).write().read_bytes()
    (tmp_path / FILE_NAME).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match="is not a results file of hardy"):
        read(tmp_path)
