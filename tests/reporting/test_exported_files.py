"""The table and the headline of exported files."""

from __future__ import annotations

from collections.abc import Callable

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.exported import exported_table
from hardy.reporting.headline import headline
from hardy.reporting.page import write_report
from hardy.reporting.tables import other_table


def compared(file: str, pictures: str, relative: float, hits: int) -> list[Measurement]:
    setting = {"format": "onnx", "pictures": pictures, "batch": 64}
    apart = {"relative": relative, "spread": 2.0}
    return [
        Measurement(
            "logit difference",
            2 * relative,
            "test",
            64,
            file,
            no_interval="the largest",
            setting={**setting, **apart},
        ),
        Measurement("same predictions", hits / 64, "test", 64, file, (0, 1), setting={**setting}),
    ]


def size(file: str, count: int) -> Measurement:
    return Measurement("file size", count, "test", 64, file, no_interval="bytes, counted")


def test_a_row_for_each_way_of_comparing(run: Callable[..., Results]) -> None:
    clean, attacked = (
        compared("a.onnx", "clean", 1e-6, 64),
        compared("a.onnx", "attacked", 4e-5, 63),
    )
    results = run("export", [size("a.onnx", 44_700_000), *clean, *attacked], tolerance=0.001)
    assert exported_table(results)[1:] == [
        ["a.onnx", "44.7 MB", "64 clean", "64", "2e-06", "1e-06", "64 of 64"],
        ["a.onnx", "44.7 MB", "64 attacked", "64", "8e-05", "4e-05", "63 of 64"],
    ]
    assert other_table(results) == []
    assert headline(results) == (
        "a.onnx (44.7 MB) gives what the network gives: on 64 clean and attacked pictures of test "
        "logits differ by 4.0e-05 of their spread at most, and one prediction changes."
    )
    page = write_report(results.folder or run).read_text(encoding="utf-8")  # type: ignore[arg-type]
    assert "63 of 64" in page and "0.001 at most or no file is kept" in page


def test_two_files_that_change_nothing(run: Callable[..., Results]) -> None:
    both = [size("a", 10**6), size("b", 2 * 10**6)]
    both += compared("a", "clean", 2e-7, 64) + compared("b", "clean", 1e-7, 64)
    assert headline(run("export", both)).startswith(
        "a (1 MB) and b (2 MB) give what the network gives: "
    )
    assert headline(run("export", both)).endswith(
        "2.0e-07 of their spread at most, and no picture changes its class."
    )


def test_other_runs_have_no_such_table(run: Callable[..., Results]) -> None:
    assert exported_table(run("evaluate", [])) == []
