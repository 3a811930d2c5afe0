"""A hub on this machine: what `molyneux push` and `load("hf:ORG/NAME")` ask of Hugging Face's, and no more."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_thisIsTheSecretToken"
LARGE = (".safetensors",)


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(self.commits).encode()).hexdigest()


@dataclass
class Hub:
    """Its repositories, the large files that it has, and what it does wrong."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    cut: int = 0
    """How many uploads of large files are cut off after some bytes."""
    taken: list[str] = field(default_factory=list)
    """Large files that came in whole."""
    asked: list[str] = field(default_factory=list)


@contextmanager
def local_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, value: Any, code: int = 200, **headers: str) -> None:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(code)
            for name, text in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def refused(self) -> bool:
            if self.headers.get("Authorization", f"Bearer {TOKEN}") == f"Bearer {TOKEN}":
                return False
            self.answer(
                {"error": "Invalid username or password."},
                401,
                X_Error_Message="Invalid credentials in Authorization header",
            )
            return True

        def found(self, name: str) -> Repository | None:
            one = hub.repositories.get(name)
            if one is None or (one.private and "Authorization" not in self.headers):
                self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
                return None
            return one

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if self.refused():
                return
            if path == "/api/whoami-v2":
                self.answer({"type": "user", "name": "ada"}, 200 if "Authorization" in self.headers else 401)
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/\w+)?", path):
                if one := self.found(match[1]):
                    files = [{"rfilename": name} for name in one.files]
                    self.answer({"id": match[1], "sha": one.sha, "private": one.private, "siblings": files})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/\w+", path):
                if one := self.found(match[1]):
                    self.answer([entry(name, content) for name, content in one.files.items()])
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
                if one := self.found(match[1]):
                    content = one.files[match[2]]
                    tag = f'"{hashlib.sha256(content).hexdigest()}"'
                    self.answer(content, ETag=tag, X_Repo_Commit=one.sha)
            else:
                self.answer({"error": "not here"}, 404)

        do_HEAD = do_GET

        def do_PUT(self) -> None:
            digest = self.path.rpartition("/")[2]
            if hub.cut:
                hub.cut -= 1
                self.rfile.read(10)
                self.close_connection = True
                self.connection.close()
                return
            content = self.body()
            if hashlib.sha256(content).hexdigest() == digest:
                hub.large[digest] = content
                hub.taken.append(digest)
                self.answer({})
            else:
                self.answer({"error": "another file"}, 400)

        def do_POST(self) -> None:
            path, sent = unquote(urlsplit(self.path).path), self.body()
            hub.asked.append(f"POST {path}")
            if self.refused():
                return
            if path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                asked = json.loads(sent)
                owner = asked.get("organization") or "ada"
                if owner not in ("ada", "lab"):
                    self.answer({"error": "You do not have the required permissions"}, 403)
                    return
                name = f"{owner}/{asked['name']}"
                code = 409 if name in hub.repositories else 200
                hub.repositories.setdefault(
                    name, Repository(private=bool(asked.get("private")) or asked.get("visibility") == "private")
                )
                self.answer({"url": f"{hub.address}/{name}", "name": name}, code)
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
                modes = [
                    {
                        "path": one["path"],
                        "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for one in json.loads(sent)["files"]
                ]
                self.answer({"files": modes})
            elif re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
                objects = []
                for one in json.loads(sent)["objects"]:
                    missing = one["oid"] not in hub.large
                    actions = {"actions": {"upload": {"href": f"{hub.address}/large/{one['oid']}"}}} if missing else {}
                    objects.append(one | actions)
                self.answer({"transfer": "basic", "objects": objects})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
                if one := self.found(match[1]):
                    commit(one, sent, hub.large)
                    page = f"{hub.address}/{match[1]}/commit/{one.sha}"
                    self.answer({"commitUrl": page, "commitOid": one.sha})
            else:
                self.answer({"error": "not here"}, 404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def entry(name: str, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git_name(content)}
    if name.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return found


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def commit(one: Repository, sent: bytes, large: dict[str, bytes]) -> None:
    for line in sent.decode().splitlines():
        step = json.loads(line)
        value = step["value"]
        match step["key"]:
            case "file":
                one.files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                one.files[value["path"]] = large[value["oid"]]
            case "deletedFile":
                del one.files[value["path"]]
    one.commits += 1
