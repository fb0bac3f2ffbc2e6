"""A stand-in for the Hugging Face hub: the endpoints and the file layout that huggingface_hub uses, in memory, on this machine.

Repositories have commits (40 hexadecimal digits over the content) and branches; large files come by Xet, or by Git LFS where
HF_HUB_DISABLE_XET says so, and are downloaded as others are. The client is the real one, pointed here by its environment
variable HF_ENDPOINT; what is no endpoint here (later versions of Xet's) it does without.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests import xet

Files = dict[str, bytes]
LFS = (".safetensors", ".onnx")


class Hub(ThreadingHTTPServer):
    """Its state.

    Attributes:
        branches: repository → branch → commit.
        commits: commit → its files.
        objects: what was uploaded by Xet or LFS, SHA-256 → content.
        xorbs: what Xet cut files into, hash → chunks.
        private: repositories made as private ones.
        gated: repositories that nobody is let into.
        token: needed to write, where it is set.
        broken: answer every request with 503.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, Files] = {}
        self.objects: dict[str, bytes] = {}
        self.xorbs: dict[bytes, list[bytes]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.token = ""
        self.broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository: str, branch: str, files: Files) -> str:
        text = repr((repository, sorted(files.items()), len(self.commits)))
        name = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[name] = files
        self.branches.setdefault(repository, {})[branch] = name
        return name


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.respond()

    do_POST = do_PUT = do_HEAD = do_GET

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        if self.server.broken:
            return self.answer(503, b"out of order")
        sends = self.command in ("POST", "PUT") and not path.startswith(("/objects/", "/v1/"))
        writes = sends or "/xet-write-token/" in path
        if writes and self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.answer(401, b'{"error": "Invalid username or password."}')
        for pattern, handle in ROUTES:
            if found := re.fullmatch(pattern, path):
                return handle(self, body, **found.groupdict())
        return self.answer(404, b"no such endpoint: " + path.encode())

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def found(self, repository: str, revision: str) -> str | None:
        """The commit; None after an answer that there is none."""
        if repository in self.server.gated:
            self.answer(403, X_Error_Code="GatedRepo")
        elif repository not in self.server.branches:
            self.answer(404, X_Error_Code="RepoNotFound")
        else:
            commit = self.server.branches[repository].get(revision, revision)
            if commit in self.server.commits:
                return commit
            self.answer(404, X_Error_Code="RevisionNotFound")
        return None

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else f"me/{asked['name']}"
        if name in self.server.branches:
            return self.answer(409, json.dumps({"url": f"{self.server.url}/{name}"}).encode())
        if asked.get("private") or asked.get("visibility") == "private":
            self.server.private.add(name)
        self.server.commit(name, "main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return self.json({"url": f"{self.server.url}/{name}", "id": name})

    def branch(self, body: bytes, repository: str, branch: str) -> None:
        if branch in self.server.branches[repository]:
            return self.answer(409)
        self.server.branches[repository][branch] = self.server.branches[repository]["main"]
        return self.json({})

    def info(self, body: bytes, repository: str, revision: str | None) -> None:
        if commit := self.found(repository, revision or "main"):
            files = [{"rfilename": name} for name in self.server.commits[commit]]
            self.json({"id": repository, "modelId": repository, "sha": commit, "siblings": files, "tags": []})

    def tree(self, body: bytes, repository: str, revision: str) -> None:
        if commit := self.found(repository, revision):
            self.json(
                [
                    {"type": "file", "path": name, "size": len(blob), "oid": digest(blob)} | lfs_of(name, blob)
                    for name, blob in self.server.commits[commit].items()
                ]
            )

    def refs(self, body: bytes, repository: str) -> None:
        found = [
            {"name": n, "ref": f"refs/heads/{n}", "targetCommit": c}
            for n, c in self.server.branches[repository].items()
        ]
        self.json({"branches": found, "tags": [], "converts": []})

    def preupload(self, body: bytes, repository: str, revision: str) -> None:
        if self.found(repository, revision):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [
                {"path": n, "uploadMode": "lfs" if n.endswith(LFS) else "regular", "shouldIgnore": False} for n in names
            ]
            self.json({"files": modes})

    def validate(self, body: bytes) -> None:
        self.json({"errors": [], "warnings": []})

    def batch(self, body: bytes, repository: str) -> None:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.server.url}/objects/{wanted['oid']}"}}}
            for wanted in json.loads(body)["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.objects[oid] = body
        self.answer(200)

    def xet_token(self, body: bytes, repository: str) -> None:
        self.json({"accessToken": "xet", "exp": int(time.time()) + 3600, "casUrl": self.server.url})

    def xorb(self, body: bytes, name: str) -> None:
        self.server.xorbs[xet.named(name)] = xet.chunks(body)
        self.json({"was_inserted": True})

    def shard(self, body: bytes) -> None:
        self.server.objects |= xet.files(body, self.server.xorbs)
        self.json({"result": 1})

    def make_commit(self, body: bytes, repository: str, revision: str) -> None:
        parent = self.found(repository, revision)
        if parent is None:
            return
        files = dict(self.server.commits[parent])
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.server.commit(repository, revision, files)
        self.json(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.server.url}/{repository}/commit/{commit}"}
        )

    def resolve(self, body: bytes, repository: str, revision: str, file: str) -> None:
        if commit := self.found(repository, revision):
            blob = self.server.commits[commit].get(file)
            if blob is None:
                self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            else:
                self.answer(200, blob, ETag=f'"{digest(blob)}"', X_Repo_Commit=commit)


def digest(blob: bytes) -> str:
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def lfs_of(name: str, blob: bytes) -> dict[str, Any]:
    if not name.endswith(LFS):
        return {}
    return {"lfs": {"oid": hashlib.sha256(blob).hexdigest(), "size": len(blob), "pointerSize": 100}}


_REPOSITORY = r"(?P<repository>[\w.-]+/[\w.-]+)"
ROUTES = [
    ("/api/repos/create", Handler.create),
    ("/api/validate-yaml", Handler.validate),
    (rf"/api/models/{_REPOSITORY}/refs", Handler.refs),
    (rf"/api/models/{_REPOSITORY}/branch/(?P<branch>.+)", Handler.branch),
    (rf"/api/models/{_REPOSITORY}/preupload/(?P<revision>.+)", Handler.preupload),
    (rf"/api/models/{_REPOSITORY}/commit/(?P<revision>.+)", Handler.make_commit),
    (rf"/api/models/{_REPOSITORY}/tree/(?P<revision>[^/]+)/?", Handler.tree),
    (rf"/api/models/{_REPOSITORY}(?:/revision/(?P<revision>.+))?", Handler.info),
    (rf"/{_REPOSITORY}\.git/info/lfs/objects/batch", Handler.batch),
    (r"/objects/(?P<oid>\w+)", Handler.upload),
    (rf"/api/models/{_REPOSITORY}/xet-write-token/.+", Handler.xet_token),
    (r"/v1/xorbs/default/(?P<name>\w+)", Handler.xorb),
    ("/v1/shards", Handler.shard),
    (rf"/{_REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", Handler.resolve),
]


@contextmanager
def hub() -> Iterator[Hub]:
    """A running stand-in."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
