"""Tables, wording and headlines with answers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from reported_runs import ATTACK, EVIL, accuracy, gain, of_candidates, of_modules, of_training

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.candidates import best, candidates, start_of, tolerance
from hardy.reporting.headline import headline
from hardy.reporting.tables import (
    candidate_table,
    markdown,
    missing_intervals,
    module_table,
    other_table,
    table,
)
from hardy.reporting.wording import attack, number, percent, points, radius

HALF = "test (reported half)"


def measured(value: float, low: float, high: float) -> Measurement:
    return Measurement("clean accuracy", value, "test", 100, interval=(low, high))


def test_numbers_are_worded_for_readers() -> None:
    assert percent(measured(0.82312, 0.809, 0.836)) == "82.31 [80.9, 83.6]"
    assert points(measured(-0.0002, -0.003, 0.003)) == "−0.02 [−0.3, 0.3]"
    # One decimal would claim that this interval touches zero.
    assert points(measured(0.0031, 0.0003, 0.0062)) == "+0.31 [0.03, 0.62]"
    assert percent(measured(0.9, 0.899, 0.901)) == "90.00 [89.90, 90.10]"
    assert number(-0.001) == "0.00"
    assert number(-0.001, signed=True) == "0.00"


@pytest.mark.parametrize(
    ("norm", "eps", "text"),
    [
        ("linf", 8 / 255, "Linf 8/255"),
        ("linf", 0.0314, "Linf 0.0314"),
        ("l2", 1.0, "L2 1"),
        ("l2", 128 / 255, "L2 128/255"),
        (None, None, ""),
    ],
)
def test_a_radius_is_worded_in_its_norm(norm: str | None, eps: float | None, text: str) -> None:
    assert radius(norm, eps) == text


def test_an_attack_is_worded_from_what_is_known() -> None:
    full = {"attack": "autoattack", "norm": "linf", "eps": 4 / 255, "steps": 100, "restarts": 1}
    assert attack(full) == "autoattack, Linf 4/255, 100 steps"
    assert attack({}) == ""
    pgd = {"attack": "PGD", "norm": "l2", "eps": 0.5, "steps": 10, "restarts": 3}
    assert attack(pgd) == "PGD-10, L2 0.5, worst of 3"


def test_before_and_after(rift: Results) -> None:
    against = "robust accuracy (PGD-10, Linf 8/255, worst of 3), %"
    rows = table(rift)
    assert rows[0] == ["subject", "split", "n", "clean accuracy, %", against]
    assert rows[1] == ["start", HALF, "5,000", "81.46 [80.4, 82.5]", "53.63 [52.2, 55.0]"]
    assert [row[0] for row in rows[1:]] == ["start", "bn only", "result", "result − start, points"]
    assert rows[-1][3:] == ["+1.24 [0.4, 2.1]", "−0.02 [−0.3, 0.3]"]


def test_each_attack_has_its_own_column(run: Callable[..., Results]) -> None:
    strong = accuracy("robust", 0.4, "mine")
    strong.setting.update(attack="autoattack", steps=None, restarts=None)
    rows = table(run("evaluate", [accuracy("robust", 0.5, "mine"), strong]))
    assert len(rows[0]) == 5
    assert [cell.split()[0] for cell in rows[1][3:]] == ["50.00", "40.00"]


def test_a_missing_interval_is_explained_once(run: Callable[..., Results]) -> None:
    bare = [Measurement("clean accuracy", 0.5, "test", 9, name, None, "one run") for name in "ab"]
    results = run("evaluate", bare)
    assert table(results)[1][3] == "50.00"
    assert missing_intervals(results) == ["one run"]


def test_the_rule_picks_the_most_clean_accuracy_above_the_floor(rift: Results) -> None:
    curves = candidates(rift)
    start = start_of(curves)
    assert start is not None
    assert tolerance(rift, start) == 0.001
    # robust(α) = .5363 + .002 α − .01 α² meets .5353 at α = .43, so .4 is the last that holds.
    point = best(curves[1], start.robust.value - 0.001)
    assert point is not None
    assert point.alpha == 0.4
    rows = candidate_table(rift)
    assert rows[1][:3] == ["start", "test (choosing half)", "0"]
    assert rows[2][0] == "layer2.1.conv2, lr 0.001 (chosen)"
    assert rows[2][2] == "0.6"
    # 2.0·.4 − .4·.4 − .6·.16 points
    assert rows[3][2:] == ["0.4", "82.00", "53.55", "+0.54"]


def test_one_picture_is_the_least_that_can_be_told_apart(run: Callable[..., Results]) -> None:
    few = [
        Measurement(q, 0.5, "val", 50, "a", None, "few", {**ATTACK, "alpha": 0.0})
        for q in ("clean accuracy", "robust accuracy")
    ]
    results = run("rift", few)
    start = start_of(candidates(results))
    assert start is not None
    assert tolerance(results, start) == 0.02
    assert tolerance(run("rift", few, tolerance=0.005), start) == 0.005


def test_modules_keep_the_order_of_the_network(rift: Results) -> None:
    rows = module_table(rift)
    assert len(rows) == 22
    assert rows[0][:3] == ["module", "weights", "MRC, nats"]
    assert [rows[1][0], rows[10][0], rows[-1][0]] == ["conv1", "layer2.1.conv2 (chosen)", "linear"]


def test_what_has_no_table_of_its_own_is_not_lost(run: Callable[..., Results]) -> None:
    odd = Measurement("curvature", 0.98, "test", 64, "mine", None, "one draw", {"sigma": 0.01})
    cells = ["curvature", "mine", "test", "64", "0.98", "sigma=0.01, no interval: one draw"]
    assert other_table(run("evaluate", [odd]))[1] == cells


def test_empty_results_have_no_tables(run: Callable[..., Results]) -> None:
    results = run("export", [])
    assert not (table(results) + candidate_table(results) + module_table(results))
    assert headline(results) == "export finished with 0 measurements."


def test_markdown_holds_the_tables_and_no_markup_of_names(run: Callable[..., Results]) -> None:
    text = markdown(run("evaluate", [accuracy("clean", 0.5, f"a|b {EVIL}")]))
    assert "| a\\|b &lt;script>alert(1)&lt;/script> |" in text
    assert "|---|---|---:|---:|" in text
    assert "50.00 [48.6, 51.4]" in text


def test_the_headline_owns_up_to_sampling_error(run: Callable[..., Results]) -> None:
    small = headline(run("rift", [gain("clean", 0.002, (-0.004, 0.008))]))
    assert small.startswith("RiFT gave back 0.20 points of clean accuracy [−0.4, 0.8], on 5,000")
    assert small.endswith("The interval contains 0: the gain lies within sampling error.")
    worse = headline(run("rift", [gain("clean", -0.012, (-0.02, -0.004))]))
    assert worse.startswith("RiFT cost 1.20 points of clean accuracy [0.4, 2.0]")
    both = [gain("clean", 0.02, (0.01, 0.03)), gain("robust", -0.01, (-0.015, -0.005))]
    assert headline(run("rift", both)).endswith("is larger than sampling error.")


def test_the_last_epoch_is_no_rival_of_the_one_that_val_chose(
    run: Callable[..., Results],
) -> None:
    kept = accuracy("robust", 0.5, "pgd_at", "test")
    last = accuracy("robust", 0.6, "pgd_at, last epoch", "test")
    last.setting["last"] = True
    results = run("train", [kept, last])
    assert headline(results).startswith("pgd_at has 50.00 %")
    assert "pgd_at, last epoch" in [row[0] for row in table(results)], "but it is in the table"


def test_the_headline_says_when_nothing_changed(run: Callable[..., Results]) -> None:
    gains = [gain("clean", 0.0, (0.0, 0.0))]
    said = "No change met the rule: the start is returned unchanged."
    assert headline(run("rift", gains, alpha=0.0)) == said
    assert headline(run("rift", [*gains, *of_candidates(["a"], (0, 0.0))])) == said


def test_the_headline_fits_the_verb(run: Callable[..., Results]) -> None:
    one = headline(
        run("evaluate", [accuracy("clean", 0.8, "mine"), accuracy("robust", 0.5, "mine")])
    )
    assert one == (
        "mine has 80.00 % [78.9, 81.1] clean and 50.00 % [48.6, 51.4] robust accuracy "
        f"(PGD-10, Linf 8/255, worst of 3), on 5,000 pictures of {HALF}."
    )
    pair = [accuracy("robust", 0.50, "a"), accuracy("robust", 0.51, "b")]
    two = headline(run("evaluate", pair))
    assert two.startswith("Of 2 nets, b has the most robust accuracy: 51.00 %")
    assert two.endswith("Its interval overlaps that of a.")
    modules = headline(run("mrc", of_modules(["conv1", "linear"])))
    assert modules.startswith("Of 2 modules, conv1 (MRC ")
    assert "pgd_at keeps epoch 17: " in headline(run("train", of_training(["pgd_at"])))


def test_a_comparison_of_two_nets_is_not_a_result_of_rift(run: Callable[..., Results]) -> None:
    nets = [accuracy("clean", 0.8, name, split="test") for name in ("first", "second")]
    difference = Measurement(
        "clean accuracy gain", 0.01, "test", 100, "second − first", interval=(-0.01, 0.03)
    )
    results = run("evaluate", [*nets, difference])
    assert "RiFT" not in headline(results)
    assert table(results)[-1][0] == "second − first, points"


def test_a_real_fall_of_robustness_is_said_even_where_the_gain_is_not_real(
    run: Callable[..., Results],
) -> None:
    said = headline(
        run(
            "rift", [gain("clean", 0.003, (-0.001, 0.007)), gain("robust", -0.006, (-0.01, -0.002))]
        )
    )
    assert "the gain lies within sampling error" in said
    assert "The fall of robust accuracy is larger than sampling error" in said
