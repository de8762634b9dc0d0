"""Runs to report on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reported_runs import write_rift

from hardy.evaluation.results import Measurement, Results, Scalar
from hardy.reporting.page import write_report


@pytest.fixture
def rift(tmp_path: Path) -> Results:
    """A whole RiFT run, written: 21 modules, two candidates of eleven α, before and after."""
    return write_rift(tmp_path)


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of that run, drawn once for all tests that only read it."""
    return write_report(write_rift(tmp_path_factory.mktemp("run")).folder or Path())


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Results]:
    """A written run of any verb with just the measurements given."""

    def make(verb: str, measurements: list[Measurement], **facts: Scalar) -> Results:
        results = Results(verb, dict(facts), [], measurements, folder=tmp_path)
        results.write()
        return results

    return make
