"""The unmodified Kaggle client against a server on the loopback: every answer, every failure."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pandas as pd
import pytest
from kaggle_server import PAGE, SLUG, Answer, KaggleServer, refusal

from hbac_utils.kernels import api, datasets
from hbac_utils.kernels.api import Kaggle, KaggleError
from hbac_utils.kernels.build import build_kernel
from hbac_utils.kernels.datasets import download_competition
from hbac_utils.kernels.push import (
    PushedVersion,
    check_quota,
    is_session_limit,
    push,
    read_record,
    submit,
)
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.utils.errors import InputError

KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "KGAT_0123456789abcdef0123"
KERNEL = "alice/hbac-inference"
WEIGHTS = "GET /output/alice/hbac-inference/run/fold0/model.weights.h5"
FULL = "Maximum batch GPU session count of 2 reached."
NOT_SAVED = "it may have been saved, but no new version appeared: push again"
CUT = Answer({"status": "COMPLETE"}, cut=3)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = KaggleServer()
    with server.asked_by_this_process(tmp_path_factory.mktemp("home"), KEY):
        yield server
    server.close()


@pytest.fixture
def server(running, monkeypatch):
    running.reset()
    monkeypatch.setattr(api, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr("hbac_utils.kernels.push.LOOK_AFTER", 0)
    return running


@pytest.fixture
def kaggle(server):
    return Kaggle(timeout=5)


@pytest.fixture(scope="module")
def kernel():
    return build_kernel("eda", {})


@pytest.fixture
def folder(kernel, tmp_path):
    return kernel.write("alice", (KEY,), tmp_path / "build")


@pytest.fixture
def pushed(server, tmp_path):
    """A recorded version of the inference kernel."""
    server.versions[KERNEL].append({})
    version = PushedVersion(
        kernel=KERNEL, version=1, url=f"https://www.kaggle.com/code/{KERNEL}", parameters={},
        pushed="2026-01-01T00:00:00+00:00", commit="abc1234", library_sha256="00",
    )  # fmt: skip
    version.write(tmp_path)
    return version


def wait(kaggle: Kaggle, pushed: PushedVersion, minutes: float = 1.0) -> None:
    pushed.wait(kaggle, minutes, poll_interval=0.01)


def test_push_sends_the_notebook_and_records_the_version(server, kaggle, kernel, folder):
    push(kaggle, kernel, folder)
    assert push(kaggle, kernel, folder).version == 2
    record = read_record("eda", folder.parent)
    assert (record.kernel, record.version) == ("alice/hbac-eda", 2)
    assert (record.commit, record.library_sha256) == (kernel.bundle.commit, kernel.bundle.sha256)
    sent = server.named("SaveKernel")[-1].body
    assert sent["slug"] == "alice/hbac-eda"
    assert kernel.bundle.cell().source in [
        cell["source"] for cell in json.loads(sent["text"])["cells"]
    ]
    assert (sent["isPrivate"], sent["enableInternet"]) == (True, False)
    assert sent["competitionDataSources"] == [SLUG]
    assert KEY not in json.dumps(sent)


@pytest.mark.parametrize(
    ("answer", "reason", "remedy"),
    [
        (Answer({"error": "Weekly GPU quota of 30 h."}), "GPU quota", "wait for the week to end"),
        (
            Answer({"versionNumber": 8, "url": "u", "invalidModelSources": ["keras/x/y/z/1"]}),
            "version 8 was saved without some of its sources (model sources keras/x/y/z/1",
            "accept its licence",
        ),
        (Answer({"url": "u"}), "returned no version", "then push again"),
        (refusal(401, f"Bad key {KEY}"), "Bad key *** (HTTP 401)", "make new ones at"),
        (refusal(403, "Permission denied"), "Permission denied (HTTP 403)", "phone number"),
        (refusal(409, "Title in use"), "Title in use (HTTP 409)", "change title and id"),
        (Answer({"error": FULL}), FULL, "wait until a session has ended"),
        (refusal(400, FULL), FULL, "(HTTP 400)"),
        (Answer(b"<html/>", 503), "Service Unavailable (HTTP 503)", NOT_SAVED),
        (Answer(b"<html>hello</html>"), "unexpected answer", NOT_SAVED),
        (Answer({"versionNumber": 8}, cut=5), "connection failed", NOT_SAVED),
        (Answer({}, delay=5), "no answer within 0.3 s", NOT_SAVED),
    ],
)
def test_a_failed_push_is_explained_and_not_repeated(
    server, kernel, folder, answer, reason, remedy
):
    server.script["SaveKernel"] = [answer]
    with pytest.raises(KaggleError) as failed:
        push(Kaggle(timeout=0.3 if answer.delay else 5), kernel, folder)
    assert reason in str(failed.value)
    assert remedy in str(failed.value)
    assert failed.value.exit_code == 1
    assert KEY not in str(failed.value)
    assert is_session_limit(failed.value) == (reason == FULL)
    assert not (folder / "pushed.json").exists()
    assert len(server.named("SaveKernel")) == 1


@pytest.mark.parametrize("answer", [Answer(b"", 502), Answer({}, cut=1), Answer({}, delay=1)])
def test_a_push_whose_answer_is_lost_is_looked_for(server, kernel, folder, answer, capsys):
    server.versions["alice/hbac-eda"].append({})
    server.script["SaveKernel"] = [lost := replace(answer, is_done=True)]
    pushed = push(Kaggle(timeout=0.3 if lost.delay else 5), kernel, folder)
    assert (pushed.version, read_record("eda", folder.parent)) == (2, pushed)
    assert "version 2 appeared and is taken for it" in capsys.readouterr().err
    assert len(server.named("SaveKernel")) == 1


@pytest.mark.parametrize(
    "answers", [[refusal(404, "no")] + [refusal(500, "Oh")] * 4, [refusal(500, "Oh")]]
)
def test_if_the_versions_are_not_known_the_page_is_named(server, kaggle, kernel, folder, answers):
    server.script["SaveKernel"] = [Answer(b"", 502)]
    server.script["GetKernel"] = list(answers)
    with pytest.raises(KaggleError, match="may have been saved: look at .*/hbac-eda before you pu"):
        push(kaggle, kernel, folder)


@pytest.mark.parametrize(
    ("hours", "answer", "shown"),
    [
        ({"timeUsed": "79200s", "timeReserved": "0s"}, None, "8.0 h of GPU are left this week"),
        ({"timeUsed": "82800s"}, None, "7.0 h of GPU are left this week"),
        ({"timeUsed": "72000s", "timeReserved": "14400s"}, None, "6.0 h of GPU are left this week"),
        ({}, refusal(404, "no such method"), "quota   unknown"),
        ({}, Answer({}), "quota   unknown"),
    ],
)
def test_the_quota_is_shown_and_must_suffice(server, kaggle, hours, answer, shown, capsys):
    server.hours |= hours
    server.script["GetAcceleratorQuotaStatistics"] = [answer] * 2 if answer else []
    training = build_kernel("training", {})  # 8 hours
    if "8.0" in shown or "unknown" in shown:
        check_quota(kaggle, training)
    else:
        with pytest.raises(InputError, match=r"GPU quota will not suffice: .* FORCE=1"):
            check_quota(kaggle, training)
    check_quota(kaggle, training, force=True)
    assert capsys.readouterr().out.count(shown) == 2


def test_no_quota_is_asked_for_without_an_accelerator(server, kaggle, kernel):
    check_quota(kaggle, kernel)
    assert server.named("GetAcceleratorQuotaStatistics") == []


@pytest.mark.parametrize(
    ("header", "least", "most"), [("7", 7, 7), ("in-9-s", 7, 9), ("", api.FIRST_PAUSE, 2)]
)
def test_rate_limits_are_waited_for_even_by_a_push(
    server, kaggle, kernel, folder, header, least, most, monkeypatch, capsys
):
    """A push that was refused with 429 was not saved; it can be repeated."""
    pauses = []
    monkeypatch.setattr(api, "FIRST_PAUSE", 2.0)
    monkeypatch.setattr(time, "sleep", pauses.append)
    if header == "in-9-s":
        header = formatdate(time.time() + 9, usegmt=True)
    given = {"Retry-After": header} if header else {}
    server.script["SaveKernel"] = [refusal(429, "Slow", **given)]
    assert push(kaggle, kernel, folder).version == 1
    assert len(pauses) == 1
    assert least <= pauses[0] <= most
    assert "retrying in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answers", "calls"),
    [([refusal(429, "Slow", **{"Retry-After": "3600"})], 1), ([refusal(429, "Slow")] * 9, 4)],
)
def test_waiting_for_a_rate_limit_is_bounded(server, kaggle, pushed, answers, calls):
    server.script["GetKernelSessionStatus"] = list(answers)
    with pytest.raises(KaggleError, match=r"Slow \(HTTP 429\); too many requests"):
        wait(kaggle, pushed)
    assert len(server.named("GetKernelSessionStatus")) == calls


def test_status_is_polled_until_the_recorded_version_ends(server, kaggle, pushed, capsys):
    server.states = ["QUEUED", "RUNNING", "RUNNING"]
    wait(kaggle, pushed)
    progress = [line.split(", ")[0] for line in capsys.readouterr().err.splitlines()]
    assert progress == [f"{KERNEL} version 1: {s}" for s in ("queued", "running", "complete")]
    requests = [call.body for call in server.named("GetKernelSessionStatus")]
    assert [body["versionLabel"] for body in requests] == ["v1"] * 4


@pytest.mark.parametrize(
    ("states", "minutes", "reason"),
    [
        (["RUNNING", "ERROR"], 1, r"version 1 ended with ERROR \(Notebook Threw Exception\)"),
        (["CANCEL_ACKNOWLEDGED"], 1, r"version 1 ended with CANCEL_ACKNOWLEDGED \(no reason\)"),
        (["RUNNING"] * 1000, 0.002, r"still running after 0\.002 minutes; it continues"),
    ],
)
def test_a_version_that_does_not_complete_is_an_error(
    server, kaggle, pushed, states, minutes, reason
):
    server.states = states
    with pytest.raises(KaggleError, match=reason):
        wait(kaggle, pushed, minutes)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([refusal(404, "Not found")], "it does not exist on Kaggle"),
        ([refusal(500, "Oh")] * 4, "Kaggle has a problem"),
        ([CUT] * 4, "the connection failed"),
        ([Answer({}, delay=5)] * 4, "no answer within 0.1 s; check your connection"),
    ],
)
def test_a_failed_request_is_repeated_and_explained(server, pushed, answers, reason):
    server.script["GetKernelSessionStatus"] = list(answers)
    with pytest.raises(KaggleError) as failed:
        wait(Kaggle(timeout=0.1 if answers[0].delay else 5), pushed)
    assert reason in str(failed.value)
    assert len(server.named("GetKernelSessionStatus")) == len(answers)


def test_a_request_succeeds_after_failures(server, pushed):
    server.script["GetKernelSessionStatus"] = [refusal(502, "Oh"), CUT, Answer({}, delay=5)]
    wait(Kaggle(timeout=0.3), pushed)


def test_a_missing_or_damaged_record_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing was pushed from here; run make push NB=eda"):
        read_record("eda", tmp_path)
    (tmp_path / "eda").mkdir()
    (tmp_path / "eda" / "pushed.json").write_text("{}")
    with pytest.raises(InputError, match=r"pushed\.json: missing key kernel"):
        read_record("eda", tmp_path)


def test_the_log_is_plain_text(server, kaggle, pushed):
    server.log = [{"stream_name": "stdout", "data": "one\n"}, {"stream_name": "x", "data": "two"}]
    assert kaggle.log(KERNEL, 1) == "one\ntwo"


@pytest.fixture
def written(server, pushed, tmp_path):
    """Output of the version: a valid submission, its report, and a run."""
    folder = tmp_path / "written"
    (folder / "run" / "fold0").mkdir(parents=True)
    table = pd.DataFrame(1 / 6, index=[0, 1], columns=list(VOTE_COLUMNS))
    table.insert(0, "eeg_id", [1, 2])
    table.to_csv(folder / "submission.csv", index=False)
    report = {"runs": [{"recipe": "compact", "models": 5, "kl_all": 0.7, "kl_reliable": 0.61}]}
    (folder / "inference_report.json").write_text(json.dumps(report))
    (folder / "run" / "metrics.json").write_text("{}")
    (folder / "run" / "fold0" / "model.weights.h5").write_bytes(bytes(range(256)) * 400)
    server.outputs[KERNEL] = folder
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != api.VERSION_FILE
    }


def test_output_is_downloaded_once(server, kaggle, written, tmp_path):
    """All pages of the list; a second call fetches only what is not complete."""
    folder = tmp_path / "output"
    files = kaggle.download_output(KERNEL, 1, folder)
    assert contents(folder) == contents(written)
    assert {path.relative_to(folder).as_posix() for path in files} == set(contents(written))
    labels = {call.body["versionLabel"] for call in server.named("ListKernelSessionOutput")}
    assert labels == {"v1"}

    (folder / "submission.csv").write_text("half")
    (folder / "run" / "metrics.json").write_text("[]")  # newer and of the same size: is kept
    kaggle.download_output(KERNEL, 1, folder)
    assert contents(folder) == contents(written) | {"run/metrics.json": b"[]"}


def test_files_of_another_version_are_fetched_again(server, kaggle, written, tmp_path, capsys):
    """Even if they have the same size and the time of the first version."""
    folder = tmp_path / "output"
    kaggle.download_output(KERNEL, 1, folder)
    (written / "run" / "metrics.json").write_text("[]")
    server.versions[KERNEL].append({})
    server.script[WEIGHTS] = [Answer(b"", 403)]  # interrupted
    with pytest.raises(KaggleError):
        kaggle.download_output(KERNEL, 2, folder)
    kaggle.download_output(KERNEL, 2, folder)
    assert contents(folder) == contents(written)
    assert f"files of {KERNEL} version 1 are replaced, others stay" in capsys.readouterr().err


def test_an_error_page_is_not_saved_as_a_file(server, kaggle, written, tmp_path):
    server.script[WEIGHTS] = [Answer(b"<Error>Expired</Error>", 403)]
    with pytest.raises(KaggleError, match=r"Forbidden \(HTTP 403\).*a download link exp") as failed:
        kaggle.download_output(KERNEL, 1, tmp_path / "output")
    assert "sig=secret" not in str(failed.value)
    assert not (tmp_path / "output" / "run" / "fold0" / "model.weights.h5").exists()


@pytest.mark.parametrize(("is_stuck", "page"), [(True, None), (False, {"nextPageToken": "3"})])
def test_a_list_that_does_not_advance_ends(
    server, kaggle, written, tmp_path, is_stuck, page, capsys
):
    """The same page under new tokens, or a token that was there before."""
    server.is_stuck = is_stuck
    server.script["ListKernelSessionOutput"] = [Answer(page)] * 5 if page else []
    files = kaggle.download_output(KERNEL, 1, tmp_path / "output")
    assert len(files) == (PAGE if is_stuck else 0)
    assert len(server.named("ListKernelSessionOutput")) == 2
    assert "Kaggle repeats its list after" in capsys.readouterr().err


def test_an_endless_list_ends(server, kaggle, pushed, tmp_path):
    answers = [Answer({"files": [], "nextPageToken": str(i)}) for i in range(1, 999)]
    server.script["ListKernelSessionOutput"] = answers
    with pytest.raises(KaggleError, match="files has no end: 100 pages"):
        kaggle.download_output(KERNEL, 1, tmp_path)
    assert len(server.named("ListKernelSessionOutput")) == 100


def hand_in(kaggle: Kaggle, folder: Path) -> str:
    """Submit the version that is recorded in a folder."""
    record = PushedVersion.model_validate_json((folder / "pushed.json").read_text())
    return submit(kaggle, record, folder, minutes=1, poll_interval=0.01)


def test_a_version_is_submitted_once_and_its_score_is_waited_for(server, kaggle, written, tmp_path):
    server.states = ["RUNNING"]
    server.script["GetSubmission"] = [refusal(404, "not visible yet")]
    assert hand_in(kaggle, tmp_path) == "0.37"
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
    assert hand_in(kaggle, tmp_path) == "0.37"
    assert len(server.submissions) == 1


def test_an_invalid_submission_is_not_handed_in(server, kaggle, written, tmp_path):
    text = (written / "submission.csv").read_text()
    (written / "submission.csv").write_text(text.replace("0.16", "0.26"))
    with pytest.raises(InputError, match="probabilities sum to"):
        hand_in(kaggle, tmp_path)
    (written / "submission.csv").unlink()
    with pytest.raises(KaggleError, match=r"wrote no submission\.csv: is it the inference notebo"):
        hand_in(kaggle, tmp_path)
    assert server.submissions == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refusal(403, "Denied"), "accept the competition's rules first"),
        (refusal(404, "Not found"), "not found, or submissions have closed"),
        (Answer({"message": "Nope"}), "returned no submission number (Nope)"),
        (Answer(b"", 502), "it may have been submitted: look at https://www.kaggle.com/compet"),
    ],
)
def test_a_failed_submission_is_explained_and_not_repeated(
    server, kaggle, written, tmp_path, answer, reason
):
    server.script["CreateCodeSubmission"] = [answer]
    with pytest.raises(KaggleError) as failed:
        hand_in(kaggle, tmp_path)
    assert reason in str(failed.value)
    assert len(server.named("CreateCodeSubmission")) == 1


def test_a_submission_without_a_score_is_an_error(server, kaggle, written, tmp_path):
    answer = {"status": "ERROR", "errorDescription": "Notebook Timeout"}
    server.script["GetSubmission"] = [Answer(answer)]
    with pytest.raises(KaggleError, match=r"ended with ERROR \(Notebook Timeout\): the hidden"):
        hand_in(kaggle, tmp_path)


@pytest.fixture
def files(server, monkeypatch) -> dict[str, bytes]:
    """Content of a small competition; the server holds its archive of 2 MB."""
    files = {f"{name}.csv": b"a,b\n" for name in ("train", "test", "sample_submission")}
    files |= {f"train_eegs/{i}.parquet": os.urandom(400_000) for i in range(5)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, body in files.items():
            content.writestr(name, body)
    server.archive = buffer.getvalue()
    monkeypatch.setattr(datasets, "ARCHIVE_SIZE", len(server.archive))
    return files


def test_the_competition_is_downloaded_and_unpacked(server, kaggle, files, tmp_path, capsys):
    folder = tmp_path / "competition"
    download_competition(kaggle, folder)
    assert contents(folder) == files
    calls = len(server.calls)
    download_competition(kaggle, folder)
    assert "complete already" in capsys.readouterr().out
    assert len(server.calls) == calls


def test_an_interrupted_download_is_resumed(server, kaggle, files, tmp_path, monkeypatch):
    """The client writes a megabyte at a time; the next call asks for what is missing."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    headers = server.file_headers(server.archive)
    cut = Answer(server.archive, headers=headers, cut=1_500_000)
    lost = Answer(server.archive, 206, headers, cut=0)
    server.script[f"GET /archive/{SLUG}.zip"] = [cut, *[lost] * 99]
    with pytest.raises(KaggleError, match="connection failed.*run the same command again"):
        download_competition(kaggle, tmp_path / "competition")
    server.reset()
    download_competition(kaggle, tmp_path / "competition")
    assert contents(tmp_path / "competition") == files
    ranges = [call.headers["Range"] for call in server.calls if "Range" in call.headers]
    assert ranges == ["bytes=1048576-"]


