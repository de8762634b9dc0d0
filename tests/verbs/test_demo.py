"""The demo, whole: what someone with nothing at all sees first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from verb_runs import hardy

from hardy import load, load_data
from hardy.evaluation.results import read
from hardy.verbs import demo


@pytest.fixture
def drawn() -> None:
    """The page is what the demo is for."""


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
def test_the_demo_shows_a_real_trade_off_and_what_rift_gave_back(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert hardy("demo", "--out", out) == 0
    results = read(out)
    clean = {m.subject: m.value for m in results.select("clean accuracy", split="test")}
    assert clean["standard"] - clean["start"] >= 0.03
    gain = results.one("clean accuracy gain")
    assert gain.interval is not None
    assert gain.value == pytest.approx(clean["result"] - clean["start"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "a gain of a point lies within the interval" in page
    picture = load_data("digits").test.pixels(slice(0, 1))
    assert load(out / "rift")(picture).shape == (1, 10)


def test_an_interrupted_demo_does_not_stand_in_the_way_of_the_next(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    out.mkdir()
    asked = {"seed": 0, "device": "auto", "out": str(out), "environment": {}}
    (out / "config.json").write_text(json.dumps(asked))
    demo._clear(out)
    assert not out.exists()
