"""What hardy why says: each rule on both sides of its condition, and no sentence without the
numbers that it rests on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from evaluated_runs import FAMILIES, PGD, Setting
from reported_runs import EVIL

from hardy.evaluation.results import Finding, Measurement, Results
from hardy.reporting.captions import FIGURES
from hardy.reporting.headline import headline
from hardy.reporting.page import write_report
from hardy.reporting.why import Why, numbers, why
from hardy.reporting.why.advice import RULES
from hardy.reporting.why.profile import NOTABLE

NET, BASE = "mine", "plain"
PAIR = f"{NET} − {BASE}"
NOISE: Setting = {"v": "gaussian", "sigma": 0.01}


def m(
    quantity: str,
    value: float,
    half: float | None = 0.02,
    subject: str = NET,
    n: int = 1000,
    **setting: object,
) -> Measurement:
    """A measurement whose interval is as wide to both sides."""
    ends = None if half is None else (value - half, value + half)
    why_not = "" if ends else "of one sample"
    about: Setting = {**PGD} if "robust" in quantity or "transfer" in quantity else {}
    about |= NOISE if "ligs" in quantity else {}
    return Measurement(
        quantity,
        value,
        "test",
        n,
        subject,
        ends,
        why_not,
        {**about, **setting},  # type: ignore[dict-item]
    )


def of_network(name: str, clean: float, robust: float, ligs: float) -> list[Measurement]:
    return [
        m("clean accuracy", clean, subject=name),
        m("robust accuracy", robust, subject=name),
        m("ligs", ligs, subject=name),
    ]


def beside(clean: float, robust: float, ligs: float, noise: float = 0.0) -> list[Measurement]:
    """Differences of a network to its baseline, each with an interval of ± .02."""
    return [
        *of_network(BASE, 0.8, 0.3, 0.6),
        *of_network(NET, 0.8 + clean, 0.3 + robust, 0.6 + ligs),
        m("clean accuracy gain", clean, subject=PAIR),
        m("robust accuracy gain", robust, subject=PAIR),
        m("ligs gain", ligs, subject=PAIR),
        m("mean corruption accuracy gain", 0.0, subject=PAIR, of="standard 15"),
        *(
            m(
                "mean corruption accuracy gain",
                noise if family == "noise" else 0.0,
                subject=PAIR,
                of=family,
            )
            for family in FAMILIES
        ),
    ]


def told(measurements: list[Measurement], *findings: Finding, **facts: str) -> Why:
    results = run_of(measurements, *findings, **facts)
    said = why(results)
    assert said is not None
    must_rest_on_numbers(results, said)
    return said


def run_of(measurements: list[Measurement], *findings: Finding, **facts: str) -> Results:
    known = {"network": NET, "baseline": BASE, **facts}
    return Results("why", {**known}, [], measurements, findings=[*findings])


def must_rest_on_numbers(results: Results, said: Why) -> None:
    """Each number of a sentence stands in a row that it links to; counts of what is on the page
    and of pictures that a share comes to do so only as such."""
    rows = {anchor: " ".join(cells) for anchor, cells in numbers(results, said)}
    count = {str(len(RULES)), str(len([*results.select("mrc")])), str(NOTABLE)}
    count |= {str(round(drop.value * drop.n)) for drop in results.select("robust accuracy drop")}
    for _, sentences in said.parts:
        for one in sentences:
            grades = {a for a in one.anchors if not a.startswith("number-")}
            assert grades <= {f.grade for f in results.findings}
            cited = " ".join(rows[a] for a in one.anchors if a not in grades)
            assert cited
            assert set(figures(one.text)) <= set(figures(cited)) | count


def figures(text: str) -> list[str]:
    """The numbers of a text, without their signs."""
    return [found.rstrip(".,") for found in re.findall(r"(?<![\w.])\d[\d.,/]*", text)]


def advised(said: Why) -> list[str]:
    return [one.text for one in said.next]


def held(said: Why) -> list[str]:
    return [rule.name for rule in said.rules if rule.sentence]


def modules(lost: int, n: int = 256) -> list[Measurement]:
    return [
        m("mrc", 0.012, 0.004, "conv1", n),
        m("robust accuracy drop", lost / n, None, "conv1", n),
        m("mrc", 0.3, 0.1, "linear", n),
        m("robust accuracy drop", 40 / n, None, "linear", n),
    ]


def test_other_runs_and_means_over_seeds_are_not_told() -> None:
    assert why(Results("evaluate", {"network": NET}, [], of_network(NET, 0.8, 0.4, 0.9))) is None
    assert why(Results("why", {"network": NET}, [], [m("mean over seeds", 0.8)])) is None


def test_what_it_is_against_its_baseline() -> None:
    said = told(
        [
            *beside(-0.1, 0.15, 0.3),
            m("mean corruption accuracy", 0.7, of="standard 15"),
            m("mean corruption accuracy", 0.6, of="noise"),
            m("mean corruption accuracy", 0.75, of="blur"),
        ]
    )
    assert [one.text for one in said.what] == [
        "mine has 70.00 % [68.0, 72.0] clean and 45.00 % [43.0, 47.0] robust accuracy (PGD-10, "
        "Linf 8/255, worst of 3), on 1,000 pictures of test.",
        "Its LIGS is 0.9 [0.88, 0.92]: how alike the gradients of the loss are at a picture and "
        "close by, one where they point the same way.",
        "Under the 15 common corruptions it is right on 70.00 % [68.0, 72.0]: noise 60.00 % "
        "[58.0, 62.0], blur 75.00 % [73.0, 77.0].",
        "Its clean accuracy is 10.00 points [8.0, 12.0] below that of plain.",
        "Its robust accuracy is 15.00 points [13.0, 17.0] above that of plain.",
        "Its accuracy under corruptions and that of plain differ by no more than chance: 0.00 "
        "points [−2.0, 2.0].",
    ]


@pytest.mark.parametrize(
    ("robust", "ligs", "words"),
    [
        (0.1, 0.2, "Its LIGS is 0.2 [0.18, 0.22] above that of plain, and its robust accuracy too "
         "(10.00 points [8.0, 12.0]), as of a network that uses more robust features."),
        (-0.1, -0.2, "as of a network that uses more non-robust features."),
        (-0.1, 0.2, "but its robust accuracy is 10.00 points [8.0, 12.0] below: gradients"),
        (0.1, -0.2, "but its robust accuracy is 10.00 points [8.0, 12.0] above: mostly they go "
         "together, so look for masked gradients."),
        (0.01, 0.2, "and its robust accuracy differs by no more than chance (+1.00 points "
         "[−1.0, 3.0])."),
        (0.1, 0.01, "Its LIGS is not shown to differ from that of plain by more than 0.02 (+0.01 "
         "[−0.01, 0.03]), so it explains no difference in robust accuracy (+10.00 points [8.0, "
         "12.0])."),
        (0.1, 0.04, "to differ from that of plain by more than 0.02 (+0.04 [0.02, 0.06])"),
        (0.1, 0.041, "Its LIGS is 0.041 [0.021, 0.061] above that of plain"),
    ],
)  # fmt: skip
def test_ligs_and_robust_accuracy(robust: float, ligs: float, words: str) -> None:
    (said, *_) = told(beside(0.0, robust, ligs)).reasons
    assert words in said.text


def test_corruptions_that_differ_have_a_sentence_and_the_rest_one_together() -> None:
    said = [one.text for one in told(beside(0.0, 0.0, 0.0, noise=-0.05)).reasons]
    assert said[1:] == [
        "Under noise it is 5.00 points [3.0, 7.0] below plain.",
        "No difference to plain beyond chance under blur (0.00 points [−2.0, 2.0]), weather (0.00 "
        "points [−2.0, 2.0]), digital (0.00 points [−2.0, 2.0]).",
    ]


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (0.5, ", beyond chance more often: by better examples or for a weaker target."),
        (0.32, "; the intervals overlap."),
        (0.1, ", beyond chance less often: by worse examples or for a stronger target."),
    ],
)
def test_transfer(own: float, words: str) -> None:
    cells = [
        m("transfer success", 0.3, subject=NET, surrogate=BASE),
        m("transfer success", own, subject=BASE, surrogate=NET),
    ]
    text = told([*beside(0.0, 0.0, 0.0), *cells]).reasons[-1].text
    assert text.endswith(words)
    assert text.startswith("Adversarial examples of plain fool mine on 30.00 % [28.0, 32.0]")


def test_nothing_beyond_chance() -> None:
    said = told(beside(0.0, 0.01, -0.01))
    assert held(said) == []
    assert advised(said) == [
        "Nothing differs from plain beyond chance (of LIGS by 0.02): clean accuracy 0.00 points "
        "[−2.0, 2.0], robust accuracy +1.00 points [−1.0, 3.0], ligs −0.01 [−0.03, 0.01], mean "
        "corruption accuracy 0.00 points [−2.0, 2.0]. So nothing here says what to change; more "
        "than 1,000 pictures might."
    ]


def test_a_family_of_corruptions_that_differs_is_a_difference() -> None:
    said = told(beside(0.0, 0.0, 0.0, noise=-0.1))
    assert held(said) == [] and "Nothing differs" not in advised(said)[0]
    assert "Under noise it is 10.00 points [8.0, 12.0] below plain." in [
        one.text for one in said.reasons
    ]


def test_differences_without_a_rule() -> None:
    said = told(beside(0.0, -0.1, 0.0))
    assert held(said) == []
    assert advised(said) == [
        f"None of the {len(RULES)} rules for what to try next holds for the numbers of this page."
    ]


def test_without_a_baseline_it_is_said_that_rules_need_one() -> None:
    said = told(of_network(NET, 0.8, 0.3, 0.9), baseline="")
    assert held(said) == [] and len(said.next) == 1
    assert advised(said)[0].endswith("Some need a network to compare with: --baseline.")


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ([], "clean and under the attack, and LIGS, which"),
        ([m("mean corruption accuracy", 0.7, of="standard 15")], "attack and under common corr"),
    ],
)
def test_the_caption_names_only_what_has_a_bar(more: list[Measurement], named: str) -> None:
    _, caption, _ = FIGURES["profile"][1](run_of([*of_network(NET, 0.8, 0.3, 0.9), *more]))
    assert named in caption


def test_a_finding_comes_first_and_silences_what_rests_on_robust_accuracy() -> None:
    masked = Finding("zero gradients", "fatal", "No gradient.", NET, {"share": 0.9})
    usual = beside(0.1, 0.2, -0.2)
    assert "Attack it harder" in held(told([*usual, *modules(2)]))
    said = told([*usual, *modules(2)], masked)
    assert held(said) == ["Mend it first"]
    assert advised(said) == [
        "First mend what the checks found: 'zero gradients'. Until then the robust accuracy of "
        "mine (50.00 % [48.0, 52.0]) is not believed, and what rests on it is neither compared nor "
        "advised."
    ]
    assert said.next[0].anchors[0] == "fatal"
    assert not any("robust accuracy" in one.text for one in said.reasons)
    assert not any("robust accuracy is" in one.text for one in said.what)
    assert held(told(usual, replace(masked, grade="mild"))) == ["Attack it harder"]


def test_a_finding_of_the_baseline_leaves_what_is_of_the_network_alone() -> None:
    masked = Finding("zero gradients", "serious", "No gradient.", BASE, {"share": 0.9})
    said = told([*beside(-0.1, 0.2, -0.2), *modules(2)], masked)
    assert held(said) == ["Mend it first", "RiFT"]
    assert "the robust accuracy of plain (30.00 % [28.0, 32.0])" in advised(said)[0]


@pytest.mark.parametrize(
    ("robust", "ligs", "holds"),
    [(0.1, -0.1, True), (0.01, -0.1, False), (0.1, -0.01, False), (0.1, 0.1, False)],
)
def test_suspicious_beside_a_baseline(robust: float, ligs: float, holds: bool) -> None:
    said = told(beside(0.0, robust, ligs))
    assert held(said) == (["Attack it harder"] if holds else [])
    if holds:
        assert advised(said) == [
            "Attack it harder: its robust accuracy is 10.00 points [8.0, 12.0] above and its LIGS "
            "0.1 [0.08, 0.12] below that of plain, and real robustness mostly makes gradients "
            "alike. Run hardy evaluate --attack autoattack."
        ]


@pytest.mark.parametrize(
    ("robust", "ligs", "holds"),
    [(0.6, 0.5, True), (0.6, 0.69, False), (0.42, 0.5, False)],
)
def test_suspicious_alone(robust: float, ligs: float, holds: bool) -> None:
    said = told(of_network(NET, 0.8, robust, ligs), baseline="")
    assert held(said) == (["Attack it harder"] if holds else [])
    assert ("at a LIGS of only 0.5 [0.48, 0.52]" in advised(said)[0]) is holds


@pytest.mark.parametrize(
    ("measured", "facts", "holds"),
    [
        (modules(5), {}, True),
        (modules(6), {}, False),
        (modules(5, n=128), {}, False),
        (modules(2, n=128), {}, True),
        (modules(5), {"method": "rift"}, False),
        ([], {}, False),
    ],
)
def test_rift_asks_for_a_module_that_may_move(
    measured: list[Measurement], facts: dict[str, str], holds: bool
) -> None:
    said = told([*of_network(NET, 0.8, 0.4, 0.9), *measured], **facts, baseline="")
    assert held(said) == (["RiFT"] if holds else [])


def test_rift_asks_for_something_to_gain_and_to_keep() -> None:
    said = told([*of_network(NET, 0.8, 0.4, 0.9), *modules(3)], baseline="")
    assert advised(said) == [
        "Try hardy rift: moving conv1 as far as criticality tries (0.012 [0.008, 0.016] nats) "
        "costs 3 of 256 pictures their robustness, which may be chance, and clean accuracy "
        "(80.00 % [78.0, 82.0]) is far above robust (40.00 % [38.0, 42.0])."
    ]
    near = told([*of_network(NET, 0.8, 0.58, 0.9), *modules(3)], baseline="")
    nothing_to_keep = told([*of_network(NET, 0.8, 0.2, 0.9), *modules(3)], baseline="")
    assert held(near) == held(nothing_to_keep) == []
    behind = told([*beside(-0.1, 0.25, 0.2), *modules(3)])
    assert held(behind) == ["RiFT"]
    assert advised(behind)[0].endswith(
        "and its clean accuracy is 10.00 points [8.0, 12.0] below that of plain."
    )
    assert held(told([*beside(-0.01, 0.35, 0.2), *modules(3)])) == []


@pytest.mark.parametrize(
    ("clean", "robust", "ligs", "holds"),
    [
        (0.1, -0.1, -0.1, True),
        (0.01, -0.1, -0.1, False),
        (0.1, -0.01, -0.1, False),
        (0.1, -0.1, -0.01, False),
    ],
)
def test_less_weight_on_clean_pictures(
    clean: float, robust: float, ligs: float, holds: bool
) -> None:
    said = told(beside(clean, robust, ligs), method="trades")
    assert held(said) == (["Less weight on clean pictures"] if holds else [])
    if holds:
        assert advised(said) == [
            "Train it with less weight on clean cross-entropy (--method-options: beta up): beside "
            "plain its clean accuracy is 10.00 points [8.0, 12.0] higher, its robust accuracy "
            "10.00 points [8.0, 12.0] and its LIGS 0.1 [0.08, 0.12] lower."
        ]
        assert "cross-entropy: beside" in advised(told(beside(clean, robust, ligs)))[0]


@pytest.mark.parametrize(
    ("clean", "robust", "holds"), [(-0.1, -0.1, True), (-0.1, 0.0, False), (0.1, -0.1, False)]
)
def test_training_further(clean: float, robust: float, holds: bool) -> None:
    said = told(beside(clean, robust, 0.0))
    assert ("Train further" in held(said)) == holds
    if holds:
        assert advised(said) == [
            "Train it further, or with another learning rate, before its method is judged: beside "
            "plain its clean accuracy is 10.00 points [8.0, 12.0] and its robust accuracy 10.00 "
            "points [8.0, 12.0] lower, so neither was given for the other."
        ]


@pytest.mark.parametrize(
    ("layers", "ligs", "noise", "holds"),
    [
        (20, -0.1, -0.1, True),
        (0, -0.1, -0.1, False),
        (20, -0.01, -0.1, False),
        (20, -0.1, 0, False),
    ],
)
def test_another_norm(layers: int, ligs: float, noise: float, holds: bool) -> None:
    said = told([*beside(0.0, 0.0, ligs, noise), m("BatchNorm layers", layers, None, n=1)])
    assert held(said) == (["Another norm, or none"] if holds else [])
    if holds:
        assert advised(said) == [
            "Try another norm or none (hardy train --norm-layer none): it has 20 layers of "
            "BatchNorm, and beside plain its LIGS is 0.1 [0.08, 0.12] and its accuracy under noise "
            "10.00 points [8.0, 12.0] lower."
        ]


def test_the_last_epoch_of_its_run() -> None:
    alone = of_network(NET, 0.8, 0.3, 0.9)
    last = m("robust accuracy gain", -0.05, subject=f"{NET}, last epoch − {NET}")
    said = told([*alone, last], baseline="")
    assert held(said) == ["Stop earlier"]
    assert advised(said) == [
        "Train it for fewer epochs, or with AWP or averaged weights: on test the last epoch of its "
        "run has 5.00 points [3.0, 7.0] less robust accuracy than the one that was kept."
    ]
    assert (
        held(told([*alone, replace(last, value=-0.01, interval=(-0.03, 0.01))], baseline="")) == []
    )


def test_an_earlier_epoch_as_a_surrogate() -> None:
    name = f"{NET}/epoch-2"
    gain = m("transfer success gain", 0.05, subject=BASE, surrogate=name, other=NET, p=0.02)
    said = told([*beside(0.0, 0.0, 0.0), gain])
    assert held(said) == ["An earlier surrogate"]
    assert (
        f"take its earlier epoch {name}: its examples fool plain on 5.00 points" in advised(said)[0]
    )
    level = replace(gain, value=0.01, interval=(-0.01, 0.03))
    assert held(told([*beside(0.0, 0.0, 0.0), level])) == []
    # The best of three that were looked at: 3 x 0.02 is no longer below 0.05.
    more = [
        replace(level, setting={**gain.setting, "surrogate": f"{NET}/epoch-{epoch}"})
        for epoch in (1, 3)
    ]
    assert held(told([*beside(0.0, 0.0, 0.0), gain, *more])) == []
    assert held(told([*beside(0.0, 0.0, 0.0), gain, more[0]])) == ["An earlier surrogate"]


def test_the_page_holds_every_anchor_and_no_markup(run: Callable[..., Results]) -> None:
    found = [
        replace(one, subject=one.subject.replace(NET, EVIL))
        for one in [*beside(0.1, 0.2, -0.2), *modules(2)]
    ]
    results = run("why", found, network=EVIL, baseline=BASE)
    results.findings = [Finding("one step wins", "serious", "Odd.", EVIL)]
    results.write()
    path = write_report(results.folder or Path())
    page = path.read_text(encoding="utf-8")
    linked = re.findall(r'href="#([^"]+)"', page)
    assert len(linked) > 8 and "serious" in linked
    assert set(linked) <= set(re.findall(r'id="([^"]+)"', page))
    assert EVIL not in page and 'id="profile"' in page
    titles = re.findall(r"<h2>(What it is|Why|What to try next)</h2>", page)
    assert titles == ["What it is", "Why", "What to try next"]
    assert headline(results).startswith(f"{EVIL} has 90.00 % [88.0, 92.0] clean")
    assert "## What to try next" in (path.parent / "tables.md").read_text("utf-8")
