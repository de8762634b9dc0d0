"""Size and speed in the tables and on the page, with answers worked out by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from evaluated_runs import of_accuracy, write_evaluation

from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.reporting.page import write_report
from hardy.reporting.sizes import size_caption, size_table
from hardy.reporting.tables import markdown, other_table
from hardy.reporting.wording import plain

SIZE = "3×32×32"


def of_size(network: str, parameters: int, operations: int) -> list[Measurement]:
    def counted(quantity: str, value: int, **setting: Scalar) -> Measurement:
        return Measurement(quantity, value, "test", 1, network, None, "counted", setting)

    return [
        counted("parameters", parameters),
        counted("weights", 4 * parameters, unit="bytes"),
        counted("operations", operations, image_size=SIZE),
    ]


def of_time(network: str, one: float, batch: float, **where: Scalar) -> list[Measurement]:
    about: dict[str, Scalar] = {"image_size": SIZE, "dtype": "fp32", **where}
    return [
        Measurement("latency", seconds, "test", n, network, None, "median", {"batch": n, **about})
        for n, seconds in ((1, one), (256, batch))
    ]


HEADS = ["network", "parameters", "MB", "F, GFLOP"]


def test_one_network(run: Callable[..., Results]) -> None:
    results = run("evaluate", of_size("mine", 11_173_962, 1_113_395_200))
    assert size_table(results) == [HEADS, ["mine", "11,173,962", "44.7", "1.11"]]
    assert other_table(results) == []
    assert size_caption(results).endswith(
        "F is the forward pass of one picture (3×32×32), a multiply-add counted as two operations."
    )


def test_others_are_set_in_ratio_to_the_first(run: Callable[..., Results]) -> None:
    big = [*of_size("big", 46_000_000, 13_400_000_000), *of_time("big", 0.02, 0.512)]
    small = [*of_size("small", 2_300_000, 187_600_000), *of_time("small", 0.005, 0.064)]
    rows = size_table(run("evaluate", big + small))
    assert rows == [
        [*HEADS, "one picture, ms", "pictures/s in batches of 256"],
        ["big", "46,000,000", "184", "13.4", "20", "500"],
        ["small", "2,300,000", "9.2", "0.188", "5", "4,000"],
        ["small ÷ big", "0.05×", "0.05×", "0.014×", "0.25×", "8×"],
    ]


def test_a_network_without_products_and_one_without_a_time(run: Callable[..., Results]) -> None:
    """Made of elementwise operations it has no F to be a ratio to."""
    bare = [*of_size("bare", 10, 0), *of_time("bare", 0.001, 0.002)]
    rows = size_table(run("evaluate", bare + of_size("mine", 20, 5_000_000)))
    assert rows[1:] == [
        ["bare", "10", "4e-05", "0", "1", "128,000"],
        ["mine", "20", "8e-05", "0.005", "–", "–"],
        ["mine ÷ bare", "2×", "2×", "–", "–", "–"],
    ]


def test_the_caption_says_where_the_time_was_measured(run: Callable[..., Results]) -> None:
    def caption(**where: Scalar) -> str:
        return size_caption(run("evaluate", of_time("mine", 0.1, 0.2, **where)))

    assert caption(device="cpu", threads=1).endswith("in full precision, on cpu with 1 thread.")
    assert caption(device="cpu", threads=8).endswith("on cpu with 8 threads.")
    assert caption(device="Some GPU").endswith("in full precision, on Some GPU.")


def test_it_stands_directly_after_the_first_table(tmp_path: Path) -> None:
    results = write_evaluation(tmp_path)
    results.measurements += of_size("pgd_at", 1000, 2000) + of_size("trades", 10, 20)
    results.write()
    text = write_report(tmp_path).read_text(encoding="utf-8")
    sections = re.findall(r'<section[^>]* id="([^"]+)"', text)
    assert sections.index("sizes") == sections.index("outcome") + 1
    assert "trades ÷ pgd_at" in text
    titles = re.findall("^## (.*)$", markdown(results), re.MULTILINE)
    assert titles[:2] == ["Before and after", "Size and speed"]


def test_without_sizes_there_is_no_such_table(run: Callable[..., Results]) -> None:
    results = run("evaluate", of_accuracy("mine", 0))
    assert size_table(results) == []
    assert 'id="sizes"' not in write_report(results.folder or Path()).read_text(encoding="utf-8")
    assert "Size and speed" not in markdown(results)


def test_whole_thousands_are_written_out() -> None:
    def said(value: float) -> str:
        return plain(Measurement("weights", value, "test", 1, no_interval="counted"))

    assert [said(v) for v in (11_173_962, 999, 1234.5)] == ["11,173,962", "999", "1.23e+03"]
