"""Validate ``kernel-metadata.json``, the description of a kernel.

The client ignores unknown keys, turns the internet on if the file does not say otherwise, and only
prints a note if title and slug differ. Here these are errors, found before anything is sent.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from slugify import slugify  # the client's own rule for slugs

from hbac_utils.data.layout import SLUG
from hbac_utils.utils.config_io import parse_json, validate
from hbac_utils.utils.errors import InputError

USERNAME = "USERNAME"
"""Placeholder in the repository's files for the user who pushes."""

RETIRED = {"nvidiateslap100": "NvidiaTeslaT4", "tpuv38": "TpuV5E8", "tpu1vmv38": "TpuV5E8"}
"""Retired machine shapes, for which Kaggle silently takes another, and their successors."""

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
DOTTED = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


def _matching(pattern: str, form: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not of the form {form}")
        return value

    return AfterValidator(check)


def _check_machine(shape: str) -> str:
    if shape.lower() in RETIRED:
        raise ValueError(f"{shape} is retired; write {RETIRED[shape.lower()]}")
    return shape


KernelId = Annotated[str, _matching(rf"{NAME}/{NAME}", "owner/slug, without a version")]
Dataset = Annotated[str, _matching(rf"{NAME}/{NAME}(/\d+)?", "owner/slug or owner/slug/version")]
Competition = Annotated[str, _matching(NAME, "slug, without a slash")]
Model = Annotated[
    str,
    _matching(rf"{NAME}/{DOTTED}/{NAME}/{DOTTED}/\d+", "owner/model/framework/variation/version"),
]


class KernelMetadata(BaseModel):
    """Description of a kernel; unknown keys and other types are errors.

    ``is_private``, ``enable_gpu`` and ``enable_internet`` have no default: the client's differ
    from its documentation.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: KernelId
    title: Annotated[str, Field(min_length=5, max_length=50)]
    code_file: Annotated[str, _matching(r".+\.ipynb", "a notebook's path, ending in .ipynb")]
    language: Literal["python"]
    kernel_type: Literal["notebook"]
    is_private: bool
    enable_gpu: bool
    enable_internet: bool
    enable_tpu: bool = False
    machine_shape: Annotated[str, AfterValidator(_check_machine)] | None = None
    competition_sources: list[Competition] = []
    dataset_sources: list[Dataset] = []
    kernel_sources: list[KernelId] = []
    model_sources: list[Model] = []
    keywords: list[str] = []
    docker_image: str | None = None
    docker_image_pinning_type: Literal["original", "latest"] | None = None

    @property
    def slug(self) -> str:
        """The id without its owner."""
        return self.id.split("/")[1]

    @model_validator(mode="after")
    def _check(self):
        if not 5 <= len(self.slug) <= 50:
            raise ValueError(f"id: the slug {self.slug} must have 5 to 50 characters")
        if self.slug != slugify(self.title):
            raise ValueError(
                f"id: the slug {self.slug} is not the title's, which is {slugify(self.title)}; "
                "Kaggle would make a second kernel: change one of the two"
            )
        if SLUG not in self.competition_sources:
            raise ValueError(f"competition_sources: attach {SLUG}, the notebook reads its data")
        is_submitted = Path(self.code_file).stem == "inference"
        if is_submitted and self.enable_internet:
            raise ValueError(
                "enable_internet: a notebook with internet cannot be submitted; set it to false"
            )
        if is_submitted and not self.kernel_sources + self.dataset_sources:
            raise ValueError(
                "kernel_sources: attach the training kernel, whose output holds the weights "
                "(or a dataset in dataset_sources)"
            )
        return self

    def for_user(self, username: str) -> "KernelMetadata":
        """Replace ``USERNAME`` by a user's name; an `InputError` if the kernel is not theirs."""

        def replaced(source: str) -> str:
            owner, rest = source.split("/", 1)
            return f"{username if owner == USERNAME else owner}/{rest}"

        content = self.model_dump()
        for key in ("dataset_sources", "kernel_sources", "model_sources"):
            content[key] = [replaced(source) for source in content[key]]
        content["id"] = replaced(self.id)
        owner = content["id"].split("/")[0]
        if owner.lower() != username.lower():
            raise InputError(
                f"id: the kernel belongs to {owner}, and the credentials are {username}'s; write "
                f"{USERNAME}/{self.slug}, or use {owner}'s credentials"
            )
        return KernelMetadata.model_validate(content)

    def with_title(self, title: str) -> "KernelMetadata":
        """Copy with another title and its slug: another kernel."""
        owner = self.id.split("/")[0]
        content = self.model_dump() | {"title": title, "id": f"{owner}/{slugify(title)}"}
        return validate(KernelMetadata, content, f"kernel {title!r}")

    def with_models(self, handles: list[str]) -> "KernelMetadata":
        """Copy with further models attached."""
        sources = list(dict.fromkeys([*self.model_sources, *handles]))
        return self.model_copy(update={"model_sources": sources})

    def write(self, path: Path, code_file: str) -> None:
        """Write the file that the client reads; ``code_file`` is relative to it."""
        content = self.model_dump(exclude_none=True) | {"code_file": code_file}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_metadata(path: Path) -> KernelMetadata:
    """Read and validate a kernel's metadata.

    Raises
    ------
    InputError
        If the file is missing or not JSON, or keys are unknown, missing or wrong.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such kernel metadata")
    return validate(KernelMetadata, parse_json(path.read_bytes(), path), path)
