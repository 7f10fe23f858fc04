"""What Kaggle may answer, given by a server on the loopback to the unmodified client."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from email.utils import formatdate
from pathlib import Path

import pandas as pd
import pytest
from kaggle_server import Answer, KaggleServer, refusal

from hbac_utils.__main__ import main
from hbac_utils.data.layout import SLUG
from hbac_utils.kernels import api as connection
from hbac_utils.kernels import download
from hbac_utils.kernels import push as staging
from hbac_utils.labels import VOTE_COLUMNS

KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "KGAT_0123456789abcdef0123"
KERNEL = "alice/hbac-inference"


@pytest.fixture(scope="module")
def server():
    server = KaggleServer()
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def credentials(server, tmp_path_factory):
    with server.asked_by_this_process(tmp_path_factory.mktemp("home"), KEY):
        yield


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(connection, "PAUSE", 0.01)


@pytest.fixture
def build(server, tmp_path):
    server.reset()
    return tmp_path / "build"


@pytest.fixture
def verb(build, capsys):
    """Run a verb in this process: exit code, what it printed, what it said of errors."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        place = [] if name == "data" else ["--build", str(build)]
        waiting = [] if name in ("stage", "push", "data") else ["--every", "0.01"]
        code = main([name, *map(str, arguments), *place, *waiting])
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return code, printed.out, printed.err

    return run


@pytest.fixture
def pushed(server, build):
    """A version of the inference kernel that was pushed, without the work of staging it."""
    folder = build / "inference"
    folder.mkdir(parents=True)
    record = {
        "kernel": KERNEL, "version": 1, "url": f"https://www.kaggle.com/code/{KERNEL}",
        "pushed": "2026-01-01T00:00:00+00:00", "commit": "abc1234", "library_sha256": "00",
        "parameters": {},
    }  # fmt: skip
    (folder / "pushed.json").write_text(json.dumps(record))
    server.versions[KERNEL].append({})
    return folder


def error_of(said: str) -> str:
    """The one line that says what went wrong."""
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    return lines[0]


# -- push --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inference", "training", "eda"])
def test_a_push_prints_and_records_the_version(server, verb, build, name):
    assert verb("push", name)[0] == 0
    code, printed, _ = verb("push", name)
    assert code == 0
    assert f"alice/hbac-{name} version 2" in printed
    assert f"https://www.kaggle.com/code/alice/hbac-{name}" in printed
    record = json.loads((build / name / "pushed.json").read_text())
    assert record["version"] == 2
    assert record["kernel"] == f"alice/hbac-{name}"
    sent = server.named("SaveKernel")[-1].body
    assert sent["slug"] == f"alice/hbac-{name}"
    assert sent["enableInternet"] is False
    assert sent["isPrivate"] is True
    assert sent["enableGpu"] == (name != "eda")
    assert sent["competitionDataSources"] == [SLUG]
    assert sent.get("kernelDataSources", []) == (
        ["alice/hbac-training"] if name == "inference" else []
    )
    assert KEY not in json.dumps(sent)


