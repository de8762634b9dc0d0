"""hardy train --dry-run: the sheet of what a run would cost, and that it leaves nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from verb_runs import TRAIN, assert_same, hardy

import hardy as package
from hardy.evaluation.footprint import Timing
from hardy.evaluation.results import Results
from hardy.models.small import small_resnet
from hardy.training import cost

SMALL: dict[str, Any] = {
    "data": "digits",
    "val_fraction": 0.2,
    "eps": 0.1,
    "steps": 2,
    "restarts": 3,
    "batch_size": 64,
    "device": "cpu",
    "limit": 512,
    "val_pictures": 100,
    "test_limit": 90,
    "epochs": 4,
}


@pytest.fixture(autouse=True)
def a_second_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is timed is done once and takes a second."""

    def timed(work: Any, device: torch.device) -> Timing:
        work()
        return Timing(1.0, 5)

    monkeypatch.setattr(cost, "timed", timed)


def dry(**more: Any) -> Results:
    return package.train(**{**SMALL, "model": "small_resnet", **more}, dry_run=True)


def value(results: Results, quantity: str, subject: str) -> float:
    return results.one(quantity, subject=subject).value


def test_nothing_is_written_and_a_short_table_says_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hardy(*TRAIN, "--dry-run", "--out", "run") == 0
    assert not any(tmp_path.iterdir())
    said = capsys.readouterr()
    for line in ("77,754, 77,754 of them trained", "8 an epoch, 32 in all", "F a picture"):
        assert line in said.out
    assert "run folder" not in said.err and "page:" not in said.err


def test_the_steps_and_the_size_of_a_run() -> None:
    results = dry()
    assert results.folder is None and results.facts["dry run"] is True
    assert value(results, "parameters", "all") == 77_754
    assert value(results, "steps", "epoch") == 512 // 64
    assert value(results, "steps", "run") == 4 * 8
    forward = value(results, "operations", "forward")
    step = results.one("operations", subject="step")
    # PGD-2: 2 x 2F + 3F, less the first layer's gradient to the pictures.
    first = 2 * 8 * 8 * 16 * 9
    assert step.value == 7 * forward - first
    assert step.setting["forwards"] == step.value / forward
    assert value(results, "operations", "batch") == 64 * step.value
    assert all(m.no_interval for m in results.measurements)


def test_the_time_of_a_run_is_that_of_its_parts() -> None:
    """A step of training, a pass of the network over 100 pictures, an attack on them: all
    take a second here."""
    results = dry()
    assert value(results, "seconds", "step") == 1
    assert value(results, "seconds", "epoch") == 8
    picture = 1 / 128  # batches of val and test are twice as large as those of training
    assert value(results, "seconds", "validation") == pytest.approx(100 * picture * (1 + 1))
    # Two networks at the end, the best and the last, under three restarts.
    test = 90 * picture * (1 + 3)
    assert value(results, "seconds", "test") == pytest.approx(2 * test)
    whole = 4 * (8 + 200 * picture) + 2 * test
    assert value(results, "seconds", "run") == pytest.approx(whole)
    rate = results.one("operations per second", subject="step")
    product = value(results, "operations per second", "matrix product")
    assert rate.value == value(results, "operations", "batch")
    assert rate.setting["share"] == rate.value / product


def test_averages_are_judged_too_and_may_need_a_pass_over_train() -> None:
    alone, ema, swa = dry(), dry(average="ema"), dry(average="swa")
    for results in (ema, swa):
        assert value(results, "memory", "average") == value(results, "memory", "weights")
        ratio = value(results, "seconds", "validation") / value(alone, "seconds", "validation")
        assert ratio == pytest.approx(2)
    assert value(ema, "seconds", "epoch") == 8
    assert value(swa, "seconds", "epoch") == 16, "a clean pass for BatchNorm's statistics"


def test_several_devices_share_the_work_and_the_estimate_says_what_it_assumes() -> None:
    alone, four = dry(), dry(devices=4)
    for subject in ("step", "batch"):
        assert value(four, "operations", subject) == value(alone, "operations", subject)
    assert value(four, "steps", "run") == value(alone, "steps", "run")
    ratio = value(four, "seconds", "validation") / value(alone, "seconds", "validation")
    # A quarter of the pictures each, in batches of a quarter, of which each takes as long on
    # this clock.
    assert ratio == pytest.approx(1)
    rate = value(four, "operations per second", "step")
    assert rate == value(alone, "operations per second", "step") / 4, "of one of them"
    (note,) = set(four.notes) - set(alone.notes)
    assert "4 devices" in note and "16 pictures" in note and "as the least" in note


def test_awp_and_accumulation_show() -> None:
    alone = dry()
    awp = dry(awp=0.01, awp_warmup=2, accumulate=4)
    assert value(awp, "operations", "step") > 1.3 * value(alone, "operations", "step")
    assert value(awp, "memory", "activations") < 0.5 * value(alone, "memory", "activations")
    assert any("first 2 epochs, without AWP" in note for note in awp.notes)


def test_two_wings_cost_what_one_network_does_and_have_more_parameters() -> None:
    """Each BatchNorm has a second gamma and beta, and statistics that the mean has too."""
    alone, twins = dry(), dry(method="twins", average="swa")
    assert value(twins, "operations", "step") == value(alone, "operations", "step")
    norms = [m for m in small_resnet().modules() if isinstance(m, nn.BatchNorm2d)]
    more = 2 * sum(norm.num_features for norm in norms)
    assert value(twins, "parameters", "trainable") == 77_754 + more
    assert value(twins, "memory", "average") == value(twins, "memory", "weights")
    shared = dry(method="twins", method_options=("affine=shared",))
    assert value(shared, "parameters", "all") == 77_754
    trades = dry(method="twins", method_options=("variant=trades",))
    assert value(trades, "operations", "step") > 1.3 * value(alone, "operations", "step")


def test_probing_is_timed_as_the_rest() -> None:
    probed = dry(probe_epochs=2, eps_warmup=1)
    assert value(probed, "operations", "step") == value(dry(), "operations", "step")
    assert any("first 2 epochs, of the head alone" in note for note in probed.notes)


def test_a_network_from_python_is_left_as_it_is() -> None:
    model = small_resnet().eval()
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    dry(model=model, average="ema", awp=0.01)
    assert_same(model.state_dict(), before)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_weights_that_are_frozen_are_not_counted_as_trained() -> None:
    model = small_resnet()
    model.get_parameter("linear.weight").requires_grad_(False)
    results = dry(model=model)
    assert value(results, "parameters", "trainable") == 77_754 - 640
    assert value(results, "memory", "gradients") == 4 * (77_754 - 640)


def test_mistakes_are_found_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="shared equally by 3 processes"):
        dry(devices=3)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a run")
    with pytest.raises(ValueError, match=r"--dry-run takes one process.*--devices"):
        dry()
