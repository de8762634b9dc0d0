"""The published settings say what METHODS and the papers say, and yield to flags."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hardy import config, recipes
from hardy.cli import _parse, _without_recipe
from hardy.methods.adaad import AdaAD
from hardy.methods.adaiad import AdaIAD
from hardy.methods.ard import ARD
from hardy.methods.fast_at import FastAT
from hardy.methods.find import make
from hardy.methods.iad import IAD
from hardy.methods.mart import MART
from hardy.methods.pgd_at import PGDAT
from hardy.methods.rslad import RSLAD
from hardy.methods.score import SCORE
from hardy.methods.trades import TRADES
from hardy.methods.twins import TWINS
from hardy.verbs.asked.inputs import attack_of


def test_rift_official_is_what_the_authors_code_does() -> None:
    """shared/METHODS.md, section 1, column 'official code'."""
    asked = recipes.rift_official()
    # Criticality: the whole test split, PGD-10 at 8/255 with step 2/225, SGD over minibatches.
    assert (asked.mrc_split, asked.mrc_pictures, asked.mrc_ascent) == ("test", 0, "official")
    assert (asked.norm, asked.eps, asked.steps) == ("linf", 8 / 255, 10)
    assert asked.mrc_step_size == 2 / 225
    assert asked.radius == 0.1
    # Fine-tuning: SGD 1e-3, momentum .9, decay 5e-4, batch 128, 10 epochs, a tenth at 5, crop
    # and flip, in train mode, every parameter whose name contains the module's.
    assert (asked.lr, asked.momentum, asked.weight_decay) == ((1e-3,), 0.9, 5e-4)
    assert (asked.batch_size, asked.epochs, asked.milestones) == (128, 10, (5,))
    assert asked.augment == "reflect"
    assert asked.batchnorm == ("reestimated",)
    assert asked.trainable == "substring"
    # Interpolation in tenths, everything chosen on test, one attack run.
    assert asked.alphas == tuple(i / 10 for i in range(1, 11))
    assert (asked.choose_on, asked.choose_pictures, asked.test_limit) == ("test", None, None)
    assert (asked.restarts, asked.step_size) == (1, 2 / 255)
    assert (asked.choose, asked.k, asked.tolerance) == ("mrc", 1, 0.001)


def test_the_official_ascent_has_the_published_numbers() -> None:
    from hardy.finetuning.mrc import OfficialAscent

    ascent = OfficialAscent()
    assert (ascent.radius, ascent.epochs, ascent.lr, ascent.minibatch) == (0.1, 10, 1.0, 512)


def test_its_criticality_alone_is_the_same_measurement() -> None:
    whole, alone = recipes.rift_official(), recipes.rift_official_mrc()
    shared = [field.name for field in fields(config.Mrc) if field.name != "restarts"]
    assert [getattr(alone, name) for name in shared] == [getattr(whole, name) for name in shared]


def test_adversarial_training_as_published() -> None:
    asked = recipes.pgd_at_rift()
    assert (asked.method, asked.model, asked.method_options) == ("pgd_at", "resnet18", ())
    assert (asked.eps, asked.steps) == (8 / 255, 10)
    assert attack_of(asked).step == pytest.approx(2 / 255)
    assert (asked.epochs, asked.lr, asked.milestones) == (110, 0.1, (100, 105))
    assert (asked.batch_size, asked.weight_decay, asked.momentum) == (128, 5e-4, 0.9)
    rice = recipes.pgd_at_rice()
    assert (rice.model, rice.epochs, rice.milestones) == ("preact_resnet18", 200, (100, 150))
    assert rice.method_options == ("attack_mode=train",)
    assert rice.augment == "reflect", "their pad() is np.pad(…, mode='reflect')"
    assert asked.augment == "zero"


def test_radius_of_l2_as_published() -> None:
    asked = recipes.pgd_at_l2()
    assert (asked.norm, asked.eps, asked.steps, asked.step_size) == ("l2", 128 / 255, 10, 15 / 255)
    assert replace(asked, norm="linf", eps=8 / 255, step_size=None) == recipes.pgd_at_rice()


def test_trades_and_mart_as_published() -> None:
    """shared/METHODS.md, section 2; the epochs of their scripts count from 1, ours from 0."""
    trades, mart = recipes.trades_official(), recipes.mart_official()
    for asked in (trades, mart):
        assert (asked.eps, asked.steps, asked.step_size) == (0.031, 10, 0.007)
        assert (asked.batch_size, asked.momentum, asked.normalize) == (128, 0.9, "none")
    assert (trades.model, trades.lr, trades.weight_decay) == ("wrn34_10", 0.1, 2e-4)
    assert (trades.epochs, trades.milestones) == (76, (74,))
    assert (mart.model, mart.lr, mart.weight_decay) == ("resnet18", 0.01, 3.5e-3)
    assert (mart.epochs, mart.milestones) == (120, (74, 89, 99))
    assert make(trades.method, trades.method_options) == TRADES(beta=6)
    assert make(mart.method, mart.method_options) == MART(beta=5)


def test_awp_as_published() -> None:
    plain, trades = recipes.awp_official(), recipes.trades_awp_official()
    assert plain == recipes.pgd_at_rice(awp=0.01)
    assert (trades.awp, trades.awp_warmup, trades.eps) == (0.005, 9, 8 / 255)
    assert (trades.epochs, trades.milestones, trades.weight_decay) == (200, (99, 149), 5e-4)


def test_score_as_published() -> None:
    asked, alone = recipes.score_official(), recipes.score_no_extra_official()
    assert (asked.batch_size, asked.lr, asked.nesterov) == (512, 0.2, True)
    assert (asked.average, asked.average_decay, asked.extra_fraction) == ("ema", 0.995, 0.7)
    assert make("score", asked.method_options) == SCORE(attack_mode="train")
    clipped = SCORE(beta=6, smoothing=0, clip=0.3, start=0.001, attack_mode="eval")
    assert make("score", alone.method_options) == clipped
    assert (alone.lr, alone.epochs, alone.milestones) == (0.05, 110, (100, 105))


def test_fast_at_as_published() -> None:
    asked = recipes.fast_at_official()
    assert (asked.epochs, asked.lr, asked.schedule) == (15, 0.2, "triangular")
    assert make("fast_at", asked.method_options) == FastAT(alpha=1.25, attack_mode="train")
    assert asked.eps == 8 / 255


def test_distillation_as_published() -> None:
    """shared/METHODS.md, section 3, and the authors' scripts."""
    ard, iad, iad2 = recipes.ard_official(), recipes.iad_official(), recipes.iad2_official()
    rslad, adaad, adaiad = (
        recipes.rslad_official(),
        recipes.adaad_official(),
        recipes.adaiad_official(),
    )
    for asked in (ard, iad, iad2, rslad, adaad, adaiad):
        assert (asked.eps, asked.steps, asked.step_size) == (8 / 255, 10, 2 / 255)
        assert (asked.batch_size, asked.lr, asked.momentum) == (128, 0.1, 0.9)
        assert asked.normalize == "none" and asked.augment == "zero"
    assert [asked.weight_decay for asked in (ard, iad, iad2, rslad)] == [2e-4] * 4
    assert adaad.weight_decay == adaiad.weight_decay == 5e-4
    assert (rslad.epochs, rslad.milestones) == (300, (215, 260, 285))
    assert (adaad.epochs, adaad.milestones) == (200, (100, 150))
    for asked in (ard, iad, iad2):  # adjust_learning_rate takes a tenth of the first rate each time
        assert (asked.epochs, asked.milestones) == (200, (100,))
    made = [make(asked.method, asked.method_options) for asked in (ard, iad, rslad, adaad, adaiad)]
    assert made == [
        ARD(temperature=30, alpha=1, reduction="mean", attack_mode="train"),
        IAD(temperature=1, beta=0.1, warmup=60 / 200, attack_mode="train"),
        RSLAD(robust=5 / 6, reduction="mean", log_constant=1e-5),
        AdaAD(alpha=1, reduction="mean"),
        AdaIAD(temperature=30, beta=0.1, warmup=60 / 200),
    ]
    second = make("iad", iad2.method_options)
    assert second == IAD(
        labels=0.25, natural=0.25, weighted=True, target="adversarial", warmup=40 / 200
    )
    assert second.roles == ("robust", "natural")