@pytest.mark.parametrize(
    ("answer", "reason", "remedy"),
    [
        (
            Answer({"ref": "", "url": "", "error": "Maximum weekly GPU quota of 30.00 hours."}),
            "not pushed: Maximum weekly GPU quota of 30.00 hours.",
            "wait for the week to end",
        ),
        (
            Answer({"error": "Something new"}),
            "not pushed: Something new",
            "correct that, then push again",
        ),
        (
            Answer({"versionNumber": 8, "url": "u", "invalidKernelSources": ["alice/hbac-t"]}),
            "version 8 was saved without what it needs (kernel sources alice/hbac-t",
            "push that kernel first",
        ),
        (
            Answer({"versionNumber": 8, "url": "u", "invalidModelSources": ["keras/x/y/z/1"]}),
            "model sources keras/x/y/z/1",
            "accept its licence",
        ),
        (
            Answer({"versionNumber": 8, "url": "u", "invalidDatasetSources": ["alice/nope"]}),
            "dataset sources alice/nope",
            "compare the name with the data set's address",
        ),
        (
            Answer({"versionNumber": 8, "url": "u", "invalidCompetitionSources": [SLUG]}),
            f"competition sources {SLUG}",
            "accept the competition's rules",
        ),
        (
            Answer({"versionNumber": 8, "url": "u", "invalidTags": ["gpuu"]}),
            "tags gpuu",
            "take the keyword out",
        ),
        (Answer({"url": "u"}), "Kaggle named no version", "then push again"),
        (refusal(400, "Bad thing"), "Bad thing (HTTP 400)", "requirements.txt"),
        (refusal(401, "Unauthenticated"), "Unauthenticated (HTTP 401)", "make new ones at"),
        (refusal(403, "Permission denied"), "Permission denied (HTTP 403)", "phone number"),
        (refusal(404, "Not found"), "Not found (HTTP 404)", "no such thing"),
        (refusal(409, "Notebook not found or title in use"), "(HTTP 409)", "change title and id"),
        (refusal(500, "Oh"), "Oh (HTTP 500)", "the fault is Kaggle's: call again later"),
        (Answer(b"<html>down</html>", 503), "Service Unavailable (HTTP 503)", "call again later"),
        (Answer(b"<html>hello</html>"), "the answer is not understood", "call again later"),
        (Answer({"versionNumber": 8, "url": "u" * 99}, cut=20), "the connection failed", "look at"),
        (Answer({}, delay=5), "no answer within 0.3 s", "it may have got through: look at"),
    ],
)
def test_a_push_that_fails_says_why_and_what_to_do(server, verb, build, answer, reason, remedy):
    server.script["SaveKernel"] = [answer]
    code, _, said = verb("push", "eda", "--patience", "0.3" if answer.delay else "30")
    assert code == 1
    assert reason in error_of(said)
    assert remedy in error_of(said)
    assert not (build / "eda" / "pushed.json").exists()
    assert len(server.named("SaveKernel")) == 1, "never pushed twice"


def test_nothing_is_sent_where_something_is_wrong(server, verb, monkeypatch):
    assert verb("push", "eda", "--set", "exampels=2")[0] == 2
    assert verb("push", "edda")[0] == 2
    monkeypatch.setattr(staging, "LIMIT", 1000)
    code, _, said = verb("push", "eda")
    assert code == 2
    assert "Kaggle takes 1,000" in error_of(said)
    assert server.calls == []


