"""The arguments: the same names everywhere, each with a sentence, no torch behind them."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

import hardy
from hardy import config
from hardy.cli import VERBS


def parsed(kind: type, *words: str) -> object:
    return tyro.cli(kind, args=list(words), config=(tyro.conf.OmitArgPrefixes,))


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_a_module_a_function_of_the_same_fields_and_a_sentence(verb: str) -> None:
    kind = VERBS[verb]
    function = getattr(hardy, verb)
    assert function.__name__ == verb
    names = [field.name for field in dataclasses.fields(kind)]
    assert list(inspect.signature(function).parameters) == names
    assert function.__doc__ == kind.__doc__ and str(kind.__doc__).strip().endswith(".")
    assert callable(sys.modules[f"hardy.verbs.{verb}"].run)


def test_a_flag_means_the_same_in_every_verb() -> None:
    seen: dict[str, dict[str, object]] = {}
    for verb, kind in VERBS.items():
        for field in dataclasses.fields(kind):
            seen.setdefault(field.name, {})[verb] = field.type
    differing = {name: types for name, types in seen.items() if len(set(types.values())) > 1}
    # rift tries several learning rates, export writes several formats; a demo always has a folder.
    assert set(differing) == {"format", "lr", "out"}


def test_configurations_cannot_change_and_have_usable_defaults() -> None:
    for verb, kind in VERBS.items():
        one = kind(folder=Path("x")) if verb == "report" else kind()
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.seed = 1


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "report"])
def test_no_words_are_the_defaults_of_python(verb: str) -> None:
    assert parsed(VERBS[verb]) == VERBS[verb]()


def test_words_become_values() -> None:
    asked = parsed(
        config.Rift,
        *("--eps", "4/255", "--step-size", ".01", "--lr", "0.001", "1e-2", "--no-bn-only"),
        *("--checkpoint", "runs/at", "--limit", "100", "--batchnorm", "frozen", "reestimated"),
        *("--normalize", "none", "--test-limit", "unset", "--choose-pictures", "unset"),
    )
    assert asked == config.Rift(
        eps=4 / 255,
        step_size=0.01,
        lr=(0.001, 0.01),
        bn_only=False,
        checkpoint=Path("runs/at"),
        limit=100,
        batchnorm=("frozen", "reestimated"),
        normalize="none",
        test_limit=None,
        choose_pictures=None,
    )


def test_checkpoints_stand_by_position() -> None:
    assert parsed(config.Evaluate, "a", "b") == config.Evaluate(checkpoints=(Path("a"), Path("b")))
    assert parsed(config.Report, "runs/x") == config.Report(folder=Path("runs/x"))


def test_the_configuration_imports_nothing_heavy() -> None:
    program = "import sys, hardy.config; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert {"torch", "numpy", "scipy", "matplotlib"}.isdisjoint(done.stdout.split())


def test_the_package_names_what_it_has() -> None:
    assert {*VERBS, "load", "load_data", "to_plain", "to_twins"} == set(hardy.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rifted'"):
        _ = hardy.rifted  # type: ignore[attr-defined]
