"""The page of an evaluation: several networks side by side, warnings before any number."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluated_runs import of_accuracy, of_classes, write_evaluation
from reported_runs import EVIL

from hardy.evaluation.results import Finding, Measurement, Results, read
from hardy.reporting.page import MOST_ROWS, render, write_report


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two networks with findings."""
    results = write_evaluation(tmp_path_factory.mktemp("evaluated"), found=True)
    return write_report(results.folder or Path())


def ids(text: str) -> list[str]:
    return re.findall(r'<(?:section|p|h2)[^>]* id="([^"]+)"', text)


def page_of(results: Results) -> str:
    results.write()
    return write_report(results.folder or Path()).read_text(encoding="utf-8")


def test_warnings_stand_before_any_number(evaluated: Path) -> None:
    text = evaluated.read_text(encoding="utf-8")
    order = ids(text)
    assert order[:3] == ["fatal", "serious", "mild"]
    assert order[3] == "headline"
    assert "attack it with --attack square." in text
    assert "(zero gradients: share 0.9313, pictures 256)" in text
    assert '<section class="notes finding fatal"' in text
    assert 'id="quiet"' not in text


def test_every_part_has_its_section_in_order(evaluated: Path) -> None:
    order = [
        name
        for name in ids(evaluated.read_text(encoding="utf-8"))
        if name in ("outcome", "stages", "radius", "classes", "corruptions", "broken", "setting")
    ]
    assert order == ["outcome", "stages", "radius", "classes", "corruptions", "broken", "setting"]
    noted = {a.path for a in read(evaluated.parent).artifacts if a.kind == "figure"}
    names = ("equal", "stages", "radius", "confusion", "corruptions", "broken")
    assert noted == {f"figures/{name}.{s}" for name in names for s in ("svg", "png")}


def test_the_differences_and_their_p_are_in_the_table(evaluated: Path) -> None:
    text = evaluated.read_text(encoding="utf-8")
    assert "trades − pgd_at, points" in text
    assert "+2.00 [1.0, 3.0]<small>p = 0.002</small>" in text
    assert "is more than chance: 2.00 points [1.0, 3.0], p = 0.002." in text


def test_class_names_with_markup_are_text(evaluated: Path) -> None:
    text = evaluated.read_text(encoding="utf-8")
    assert EVIL not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


def test_checks_that_found_nothing_are_said_quietly(run: Callable[..., Results]) -> None:
    results = run("evaluate", of_accuracy("mine", 0), preflight=256)
    text = page_of(results)
    order = ids(text)
    assert order.index("quiet") < order.index("headline")
    assert "The checks before the attack found nothing (256 pictures)." in text
    assert "<dt>preflight" not in text


def test_markup_in_findings_and_labels_is_text(run: Callable[..., Results]) -> None:
    results = run("evaluate", of_accuracy(EVIL, 0))
    results.findings = [Finding(EVIL, "fatal", EVIL, EVIL, {EVIL: EVIL})]
    text = page_of(results)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 6


PARTS = {
    "robust accuracy so far": "stages",
    "robust accuracy at radius": "radius",
    "class accuracy": "classes",
    "corruption accuracy": "corruptions",
    "mean corruption accuracy": "corruptions",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Measurement]:
    return write_evaluation(tmp_path_factory.mktemp("whole")).measurements


@pytest.mark.parametrize("quantity", PARTS)
def test_a_part_alone_has_its_section_and_no_other(
    run: Callable[..., Results], whole: list[Measurement], quantity: str
) -> None:
    results = run("evaluate", [m for m in whole if m.quantity == quantity])
    assert set(PARTS.values()) & set(ids(page_of(results))) == {PARTS[quantity]}


@pytest.mark.parametrize("quantity", PARTS)
def test_a_part_that_is_missing_breaks_no_other(
    run: Callable[..., Results], whole: list[Measurement], quantity: str
) -> None:
    results = run("evaluate", [m for m in whole if m.quantity != quantity])
    there = {section for other, section in PARTS.items() if other != quantity}
    assert set(PARTS.values()) & set(ids(render(results, {}, {}))) == there


def test_files_that_are_gone_are_named(tmp_path: Path) -> None:
    results = write_evaluation(tmp_path, networks=("mine",))
    results.measurements = of_accuracy("mine", 0)
    for name in ("confusion.npz", "broken.npz"):
        (tmp_path / name).unlink()
    text = page_of(results)
    assert "Not shown: confusion.npz, broken.npz is not in this run folder" in text


def test_a_page_of_very_many_measurements_is_cut_and_says_so(
    run: Callable[..., Results],
) -> None:
    classes = [f"class {i}" for i in range(520)]
    results = run("evaluate", of_classes("mine", 0, classes))
    text = render(results, {}, {})
    assert f"The first {MOST_ROWS} of 1040 measurements" in text
    assert "results.json beside this page holds all of them." in text
    results.measurements = results.measurements[:MOST_ROWS]
    assert f"All {MOST_ROWS} measurements" in render(results, {}, {})