def test_an_unreachable_kaggle_is_said(server, verb, pushed, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    code, _, said = verb("status")
    assert code == 1
    assert "the connection failed (ConnectionRefusedError): look at your connection" in said


# -- too many requests -------------------------------------------------------


@pytest.mark.parametrize("after", ["1", "date", "soon", None])
def test_a_push_that_kaggle_was_too_busy_for_is_repeated(server, verb, after):
    """A refusal with 429 did nothing, so even a push may be repeated; it waits as it is told."""
    if after == "date":
        after = formatdate(time.time() + 2, usegmt=True)
    headers = {} if after is None else {"Retry-After": after}
    server.script["SaveKernel"] = [Answer({"code": 429, "message": "Slow"}, 429, headers)]
    begun = time.monotonic()
    code, printed, said = verb("push", "eda")
    assert code == 0
    assert "version 1" in printed
    assert "trying again in" in said
    waited = time.monotonic() - begun
    assert waited > 0.9 or after in ("soon", None)


def test_too_long_a_pause_is_left_to_the_user(server, verb):
    headers = {"Retry-After": "3600"}
    server.script["SaveKernel"] = [Answer({"code": 429, "message": "Slow"}, 429, headers)]
    code, _, said = verb("push", "eda")
    assert code == 1
    assert "Slow (HTTP 429); too many requests" in error_of(said)
    assert len(server.named("SaveKernel")) == 1


def test_it_does_not_ask_for_ever(server, verb, pushed):
    server.script["GetKernelSessionStatus"] = [refusal(429, "Slow")] * 9
    code, _, said = verb("status")
    assert code == 1
    assert "wait some minutes" in error_of(said)
    assert len(server.named("GetKernelSessionStatus")) == connection.ATTEMPTS


# -- status and logs ---------------------------------------------------------


def test_status_waits_for_the_recorded_version(server, verb, pushed):
    server.states = ["QUEUED", "RUNNING", "RUNNING"]
    code, printed, said = verb("status")
    assert code == 0
    assert f"complete  {KERNEL} version 1" in printed
    progress = [line.split(", ")[0] for line in said.splitlines()]
    assert progress == [f"{KERNEL} version 1: {s}" for s in ("queued", "running", "complete")]
    asked = [call.body for call in server.named("GetKernelSessionStatus")]
    assert {body["versionLabel"] for body in asked} == {"v1"}
    assert len(asked) == 4


@pytest.mark.parametrize("state", ["ERROR", "CANCEL_ACKNOWLEDGED"])
@pytest.mark.parametrize("name", ["status", "logs", "output", "submit"])
def test_a_version_that_failed_is_a_failure(server, verb, pushed, name, state):
    server.states = ["RUNNING", state]
    code, printed, said = verb(name)
    assert code == 1
    assert f"version 1 ended with {state}" in error_of(said)
    assert ("Notebook Threw Exception" in error_of(said)) == (state == "ERROR")
    assert ("hello" in printed) == (name == "logs"), "the log says why"
    assert server.submissions == []


def test_waiting_ends(server, verb, pushed):
    server.states = ["RUNNING"] * 1000
    code, _, said = verb("status", "--minutes", "0.003")
    assert code == 1
    assert "still running after 0.003 minutes: it goes on, call again" in error_of(said)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([refusal(403, "Permission 'kernels.get' was denied")], "is it yours"),
        ([refusal(404, "Not found")], "there is no such thing on Kaggle"),
        ([refusal(500, "Oh")] * 4, "the fault is Kaggle's"),
        ([Answer({"status": "COMPLETE"}, cut=3)] * 4, "the connection failed"),
        ([Answer({}, delay=5)] * 4, "no answer within 0.1 s: look at your connection"),
    ],
)
def test_a_question_that_fails_says_why(server, verb, pushed, answers, reason):
    server.script["GetKernelSessionStatus"] = list(answers)
    code, _, said = verb("status", "--patience", "0.1" if answers[0].delay else "30")
    assert code == 1
    assert reason in error_of(said)
    assert len(server.named("GetKernelSessionStatus")) == len(answers)


def test_a_question_that_got_lost_is_asked_again(server, verb, pushed):
    cut = Answer({"status": "COMPLETE"}, cut=3)
    server.script["GetKernelSessionStatus"] = [refusal(502, "Oh"), cut, Answer({}, delay=5)]
    assert verb("status", "--patience", "0.5")[0] == 0


def test_what_was_never_pushed_has_no_status(server, verb, build):
    for name in ("status", "logs", "output", "submit"):
        code, _, said = verb(name, "eda")
        assert code == 2
        assert "nothing was pushed from here; make push NB=eda" in error_of(said)
    assert server.calls == []
    (build / "eda").mkdir(parents=True)
    (build / "eda" / "pushed.json").write_text("{}")
    assert "damaged; make push NB=eda" in error_of(verb("status", "eda")[2])


def test_logs_show_what_was_printed(server, verb, pushed):
    server.log = [{"stream_name": "stdout", "data": "one\n"}, {"stream_name": "x", "data": "two"}]
    assert verb("logs")[1].strip() == "one\ntwo"


# -- output ------------------------------------------------------------------


@pytest.fixture
def written(server, pushed, tmp_path):
    """What the version wrote: a valid submission, its report, and a run."""
    folder = tmp_path / "written"
    (folder / "run" / "fold0").mkdir(parents=True)
    table = pd.DataFrame(1 / 6, index=[0, 1], columns=list(VOTE_COLUMNS))
    table.insert(0, "eeg_id", [1, 2])
    table.to_csv(folder / "submission.csv", index=False)
    report = {"runs": [{"recipe": "compact", "models": 5, "kl_all": 0.7, "kl_reliable": 0.61}]}
    (folder / "inference_report.json").write_text(json.dumps(report))
    (folder / "run" / "metrics.json").write_text("{}")
    (folder / "run" / "fold0" / "model.keras").write_bytes(bytes(range(256)) * 400)
    server.outputs[KERNEL] = folder
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_output_is_fetched_whole_and_only_once(server, verb, pushed, written):
    code, printed, _ = verb("output")
    assert code == 0
    assert files_of(pushed / "v1") == files_of(written)
    assert str(pushed / "v1" / "run" / "fold0" / "model.keras") in printed
    assert {call.body["versionLabel"] for call in server.named("ListKernelSessionOutput")} == {"v1"}
    (pushed / "v1" / "submission.csv").write_text("half")
    assert verb("output")[0] == 0
    assert files_of(pushed / "v1") == files_of(written)


