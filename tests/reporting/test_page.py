"""The page: known numbers, nothing unescaped, nothing fetched, the same bytes twice."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from reported_runs import EVIL, of_modules, write_pictures

from hardy.evaluation.results import FILE_NAME, Results, read
from hardy.files import sha256
from hardy.reporting.page import as_python, flat, write_report
from hardy.reporting.tables import markdown


class Outline(HTMLParser):
    """Tags, ids and attributes of a page, and whether every tag is closed in order."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.tags if "id" in attrs]


def page_of(results: Results) -> str:
    assert results.folder is not None
    return write_report(results.folder).read_text(encoding="utf-8")


def test_the_numbers_of_the_run_stand_on_the_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for said in (
        "RiFT gave back 1.24 points of clean accuracy [0.4, 2.1] at a robust accuracy that moved "
        "by −0.02 points [−0.3, 0.3], on 5,000 pictures of test (reported half).",
        "81.46 [80.4, 82.5]",
        "82.70 [81.7, 83.7]",
        "+1.24 [0.4, 2.1]",
        "PGD-10, Linf 8/255, worst of 3",
        "Read this before you believe the numbers",
        "The checkpoint comes from elsewhere",
        "hardy rift --model resnet18 --data cifar10 --eps 8/255 --out runs/rift",
        "optimizer.lr",
        "2.13.0",
    ):
        assert said in text


def test_a_class_name_with_markup_is_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "script" not in {tag for tag, _ in Outline(text).tags}


def test_no_request_leaves_the_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    outline = Outline(text)
    assert not outline.open
    assert ("default-src 'none'; img-src data:; style-src 'unsafe-inline'") in text
    for tag, attrs in outline.tags:
        assert tag not in ("link", "script", "iframe", "object")
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attrs.get(name) or "data:").startswith("data:")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    for drawn in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", text):
        vector = base64.b64decode(drawn).decode()
        links = re.findall(r'href="([^"]{1,20})', vector)
        assert links
        assert all(link.startswith(("#", "data:")) for link in links)


def test_what_a_screen_reader_needs_is_there(page: Path) -> None:
    tags = Outline(page.read_text(encoding="utf-8")).tags
    assert dict(tags)["html"]["lang"] == "en"
    assert [tag for tag, _ in tags].count("h1") == 1
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img")
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in tags if tag == "th")


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(rift: Results) -> None:
    assert rift.folder is not None
    write_report(rift.folder)
    before = {p: p.read_bytes() for p in rift.folder.rglob("*") if p.is_file()}
    write_report(rift.folder)
    assert {p: p.read_bytes() for p in rift.folder.rglob("*") if p.is_file()} == before
    assert len(before) == 5 + 10  # nothing temporary stays behind


def test_the_figures_are_noted_with_their_hashes(page: Path) -> None:
    noted = {a.path: a.sha256 for a in read(page.parent).artifacts if a.kind == "figure"}
    names = ("tradeoff", "mrc", "potential", "training", "pictures")
    assert set(noted) == {f"figures/{n}.{s}" for n in names for s in ("svg", "png")}
    assert all(sha256(page.parent / path) == value for path, value in noted.items())


def test_what_was_not_measured_has_no_section(run: Callable[..., Results]) -> None:
    results = run("mrc", of_modules(["conv1", "linear"]))
    ids = Outline(page_of(results)).ids()
    assert "modules" in ids
    assert not {"outcome", "tradeoff", "candidates", "training", "pictures", "again"} & set(ids)
    assert results.folder is not None
    drawn = {p.name for p in (results.folder / "figures").iterdir()}
    assert drawn == {"mrc.svg", "mrc.png", "potential.svg", "potential.png"}


def test_pictures_that_are_gone_are_named(run: Callable[..., Results]) -> None:
    results = run("evaluate", [])
    write_pictures(results)
    results.write()
    assert results.folder is not None
    (results.folder / "pictures.npz").unlink()
    assert "Not shown: pictures.npz is not in this run folder" in page_of(results)


def test_a_figure_that_no_longer_applies_is_no_longer_noted(run: Callable[..., Results]) -> None:
    results = run("mrc", of_modules(["conv1", "linear"]))
    page_of(results)
    assert results.folder is not None
    again = read(results.folder)
    again.measurements = [m for m in again.measurements if m.quantity != "conflict"]
    again.measurements = [m for m in again.measurements if m.quantity != "clean potential"]
    again.write()
    page_of(again)
    noted = [a.path for a in read(results.folder).artifacts]
    assert noted == ["figures/mrc.svg", "figures/mrc.png"]


def test_results_of_another_schema_are_refused(rift: Results) -> None:
    assert rift.folder is not None
    path = rift.folder / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(ValueError, match="schema 99, this hardy reads 2"):
        write_report(rift.folder)
    assert not (rift.folder / "report.html").exists()


@pytest.mark.parametrize(("content", "said"), [("{", "is not JSON"), ("[1]", "not list")])
def test_a_damaged_setting_is_named(rift: Results, content: str, said: str) -> None:
    assert rift.folder is not None
    (rift.folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=said):
        write_report(rift.folder)


def test_damaged_pictures_are_named(rift: Results) -> None:
    assert rift.folder is not None
    (rift.folder / "pictures.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"pictures\.npz does not hold the pictures"):
        write_report(rift.folder)
    assert not (rift.folder / "figures").exists()


def test_a_nested_setting_is_shown_flat() -> None:
    nested = {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}, "f": {}}
    rows = [("a", "1"), ("b.c", "[1, 2]"), ("b.d.e", "null"), ("f", "{}")]
    assert flat(nested) == rows


def test_the_python_call_has_every_argument() -> None:
    written = as_python("transfer", {"model": "it's", "eps": 0.5, "k": None})
    said: dict[str, object] = {}

    class Hardy:
        @staticmethod
        def transfer(**arguments: object) -> None:
            said.update(arguments)

    exec(written.removeprefix("import hardy"), {"hardy": Hardy})
    assert said == {"model": "it's", "eps": 0.5, "k": None}


def test_the_tables_lie_beside_the_page_in_markdown(rift: Results) -> None:
    assert rift.folder is not None
    write_report(rift.folder)
    assert (rift.folder / "tables.md").read_text(encoding="utf-8") == markdown(read(rift.folder))
