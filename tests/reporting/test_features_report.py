"""The page of a set of features: its numbers by hand, its pictures stage by stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardy.evaluation.pictures import write_arrays
from hardy.evaluation.results import Measurement, Results
from hardy.reporting.features import MADE, features_table, of_set
from hardy.reporting.figures import feature_pictures
from hardy.reporting.tables import other_table

STORED = {"stored as": "float16"}


def results(folder: Path) -> Results:
    def measured(quantity: str, value: float, subject: str = "", **setting: str) -> Measurement:
        return Measurement(
            quantity, value, "train", 1200, subject, (value, value), setting={**setting}
        )

    found = Results("features", {"set": "conflicting", "inversion": "9 steps"}, folder=folder)
    found.measurements = [
        measured("targets reached", 0.5, "network", **STORED),
        measured("label accuracy", 0.25, "robust network", labels="the originals", **STORED),
        measured("feature distance", 8.0, "robust network", at="before"),
        measured("feature distance", 2.0, "robust network", at="after"),
        measured("distance moved", 0.5, **{"from": "the inverted picture"}),
        measured("rounding distance", 0.002, **STORED),
    ]
    return found


def test_each_number_has_its_row_and_the_sentence_its_numbers(tmp_path: Path) -> None:
    found = results(tmp_path)
    assert {m.quantity for m in found.measurements} == {*MADE}
    _, *rows = features_table(found)
    assert [row[0] for row in rows] == [
        "targets reached, stored (float16)",
        "accuracy under the labels of the originals, stored (float16)",
        "feature distance before inversion",
        "feature distance after inversion",
        "distance moved from the inverted picture",
        "distance moved by rounding to float16",
    ]
    assert rows[0][1:] == ["network", "1,200", "50.00 [50.00, 50.00] %"]
    said = of_set(found)
    assert said.startswith("A set of 1,200 pictures, conflicting: features are at 25 % of the")
    assert "takes 50.00" in said
    assert other_table(found) == []
    assert features_table(Results("train")) == []


def kept(folder: Path, stages: dict[str, np.ndarray], count: int = 3) -> Results:
    path = folder / "made.npz"
    arrays = {f"stage/{name}": images for name, images in stages.items()}
    numbers = {name: np.arange(count) for name in ("original labels", "labels", "said")}
    write_arrays(path, {**arrays, **numbers, "classes": np.array(["a", "b", "c"])})
    found = results(folder)
    found.add_artifact(path, "feature pictures")
    return found


def test_a_row_for_each_stage_and_what_the_attack_added(tmp_path: Path) -> None:
    grey = np.full((3, 1, 2, 2), 100, np.uint8)
    stages = {"original": grey, "start": grey + 50, "inverted": grey + 10, "made": grey + 12}
    figure = feature_pictures(kept(tmp_path, stages), tmp_path)
    assert figure is not None
    rows = [axes for axes in figure.axes if axes.get_ylabel()]
    assert [axes.get_ylabel() for axes in rows] == [
        *("original", "started from", "inverted", "difference × 8", "in the set"),
    ]
    values = [int(np.asarray(axes.images[0].get_array())[0, 0]) for axes in rows]
    assert values == [100, 150, 110, 128 + 8 * 2, 112]


def test_inversion_alone_has_no_difference_to_show(tmp_path: Path) -> None:
    grey = np.full((3, 1, 2, 2), 100, np.uint8)
    found = kept(tmp_path, {"original": grey, "start": grey, "made": grey})
    figure = feature_pictures(found, tmp_path)
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == [
        *("original", "started from", "in the set"),
    ]


def test_no_pictures_and_damaged_ones(tmp_path: Path) -> None:
    assert feature_pictures(results(tmp_path), tmp_path) is None
    grey = np.full((2, 1, 2, 2), 100, np.uint8)
    found = kept(tmp_path, {"original": grey, "made": grey}, count=3)
    with pytest.raises(ValueError, match="does not hold the feature pictures of a run"):
        feature_pictures(found, tmp_path)
