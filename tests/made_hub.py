"""A stand-in for the Hugging Face Hub: the part of its HTTP interface that ``huggingface_hub`` uses, on this machine."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "made-up-token"


class Hub:
    """Repositories by ``models/user/name`` or ``spaces/user/name``: a list of commits, each a dictionary of files."""

    def __init__(self) -> None:
        self.commits: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.created: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.refuses: dict[str, int] = {}
        """Status by the beginning of a path: what the Hub does not want to answer."""

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """Add a commit with these files and return its hash."""
        commits = self.commits.setdefault(repo, [])
        sha = hashlib.sha1(f"{repo}{len(commits)}".encode()).hexdigest()
        commits.append((sha, files))
        return sha

    def files(self, repo: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        """Return hash and files of a revision; None where there is none."""
        commits = self.commits[repo]
        sha = self.tags.get(repo, {}).get(revision, revision)
        return commits[-1] if revision == "main" else next((each for each in commits if each[0] == sha), None)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, body: Any, status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        for start, status in self.hub.refuses.items():
            if path.startswith(start):
                return self.answer({"error": "made-up refusal"}, status)
        if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/(models|spaces)/([^/]+/[^/]+)(?:/(\w+)/(.+?))?/?", path):
            kind, repo, verb, rest = match.groups()
            return self.api(f"{kind}/{repo}", verb, rest, body)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.resolve(*match.groups())
        return self.answer({"error": "not found"}, 404)

    do_GET = do_HEAD = do_POST = handle_request

    def create(self, wanted: dict[str, Any]) -> None:
        repo = f"{wanted.get('type', 'model')}s/{wanted['organization']}/{wanted['name']}"
        url = f"http://{self.headers['Host']}/{repo.removeprefix('models/')}"
        if repo in self.hub.commits:
            return self.answer({"error": "exists", "url": url}, 409)
        self.hub.created.append(wanted)
        self.hub.commit(repo, {".gitattributes": b""})
        return self.answer({"url": url})

    def api(self, repo: str, verb: str | None, rest: str | None, body: bytes) -> None:
        if repo not in self.hub.commits:
            return self.answer({"error": "Repository not found"}, 401, X_Error_Code="RepoNotFound")
        found = self.hub.files(repo, (rest or "main").partition("/")[0])
        if found is None:
            return self.answer({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        sha, files = found
        if verb == "tree":
            rows = [{"type": "file", "path": name, "size": len(data), "oid": oid(data)} for name, data in files.items()]
            return self.answer(rows)
        if verb == "preupload":
            asked = json.loads(body)["files"]
            return self.answer(
                {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]}
            )
        if verb == "commit":
            files = dict(files)
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del files[line["value"]["path"]]
            sha = self.hub.commit(repo, files)
            return self.answer({"commitUrl": f"http://{self.headers['Host']}/{repo}/commit/{sha}", "commitOid": sha})
        return self.answer(
            {"id": repo.partition("/")[2], "sha": sha, "siblings": [{"rfilename": name} for name in files]}
        )

    def resolve(self, repo: str, revision: str, name: str) -> None:
        sha, files = self.hub.files(f"models/{repo}", revision)
        if name not in files:
            return self.answer({"error": "no such file"}, 404, X_Error_Code="EntryNotFound")
        return self.answer(files[name], X_Repo_Commit=sha, ETag=f'"{oid(files[name])}"')


def oid(data: bytes) -> str:
    """Return the name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextlib.contextmanager
def running() -> Iterator[tuple[Hub, str]]:
    """Run a Hub; yield it and its address."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
