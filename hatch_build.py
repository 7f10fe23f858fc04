"""Build hooks: dependencies from the requirements files; resources inside the wheel."""

from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

RESOURCES = ("recipes", "sweeps", "notebooks", "kernel-metadata.json")


class Requirements(MetadataHookInterface):
    """Read the dependencies of the package from its requirements files."""

    def update(self, metadata: dict) -> None:
        """Set dependencies and the extra ``dev``."""
        metadata["dependencies"] = self._read("requirements.txt")
        metadata["optional-dependencies"] = {"dev": self._read("requirements-dev.txt")}

    def _read(self, name: str) -> list[str]:
        lines = (Path(self.root) / name).read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]


class Resources(BuildHookInterface):
    """Copy recipes, sweeps, notebooks and kernel metadata into the wheel."""

    def initialize(self, version: str, build_data: dict) -> None:
        """Add the files, except to an editable installation, which finds them in the checkout."""
        if version == "standard":
            for name in RESOURCES:
                target = f"hbac_utils/_resources/{name}"
                build_data["force_include"][str(Path(self.root) / name)] = target
