"""The tables and sentences of an evaluation, with answers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from evaluated_runs import (
    AA,
    MADE,
    PGD,
    difference,
    gains,
    share,
    write_confusion,
    write_evaluation,
)
from reported_runs import EVIL

from hardy.evaluation.results import Finding, Measurement, Results, Scalar
from hardy.reporting.evaluation_tables import (
    cell_table,
    class_table,
    confused_table,
    corruption_table,
    evaluation_tables,
    radius_table,
    stage_table,
)
from hardy.reporting.findings import boxes, evidence, finding_lines, quiet
from hardy.reporting.headline import headline
from hardy.reporting.tables import markdown, other_table, table
from hardy.reporting.wording import attack, p_value, short, value_of

AT_8 = "robust accuracy (PGD-10, Linf 8/255, worst of 3), %"


@pytest.fixture
def evaluation(tmp_path: Path) -> Results:
    return write_evaluation(tmp_path)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"attack": "FGSM", "steps": 1, "step_size": 8 / 255, "restarts": 1}, "FGSM, Linf 8/255"),
        ({"attack": "CW-PGD", "steps": 20, "restarts": 1}, "CW-PGD-20, Linf 8/255"),
        (
            {"attack": "APGD-CE", "steps": 100, "rho": 0.75, "runs": "APGD-CE × 5"},
            "APGD-CE, Linf 8/255, 100 steps, worst of 5",
        ),
        (
            {"attack": "APGD-T", "steps": 100, "runs": "APGD-T × 9"},
            "APGD-T, Linf 8/255, 100 steps",
        ),
        ({"attack": "FAB-T", "steps": 100, "runs": "FAB-T × 9"}, "FAB-T, Linf 8/255, 100 steps"),
        (
            {"attack": "Square", "queries": 5000, "runs": "Square × 1"},
            "Square, Linf 8/255, 5,000 queries",
        ),
        ({"attack": "AutoAttack", "runs": AA["runs"]}, "AutoAttack, Linf 8/255"),
        ({"attack": "AutoAttack quick", "runs": "APGD-CE × 1"}, "AutoAttack quick, Linf 8/255"),
        (
            {"attack": "AutoAttack", "package": "pyautoattack 0.2.0"},
            "AutoAttack, Linf 8/255, by pyautoattack 0.2.0",
        ),
    ],
)
def test_every_attack_is_worded(setting: dict[str, str | float | int], said: str) -> None:
    assert attack({"norm": "linf", "eps": 8 / 255, **setting}) == said


def test_a_p_has_two_digits() -> None:
    assert [p_value(p) for p in (0.0004, 0.0123, 1.0, None)] == [
        "p < 0.001",
        "p = 0.012",
        "p = 1",
        "",
    ]


def test_a_long_label_keeps_both_ends() -> None:
    assert short("runs/first/best", 15) == "runs/first/best"
    assert short("runs/first-of-all/best", 11) == "runs/…/best"
    assert short("a\nb", 5) == "a b"


def test_a_row_a_network_and_the_differences_with_p(evaluation: Results) -> None:
    rows = table(evaluation)
    against = "robust accuracy (AutoAttack, Linf 8/255), %"
    mean = "mean corruption accuracy, %"
    assert rows[0] == ["subject", "split", "n", "clean accuracy, %", AT_8, against, mean]
    # ±1.96 √(.8 · .2 / 1000) is ±2.48 points
    assert rows[1][:4] == ["pgd_at", "test", "1,000", "80.00 [77.5, 82.5]"]
    assert [cell.split()[0] for cell in rows[2][3:]] == ["81.00", "52.00", "47.90", "62.00"]
    assert rows[3][0] == "trades − pgd_at, points"
    assert rows[3][4] == "+2.00 [1.0, 3.0], p = 0.002"
    assert rows[3][6].startswith("+1.00 [")
    assert "p" not in rows[3][6], "it was not tested"
    assert len(rows) == 4


def test_the_reference_stands_beside_ours(run: Callable[..., Results]) -> None:
    theirs = {**AA, "package": "pyautoattack 0.2.0"}
    found = [
        share("robust accuracy", 0.45, "mine", AA),
        share("robust accuracy (reference)", 0.44, "mine", theirs),
    ]
    rows = table(run("evaluate", found))
    assert rows[0][-1] == "robust accuracy (AutoAttack, Linf 8/255, by pyautoattack 0.2.0), %"
    assert [cell.split()[0] for cell in rows[1][3:]] == ["45.00", "44.00"]


def over_seeds(of: str, value: float, std: float, **setting: Scalar) -> Measurement:
    about = {**setting, "of": of, "std": std, "networks": 3}
    ends = (value - 0.01, value + 0.01)
    return Measurement(
        "mean over seeds", value, "test", 1000, "mean of 3 networks", ends, "", about
    )


def test_a_mean_over_seeds_has_its_spread_and_leads_the_headline(
    run: Callable[..., Results],
) -> None:
    found = [share("clean accuracy", 0.8, name, {}) for name in "abc"]
    found += [share("robust accuracy", 0.5, name, PGD) for name in "abc"]
    means = [
        over_seeds("clean accuracy", 0.8, 0.0031),
        over_seeds("robust accuracy", 0.5, 0.02, **PGD),
    ]
    results = run("evaluate", [*found, *means])
    last = table(results)[-1]
    assert last[0] == "mean of 3 networks"
    assert last[3:] == ["80.00 ± 0.31 [79.0, 81.0]", "50.00 ± 2.00 [49.0, 51.0]"]
    assert headline(results) == (
        "Over 3 networks: clean accuracy 80.00 ± 0.31 % [79.0, 81.0], robust accuracy "
        "50.00 ± 2.00 % [49.0, 51.0] (PGD-10, Linf 8/255, worst of 3), on 1,000 pictures of test."
    )


def test_what_each_stage_broke(evaluation: Results) -> None:
    rows = stage_table(evaluation)
    assert rows[0] == ["network", "attack", "stage", "broken", "standing, %"]
    # 800 right when clean, 480 after the first stage, then 460, 460 and 459
    assert [row[2:4] for row in rows[1:5]] == [
        ["APGD-CE", "320"],
        ["APGD-T", "20"],
        ["FAB-T", "0"],
        ["Square", "1"],
    ]
    assert rows[4][4].startswith("45.90 [")
    assert len(rows) == 9


def test_radii_are_rows_from_small_to_large(evaluation: Results) -> None:
    rows = radius_table(evaluation)
    assert rows[0] == ["radius", "n", "pgd_at, %", "trades, %"]
    assert [row[0] for row in rows[1:4]] == ["Linf 0", "Linf 2/255", "Linf 4/255"]
    assert rows[5][:2] == ["Linf 8/255", "500"]
    assert rows[5][2].startswith("41.00 ["), "half of 80 points, and 1"


def test_classes_are_rows(run: Callable[..., Results]) -> None:
    pair = {"clean": 0.9, "adversarial": 0.25}
    found = [
        share("class accuracy", value, name, {"class": "cat", "kind": kind}, n=50)
        for name in ("a", "b")
        for kind, value in pair.items()
    ]
    lonely = share("class accuracy", 0.5, "b", {"class": "dog", "kind": "clean"})
    rows = class_table(run("evaluate", [*found, lonely]))
    assert rows[0] == ["class", "n", "a, % clean → attacked", "b, % clean → attacked"]
    assert rows[1:] == [["cat", "50", "90.0 → 25.0", "90.0 → 25.0"]]


def test_the_classes_confused_most_come_first(run: Callable[..., Results]) -> None:
    results = run("evaluate", [])
    write_confusion(results, ["mine"], ["cat", "dog", EVIL, "ship"])
    rows = confused_table(results)
    # 80 of 100 right, and of the attacked 45, 40, 40, 40, 10, 10, 10 and 5 taken for another
    assert rows[1] == ["mine", "clean", "cat", "dog", "20.0", "20 of 100"]
    attacked = [row[2:] for row in rows if row[1] == "adversarial"]
    assert attacked[0] == ["cat", "dog", "45.0", "45 of 100"]
    assert [row[3] for row in attacked].count("5 of 100") == 1
    assert [row[2] for row in attacked] == ["45.0", *["40.0"] * 3, *["10.0"] * 3, "5.0"]


def test_means_over_corruptions_and_their_differences(evaluation: Results) -> None:
    rows = corruption_table(evaluation)
    assert rows[0] == ["mean over", "n", "pgd_at, %", "trades, %", "trades − pgd_at, points"]
    assert [row[0] for row in rows[1:]] == ["standard 15", "noise", "extra 4"]
    assert [cell.split()[0] for cell in rows[2][2:]] == ["73.00", "74.00", "+1.00"]


def test_every_corruption_is_a_row_a_network(evaluation: Results) -> None:
    rows = cell_table(evaluation)
    assert len(rows) == 1 + 2 * 19
    assert rows[0][2] == "severity 1, %"
    # the fourth corruption, at severity 2: 90 − 3 · 2 − 2 · 5 points, and one more
    assert rows[7][:4] == ["defocus_blur (blur)", "pgd_at", "79.0", "74.0"]
    assert rows[8][3] == "75.0"
    assert rows[-1][0] == "saturate (extra 4)"


def test_a_cell_that_was_not_measured_is_a_dash(run: Callable[..., Results]) -> None:
    def cell(name: str, severity: int) -> Measurement:
        about = {"corruption": name, "severity": severity, "family": "noise", "standard": True}
        return share("corruption accuracy", 0.5, "mine", {**about, **MADE})

    rows = cell_table(run("evaluate", [cell("shot_noise", 1), cell("impulse_noise", 3)]))
    assert rows[1:] == [
        ["shot_noise (noise)", "mine", "50.0", "–"],
        ["impulse_noise (noise)", "mine", "–", "50.0"],
    ]


def test_nothing_of_an_evaluation_is_told_twice(evaluation: Results) -> None:
    assert not other_table(evaluation)


def test_nothing_measured_no_tables(run: Callable[..., Results]) -> None:
    assert not any(evaluation_tables(run("evaluate", [])).values())


def test_markdown_has_every_table_and_the_findings_first(tmp_path: Path) -> None:
    text = markdown(write_evaluation(tmp_path, found=True))
    found = [line for line in text.splitlines() if line.startswith("- ")]
    assert found[0].startswith("- **fatal**: pgd_at: The gradient is zero")
    assert found[-1].startswith("- Frost")
    for title in evaluation_tables(Results("evaluate")):
        assert f"## {title}" in text
    assert EVIL not in text


def test_findings_come_worst_first(tmp_path: Path) -> None:
    results = write_evaluation(tmp_path, found=True)
    assert [box.grade for box in boxes(results)] == ["fatal", "serious", "mild"]
    lines = finding_lines(results)
    assert lines[1] == "serious: trades: It draws random numbers."
    assert lines[2] == "mild: 1,000 pictures leave ±3 points."
    assert evidence(boxes(results)[0].findings[0]) == "zero gradients: share 0.9313, pictures 256"
    assert not quiet(results)


@pytest.mark.parametrize(("checked", "said"), [(0, ""), (None, ""), (256, "(256 pictures)")])
def test_checks_that_found_nothing_say_so_where_they_were_made(
    checked: int | None, said: str
) -> None:
    text = quiet(Results("evaluate", {"preflight": checked}))
    assert (said in text) if said else not text


def two(p: float | None, lead: str = "b") -> list[Measurement]:
    """b has 52 %, a 50 %, and the difference has that p."""
    found = [
        share("robust accuracy", value, name, PGD) for name, value in (("a", 0.5), ("b", 0.52))
    ]
    gain = difference("robust accuracy gain", 0.02, "b − a", p, PGD)
    if lead == "a":  # the first network leads: the difference is that of the runner-up
        found = [share("robust accuracy", v, name, PGD) for name, v in (("a", 0.54), ("b", 0.52))]
        gain = difference("robust accuracy gain", -0.02, "b − a", p, PGD)
    return [*found, gain]


def test_the_headline_says_whether_the_lead_is_chance(run: Callable[..., Results]) -> None:
    sure = headline(run("evaluate", two(0.004)))
    assert sure.startswith("Of 2 nets, b has the most robust accuracy: 52.00 % [48.9, 55.1]")
    assert sure.endswith("Its lead over a is more than chance: 2.00 points [1.0, 3.0], p = 0.004.")
    assert "no more than chance: 2.00 points [1.0, 3.0], p = 0.3." in headline(
        run("evaluate", two(0.3))
    )
    # Without a test, the interval decides.
    assert "more than chance: 2.00 points [1.0, 3.0]." in headline(run("evaluate", two(None)))


def test_the_headline_compares_the_first_network_with_the_next(
    run: Callable[..., Results],
) -> None:
    said = headline(run("evaluate", two(0.004, lead="a")))
    assert said.startswith("Of 2 nets, a has the most")
    assert said.endswith("What b lacks is more than chance: 2.00 points [1.0, 3.0], p = 0.004.")


def test_a_lead_among_many_must_be_surer(run: Callable[..., Results]) -> None:
    nets = ["a", "b", "c", "d"]
    found = [share("robust accuracy", 0.5 + 0.02 * i, net, PGD) for i, net in enumerate(nets)]
    # .02 is less than .05, but the best of three was picked: .06 is not.
    said = headline(run("evaluate", [*found, *gains(nets, p=0.02)]))
    assert "no more than chance (one of 3 comparisons): 6.00 points" in said
    assert "Its interval overlaps that of c." in said
    said = headline(run("evaluate", [*found, *gains(nets, p=0.01)]))
    assert "Its lead over a is more than chance (one of 3 comparisons)" in said


def test_the_headline_takes_the_strongest_attack(evaluation: Results) -> None:
    said = headline(evaluation)
    against = "47.90 % [44.8, 51.0] robust accuracy (AutoAttack, Linf 8/255, the strongest of 2"
    assert against in said
    assert "Under the 15 common corruptions it has 62.00 % [59.0, 65.0] on average." in said


def test_the_headline_does_not_hide_what_the_checks_found(run: Callable[..., Results]) -> None:
    results = run("evaluate", two(0.004))
    results.findings = [
        Finding("zero gradients", "fatal", "No slope.", "b"),
        Finding("random answers", "serious", "It draws.", "a"),
        Finding("few pictures", "mild", "Few."),
    ]
    assert headline(results).startswith(
        "By the checks, the robust accuracy of b means nothing, and that of a is in doubt. "
        "Of 2 nets"
    )


def test_a_finding_without_a_network_is_of_all(run: Callable[..., Results]) -> None:
    results = run("evaluate", two(0.004))
    results.findings = [Finding("few examples", "serious", "60 examples.")]
    assert headline(results).startswith("By the checks, the robust accuracy of all is in doubt. ")


def test_networks_that_are_level_have_no_lead(run: Callable[..., Results]) -> None:
    found = [share("robust accuracy", 0.5, name, about) for about in (PGD, AA) for name in "ab"]
    gain = difference("robust accuracy gain", 0.0, "b − a", 1.0, AA)
    said = headline(run("evaluate", [*found, gain]))
    assert said == (
        "Of 2 nets, a has as much robust accuracy as any: 50.00 % [46.9, 53.1] robust accuracy "
        "(AutoAttack, Linf 8/255, the strongest of 2 attacks), on 1,000 pictures of test."
    )


def test_values_are_in_the_unit_of_their_quantity() -> None:
    assert value_of(share("class accuracy", 0.5, "a", {}, n=100)) == "50.00 [40.2, 59.8]"
    gain = difference("mean corruption accuracy gain", 0.02, "b − a", None, {})
    assert value_of(gain) == "+2.00 [1.0, 3.0]"
