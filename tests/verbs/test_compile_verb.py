"""--compile: said in the results, and refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from verb_runs import TRAIN, hardy

import hardy as package
from hardy.compiled import must_compile
from hardy.evaluation.results import Results

SMALL: dict[str, Any] = {
    "data": "digits",
    "eps": 0.1,
    "steps": 2,
    "restarts": 2,
    "batch_size": 64,
    "limit": 256,
    "device": "cpu",
}


class Breaking(nn.Module):
    """Looks at a value, which no graph can do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(x.flatten(1))
        return logits if logits.sum() > 0 else logits * 2


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler: what can be traced runs as it is written."""
    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda _: lambda graph, _: graph.forward)


@pytest.mark.parametrize("verb", [package.train, package.evaluate])
def test_a_network_that_cannot_be_compiled_is_refused_before_anything_is_written(
    verb: Any, traced: None, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"--compile: .*as a whole .*leave --compile out$"):
        verb(model=Breaking(), compile=True, out=tmp_path / "run", **SMALL)
    assert not list(tmp_path.iterdir())


def test_no_compiler_is_the_users_to_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: Any) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda _: none)
    assert hardy(*TRAIN, "--compile", "--out", tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert "install a C++ compiler such as g++" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_compiled_run_is_the_run_and_says_so(tmp_path: Path) -> None:
    try:
        must_compile(torch.device("cpu"), [], torch.zeros(1))
    except ValueError as error:
        pytest.skip(f"nothing can be compiled here: {error}")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(72, 10)
    )

    def trained(compiled: bool) -> Results:
        out = tmp_path / f"train-{compiled}"
        more: dict[str, Any] = {"epochs": 2, "lr": 0.5, "test_limit": 100, "val_pictures": 50}
        return package.train(model=network, compile=compiled, out=out, **SMALL, **more)

    plain, quick = trained(False), trained(True)
    assert "compiled" not in plain.facts
    assert quick.facts["compiled"] == "attacks and training steps"
    for one in ("clean accuracy", "robust accuracy"):
        a, b = (each.one(one, subject="pgd_at", split="test").value for each in (plain, quick))
        assert abs(a - b) <= 0.02, "a picture or two may be turned by rounding"

    def evaluated(compiled: bool) -> Results:
        out, more = tmp_path / f"evaluate-{compiled}", {"attack": ("pgd", "apgd-ce", "fab-t")}
        return package.evaluate(
            model=network, compile=compiled, out=out, curve_points=3, **SMALL, **more
        )

    found = [evaluated(compiled) for compiled in (False, True)]
    assert [each.facts.get("compiled") for each in found] == [None, "the search of attacks"]
    for a, b in zip(*(each.select("robust accuracy") for each in found), strict=True):
        assert a.setting == b.setting and abs(a.value - b.value) <= 0.02
    clean = [each.one("clean accuracy").value for each in found]
    assert clean[0] == clean[1], "which is judged by the network as it is"


@pytest.mark.slow
def test_a_dry_run_compiles_only_for_the_time() -> None:
    common: dict[str, Any] = {**SMALL, "model": "small_resnet", "epochs": 2, "dry_run": True}
    plain, quick = package.train(**common), package.train(compile=True, **common)
    for quantity in ("operations", "memory", "parameters"):
        before, after = plain.select(quantity), quick.select(quantity)
        assert [m.value for m in before] == [m.value for m in after]
    names = [[m.subject for m in each.select("seconds")] for each in (plain, quick)]
    assert set(names[1]) - set(names[0]) == {"compilation"}
    parts = {m.subject: m.value for m in quick.select("seconds")}
    assert parts["compilation"] > 0
    assert parts["run"] >= parts["compilation"] + 2 * parts["epoch"]
