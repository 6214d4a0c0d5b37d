"""A stand-in of the hub on 127.0.0.1: repositories, commits, large files, downloads, in memory."""

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import yaml

TOKEN = "hf_stand_in"


class Handler(BaseHTTPRequestHandler):
    """The part of the hub's protocol that publishing and fetching a file need."""

    def log_message(self, *_):
        """Say nothing."""

    def answer(self, content: object, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if (length := self.headers.get("Content-Length")) is not None:
            return self.rfile.read(int(length))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self):
        body, hub = self.body(), self.server
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/validate-yaml":
            front = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            wrong = [] if re.fullmatch(r"[a-z0-9.-]+", front.get("license", "mit")) else ["license"]
            wrong += [] if "/" in front.get("base_model", "a/b") else ["base_model"]
            errors = [{"message": f'"{key}" is not valid'} for key in wrong]
            return self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization', 'someone')}/{asked['name']}"
            there = name in hub.repositories
            hub.repositories.setdefault(name, {})
            text = {"url": f"{hub.address}/{name}", "id": name, "name": name}
            return self.answer(text, 409 if there else 200)
        if match := re.match(r"/api/models/(.+)/preupload/main", self.path):
            files = [
                {"path": f["path"], "uploadMode": hub.mode(f["path"]), "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        if re.match(r"/(.+)[.]git/info/lfs/objects/batch", self.path):
            objects = [
                o | {"actions": {"upload": {"href": f"{hub.address}/store/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if match := re.match(r"/api/models/(.+)/commit/main", self.path):
            return self.answer(hub.commit(match[1], body.splitlines()))
        return self.answer({"error": self.path}, 404)

    def do_PUT(self):
        content = self.body()
        self.server.store[hashlib.sha256(content).hexdigest()] = content
        self.answer({})

    def do_GET(self):
        hub = self.server
        if match := re.match(r"/api/models/([^/]+/[^/]+)(/tree/|/revision/|$)", self.path):
            if match[1] not in hub.repositories:
                missing = {"X_Error_Code": "RepoNotFound"}
                return self.answer({"error": "Repository not found"}, 404, **missing)
            files = hub.repositories[match[1]]
            if "/tree/" in self.path:
                tree = [
                    {"type": "file", "path": n, "size": len(c), "oid": ""} for n, c in files.items()
                ]
                return self.answer(tree)
            names = [{"rfilename": name} for name in files]
            return self.answer({"id": match[1], "sha": hub.head, "siblings": names})
        match = re.match(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        content = hub.repositories.get(match[1], {}).get(match[3]) if match else None
        if content is None:
            return self.answer({"error": "no such file"}, 404, X_Error_Code="EntryNotFound")
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self.answer(content, ETag=etag, X_Repo_Commit=hub.head)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls


class Hub(ThreadingHTTPServer):
    """Repositories by name; `store` holds large files by their hash, until a commit names them."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.repositories, self.store, self.commits = {}, {}, []
        self.head = "0" * 40

    def mode(self, path: str) -> str:
        """Large files go by themselves, as on the hub."""
        return "lfs" if path.endswith(".safetensors") else "regular"

    def commit(self, name: str, lines: list[bytes]) -> dict:
        """All operations of a commit at once."""
        operations = [json.loads(line) for line in lines if line.strip()]
        new = {}
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                new[value["path"]] = self.store[value["oid"]]
        self.repositories[name].update(new)
        self.commits.append(sorted(new))
        self.head = hashlib.sha1(b"".join(lines)).hexdigest()
        return {"commitUrl": f"{self.address}/{name}/commit/{self.head}", "commitOid": self.head,
                "success": True}  # fmt: skip


@contextmanager
def serving():
    """The hub, until the block ends."""
    hub = Hub()
    Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
