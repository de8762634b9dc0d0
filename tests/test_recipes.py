"""The published settings say what METHODS and the papers say, and yield to flags."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hardy import config, recipes
from hardy.cli import _parse, _without_recipe


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
    assert (asked.eps, asked.steps, asked.step_size or 2.5 * asked.eps / 10) == (
        8 / 255,
        10,
        pytest.approx(2 / 255),
    )
    assert (asked.epochs, asked.lr, asked.milestones) == (110, 0.1, (100, 105))
    assert (asked.batch_size, asked.weight_decay, asked.momentum) == (128, 5e-4, 0.9)
    rice = recipes.pgd_at_rice()
    assert (rice.model, rice.epochs, rice.milestones) == ("preact_resnet18", 200, (100, 150))
    assert rice.method_options == ("attack_mode=train",)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_keywords_win_and_the_rest_stays(name: str) -> None:
    make = recipes.RECIPES[name]
    assert make.__doc__ and make.__doc__.strip().endswith(".")
    assert make(seed=7, eps=0.5) == replace(make(), seed=7, eps=0.5)
    assert recipes.recipe(name, type(make())) == make()


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
