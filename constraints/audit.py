"""List known weaknesses of the pinned dependencies, with pip-audit.

It reports and never fails: ``docs/dependencies.md`` says which weaknesses concern the kit.
"""

import json
import subprocess
import sys


def audit(constraints: str) -> str:
    """Look up the versions of a file of constraints; returns a summary, and a line per weakness."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", constraints, "--no-deps"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return describe(constraints, json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"{constraints}: the advisory service cannot be reached; pip-audit: {reason}"


def describe(constraints: str, dependencies: list[dict]) -> str:
    """Summarise pip-audit's answer; skipped versions are counted, not passed."""
    known = [dependency for dependency in dependencies if "vulns" in dependency]
    if not known:
        return (
            f"{constraints}: the advisory service knows none of the {len(dependencies)} versions; "
            "try again where it can be reached"
        )
    lines = [
        f"  {found['name']} {found['version']}  {weakness['id']} "
        f"{' '.join(weakness['aliases'])}; fixed in {', '.join(weakness['fix_versions']) or '–'}"
        for found in known
        for weakness in found["vulns"]
    ]
    skipped = len(dependencies) - len(known)
    looked_up = f"{len(known)} versions were looked up"
    looked_up += f", {skipped} not known" if skipped else ""
    return "\n".join([f"{constraints}: {looked_up}, {len(lines)} weaknesses", *lines])


if __name__ == "__main__":
    for path in sys.argv[1:]:
        print(audit(path), flush=True)
