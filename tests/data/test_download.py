from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hardy.data import load_data
from hardy.data.download import REMOTES, Remote, fetch

CONTENT = b"a published archive" * 100


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "set.tar.gz").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def change(url: str, md5: str = hashlib.md5(CONTENT).hexdigest(), name: str = "mine") -> None:
        monkeypatch.setitem(REMOTES, name, (Remote(url, md5),))

    return change


def test_a_checked_file_takes_its_name(served: str, offer, tmp_path: Path):
    offer(f"{served}/set.tar.gz")
    root = tmp_path / "new" / "root"
    fetch("mine", root)
    assert [each.name for each in root.iterdir()] == ["set.tar.gz"]
    assert (root / "set.tar.gz").read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_fetched(offer, tmp_path: Path):
    offer("http://127.0.0.1:9/set.tar.gz")
    (tmp_path / "set.tar.gz").write_bytes(b"")
    fetch("mine", tmp_path)


def test_a_wrong_checksum_leaves_nothing(served: str, offer, tmp_path: Path):
    offer(f"{served}/set.tar.gz", md5="0" * 32)
    root = tmp_path / "root"
    with pytest.raises(ValueError, match=f"MD5 is {hashlib.md5(CONTENT).hexdigest()}, expected 00"):
        fetch("mine", root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("path", ["absent.tar.gz", "away.tar.gz"])
def test_a_refused_or_redirected_file_names_file_folder_and_url(
    served: str, offer, tmp_path: Path, path: str
):
    offer(f"{served}/{path}")
    with pytest.raises(ValueError, match=f"{path} is not in {tmp_path} .*{served}/{path}") as error:
        fetch("mine", tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_only_http_is_spoken(offer, tmp_path: Path, url: str):
    offer(url)
    with pytest.raises(ValueError, match="unknown url type"):
        fetch("mine", tmp_path)


@pytest.mark.parametrize("spec", ["mnist", "cifar10", "cifar100", "tiny-imagenet"])
def test_without_a_network_every_loader_says_what_it_wanted(offer, tmp_path: Path, spec: str):
    offer("http://127.0.0.1:9/wanted.zip", name=spec)
    with pytest.raises(ValueError, match=r"wanted\.zip is not in .*refused.*--data-root"):
        load_data(spec, tmp_path / "data")


def test_the_official_addresses():
    assert [each.name for each in REMOTES["mnist"]] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]
    for remotes in REMOTES.values():
        assert all(len(bytes.fromhex(each.md5)) == 16 for each in remotes)


def test_the_real_files_have_the_checksums_of_the_table(real_data: Path):
    for remote in REMOTES["mnist"]:
        path = real_data / remote.name
        if path.is_file():
            assert hashlib.md5(path.read_bytes()).hexdigest() == remote.md5
