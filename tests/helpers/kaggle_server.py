"""Kaggle's API on the loopback, for the unmodified client; records requests, fails on demand."""

import contextlib
import hashlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

SLUG = "hms-harmful-brain-activity-classification"
INVALID = ("Tags", "DatasetSources", "CompetitionSources", "KernelSources", "ModelSources")
PAGE = 3  # files in a page of a version's output


@dataclass
class Answer:
    """An HTTP answer; ``cut`` breaks the connection after that many bytes of the body.

    One that ``is_done`` hides that the request was carried out.
    """

    body: dict | bytes | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds
    cut: int | None = None
    is_done: bool = False


def refusal(status: int, message: str, **headers: str) -> Answer:
    """Make an error in the form of Kaggle's API."""
    return Answer({"code": status, "message": message}, status, headers)


@dataclass(frozen=True)
class Call:
    """A received request; ``name`` is the API's method, or GET and a path."""

    name: str
    body: dict
    headers: dict[str, str]


class KaggleServer:
    """The server; tests set and read its attributes, `reset` clears them."""

    def __init__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *arguments: None  # a client that disconnected
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._stopping = threading.Event()
        self.archive = b""  # the competition's zip
        self.reset()
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self) -> None:
        self.calls: list[Call] = []
        # by method: answers to the next calls, before the usual ones
        self.script: dict[str, list[Answer]] = defaultdict(list)
        # by owner/slug: the requests that saved its versions, the folder that the last one wrote
        self.versions: dict[str, list[dict]] = defaultdict(list)
        self.outputs: dict[str, Path] = {}
        self.is_stuck = False  # every page of a version's output is the first
        self.states: list[str] = []  # next states of versions; COMPLETE after them
        self.log = [{"stream_name": "stdout", "time": 1.0, "data": "hello\n"}]
        self.submissions: list[dict] = []
        self.hours = {"timeUsed": "36000s", "totalTimeAllowed": "108000s"}  # of the GPU quota
        # by owner/slug: the files of a data set's versions; the files that were uploaded
        self.datasets: dict[str, list[list[str]]] = defaultdict(list)
        self.uploads: dict[str, bytes] = {}

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Variables that send the client's requests here."""
        proxy = {"HTTP_PROXY": self.address, "http_proxy": self.address}
        return {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "NO_PROXY": "", "no_proxy": "", **proxy}

    @contextlib.contextmanager
    def asked_by_this_process(self, home: Path, key: str) -> Iterator[None]:
        """Send this process's requests here, as alice, with an empty home."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("KAGGLE_", "XDG_"))]:
                patch.delenv(name)
            user = {"HOME": str(home), "KAGGLE_USERNAME": "alice", "KAGGLE_KEY": key}
            for name, value in (self.environment() | user).items():
                patch.setenv(name, value)
            yield

    def named(self, name: str) -> list[Call]:
        """Calls of one method."""
        return [call for call in self.calls if call.name == name]

    @staticmethod
    def file_headers(content: bytes) -> dict[str, str]:
        """Headers by which the client recognises a file, to skip it or to resume it."""
        return {
            "ETag": f'"{hashlib.md5(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        }

    # -- methods of the API, by their names in snake case --------------------

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

    def get_kernel(self, body: dict) -> dict:
        kernel = f"{body['userName']}/{body['kernelSlug']}"
        if not self.versions[kernel]:
            raise LookupError(f"no kernel {kernel}")
        return {"metadata": {"currentVersionNumber": len(self.versions[kernel])}}

    def get_accelerator_quota_statistics(self, body: dict) -> dict:
        return {"quotaRefreshTime": "2026-12-05T00:00:00Z", "gpuQuota": self.hours}

    def get_dataset_status(self, body: dict) -> dict:
        if not self.datasets[name := f"{body['ownerSlug']}/{body['datasetSlug']}"]:
            raise LookupError(f"no data set {name}")
        return {"status": "READY"}

    def start_blob_upload(self, body: dict) -> dict:
        return {"token": body["name"], "createUrl": f"{self.address}/upload/{body['name']}"}

    def create_dataset(self, body: dict) -> dict:
        return self._save_dataset(f"{body['ownerSlug']}/{body['slug']}", body)

    def create_dataset_version(self, body: dict) -> dict:
        return self._save_dataset(f"{body['ownerSlug']}/{body['datasetSlug']}", body["body"])

    def _save_dataset(self, name: str, body: dict) -> dict:
        self.datasets[name].append([file["token"] for file in body["files"]])
        return {"status": "ok", "url": f"https://www.kaggle.com/datasets/{name}"}

    def get_kernel_session_status(self, body: dict) -> dict:
        self._version(body)
        state = self.states.pop(0) if self.states else "COMPLETE"
        failure = {"failureMessage": "Notebook Threw Exception"} if state == "ERROR" else {}
        return {"status": state, **failure}

    def list_kernel_session_output(self, body: dict) -> dict:
        kernel = self._version(body)
        folder = self.outputs.get(kernel)
        paths = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
        names = [path.relative_to(folder).as_posix() for path in paths]
        token = int(body.get("pageToken") or 0)
        first = 0 if self.is_stuck else token
        return {
            "files": [
                {"fileName": name, "url": f"{self.address}/output/{kernel}/{name}?sig=secret"}
                for name in names[first : first + PAGE]
            ],
            "log": json.dumps(self.log),
            "nextPageToken": str(token + PAGE) if first + PAGE < len(names) else "",
        }

    def create_code_submission(self, body: dict) -> dict:
        self.submissions.append(body)
        return {"message": "Successfully submitted", "ref": 4710 + len(self.submissions)}

    def get_submission(self, body: dict) -> dict:
        if len(self.named("GetSubmission")) == 1:
            return {"ref": body["ref"], "status": "PENDING"}
        return {"ref": body["ref"], "status": "COMPLETE", "publicScore": "0.37"}

    def download_data_files(self, body: dict) -> Answer:
        address = f"{self.address}/archive/{body['competitionName']}.zip"
        return Answer(b"", 302, {"Location": address})

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
        scripted = self.script[name].pop(0) if self.script[name] else None
        if scripted and not scripted.is_done:
            return scripted
        if method == "PUT":
            return Answer({})
        if method == "GET":
            return self._file(path, headers)
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
        try:
            answer = getattr(self, snake)(body)
        except LookupError as error:
            return refusal(404, str(error))
        return scripted or (answer if isinstance(answer, Answer) else Answer(answer))

    def _file(self, path: str, headers: dict) -> Answer:
        kind, rest = path.lstrip("/").split("/", 1)
        content = self.archive
        if kind == "output":
            owner, slug, name = rest.split("/", 2)
            content = (self.outputs[f"{owner}/{slug}"] / name).read_bytes()
        if "Range" in headers:
            first = int(headers["Range"].removeprefix("bytes=").rstrip("-"))
            return Answer(content[first:], 206, self.file_headers(content))
        return Answer(content, 200, self.file_headers(content))

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                self._reply("POST", json.loads(self.rfile.read(length) or b"{}"))

            def do_PUT(self):
                name = self.path.rpartition("/")[2]
                server.uploads[name] = self.rfile.read(int(self.headers["Content-Length"]))
                self._reply("PUT", {})

            def do_GET(self):
                self._reply("GET", {})

            def _reply(self, method: str, body: dict) -> None:
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
                self.wfile.write(content[: answer.cut])
                self.close_connection = answer.cut is not None

            def log_message(self, *arguments) -> None:
                pass

        return Handler
