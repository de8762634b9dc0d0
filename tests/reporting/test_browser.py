"""The page in a real browser: it is drawn, and it says what came out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from evaluated_runs import write_evaluation
from PIL import Image

from hardy.evaluation.results import read
from hardy.reporting.headline import headline
from hardy.reporting.page import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        said = f"NO BROWSER ({', '.join(NAMES)}) on PATH: the page was not seen by anyone"
        if os.environ.get("HARDY_REQUIRE_BROWSER") == "1":
            pytest.fail(said)
        pytest.skip(said)
    return found


def opened(browser: str, page: Path, profile: Path, *asked: str) -> str:
    command = [browser, *FLAGS, f"--user-data-dir={profile}", *asked, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.slow
def test_the_page_is_drawn(browser: str, page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    opened(browser, page, tmp_path / "a", f"--screenshot={shot}", "--window-size=1200,3000")
    with Image.open(shot) as image:
        assert image.size == (1200, 3000)
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    # The orange of the chosen module is inside a figure: so the figures were decoded too.
    orange = np.abs(pixels.astype(int) - (0xD5, 0x5E, 0x00)).sum(-1) < 12
    assert orange.sum() > 200
    dom = opened(browser, page, tmp_path / "b", "--dump-dom")
    assert headline(read(page.parent)) in dom
    assert "<script" not in dom


def test_a_fatal_finding_is_seen_first(browser: str, tmp_path: Path) -> None:
    page = write_report(write_evaluation(tmp_path, networks=("mine",), found=True).folder or Path())
    shot = tmp_path / "page.png"
    opened(browser, page, tmp_path / "a", f"--screenshot={shot}", "--window-size=1200,900")
    with Image.open(shot) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    red = np.abs(pixels - (0xB3, 0x15, 0x1B)).sum(-1) < 12
    orange = np.abs(pixels - (0xA9, 0x47, 0x00)).sum(-1) < 12
    assert red.sum() > 200
    assert red.any(1).argmax() < orange.any(1).argmax() < 600, "the worst is on top"
