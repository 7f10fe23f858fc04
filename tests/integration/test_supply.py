"""Dependencies: pinned with hashes for every supported Python, and each with a known licence."""

import re
import shutil
import subprocess
import sys
from email.message import Message
from importlib import metadata
from pathlib import Path

import audit
import licences
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("build.txt", "tested.txt")

PINS = licences.pins(ROOT / "constraints" / "tested.txt")


def here() -> dict[str, str]:
    """Pinned versions for this environment, by name."""
    wanted = [pin for pin in PINS if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in wanted}


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_address(name):
    text = (ROOT / "constraints" / name).read_text()
    assert "://" not in text
    assert not re.search(r"--(index|extra-index|find-links|trusted)", text)
    # comments aside, a pin with its hashes and nothing else
    entry = (
        r"[a-z0-9][a-z0-9._-]*==[^\s;]+( ; [^\\\n]+)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+"
    )
    assert re.fullmatch(rf"(#[^\n]*\n)*({entry})+", text)


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_to_a_version_that_it_allows(name):
    lines = (ROOT / name).read_text().splitlines()
    for line in filter(None, (line.partition("#")[0].strip() for line in lines)):
        wanted = Requirement(line)
        pinned = here()[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(pinned), f"{line}: make lock"


def test_the_pins_hold_for_every_python_that_is_supported():
    """A version with a mark for one Python has another for the rest."""
    for python in ("3.11", "3.12", "3.13"):
        environment = {"python_version": python, "python_full_version": f"{python}.9"}
        for name in ("tensorflow", "keras", "numpy", "beautifulsoup4", "soupsieve"):
            found = [
                pin for pin in PINS
                if pin.name == name and (not pin.marker or pin.marker.evaluate(environment))
            ]  # fmt: skip
            assert len(found) == 1, f"{name} on {python}"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the pins are tested on Python 3.11")
def test_the_pins_are_installed():
    """Of what the kit needs to run; tools may be newer."""
    needed = {"hbac_utils"}
    waiting = (ROOT / "requirements.txt").read_text().splitlines()
    waiting = [Requirement(line) for line in waiting if line and not line.startswith("#")]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in needed or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        needed.add(name)
        assert metadata.version(name) == here()[name], "make, or make lock"
        waiting += [Requirement(text) for text in metadata.requires(name) or ()]
    assert len(needed) > 50


def test_pip_refuses_a_file_that_is_not_the_pinned_one(tmp_path):
    """With the options of the Makefile; a wheel made here, so that no network is needed."""
    wheel = tmp_path / "evil-1.0-py3-none-any.whl"
    shutil.make_archive(str(wheel.with_suffix("")), "zip", _package(tmp_path / "evil"))
    wheel.with_suffix(".zip").rename(wheel)
    (tmp_path / "lock.txt").write_text(f"evil==1.0 --hash=sha256:{'0' * 64}\n")
    command = re.search(r"^LOCKED := \$\(PIP\) (.*)$", (ROOT / "Makefile").read_text(), re.M)[1]
    assert "--require-hashes" in command
    arguments = [*command.split(), "lock.txt", "--no-index", "--find-links", ".", "--target", "in"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "in").exists()


def _package(folder: Path) -> Path:
    about = folder / "evil-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (about / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (about / "RECORD").write_text("")
    return folder


def test_every_pin_has_its_licence_in_the_documents():
    text = (ROOT / "docs" / "licences.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", text, re.MULTILINE)
    listed = {(name, version) for name, version, _ in rows if name != "package"}
    pinned = {(pin.name, next(iter(pin.specifier)).version) for pin in PINS}
    assert listed == pinned, "make licences"


def test_a_licence_is_read_from_three_fields_of_the_metadata():
    about = Message()
    assert licences.licence(about) == "not said"
    about["License"] = "MIT License\n\nCopyright"
    assert licences.licence(about) == "MIT License"
    about["Classifier"] = "License :: OSI Approved :: BSD License"
    assert licences.licence(about) == "BSD License"
    about["License-Expression"] = "BSD-3-Clause AND MIT"
    assert licences.licence(about) == "BSD-3-Clause AND MIT"


def test_an_audit_lists_weaknesses_and_counts_unknown_versions():
    weak = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}
    found = [{"name": "a", "version": "2.0", "vulns": [weak]}, {"name": "b", "skip_reason": "…"}]
    assert audit.describe("x.txt", found).splitlines() == [
        "x.txt: 1 versions were looked up, 1 not known, 1 weaknesses",
        "  a 2.0  PYSEC-1 CVE-1; fixed in 2.1",
    ]
    silent = audit.describe("x.txt", found[1:])
    assert "knows none of the 1 versions" in silent
    assert "\n" not in silent


def test_an_audit_without_a_network_is_no_failure(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: long story\nconnection refused\n")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
    assert audit.audit("x.txt") == (
        "x.txt: the advisory service cannot be reached; pip-audit: connection refused"
    )
