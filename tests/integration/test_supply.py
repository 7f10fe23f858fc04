"""Dependencies: pinned with hashes for every supported Python, and each with a known licence."""

import re
import sys
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
    assert "--require-hashes" in (ROOT / "Makefile").read_text()
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


def test_every_pin_has_its_licence_in_the_documents():
    text = (ROOT / "docs" / "licences.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", text, re.MULTILINE)
    listed = {(name, version) for name, version, _ in rows if name != "package"}
    pinned = {(pin.name, next(iter(pin.specifier)).version) for pin in PINS}
    assert listed == pinned, "make licences"


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
