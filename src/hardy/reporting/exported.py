"""Exported files: how large they are, and how far they are from the network."""

from __future__ import annotations

from hardy.evaluation.results import Measurement, Results
from hardy.reporting.wording import count

EXPORTED = ("file size", "logit difference", "same predictions")
TITLE = "The files and what they were held against"

Rows = list[list[str]]


def exported_table(results: Results) -> Rows:
    """A row for each way in which a file was compared with the network; empty where none was."""
    size = {m.subject: f"{m.value / 1e6:.3g} MB" for m in results.select("file size")}
    same = {
        _key(m): f"{round(m.value * m.n)} of {count(m.n)}"
        for m in results.select("same predictions")
    }
    rows = [["file", "size", "pictures", "at once", "logits differ by", "of their spread", "same"]]
    for m in results.select("logit difference"):
        pictures = f"{count(m.n)} {m.setting.get('pictures')}"
        apart = [f"{m.value:.2g}", f"{_relative(m):.2g}", same.get(_key(m), "–")]
        batch = str(m.setting.get("batch"))
        rows.append([m.subject, size.get(m.subject, "–"), pictures, batch, *apart])
    return rows if len(rows) > 1 else []


def exported_caption(results: Results) -> str:
    """What the columns mean."""
    allowed = results.facts.get("tolerance")
    return (
        "Each file was read again from disk and run on test pictures. Logits differ by: the "
        "largest of all absolute differences; of their spread: that over the standard deviation "
        f"of the network's own logits, {allowed} at most or no file is kept; same: pictures that "
        "both take for the same class."
    )


def of_files(results: Results) -> str:
    """'network.onnx (3.1 MB) gives what the network gives: …'"""
    apart = list(results.select("logit difference"))
    worst = max(apart, key=_relative)
    same = list(results.select("same predictions"))
    files = [f"{m.subject} ({m.value / 1e6:.3g} MB)" for m in results.select("file size")]
    give = "gives" if len(files) == 1 else "give"
    moved = sum(round((1 - m.value) * m.n) for m in same)
    named = f"{moved} predictions change" if moved > 1 else "one prediction changes"
    named = named if moved else "no picture changes its class"
    return (
        f"{' and '.join(files)} {give} what the network gives: on {count(worst.n)} clean and "
        f"attacked pictures of {worst.split} logits differ by {_relative(worst):.1e} of their "
        f"spread at most, and {named}."
    )


def _key(m: Measurement) -> tuple[object, ...]:
    return (m.subject, *(m.setting.get(name) for name in ("format", "pictures", "batch")))


def _relative(m: Measurement) -> float:
    share = m.setting.get("relative")
    return float(share) if isinstance(share, int | float) else 0.0