def test_a_full_disk_is_found_before_the_download(server, kaggle, files, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 2 * len(server.archive) - 1})
    monkeypatch.setattr(datasets.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="GB are needed"):
        download_competition(kaggle, tmp_path / "competition")
    assert server.named("DownloadDataFiles") == []


def test_a_damaged_archive_is_removed(server, kaggle, files, tmp_path):
    damaged = bytearray(server.archive)
    damaged[60_000] ^= 255
    server.archive = bytes(damaged)
    folder = tmp_path / "competition"
    with pytest.raises(KaggleError, match=r"damaged \(Bad CRC-32.*removed; run the command again"):
        download_competition(kaggle, folder)
    assert not list(folder.glob("*.zip*"))


def sign_in(server, home: Path, **environment: str) -> subprocess.CompletedProcess:
    """Sign in from a process of its own: importing the client reads the credentials."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("KAGGLE_", "XDG_"))}
    code = (
        "from hbac_utils.kernels.api import Kaggle\n"
        "try: print(Kaggle(5).username, Kaggle(5).status('alice/hbac-eda', 1))\n"
        "except ValueError as error: print(type(error).__name__, error)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True,
        env=clean | server.environment() | {"HOME": str(home), "VERBOSE": "1"} | environment,
    )  # fmt: skip


OAUTH = {
    "refresh_token": "KGRT_0123456789abcdef", "access_token": TOKEN, "username": "alice",
    "access_token_expiration": "2999-01-01T00:00:00+00:00",
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "scheme"),
    [
        ("kaggle.json", json.dumps({"username": "alice", "key": KEY}), "Basic"),
        ("access_token", TOKEN, "Bearer"),
        ("credentials.json", json.dumps(OAUTH), "Bearer"),
    ],
)
def test_all_kinds_of_credentials_are_used_and_not_shown(server, tmp_path, file, content, scheme):
    server.versions["alice/hbac-eda"].append({})
    path = tmp_path / ".kaggle" / file
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o600)
    done = sign_in(server, tmp_path)
    assert done.stdout.splitlines()[-1] == "alice ('COMPLETE', '')"
    header = server.named("GetKernelSessionStatus")[0].headers["Authorization"]
    assert header.startswith(scheme)
    for secret in (KEY, TOKEN, header.split()[1]):
        assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"KAGGLE_USERNAME": '"alice"', "KAGGLE_KEY": KEY}, "KAGGLE_USERNAME has quotes, blanks"),
        ({"KAGGLE_USERNAME": "", "KAGGLE_KEY": KEY}, "KAGGLE_USERNAME is empty"),
        ({"KAGGLE_USERNAME": "alice", "KAGGLE_KEY": f"{KEY} "}, "KAGGLE_KEY has quotes, blanks"),
        ({"KAGGLE_API_TOKEN": f"'{TOKEN}'"}, "KAGGLE_API_TOKEN has quotes, blanks"),
        ({"access_token": f"{TOKEN}\n{TOKEN}"}, "~/.kaggle/access_token has quotes, blanks"),
        ({"access_token": b"\xff\xfe"}, "the Kaggle token is not a text file"),
        ({"kaggle.json": '{"username": "alice"'}, "kaggle.json: not JSON"),
        ({"kaggle.json": "[]"}, 'kaggle.json: write {"username": …, "key": …}'),
        ({"kaggle.json": '{"username": "alice"}'}, 'kaggle.json: write {"username": …, "key": …}'),
        ({"kaggle.json": '{"username": "al ice", "key": "0"}'}, "kaggle.json: username has quotes"),
        ({"credentials.json": "[]"}, "no valid Kaggle credentials"),
        ({}, "no valid Kaggle credentials: make a token at https://www.kaggle.com/settings"),
        ({"access_token": "inactive"}, "no valid Kaggle credentials"),
        ({"access_token": TOKEN}, "KaggleError Kaggle: could not sign in: Bad token ***"),
    ],
)
def test_unusable_credentials_are_one_line(server, tmp_path, given, reason):
    answer = Answer({"active": False}) if "inactive" in given.values() else None
    server.script["IntrospectToken"] = [answer or refusal(401, f"Bad token {TOKEN}")] * 3
    (tmp_path / ".kaggle").mkdir()
    variables = {name: value for name, value in given.items() if name.startswith("KAGGLE_")}
    for name in given.keys() - variables:
        content = given[name]
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / ".kaggle" / name).write_bytes(content)
    done = sign_in(server, tmp_path, **variables)
    (line,) = (done.stdout + done.stderr).splitlines()
    assert reason in line
    assert TOKEN not in done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr
    assert {call.name for call in server.calls} <= {"IntrospectToken"}