def test_a_file_that_cannot_be_fetched_is_not_taken_for_one(server, verb, pushed, written):
    """Client 2.2.4 would write the error's text into the file."""
    name = "GET /output/alice/hbac-inference/run/fold0/model.keras"
    server.script[name] = [Answer(b"<Error>Expired</Error>", 403)]
    code, _, said = verb("output")
    assert code == 1
    assert "run/fold0/model.keras; it refused: Forbidden (HTTP 403); the address has" in said
    assert "sig=secret" not in said
    assert not (pushed / "v1" / "run" / "fold0" / "model.keras").exists()


def test_a_file_cut_in_the_middle_is_gone_on_with(server, verb, pushed, written):
    name = "GET /output/alice/hbac-inference/run/fold0/model.keras"
    content = (written / "run" / "fold0" / "model.keras").read_bytes()
    mark = {"ETag": '"a"', "Accept-Ranges": "bytes"}
    server.script[name] = [Answer(content, headers=mark, cut=50_000)]
    assert verb("output")[0] == 0
    assert files_of(pushed / "v1") == files_of(written)


def test_a_name_that_leads_out_of_the_folder_is_refused(server, verb, pushed, written):
    files = [{"fileName": "../../../evil", "url": f"{server.address}/output/{KERNEL}/x"}]
    server.script["ListKernelSessionOutput"] = [Answer({"files": files, "log": ""})]
    code, _, said = verb("output")
    assert code == 1
    assert "../../../evil would lie outside" in error_of(said)


# -- submit ------------------------------------------------------------------


def test_submit_hands_the_version_in_and_waits_for_the_score(server, verb, pushed, written):
    server.states = ["RUNNING"]
    code, printed, _ = verb("submit")
    assert code == 0
    assert "score  0.37" in printed
    assert server.submissions == [
        {
            "competitionName": SLUG,
            "kernelOwner": "alice",
            "kernelSlug": "hbac-inference",
            "kernelVersion": 1,
            "fileName": "submission.csv",
            "submissionDescription": "compact (5 models, out of fold 0.7000 on all votes, 0.6100 "
            "on 10 or more), commit abc1234, version 1",
        }
    ]


def test_a_version_is_submitted_once(server, verb, pushed, written):
    """After a wait that was cut short the score is waited for, and no submission is spent."""
    assert verb("submit")[0] == 0
    assert verb("submit")[1].strip() == "score  0.37"
    assert len(server.submissions) == 1


def test_a_submission_that_is_not_valid_is_not_handed_in(server, verb, pushed, written):
    text = (written / "submission.csv").read_text()
    (written / "submission.csv").write_text(text.replace("0.16", "0.26"))
    code, _, said = verb("submit")
    assert code == 2
    assert "probabilities sum to" in error_of(said)
    (written / "submission.csv").unlink()
    code, _, said = verb("submit")
    assert code == 1
    assert "wrote no submission.csv: is it the inference notebook?" in error_of(said)
    assert server.named("CreateCodeSubmission") == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(403, "Denied"), "accept the competition's rules first"),
        (refusal(404, "Not found"), "does not exist, or submissions have closed"),
        (refusal(500, "Oh"), "the fault is Kaggle's"),
        (Answer({"message": "Nope"}), "gave the submission no number (Nope)"),
        (Answer({"message": "ok" * 50, "ref": 1}, cut=9), "look at https://www.kaggle.com before"),
    ],
)
def test_a_submission_that_fails_says_why(server, verb, pushed, written, answer, reason):
    server.script["CreateCodeSubmission"] = [answer]
    code, _, said = verb("submit")
    assert code == 1
    assert reason in error_of(said)
    assert len(server.named("CreateCodeSubmission")) == 1


