"""The official archives, fetched once and checked before they take their names."""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import Progress

from hardy.files import written_whole

_TIMEOUT = 30  # seconds without an answer
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A file to fetch, and the MD5 that its publishers give."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        return urlsplit(self.url).path.rpartition("/")[2]


_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"

REMOTES: dict[str, tuple[Remote, ...]] = {
    "cifar10": (Remote(_CIFAR + "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
    "cifar100": (Remote(_CIFAR + "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),),
    "tiny-imagenet": (
        Remote(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"
        ),
    ),
    "mnist": (
        Remote(_MNIST + "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        Remote(_MNIST + "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        Remote(_MNIST + "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        Remote(_MNIST + "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
}


def fetch(name: str, root: Path) -> None:
    """Put the official files of a data set into `root`.

    Raises ValueError where one cannot be fetched or written, or its checksum is wrong.
    """
    for remote in REMOTES[name]:
        target = root / remote.name
        if target.is_file():
            continue
        try:
            _download(remote, target)
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise ValueError(
                f"{remote.name} is not in {root} and could not be fetched from {remote.url} "
                f"({reason}): put it there or pass --data-root"
            ) from error


def _download(remote: Remote, target: Path) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with (
        _opener().open(remote.url, timeout=_TIMEOUT) as answer,
        written_whole(target) as part,
        part.open("wb") as file,
        Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
    ):
        length = answer.headers.get("Content-Length", "")
        task = progress.add_task(remote.name, total=int(length) if length.isdigit() else None)
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            progress.advance(task, len(chunk))
        if digest.hexdigest() != remote.md5:
            # Raised inside `written_whole`, so that nothing takes the file's name.
            raise ValueError(
                f"{remote.url} gave a file whose MD5 is {digest.hexdigest()}, expected "
                f"{remote.md5}: try again, or get {remote.name} elsewhere"
            )


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: the default one also reads files and ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
