"""Kaggle's API on the loopback, for the unmodified client: it records, and fails as it is told."""

import contextlib
import hashlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

SLUG = "hms-harmful-brain-activity-classification"
INVALID = ("Tags", "DatasetSources", "CompetitionSources", "KernelSources", "ModelSources")


@dataclass
class Answer:
    """What the server says; ``cut`` breaks the connection after so many bytes of the body."""

    body: dict | bytes | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None


def refusal(status: int, message: str, **headers: str) -> Answer:
    """An error as Kaggle's API words it."""
    return Answer({"code": status, "message": message}, status, headers)


@dataclass(frozen=True)
class Call:
    """A request that came in; ``name`` is the API's method, or GET and a path."""

    name: str
    body: dict
    headers: dict[str, str]


class KaggleServer:
    """The server and what it knows.

    Attributes
    ----------
    address : str
    calls : list of Call
    script : dict of str to list of Answer
        What to say to the next calls of a method, before behaving as usual again.
    versions : dict of str to list of dict
        From owner/slug to the requests that saved its versions.
    states : list of str
        What the next questions for a version's state are answered with; then COMPLETE.
    outputs : dict of str to Path
        From owner/slug to the folder that its latest version wrote.
    archive : bytes
        The competition's zip.
    """

    def __init__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *arguments: None  # a client that went away
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._stopping = threading.Event()
        self.archive = b""
        self.reset()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self) -> None:
        """Forget everything."""
        self.calls: list[Call] = []
        self.script: dict[str, list[Answer]] = defaultdict(list)
        self.versions: dict[str, list[dict]] = defaultdict(list)
        self.states: list[str] = []
        self.outputs: dict[str, Path] = {}
        self.log = [{"stream_name": "stdout", "time": 1.0, "data": "hello\n"}]
        self.submissions: list[dict] = []

    def close(self) -> None:
        """Stop, slow answers included."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """The variables by which the client itself can be sent here."""
        proxy = {"HTTP_PROXY": self.address, "http_proxy": self.address}
        return {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "NO_PROXY": "", "no_proxy": "", **proxy}

    @contextlib.contextmanager
    def asked_by_this_process(self, home: Path, key: str) -> Iterator[None]:
        """Let the client in this process ask here, as alice, with an empty home."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("KAGGLE_", "XDG_"))]:
                patch.delenv(name)
            mine = {"HOME": str(home), "KAGGLE_USERNAME": "alice", "KAGGLE_KEY": key}
            for name, value in (self.environment() | mine).items():
                patch.setenv(name, value)
            yield

    def named(self, name: str) -> list[Call]:
        """The calls of one method."""
        return [call for call in self.calls if call.name == name]

    # -- the API's methods ---------------------------------------------------

    def introspect_token(self, body: dict) -> dict:
        return {"active": True, "username": "alice", "userId": 1, "scope": "all"}

    def save_kernel(self, body: dict) -> dict:
        versions = self.versions[body["slug"]]
        versions.append(body)
        return {
            "ref": f"/code/{body['slug']}",
            "url": f"https://www.kaggle.com/code/{body['slug']}",
            "versionNumber": len(versions),
            "kernelId": 123,
            **{f"invalid{kind}": [] for kind in INVALID},
        }

    def get_kernel_session_status(self, body: dict) -> dict:
        self._version(body)
        state = self.states.pop(0) if self.states else "COMPLETE"
        failure = {"failureMessage": "Notebook Threw Exception"} if state == "ERROR" else {}
        return {"status": state, **failure}

    def list_kernel_session_output(self, body: dict) -> dict:
        kernel = self._version(body)
        folder = self.outputs.get(kernel)
        names = sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        ) if folder else []  # fmt: skip
        first = int(body.get("pageToken") or 0)
        last = first + 3  # pages are small here, so that there are several
        return {
            "files": [
                {"fileName": name, "url": f"{self.address}/output/{kernel}/{name}?sig=secret"}
                for name in names[first:last]
            ],
            "log": json.dumps(self.log),
            "nextPageToken": str(last) if last < len(names) else "",
        }

    def create_code_submission(self, body: dict) -> dict:
        self.submissions.append(body)
        return {"message": "Successfully submitted", "ref": 4710 + len(self.submissions)}

    def get_submission(self, body: dict) -> dict:
        asked = len(self.named("GetSubmission"))
        if asked == 1:
            return {"ref": body["ref"], "status": "PENDING"}
        return {"ref": body["ref"], "status": "COMPLETE", "publicScore": "0.37"}

    def download_data_files(self, body: dict) -> Answer:
        return Answer(
            b"", 302, {"Location": f"{self.address}/archive/{body['competitionName']}.zip"}
        )

    def _version(self, body: dict) -> str:
        kernel = f"{body['userName']}/{body['kernelSlug']}"
        label = body.get("versionLabel", "")
        if label not in [f"v{i + 1}" for i in range(len(self.versions[kernel]))]:
            raise LookupError(f"{kernel} has no version {label!r}")
        return kernel

    # -- HTTP ----------------------------------------------------------------

    def _answer(self, method: str, path: str, body: dict, headers: dict) -> Answer:
        name = path.rsplit("/", 1)[1] if method == "POST" else f"{method} {path}"
        self.calls.append(Call(name, body, headers))
        for key in (name, method):
            if self.script[key]:
                return self.script[key].pop(0)
        if method == "GET":
            return self._file(path, headers)
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
        behaviour: Callable[[dict], dict | Answer] = getattr(self, snake)
        try:
            said = behaviour(body)
        except LookupError as error:
            return refusal(404, str(error))
        return said if isinstance(said, Answer) else Answer(said)

    def _file(self, path: str, headers: dict) -> Answer:
        kind, rest = path.lstrip("/").split("/", 1)
        if kind == "archive":
            content = self.archive
        else:
            owner, slug, name = rest.split("/", 2)
            file = self.outputs[f"{owner}/{slug}"] / name
            if not file.is_file():
                return Answer(b"<Error>no such file</Error>", 404)
            content = file.read_bytes()
        if "Range" in headers:
            first = int(headers["Range"].removeprefix("bytes=").rstrip("-"))
            return Answer(content[first:], 206, self.file_headers(content))
        return Answer(content, 200, self.file_headers(content))

    @staticmethod
    def file_headers(content: bytes) -> dict[str, str]:
        """Headers by which the client recognises a file, to skip it or to resume it."""
        return {
            "ETag": f'"{hashlib.md5(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        }

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                self._say("POST", json.loads(self.rfile.read(length) or b"{}"))

            def do_GET(self):
                self._say("GET", {})

            def _say(self, method: str, body: dict) -> None:
                path = unquote(urlsplit(self.path).path)
                answer = server._answer(method, path, body, dict(self.headers))
                if answer.delay and server._stopping.wait(answer.delay):
                    return
                content, kind = answer.body or b"", "application/octet-stream"
                if isinstance(content, dict):
                    content, kind = json.dumps(content).encode(), "application/json; charset=utf-8"
                self.send_response(answer.status)
                headers = {"Content-Type": kind, "Content-Length": str(len(content))}
                for key, value in (headers | answer.headers).items():
                    self.send_header(key, value)
                self.end_headers()
                if answer.cut is None:
                    self.wfile.write(content)
                else:
                    self.wfile.write(content[: answer.cut])
                    self.close_connection = True

            def log_message(self, *arguments) -> None:
                pass

        return Handler
