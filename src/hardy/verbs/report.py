"""hardy report: the page of a finished run, drawn again from its results alone."""

from __future__ import annotations

from pathlib import Path

from hardy import config
from hardy.evaluation.results import Results, read
from hardy.reporting.page import write_report
from hardy.verbs.asked.arguments import keywords


def run(asked: config.Report) -> Results:
    """Draw report.html and the figures again; the results they were drawn from."""
    folder = Path(asked.folder)
    write_report(folder)
    return read(folder)


report = keywords(config.Report, run)
