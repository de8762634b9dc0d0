"""What a training run is made of: what follows from what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hardy import config
from hardy.methods.pgd_at import PGDAT
from hardy.methods.standard import Standard
from hardy.models.architecture import Architecture
from hardy.training.phases import Probing
from hardy.verbs.asked.inputs import placed
from hardy.verbs.training.job import job_of

ASKED = config.Train(data="digits", model="small_resnet", eps=0.1, steps=2, limit=128, epochs=4)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(110, (100, 105)), (220, (200, 210)), (20, (18, 19)), (4, (3,)), (2, (1,)), (1, (1,))],
)
def test_milestones_keep_their_proportion(epochs: int, expected: tuple[int, ...]) -> None:
    """Those of Pang et al. 2021; a single epoch has none inside it."""
    assert job_of(replace(ASKED, epochs=epochs)).settings.milestones == expected
    asked = replace(ASKED, epochs=epochs, milestones=(2, 3))
    assert job_of(asked).settings.milestones == (2, 3)


@pytest.mark.parametrize(
    ("more", "eps", "steps", "step"),
    [
        ({}, 0.1, 2, 0.125),
        ({"step_size": 0.03}, 0.1, 2, 0.03),
        ({"step_size": 0.03, "eval_eps": 0.1, "eval_steps": 2}, 0.1, 2, 0.03),
        ({"step_size": 0.03, "eval_steps": 10}, 0.1, 10, 0.025),
        ({"step_size": 0.03, "eval_eps": 0.2}, 0.2, 2, 0.25),
        ({"eval_steps": 10, "eval_step_size": 0.01}, 0.1, 10, 0.01),
        ({"eval_step_size": 0.01}, 0.1, 2, 0.01),
    ],
)
def test_val_and_test_are_attacked_as_training_unless_asked_otherwise(
    more: dict[str, float], eps: float, steps: int, step: float
) -> None:
    job = job_of(replace(ASKED, **more))  # type: ignore[arg-type]
    attack = job.protocol.attack
    assert (attack.threat.eps, attack.steps) == (eps, steps)
    assert attack.step == pytest.approx(step)
    assert job.attack.step == more.get("step_size", 0.125), "training's own is left alone"


def test_what_measures_takes_twice_the_pictures_that_a_process_holds() -> None:
    asked = replace(ASKED, batch_size=100)
    found = [
        job_of(replace(asked, accumulate=accumulate, devices=devices)).protocol.batch_size
        for accumulate, devices in ((1, 1), (4, 1), (1, 2), (3, 2))
    ]
    assert found == [200, 50, 100, 34]


def test_the_radius_is_the_usual_one_of_the_norm() -> None:
    radii = [
        job_of(replace(ASKED, eps=None, norm=norm)).attack.threat.eps for norm in ("linf", "l2")
    ]
    assert radii == [8 / 255, 128 / 255]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"nesterov": True, "momentum": 0.0}, "--nesterov needs --momentum"),
        ({"seed": 2**63}, "--seed must lie between 0 and"),
        ({"seed": -1}, "--seed must lie between 0 and"),
    ],
)
def test_what_torch_would_say_later_is_said_at_once(more: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        job_of(replace(ASKED, **more))  # type: ignore[arg-type]


def test_the_first_epochs_are_those_that_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert job_of(ASKED).settings.probing is None and job_of(ASKED).settings.eps_warmup == 0
    asked = replace(ASKED, probe_epochs=1, eps_warmup=2)
    assert job_of(asked).settings.probing == Probing(1, "linear", Standard())
    assert job_of(asked).settings.eps_warmup == 2 and job_of(asked).settings.settled == 3
    assert capsys.readouterr().err == ""
    adversarial = replace(asked, probe="adversarial", probe_epochs=4)
    assert job_of(adversarial).settings.probing == Probing(4, "linear", PGDAT())
    said = capsys.readouterr().err
    assert "--eps-warmup 2 lasts the whole run: no epoch is trained at eps" in said
    with pytest.raises(ValueError, match="--probe-epochs are the first of --epochs: 5 of 4 are"):
        job_of(replace(ASKED, probe_epochs=5))
    with pytest.raises(ValueError, match="--probe-epochs must be at least 0, not -1"):
        job_of(replace(ASKED, probe_epochs=-1))
    with pytest.raises(ValueError, match="--probe must be one of clean, adversarial, not 'both'"):
        job_of(replace(ASKED, probe="both"))  # type: ignore[arg-type]


def test_a_network_without_batchnorm_has_no_two_wings() -> None:
    for awp in (0.0, 0.01):
        with pytest.raises(ValueError, match=r"of every BatchNorm, and the network has none: "):
            job_of(replace(ASKED, model="mnist_cnn", input_size=28, method="twins", awp=awp))


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    job_of(ASKED)
    assert torch.equal(torch.rand(2), expected)


def test_no_layout_in_which_a_convolution_overruns() -> None:
    slim = placed(Architecture("slim_resnet18", 3, 3, "none").build(), torch.device("cpu"))
    for _ in range(4):  # it took torch down with it at this size
        slim(torch.rand(16, 3, 64, 64)).sum().backward()
    assert slim.get_parameter("conv1.weight").is_contiguous()
    thin = placed(Architecture("thin_resnet18", 3, 3, "none").build(), torch.device("cpu"))
    weight = thin.get_parameter("conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_twins_say_that_they_have_nothing_to_go_on_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for awp in (0.0, 0.005):
        job = job_of(replace(ASKED, method="twins", awp=awp))
        assert job.caution and "this network was new" in job.caution
        assert job.caution in " ".join(capsys.readouterr().err.split())
        assert job.method.check(job.model, fresh=False) is None
    assert job_of(replace(ASKED, method="pgd_at")).caution is None


def test_a_network_that_normalises_by_itself_is_written_down_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_normal.py").write_text(
        "from torch import nn\n"
        "from hardy.models.normalize import Normalize\n"
        "def make(num_classes, in_channels):\n"
        "    own = Normalize([0.5], [0.25])\n"
        "    return nn.Sequential(own, nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    asked = replace(ASKED, model="own_normal:make")
    for given in (None, "none", "0.5/0.25"):
        assert job_of(replace(asked, normalize=given)).architecture.normalize == "0.5/0.25"
    with pytest.raises(ValueError, match=r"by 0.5/0.25, and 0/1 was given: leave --normalize out"):
        job_of(replace(asked, normalize="0/1"))