def test_a_submission_that_cannot_be_scored_is_a_failure(server, verb, pushed, written):
    failed = {"status": "ERROR", "errorDescription": "Notebook Timeout"}
    server.script["GetSubmission"] = [Answer(failed)]
    code, _, said = verb("submit")
    assert code == 1
    assert "could not be scored (Notebook Timeout)" in error_of(said)


# -- data --------------------------------------------------------------------


@pytest.fixture
def archive(server, build) -> dict[str, bytes]:
    """A competition's zip, and what is in it."""
    files = {f"{name}.csv": b"a,b\n" for name in ("train", "test", "sample_submission")}
    files |= {f"train_eegs/{i}.parquet": os.urandom(400_000) for i in range(5)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, body in files.items():
            content.writestr(name, body)
    server.archive = buffer.getvalue()
    return files


def test_the_competition_is_downloaded_and_unpacked(server, verb, archive, tmp_path):
    folder = tmp_path / "competition"
    code, printed, _ = verb("data", "--out", folder)
    assert code == 0
    assert str(folder) in printed
    assert files_of(folder) == archive
    assert sorted(path.name for path in tmp_path.iterdir()) == ["competition"]
    calls = len(server.calls)
    assert "complete already" in verb("data", "--out", folder)[1]
    assert len(server.calls) == calls


def test_a_download_goes_on_where_it_stopped(server, verb, archive, tmp_path):
    """The first call is cut and the client's own attempts after it fail; the second goes on.

    The client writes a megabyte at a time.
    """
    folder = tmp_path / "competition"
    mark = server._file("/archive/x", {}).headers
    cut = Answer(server.archive, headers=mark, cut=1_500_000)
    server.script[f"GET /archive/{SLUG}.zip"] = [cut, *[Answer(b"", delay=60)] * 9]
    code, _, said = verb("data", "--out", folder, "--patience", "3")
    assert code == 1
    assert "no answer within 3 s: call again, it goes on where it stopped" in error_of(said)
    server.script.clear()
    server.calls.clear()
    assert verb("data", "--out", folder)[0] == 0
    assert files_of(folder) == archive
    ranges = [call.headers["Range"] for call in server.calls if "Range" in call.headers]
    assert ranges == ["bytes=1048576-"]


def test_unpacking_goes_on_where_it_stopped(server, verb, archive, tmp_path, monkeypatch):
    folder = tmp_path / "competition"

    def stop(*arguments):
        if len(files_of(folder)) == 4:
            raise KeyboardInterrupt
        unpack_one(*arguments)

    unpack_one = download._unpack_one
    monkeypatch.setattr(download, "_unpack_one", stop)
    assert verb("data", "--out", folder)[0] == 130
    monkeypatch.undo()
    calls = len(server.calls)
    assert verb("data", "--out", folder)[0] == 0
    assert files_of(folder) == archive
    assert len(server.calls) == calls, "the archive is not fetched again"


def test_rules_that_were_not_accepted_are_named(server, verb, tmp_path):
    server.script["DownloadDataFiles"] = [refusal(403, "You must accept this competition's rules")]
    code, _, said = verb("data", "--out", tmp_path / "competition")
    assert code == 1
    assert (
        f"accept the competition's rules first: https://www.kaggle.com/competitions/{SLUG}/rul"
        in (error_of(said))
    )


def test_a_disk_that_is_too_full_is_refused_before_the_download(
    server, verb, archive, tmp_path, monkeypatch
):
    usage = type("Usage", (), {"free": 2 * len(server.archive) - 1})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    code, _, said = verb("data", "--out", tmp_path / "competition")
    assert code == 2
    assert "GB are needed for the archive of" in error_of(said)
    assert files_of(tmp_path / "competition") == {}


def test_a_damaged_archive_is_removed(server, verb, archive, tmp_path):
    damaged = bytearray(server.archive)
    damaged[60_000] ^= 255
    server.archive = bytes(damaged)
    code, _, said = verb("data", "--out", tmp_path / "competition")
    assert code == 1
    assert "was damaged (Bad CRC-32" in error_of(said)
    assert not (tmp_path / "competition.zip").exists()


# -- credentials -------------------------------------------------------------


def apart(server, home: Path, *arguments: object, **environment: str):
    """Run a verb in a process of its own, with no credentials but those that are given."""
    home.mkdir(exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("KAGGLE_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-m", "hbac_utils", *map(str, arguments)],
        env=clean | server.environment() | {"HOME": str(home)} | environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def everything(folder: Path) -> bytes:
    """All bytes of all files of a folder, zips opened, and the files' names."""
    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(str(path).encode())
        if path.is_file():
            parts.append(path.read_bytes())
    return b"\n".join(parts)


def test_without_credentials_nothing_is_asked(server, build, tmp_path):
    done = apart(server, tmp_path / "home", "data", "--out", tmp_path / "competition")
    assert done.returncode == 2
    assert error_of(done.stderr) == done.stderr.strip().splitlines()[-1]
    assert "no valid Kaggle credentials: make a token at https://www.kaggle.com/settings" in (
        done.stderr
    )
    assert done.stdout == ""
    assert server.calls == []


def kaggle_json(home: Path) -> dict[str, str]:
    (home / ".kaggle").mkdir(parents=True)
    (home / ".kaggle" / "kaggle.json").write_text(json.dumps({"username": "alice", "key": KEY}))
    (home / ".kaggle" / "kaggle.json").chmod(0o600)
    return {}


def token_file(home: Path) -> dict[str, str]:
    (home / ".kaggle").mkdir(parents=True)
    (home / ".kaggle" / "access_token").write_text(TOKEN)
    return {}


def oauth(home: Path) -> dict[str, str]:
    (home / ".kaggle").mkdir(parents=True)
    content = {
        "refresh_token": "KGRT_0123456789abcdef", "access_token": TOKEN, "username": "alice",
        "access_token_expiration": "2999-01-01T00:00:00+00:00",
    }  # fmt: skip
    (home / ".kaggle" / "credentials.json").write_text(json.dumps(content))
    return {}


@pytest.mark.parametrize(
    ("give", "scheme"),
    [
        (kaggle_json, "Basic"),
        (token_file, "Bearer"),
        (oauth, "Bearer"),
    ],
)
def test_credentials_are_used_and_left_nowhere(server, build, tmp_path, give, scheme):
    """However they are given, and even where the client is told to be verbose."""
    home = tmp_path / "home"
    environment = give(home) | {"VERBOSE": "1", "VERBOSE_OUTPUT": "1"}
    done = apart(server, home, "push", "eda", "--build", build, **environment)
    assert done.returncode == 0, done.stderr
    saved = server.named("SaveKernel")[0]
    assert saved.headers["Authorization"].startswith(scheme)
    assert saved.body["slug"] == "alice/hbac-eda"
    for secret in (KEY, TOKEN):
        assert secret not in done.stdout + done.stderr
        assert secret.encode() not in everything(build)
        assert secret not in json.dumps(saved.body)
    with contextlib.suppress(ValueError):
        assert saved.headers["Authorization"].split()[1] not in done.stdout + done.stderr


def test_a_token_that_is_not_accepted_is_named(server, build, tmp_path):
    for answer, code, reason in [
        (Answer({"active": False}), 2, "no valid Kaggle credentials"),
        (refusal(401, f"Bad token {TOKEN}"), 1, "Bad token *** (HTTP 401); the credentials are"),
    ]:
        server.script["IntrospectToken"] = [answer] * 3
        verb = ("data", "--out", tmp_path / "competition")
        done = apart(server, tmp_path / "home", *verb, KAGGLE_API_TOKEN=TOKEN)
        assert done.returncode == code
        assert reason in error_of(done.stderr)
        assert TOKEN not in done.stderr + done.stdout
    assert server.named("DownloadDataFiles") == []


def test_make_knows_the_verbs():
    repository = Path(__file__).parents[2]
    for name in ("stage", "push", "status", "logs", "output", "submit", "data"):
        done = subprocess.run(
            ["make", "-n", "-o", ".venv/.ready", name, "NB=training", "SET=recipe=demo folds=0"],
            cwd=repository, capture_output=True, text=True,
        )  # fmt: skip
        assert f"-m hbac_utils {name}" in done.stdout, done.stderr
        assert ("--set 'folds=0'" in done.stdout) == (name in ("stage", "push"))
        assert ("training" in done.stdout) == (name != "data")
