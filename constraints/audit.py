"""Ask a service which dependencies have known weaknesses, and say what it answered.

This reports and never fails: whether a weakness concerns the kit is for people to judge, and
``docs/dependencies.md`` says what they found.
"""

import json
import subprocess
import sys


def audit(constraints: str) -> str:
    """Ask about the versions that a file of constraints names.

    Parameters
    ----------
    constraints : str
        Its path.

    Returns
    -------
    str
        A line on how many could be looked up, and one for each weakness.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", constraints, "--no-deps"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return describe(constraints, json.loads(asked.stdout)["dependencies"])
    except (ValueError, KeyError):
        said = (asked.stderr.strip().splitlines() or ["nothing"])[-1]
        return f"{constraints}: the service for advisories cannot be asked; pip-audit says: {said}"


def describe(constraints: str, dependencies: list[dict]) -> str:
    """Put pip-audit's answer into lines; what it skipped is no clean bill of health."""
    known = [dependency for dependency in dependencies if "vulns" in dependency]
    if not known:
        return (
            f"{constraints}: the service for advisories knows none of the {len(dependencies)} "
            "versions, so nothing is said of them; try again where it can be reached"
        )
    lines = [
        f"  {found['name']} {found['version']}  {weakness['id']} "
        f"{' '.join(weakness['aliases'])}; mended in {', '.join(weakness['fix_versions']) or '–'}"
        for found in known
        for weakness in found["vulns"]
    ]
    skipped = len(dependencies) - len(known)
    asked = f"{len(known)} versions were looked up" + (f", {skipped} not known" if skipped else "")
    return "\n".join([f"{constraints}: {asked}, {len(lines)} weaknesses", *lines])


if __name__ == "__main__":
    for path in sys.argv[1:]:
        print(audit(path), flush=True)
