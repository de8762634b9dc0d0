"""The figures of an evaluation: what they show, for few and for many networks and classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluated_runs import (
    MADE,
    PGD,
    Setting,
    of_accuracy,
    of_classes,
    of_corruptions,
    of_radius,
    share,
    write_broken,
    write_confusion,
)
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from reported_runs import EVIL

from hardy.evaluation.results import Measurement, Results
from hardy.reporting import figures
from hardy.reporting.style import BLUE, QUIET, svg

NETS = ("pgd_at", "trades")
LONG = "runs/an experiment with a rather long name, and a longer one, of a folder"


@pytest.fixture(autouse=True)
def no_warnings() -> None:
    warnings.simplefilter("error")


def drawn(figure: Figure | None) -> Figure:
    """The figure, after it was really drawn."""
    assert figure is not None
    assert b"<svg" in svg(figure)
    return figure


def numbers(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def bars(axes: Axes, row: int) -> list[tuple[str, float]]:
    """Colour and width of the parts of a bar, from the left."""
    parts = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_width()]
    return [
        (to_hex(p.get_facecolor()).upper(), round(p.get_width(), 3))
        for p in sorted(parts, key=lambda p: p.get_x())
        if round(p.get_y() + p.get_height() / 2) == row
    ]


def test_a_bar_of_stages_is_all_pictures(run: Callable[..., Results]) -> None:
    found = [m for i, net in enumerate(NETS) for m in of_accuracy(net, i)]
    axes = drawn(figures.stages(run("evaluate", found))).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NETS)
    first = bars(axes, 0)
    # 200 wrong, 320 and 20 and 0 and 1 broken, 459 standing, of 1000
    assert [width for _, width in first] == [20, 32, 2, 0.1, 45.9]
    assert (first[0][0], first[-1][0]) == (QUIET, BLUE)
    assert sum(width for _, width in bars(axes, 1)) == pytest.approx(100)
    assert numbers(axes)[:3] == ["20.0", "32.0", "45.9"], "what is too narrow has no number"


def test_two_ensembles_are_told_apart(run: Callable[..., Results]) -> None:
    found = of_accuracy("mine", 0)
    for m in list(found):
        if m.quantity == "robust accuracy so far" and m.setting["stage"] == "APGD-CE":
            quick = {**m.setting, "attack": "AutoAttack quick"}
            found.append(share(m.quantity, m.value, "mine", quick))
    axes = drawn(figures.stages(run("evaluate", found))).axes[0]
    said = [label.get_text() for label in axes.get_yticklabels()]
    assert said == ["mine, AutoAttack, Linf 8/255", "mine, AutoAttack quick, Linf 8/255"]
    assert bars(axes, 1)[-1] == (BLUE, 48)


def test_a_curve_has_its_points_its_band_and_the_radius_of_the_table(
    run: Callable[..., Results],
) -> None:
    found = [m for i, net in enumerate(NETS) for m in of_radius(net, i)]
    shuffled = [*found[::-1], share("robust accuracy", 0.5, "pgd_at", PGD)]
    axes = drawn(figures.radius_curves(run("evaluate", shuffled))).axes[0]
    own = next(line for line in axes.lines if line.get_label() == "pgd_at")
    np.testing.assert_allclose(np.asarray(own.get_xdata(), float), np.arange(0, 18, 2))
    np.testing.assert_allclose(np.asarray(own.get_ydata(), float), 81 - 10 * np.arange(9))
    assert len(axes.collections) == 2, "a band a network"
    at = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [np.asarray(line.get_xdata())[0] for line in at] == pytest.approx([8])
    assert axes.get_xlabel() == "Linf radius, multiples of 1/255"


def test_an_l2_radius_is_in_its_own_unit(run: Callable[..., Results]) -> None:
    about: Setting = {**PGD, "norm": "l2"}
    found = [
        share("robust accuracy at radius", 1 - eps, "", {**about, "eps": eps}, n=50)
        for eps in (0.0, 0.5, 1.0)
    ]
    axes = drawn(figures.radius_curves(run("evaluate", found))).axes[0]
    np.testing.assert_allclose(np.asarray(axes.lines[0].get_xdata(), float), [0, 0.5, 1])
    assert axes.get_xlabel() == "L2 radius"


def test_a_curve_of_radius_zero_alone_is_drawn(run: Callable[..., Results]) -> None:
    about: Setting = {**PGD, "eps": 0.0}
    drawn(figures.radius_curves(run("e", [share("robust accuracy at radius", 1, "", about)])))


def test_matrices_are_shares_of_the_true_class(run: Callable[..., Results]) -> None:
    results = run("evaluate", [])
    write_confusion(results, NETS, ["cat", EVIL, "dog", "ship"])
    assert results.folder is not None
    figure = drawn(figures.confusion_matrices(results, results.folder))
    assert [axes.get_title("left") for axes in figure.axes] == [
        "pgd_at, clean",
        "pgd_at, adversarial",
        "trades, clean",
        "trades, adversarial",
    ]
    shown = np.asarray(figure.axes[1].images[0].get_array())
    np.testing.assert_allclose(shown[0], [0.5, 0.45, 0.05, 0])
    np.testing.assert_allclose(shown[2], [0.1, 0, 0.5, 0.4])
    assert numbers(figure.axes[1])[:3] == ["50", "45", "5"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()][1] == "<script…cript>"


def test_a_class_without_pictures_is_no_error(run: Callable[..., Results]) -> None:
    results = run("evaluate", [])
    assert results.folder is not None
    none = np.zeros((3, 3), dtype=np.int64)
    path = results.folder / "confusion.npz"
    np.savez(path, **{"classes": np.array(["a", "b", "c"]), "x/clean": none, "x/adversarial": none})
    results.add_artifact(path, "confusion")
    drawn(figures.confusion_matrices(results, results.folder))


def test_more_than_twenty_classes_are_dots(run: Callable[..., Results]) -> None:
    classes = [f"n{i:08d}, a class with a long name" for i in range(200)]
    results = run(
        "evaluate", [m for i, net in enumerate(NETS) for m in of_classes(net, i, classes)]
    )
    write_confusion(results, NETS, classes)
    assert results.folder is not None
    assert figures.confusion_matrices(results, results.folder) is None
    figure = drawn(figures.class_scatter(results, results.folder))
    assert [axes.get_title("left") for axes in figure.axes] == list(NETS)
    dots = np.asarray(figure.axes[0].collections[0].get_offsets())
    assert len(dots) == 200
    assert (dots[:, 1] <= dots[:, 0]).all(), "no class gains by the attack"
    said = numbers(figure.axes[0])
    assert 1 <= len(said) <= 9
    assert all(name.startswith("n0000") for name in said)


def test_ten_classes_have_no_dots_beside_their_matrix(run: Callable[..., Results]) -> None:
    results = run("evaluate", of_classes("a", 0, "abcdefghij"))
    assert results.folder is not None
    assert figures.class_scatter(results, results.folder) is not None, "but without one they have"
    write_confusion(results, ["a"], list("abcdefghij"))
    assert figures.class_scatter(results, results.folder) is None


def test_the_map_has_families_together_and_the_extra_ones_apart(
    run: Callable[..., Results],
) -> None:
    found = [m for i, net in enumerate(NETS) for m in of_corruptions(net, i, NETS)]
    figure = drawn(figures.corruption_map(run("evaluate", found)))
    own, other, gain = figure.axes
    assert [axes.get_title("left") for axes in figure.axes] == [
        "pgd_at",
        "trades",
        "trades\n− pgd_at, points",
    ]
    names = [label.get_text() for label in own.get_yticklabels()]
    assert names[:4] == ["gaussian noise", "shot noise", "impulse noise", "defocus blur"]
    assert names[-4:] == ["speckle noise", "gaussian blur", "spatter", "saturate"]
    rows = np.diff(own.get_yticks())
    assert rows[14] == rows.max(), "the widest gap is before the extra four"
    said = numbers(own)
    assert said[:6] == ["noise", "85", "80", "75", "70", "65"]
    assert said.index("extra 4") > said.index("digital")
    assert len(said) == 5 + 19 * 5
    assert numbers(gain)[1:6] == ["+1"] * 5
    assert numbers(other)[1] == "86"


def test_a_map_with_holes_and_one_severity(run: Callable[..., Results]) -> None:
    def cell(net: str, name: str, severity: int) -> Measurement:
        about: Setting = {"corruption": name, "severity": severity, "family": "x", "standard": True}
        return share("corruption accuracy", 0.5, net, {**about, **MADE})

    holes = [cell("a", "fog", 3), cell("b", "fog", 5), cell("b", "snow", 3)]
    figure = drawn(figures.corruption_map(run("evaluate", holes)))
    assert numbers(figure.axes[0]) == ["x", "50", "–", "–", "–"]
    assert numbers(figure.axes[2]) == ["x", "–", "–", "–", "–"]


def test_pictures_that_break_and_those_that_stand(run: Callable[..., Results]) -> None:
    results = run("evaluate", [])
    write_broken(results, NETS, ["cat", "dog", "ship"], n=4)
    assert results.folder is not None
    figure = drawn(figures.broken_pictures(results, results.folder))
    grid = np.array(figure.axes, dtype=object).reshape(5, 8)
    assert [axes.get_title() for axes in grid[0, :4]] == ["cat", "dog", "ship", "cat"]
    said = [[t.replace("\u2009", " ") for t in numbers(axes)] for axes in grid[1, :4]]
    assert said == [["✗ dog"], ["stands"], ["✗ cat"], ["wrong already", "clean ✗ ship"]]
    assert [len(axes.images) for axes in grid[1, :4]] == [1, 0, 1, 0]
    assert [len(axes.images) for axes in grid[4, :5]] == [0, 1, 0, 1, 0]
    added = np.asarray(grid[2, 0].images[0].get_array()).astype(int)
    assert set(np.abs(added - 128).ravel().tolist()) <= {64, 63, 128, 127}


@pytest.mark.parametrize(("shape", "n"), [((1, 8, 8), 1), ((3, 64, 64), 12)])
def test_few_grey_and_many_large_pictures(
    run: Callable[..., Results], shape: tuple[int, int, int], n: int
) -> None:
    results = run("evaluate", [])
    write_broken(results, ["mine"], ["cat", "dog", "ship"], n, shape)
    assert results.folder is not None
    figure = drawn(figures.broken_pictures(results, results.folder))
    assert sum(bool(axes.images) for axes in figure.axes[:8]) == min(n, 8)


@pytest.mark.slow
def test_ten_networks_with_long_names_fit(run: Callable[..., Results]) -> None:
    nets = [f"{LONG} {i}" for i in range(10)]
    found = [
        m
        for i, net in enumerate(nets)
        for m in [*of_accuracy(net, i), *of_radius(net, i), *of_corruptions(net, i, nets)]
    ]
    results = run("evaluate", found)
    write_confusion(results, nets, [f"a class of a long name, {i}" for i in range(20)])
    write_broken(results, nets, [f"a class of a long name, {i}" for i in range(20)])
    assert results.folder is not None
    for figure in (
        figures.stages(results),
        figures.radius_curves(results),
        figures.corruption_map(results),
        figures.confusion_matrices(results, results.folder),
        figures.broken_pictures(results, results.folder),
    ):
        whole = drawn(figure).get_tightbbox()
        assert whole.width <= 9 * 1.02, "nothing stands out of the page"


NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (0,), }"


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short", NPY.ljust(128)])
@pytest.mark.parametrize("kind", ["confusion", "broken pictures"])
def test_damaged_files_are_named(run: Callable[..., Results], kind: str, content: bytes) -> None:
    results = run("evaluate", [])
    folder = results.folder or Path()
    (folder / "held.npz").write_bytes(content)
    results.add_artifact(folder / "held.npz", kind)
    draw = figures.confusion_matrices if kind == "confusion" else figures.broken_pictures
    with pytest.raises(ValueError, match=rf"held\.npz does not hold the {kind} of a run"):
        draw(results, folder)


def test_arrays_that_do_not_fit_are_named(run: Callable[..., Results]) -> None:
    results = run("evaluate", [])
    folder = results.folder or Path()
    square = np.zeros((2, 2), dtype=np.int64)
    held = {"classes": np.array(["a"]), "x/clean": square, "x/adversarial": square}
    np.savez(folder / "confusion.npz", **held)
    results.add_artifact(folder / "confusion.npz", "confusion")
    with pytest.raises(ValueError, match=r"does not hold the confusion.*differ in size"):
        figures.confusion_matrices(results, folder)


def test_nothing_measured_nothing_drawn(run: Callable[..., Results]) -> None:
    results = run("export", [])
    assert results.folder is not None
    assert figures.stages(results) is None
    assert figures.radius_curves(results) is None
    assert figures.corruption_map(results) is None
    for draw in (figures.confusion_matrices, figures.class_scatter, figures.broken_pictures):
        assert draw(results, results.folder) is None
