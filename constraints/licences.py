"""List the licence of every pinned package, as a page of Markdown.

Packages that are not installed (for another Python or system) are downloaded, and neither built nor
installed.
"""

import email.message
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PIN = re.compile(r"^([a-z][^\s;]*==[^\s;]+)(?: ; (.*?))? *\\$", re.MULTILINE)

PERMISSIVE = "permissive"

KINDS = {
    "weak copyleft: its own files stay under its licence": r"\bMPL|Mozilla",
    "copyleft for the package itself: use it as a library, unchanged": r"LGPL",
    "one of several licences to choose from, a copyleft one among them": r"Artistic",
    "not said in the package": r"^not said$",
}
"""Kinds of licences that are not permissive, and patterns of their names."""

COLUMNS = "| package | version | licence |\n|---|---|---|"

HEAD = """# Licences

Licences of the packages in `constraints/tested.txt`, as their metadata name them; written by
`make licences`. The kit is under Apache-2.0 and neither contains nor distributes any of them: a
pushed notebook contains the kit's own files only.
"""


def pins(constraints: str) -> list[Requirement]:
    """Read the pinned requirements of a file of constraints that uv wrote."""
    text = Path(constraints).read_text(encoding="utf-8")
    return [
        Requirement(f"{pin} ; {marker}" if marker else pin) for pin, marker in PIN.findall(text)
    ]


def licence(about: email.message.Message) -> str:
    """Read a package's licence: the expression, the classifiers, or the first line of the text."""
    prefix = "License :: "
    classifiers = [c for c in about.get_all("Classifier", []) if c.startswith(prefix)]
    named = [c.split(" :: ")[-1] for c in classifiers if c != f"{prefix}OSI Approved"]
    text = next(iter((about.get("License") or "").strip().splitlines()), "")
    return about.get("License-Expression") or "; ".join(named) or text or "not said"


def licences(wanted: list[Requirement]) -> dict[tuple[str, str], str]:
    """Read the licence of each package; keys are name and version."""
    found, absent = {}, []
    for pin in wanted:
        version = next(iter(pin.specifier)).version
        try:
            about = metadata.metadata(pin.name)
        except metadata.PackageNotFoundError:
            about = None
        if about is None or about["Version"] != version:
            absent.append((pin.name, version))
        else:
            found[pin.name, version] = licence(about)
    return found | _downloaded(absent)


def _downloaded(absent: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    found = {}
    for name, version in absent:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
            command += [folder, "--only-binary", ":all:", f"{name}=={version}"]
            subprocess.run(command, check=True)
            (wheel,) = Path(folder).glob("*.whl")
            (about,) = metadata.distributions(path=[str(wheel)])
            found[name, version] = licence(about.metadata)
    return found


def page(found: dict[tuple[str, str], str]) -> str:
    """Write the page, grouped by kind of licence."""
    groups = defaultdict(list)
    for (name, version), text in sorted(found.items()):
        kind = next((k for k, names in KINDS.items() if re.search(names, text)), PERMISSIVE)
        groups[kind].append(f"| {name} | {version} | {text} |")
    parts = [HEAD]
    for kind in (*KINDS, PERMISSIVE):
        rows = "\n".join(groups[kind])
        parts.append(f"## {kind.capitalize()}\n\n{COLUMNS}\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    constraints, out = sys.argv[1:]
    Path(out).write_text(page(licences(pins(constraints))), encoding="utf-8")
    print(f"licences  {out}")
