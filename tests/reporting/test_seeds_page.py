"""What a run over several seeds shows: a row for the means, a row a seed, a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.figures import training_curves
from hardy.reporting.headline import headline
from hardy.reporting.page import write_report
from hardy.reporting.seeds import seeds_table
from hardy.reporting.tables import module_table, other_table, table
from hardy.reporting.wording import value_of

PGD: dict[str, Any] = {
    "attack": "PGD",
    "norm": "linf",
    "eps": 8 / 255,
    "steps": 10,
    "dtype": "fp32",
}
Run = Callable[..., Results]


def mean(of: str, value: float, std: float, subject: str = "net", **setting: Any) -> Measurement:
    about = {**setting, "seed": "0, 1, 2", "of": of, "std": std, "networks": 3}
    ends = (value - 0.02, value + 0.02)
    named = f"mean of 3 seeds: {subject}"
    return Measurement("mean over seeds", value, "test", 1000, named, ends, "", about)


def share(quantity: str, value: float, subject: str, **setting: Any) -> Measurement:
    ends = (value - 0.01, value + 0.01)
    return Measurement(quantity, value, "test", 1000, subject, ends, "", setting)


@pytest.fixture
def trained(run: Run) -> Results:
    found = [mean("clean accuracy", 0.8, 0.0031), mean("robust accuracy", 0.5, 0.02, **PGD)]
    found += [mean("clean accuracy", 0.7, 0.1, "net, last epoch", last=True)]
    for seed in range(3):
        found.append(share("clean accuracy", 0.79 + seed / 100, f"seed {seed}: net"))
        found.append(share("robust accuracy", 0.5, f"seed {seed}: net", **PGD, seed=seed))
        for epoch in (1, 2):
            found.append(
                Measurement(
                    "train loss",
                    2.0 / epoch,
                    "train",
                    100,
                    f"seed {seed}: net",
                    no_interval="moving",
                    setting={"epoch": epoch},
                )
            )
    return run("train", found, seeds="0, 1, 2")


def test_a_row_of_means_and_a_row_for_each_seed(trained: Results) -> None:
    rows = table(trained)
    assert [row[0] for row in rows[1:]] == [
        "mean of 3 seeds: net",
        "mean of 3 seeds: net, last epoch",
        "seed 0: net",
        "seed 1: net",
        "seed 2: net",
    ]
    assert rows[1][3:] == ["80.00 ± 0.31 [78.0, 82.0]", "50.00 ± 2.00 [48.0, 52.0]"]
    assert rows[4][3].startswith("80.00 [")
    assert seeds_table(trained) == [] and other_table(trained) == []


def test_the_headline_is_of_the_means_and_not_of_the_last_epoch(trained: Results) -> None:
    assert headline(trained) == (
        "Over 3 seeds: clean accuracy 80.00 ± 0.31 % [78.0, 82.0], robust accuracy "
        "50.00 ± 2.00 % [48.0, 52.0] (PGD-10, Linf 8/255), on 1,000 pictures of test."
    )


def test_several_networks_are_named(run: Run) -> None:
    found = [mean("clean accuracy", 0.8, 0.01, name) for name in ("a", "b")]
    assert headline(run("evaluate", found)) == (
        "Over 3 seeds, a has clean accuracy 80.00 ± 1.00 % [78.0, 82.0]; b has clean accuracy "
        "80.00 ± 1.00 % [78.0, 82.0], on 1,000 pictures of test."
    )


def test_what_rift_gains_over_seeds(run: Run) -> None:
    found = [share("clean accuracy", 0.8, f"seed {seed}: result") for seed in range(2)]
    found += [mean("clean accuracy gain", 0.0124, 0.003, "result")]
    found += [mean("robust accuracy gain", -0.001, 0.002, "result", **PGD)]
    results = run("rift", found)
    assert headline(results) == (
        "Over 3 seeds RiFT moved clean accuracy by +1.24 ± 0.30 points [−0.8, 3.2] and robust "
        "accuracy by −0.10 ± 0.20 points [−2.1, 1.9], on 1,000 pictures of test."
    )
    # The one column that there is, for no robust accuracy stands in a row of its own.
    assert table(results)[-1] == [
        "mean of 3 seeds: result − start, points",
        "test",
        "1,000",
        "+1.24 ± 0.30 [−0.8, 3.2]",
    ]


def test_modules_over_seeds(run: Run) -> None:
    found = [
        mean("mrc", value, 0.0123, name, parameters=1500)
        for name, value in (("conv1", 0.5), ("linear", 0.25))
    ]
    found += [mean("robust accuracy drop", 0.1, 0.02, name, **PGD) for name in ("conv1", "linear")]
    results = run("mrc", found)
    assert module_table(results) == [
        ["module", "weights", "MRC, nats", "robust accuracy lost, points"],
        ["conv1", "1,500", "0.5 ± 0.012 [0.48, 0.52]", "10.00 ± 2.00 [8.0, 12.0]"],
        ["linear", "1,500", "0.25 ± 0.012 [0.23, 0.27]", "10.00 ± 2.00 [8.0, 12.0]"],
    ]
    assert seeds_table(results) == []
    assert headline(results) == (
        "Over 3 seeds, of 2 modules linear (MRC 0.25 ± 0.012 [0.23, 0.27] nats) is the least "
        "critical on average and conv1 (MRC 0.5 ± 0.012 [0.48, 0.52] nats) the most."
    )


def test_all_other_means_have_a_table_that_says_what_they_are(run: Run) -> None:
    found = [
        mean("class accuracy", 0.9, 0.01, **{"class": "cat", "kind": "clean"}),
        mean("mean corruption accuracy", 0.6, 0.01, over="noise"),
        mean("mean corruption accuracy", 0.7, 0.01, over="standard 15"),
        mean("latency", 0.004, 0.001),
    ]
    results = run("evaluate", found)
    assert [row[1] for row in seeds_table(results)[1:]] == [
        "class accuracy, class cat, kind clean",
        "mean corruption accuracy, over noise",
        "latency",
    ]
    assert table(results)[1][-1] == "70.00 ± 1.00 [68.0, 72.0]"


def test_means_of_ligs_and_of_transfer_have_a_sentence(run: Run) -> None:
    assert headline(run("ligs", [mean("ligs", 0.9, 0.01), mean("ligs", 0.6, 0.01, "st")])) == (
        "Over 3 seeds, net has a LIGS of 0.9 ± 0.01 [0.88, 0.92]; st has a LIGS of 0.6 ± 0.01 "
        "[0.58, 0.62], on 1,000 pictures of test."
    )
    cells = [
        mean("transfer success", value, 0.01, target, surrogate=surrogate, **PGD)
        for surrogate, target, value in (("a", "a", 0.9), ("a", "b", 0.3), ("b", "a", 0.4))
    ]
    found = [mean("clean accuracy", 0.8, 0.01, "a"), *cells]
    assert headline(run("transfer", found)) == (
        "Over 3 seeds, of 2 means between different networks the highest is that from b to a: "
        "40.00 ± 1.00 [38.0, 42.0] % (PGD-10, Linf 8/255)."
    )


def test_a_mean_in_the_unit_of_its_quantity() -> None:
    assert value_of(mean("clean accuracy gain", -0.01, 0.002)) == "−1.00 ± 0.20 [−3.0, 1.0]"
    assert value_of(mean("mrc", 0.02, 0.00123)) == "0.02 ± 0.0012 [0, 0.04]"


def test_the_page_shows_the_means_and_every_run_over_its_epochs(trained: Results) -> None:
    figure = training_curves(trained)
    assert figure is not None
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        f"seed {seed}: net" for seed in range(3)
    ]
    trained.write()
    assert trained.folder is not None
    text = write_report(trained.folder).read_text(encoding="utf-8")
    assert '<tr class="marked"><th scope="row">mean of 3 seeds: net</th>' in text
    assert '<tr><th scope="row">seed 2: net</th>' in text
