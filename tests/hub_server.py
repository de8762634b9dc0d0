"""A stand-in of the Hugging Face Hub on this machine: what huggingface_hub asks of it to read a
file, to make a repository and a branch, and to commit to it. Contents come inline (`regular`),
never by LFS or Xet."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

TOKEN = "hf_of_the_tests"


@dataclass
class Repo:
    """Commits by hash, each all of its files; branches by name, each a hash."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        """Add files to a branch; the hash of the commit."""
        whole = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        digest = hashlib.sha1(f"{len(self.commits)} {branch}".encode())
        for name, content in sorted(whole.items()):
            digest.update(name.encode() + b"\0" + content)
        found = digest.hexdigest()
        self.commits[found], self.branches[branch] = whole, found
        self.messages.append(message)
        return found

    def at(self, revision: str) -> str | None:
        """The hash that a branch or a hash means."""
        found = self.branches.get(revision, revision)
        return found if found in self.commits else None

    def files(self, branch: str = "main") -> dict[str, bytes]:
        """The files on a branch."""
        return self.commits[self.branches[branch]]


@dataclass
class Hub:
    """The repositories by owner/name, and what was asked: 'METHOD /path'. broken: parts of paths
    that are answered by error 500."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def repo(self, name: str, files: dict[str, bytes], **more: Any) -> str:
        """A repository with one commit; its hash."""
        self.repos[name] = Repo(**more)
        return self.repos[name].commit(files)


@contextmanager
def serving(patch: pytest.MonkeyPatch, home: Path) -> Iterator[Hub]:
    """A hub that huggingface_hub talks to in this process and those started from it, with an empty
    cache in `home` and without a token."""
    from huggingface_hub import constants

    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        patch.setenv(name, value)
    patch.delenv("HF_TOKEN", raising=False)
    patch.delenv("HF_HUB_OFFLINE", raising=False)
    # The library reads its environment once, and others may have imported it before.
    patch.setattr(constants, "ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(f"{self.command} {path}")
        if any(part in path for part in self.hub.broken):
            return self._say(500, {"error": "the hub is ill"})
        for method, pattern, act in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                return act(self, *found.groups(), body)
        return self._say(404, {"error": f"no such route {path}"})

    def _say(self, status: int, content: Any, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repo(self, name: str, *, write: bool = False) -> Repo | None:
        """The repository, or None, and then the error is said."""
        repo = self.hub.repos.get(name)
        given = self.headers.get("Authorization")
        if given and not self._known():
            why = "Invalid credentials in Authorization header"
            self._say(401, {"error": why}, X_Error_Message=why)
        elif repo is None or ((repo.private or write) and not self._known()):
            status = 404 if self._known() else 401
            self._say(status, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        else:
            return repo
        return None

    def _info(self, name: str, revision: str | None, _: bytes) -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        commit = repo.at(revision or "main")
        if commit is None and revision:
            return self._say(404, {"error": "Invalid rev"}, X_Error_Code="RevisionNotFound")
        files = repo.commits[commit] if commit else {}
        content = {
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": repo.private,
            "tags": [],
            "siblings": [{"rfilename": each} for each in sorted(files)],
        }
        return self._say(200, content)

    def _resolve(self, name: str, revision: str, file: str, _: bytes) -> None:
        repo = self._repo(name)
        if repo is None:
            return None
        if repo.gated:
            return self._say(403, {"error": "gated"}, X_Error_Code="GatedRepo")
        commit = repo.at(revision)
        if commit is None:
            return self._say(404, {"error": "Invalid rev"}, X_Error_Code="RevisionNotFound")
        content = repo.commits[commit].get(file)
        if content is None:
            code = {"X_Error_Code": "EntryNotFound", "X_Repo_Commit": commit}
            return self._say(404, {"error": "Entry not found"}, **code)
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        about = {"X_Repo_Commit": commit, "ETag": etag, "Accept_Ranges": "bytes"}
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if ranged is None:
            return self._say(200, content, **about)
        first, last = int(ranged[1]), int(ranged[2] or len(content) - 1)
        about["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._say(206, content[first : last + 1], **about)

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if not self._known():
            why = "Invalid username or password."
            return self._say(401, {"error": why}, X_Error_Message=why)
        url = {"url": f"{self.hub.url}/{name}", "name": name}
        if name in self.hub.repos:
            return self._say(409, {"error": "You already created this model repo", **url})
        # One version says it so, another so.
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[name] = Repo(private=private)
        return self._say(200, url)

    def _yaml(self, body: bytes) -> None:
        text = json.loads(body)["content"]
        parts = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        try:
            assert parts and isinstance(yaml.safe_load(parts[1]), dict)
        except (AssertionError, yaml.YAMLError) as error:
            said = [{"message": f"invalid metadata {error}"}]
            return self._say(400, {"errors": said, "warnings": []})
        return self._say(200, {"errors": [], "warnings": []})

    def _preupload(self, name: str, _: str, body: bytes) -> None:
        if self._repo(name, write=True) is None:
            return None
        files = [
            {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
            for each in json.loads(body)["files"]
        ]
        return self._say(200, {"files": files})

    def _branch(self, name: str, branch: str, _: bytes) -> None:
        repo = self._repo(name, write=True)
        if repo is None:
            return None
        if branch in repo.branches:
            return self._say(409, {"error": "the branch is there"})
        repo.branches[branch] = repo.branches.get("main") or repo.commit({}, branch)
        return self._say(200, {})

    def _commit(self, name: str, branch: str, body: bytes) -> None:
        repo = self._repo(name, write=True)
        if repo is None:
            return None
        head, *files = (json.loads(line) for line in body.splitlines())
        assert head["key"] == "header" and all(each["key"] == "file" for each in files)
        content = {each["value"]["path"]: each["value"]["content"] for each in files}
        decoded = {path: base64.b64decode(text) for path, text in content.items()}
        found = repo.commit(decoded, branch, head["value"]["summary"])
        url = f"{self.hub.url}/{name}/commit/{found}"
        return self._say(200, {"success": True, "commitOid": found, "commitUrl": url})


_NAME = r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[tuple[str, ...], str, Any]] = [
    (("GET",), rf"/api/models/{_NAME}(?:/revision/(.+))?", _Handler._info),
    (("GET", "HEAD"), rf"/{_NAME}/resolve/([^/]+)/(.+)", _Handler._resolve),
    (("POST",), r"/api/repos/create", _Handler._create),
    (("POST",), r"/api/validate-yaml", _Handler._yaml),
    (("POST",), rf"/api/models/{_NAME}/preupload/(.+)", _Handler._preupload),
    (("POST",), rf"/api/models/{_NAME}/branch/(.+)", _Handler._branch),
    (("POST",), rf"/api/models/{_NAME}/commit/(.+)", _Handler._commit),
]
