"""A Hugging Face Hub on this machine: the few routes that pushing to it and reading from it take."""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".onnx", ".data", ".sqlite")  # what is stored by its SHA-256, beside the history


@dataclass
class Repo:
    private: bool
    commits: dict = field(default_factory=dict)  # by their ids, files by name
    refs: dict = field(default_factory=dict)
    messages: list = field(default_factory=list)

    def commit(self, files, ref, message):
        sha = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[sha], self.refs[ref] = files, sha
        self.messages.append(message)
        return sha


class FakeHub:
    """`tokens` are known, all of them of "anna", who may write to "anna/..."; `requests` is what was asked."""

    tokens = frozenset({"hf_anna"})

    def __init__(self):
        self.repos, self.objects, self.uploaded, self.requests, self.fails = {}, {}, [], [], {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def add(self, name, files, private=False):
        """A repository that somebody made by other means."""
        self.repos[name] = repo = Repo(private)
        return repo.commit(files, "main", "by hand")

    def files(self, name, ref="main"):
        repo = self.repos[name]
        return repo.commits[repo.refs.get(ref, ref)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer()

    do_POST = do_PUT = do_HEAD = do_GET

    def answer(self):
        self.body = self.read()
        url = urlsplit(self.path)
        self.query, parts = parse_qs(url.query), [unquote(part) for part in url.path.strip("/").split("/")]
        self.hub.requests.append((self.command, url.path))
        if self.command in ("POST", "PUT"):
            self.hub.uploaded.append(self.body)
        for what, status in self.hub.fails.items():
            if what in url.path:
                return self.error(status, "Broken", "it was told to fail")
        match parts:
            case ["api", "whoami-v2"]:
                return self.json({"name": "anna", "type": "user"}) if self.known else self.refused()
            case ["api", "repos", "create"]:
                return self.create()
            case ["api", "validate-yaml"]:
                return self.json({"errors": [], "warnings": []})
            case ["lfs", oid]:
                assert hashlib.sha256(self.body).hexdigest() == oid
                self.hub.objects[oid] = self.body
                return self.json({})
            case ["api", "models", owner, name, *rest]:
                repo = self.repo(f"{owner}/{name}")
                return repo and self.of_repo(f"{owner}/{name}", repo, rest)
            case [owner, name, "info", "lfs", "objects", "batch"]:
                return self.batch()
            case [owner, name, "resolve", ref, *path]:
                repo = self.repo(f"{owner}/{name}")
                return repo and self.resolve(repo, ref, "/".join(path))
        return self.error(404, "NotFound", f"no route {self.command} {self.path}")

    def read(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    @property
    def known(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") in self.hub.tokens

    def repo(self, name):
        found = self.hub.repos.get(name)
        if found is None or (found.private and not self.known):
            self.error(404 if self.known else 401, "RepoNotFound", "Repository not found" if self.known else "Invalid")
            return None
        return found

    def create(self):
        said = json.loads(self.body)
        if not self.known or said["organization"] not in (None, "anna"):
            return self.refused()
        name = f"anna/{said['name']}"
        exists = name in self.hub.repos
        if not exists:
            private = said.get("private", said.get("visibility") == "private")
            self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private)
        return self.json({"url": f"{self.hub.endpoint}/{name}", "name": name}, 409 if exists else 200)

    def of_repo(self, name, repo, rest):
        match rest:
            case [] | ["revision", _]:
                sha = self.sha(repo, rest[1] if rest else "main")
                return sha and self.json(
                    {
                        "id": name,
                        "modelId": name,
                        "sha": sha,
                        "private": repo.private,
                        "tags": [],
                        "downloads": 0,
                        "likes": 0,
                        "xetEnabled": False,
                        "usedStorage": 0,
                        "siblings": [{"rfilename": path} for path in repo.commits[sha]],
                    }
                )
            case ["tree", ref, *_]:
                sha = self.sha(repo, ref)
                return sha and self.json([self.entry(*file) for file in repo.commits[sha].items()])
        if not self.known:
            return self.refused()
        match rest:
            case ["branch", ref]:
                if ref in repo.refs:
                    return self.error(409, "Conflict", "it exists")
                repo.refs[ref] = repo.refs["main"]
                return self.json({})
            case ["preupload", _]:
                files = [
                    {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular"}
                    for one in json.loads(self.body)["files"]
                ]
                return self.json({"files": [one | {"shouldIgnore": False} for one in files]})
            case ["commit", ref]:
                return self.commit(name, repo, ref)
        return self.error(404, "NotFound", "no such route")

    def commit(self, name, repo, ref):
        sha = self.sha(repo, ref)
        files, lines = dict(repo.commits[sha]), [json.loads(line) for line in self.body.splitlines()]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                self.hub.uploaded.append(files[value["path"]])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        pull = f"refs/pr/{len(repo.refs)}" if "create_pr" in self.query else None
        made = repo.commit(files, pull or ref, lines[0]["value"]["summary"])
        found = {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{made}", "commitOid": made}
        if pull:
            found["pullRequestUrl"] = f"{self.hub.endpoint}/{name}/discussions/{pull.rpartition('/')[2]}"
        return self.json(found)

    def batch(self):
        objects = json.loads(self.body)["objects"]
        for one in objects:
            one["actions"] = {"upload": {"href": f"{self.hub.endpoint}/lfs/{one['oid']}"}}
        return self.json({"transfer": "basic", "objects": objects})

    def resolve(self, repo, ref, path):
        sha = self.sha(repo, ref)
        if sha is None:
            return None
        if path not in repo.commits[sha]:
            return self.error(404, "EntryNotFound", "no such file")
        content = repo.commits[sha][path]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": sha}
        return self.send(200, content, headers, "application/octet-stream")

    def entry(self, path, content):
        found = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if path.endswith(LARGE):
            found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return found

    def sha(self, repo, ref):
        found = repo.refs.get(ref, ref)
        if found in repo.commits:
            return found
        self.error(404, "RevisionNotFound", f"Invalid rev id: {ref}")
        return None

    def refused(self):
        self.error(401, None, "Invalid username or password.")

    def error(self, status, code, words):
        headers = {"X-Error-Message": words} | ({"X-Error-Code": code} if code else {})
        self.send(status, json.dumps({"error": words}).encode(), headers)

    def json(self, value, status=200):
        self.send(status, json.dumps(value).encode(), {})

    def send(self, status, content, headers, kind="application/json"):
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