def test_twins_as_published() -> None:
    """shared/METHODS.md, section 4."""
    at, trades = recipes.twins_at_official(), recipes.twins_trades_official()
    assert (at.eps, at.steps, at.step_size) == (8 / 255, 10, 2 / 255)
    assert (at.momentum, at.batch_size, at.epochs, at.milestones) == (0.9, 128, 60, (30, 50))
    assert (at.lr, at.weight_decay, at.input_size) == (0.003, 1e-5, 224)
    assert (at.probe_epochs, at.eps_warmup) == (0, 0)
    assert replace(trades, method_options=at.method_options) == at
    assert make(at.method, at.method_options) == TWINS("at", lam=1, affine="separate")
    assert make(trades.method, trades.method_options) == TWINS(
        "trades", lam=1, beta=6, affine="separate", kl_scale="authors"
    )


def test_the_controls_of_twins_differ_in_one_thing_each() -> None:
    twins, plain = recipes.twins_at_official(), recipes.at_finetune()
    normalised = recipes.twins_normalised()
    assert make(normalised.method, normalised.method_options) == TWINS(normalised=True)
    assert replace(normalised, method_options=twins.method_options) == twins
    assert make(plain.method, plain.method_options) == PGDAT()
    assert replace(plain, method="twins", method_options=twins.method_options) == twins
    assert recipes.at_double_lr() == replace(plain, lr=2 * plain.lr)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_fixes_the_radius(name: str) -> None:
    assert recipes.RECIPES[name]().eps is not None


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_keywords_win_and_the_rest_stays(name: str) -> None:
    recipe = recipes.RECIPES[name]
    assert recipe.__doc__ and recipe.__doc__.strip().endswith(".")
    assert recipe(seed=7, eps=0.5) == replace(recipe(), seed=7, eps=0.5)
    assert recipes.recipe(name, type(recipe())) == recipe()


def test_flags_win_over_a_recipe_wherever_it_stands() -> None:
    for words in (
        ["rift", "--recipe", "rift_official", "--restarts", "20", "--checkpoint", "x"],
        ["rift", "--restarts", "20", "--checkpoint", "x", "--recipe=rift_official"],
        ["--recipe", "rift_official", "rift", "--checkpoint", "x", "--restarts", "20"],
    ):
        asked = _parse(*_without_recipe(words))
        assert asked == recipes.rift_official(restarts=20, checkpoint=Path("x"))


def test_a_recipe_belongs_to_one_verb() -> None:
    with pytest.raises(ValueError, match="is for hardy rift, not mrc"):
        recipes.recipe("rift_official", config.Mrc)
    with pytest.raises(ValueError, match="did you mean rift_official"):
        recipes.recipe("rift_oficial", config.Rift)
