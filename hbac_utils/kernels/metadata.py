"""``kernel-metadata.json``: what Kaggle is told about a kernel.

The client ignores a key that it does not know, turns the internet on where the file is silent,
and only prints that title and slug differ. Here all of that is refused, before anything is sent.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from slugify import slugify  # the client's own rule for titles; it brings the package

from hbac_utils.data.layout import SLUG
from hbac_utils.utils.config_io import parse_json, validate
from hbac_utils.utils.errors import InputError

USERNAME = "USERNAME"
"""Stands in the files of the repository for whoever pushes."""

RETIRED = {"nvidiateslap100": "NvidiaTeslaT4", "tpuv38": "TpuV5E8", "tpu1vmv38": "TpuV5E8"}
"""Machines that Kaggle no longer has (it would take another in silence), and today's."""

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
DOTTED = r"[A-Za-z0-9][A-Za-z0-9_.-]*"  # as variations of models may be


def _shaped(pattern: str, form: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not of the form {form}")
        return value

    return AfterValidator(check)


def _in_service(shape: str) -> str:
    if shape.lower() in RETIRED:
        raise ValueError(f"{shape} is retired; write {RETIRED[shape.lower()]}")
    return shape


KernelId = Annotated[str, _shaped(rf"{NAME}/{NAME}", "owner/slug, without a version")]
Dataset = Annotated[str, _shaped(rf"{NAME}/{NAME}(/\d+)?", "owner/slug or owner/slug/version")]
KernelSource = Annotated[str, _shaped(rf"{NAME}/{NAME}", "owner/slug")]
CompetitionSlug = Annotated[str, _shaped(NAME, "slug, without a slash")]
Model = Annotated[
    str,
    _shaped(rf"{NAME}/{DOTTED}/{NAME}/{DOTTED}/\d+", "owner/model/framework/variation/version"),
]


class KernelMetadata(BaseModel):
    """A kernel's description: every key known, every type exact, nothing left to defaults.

    ``is_private``, ``enable_gpu`` and ``enable_internet`` must be said: the client's defaults
    are not what its documentation says.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: KernelId
    title: Annotated[str, Field(min_length=5, max_length=50)]
    code_file: Annotated[str, _shaped(r".+\.ipynb", "a notebook's path, ending in .ipynb")]
    language: Literal["python"]
    kernel_type: Literal["notebook"]
    is_private: bool
    enable_gpu: bool
    enable_internet: bool
    enable_tpu: bool = False
    machine_shape: Annotated[str, AfterValidator(_in_service)] | None = None
    competition_sources: list[CompetitionSlug] = []
    dataset_sources: list[Dataset] = []
    kernel_sources: list[KernelSource] = []
    model_sources: list[Model] = []
    keywords: list[str] = []
    docker_image: str | None = None
    docker_image_pinning_type: Literal["original", "latest"] | None = None

    @property
    def slug(self) -> str:
        """The kernel's name within its owner's."""
        return self.id.split("/")[1]

    @model_validator(mode="after")
    def _slug_is_the_titles(self):
        if not 5 <= len(self.slug) <= 50:
            raise ValueError(f"id: the slug {self.slug} must have 5 to 50 characters")
        if self.slug != slugify(self.title):
            raise ValueError(
                f"id: the slug {self.slug} is not the title's, which is {slugify(self.title)}; "
                "Kaggle would make a second kernel: change one of the two"
            )
        return self

    @model_validator(mode="after")
    def _the_data_is_attached(self):
        if SLUG not in self.competition_sources:
            raise ValueError(f"competition_sources: attach {SLUG}, the notebook reads its data")
        return self

    @model_validator(mode="after")
    def _can_be_submitted(self):
        if Path(self.code_file).stem != "inference":
            return self
        if self.enable_internet:
            raise ValueError(
                "enable_internet: a notebook with internet cannot be submitted; set it to false"
            )
        if not self.kernel_sources + self.dataset_sources:
            raise ValueError(
                "kernel_sources: attach the training kernel, whose output holds the weights "
                "(or a dataset in dataset_sources)"
            )
        return self

    def resolved(self, username: str) -> "KernelMetadata":
        """Put a user's name in the place of ``USERNAME``.

        Raises
        ------
        InputError
            If the kernel is somebody else's.
        """
        content = self.model_dump()
        for key in ("dataset_sources", "kernel_sources", "model_sources"):
            content[key] = [_owned(source, username) for source in content[key]]
        content["id"] = _owned(self.id, username)
        owner = content["id"].split("/")[0]
        if owner.lower() != username.lower():
            raise InputError(
                f"id: the kernel belongs to {owner}, and the credentials are {username}'s; write "
                f"{USERNAME}/{self.slug}, or use {owner}'s credentials"
            )
        return KernelMetadata.model_validate(content)

    def retitled(self, title: str) -> "KernelMetadata":
        """Make another kernel of it, with a title and the slug that follows from it.

        Raises
        ------
        InputError
            If Kaggle would not take the title.
        """
        owner = self.id.split("/")[0]
        content = self.model_dump() | {"title": title, "id": f"{owner}/{slugify(title)}"}
        return validate(KernelMetadata, content, f"kernel {title!r}")

    def with_models(self, handles: list[str]) -> "KernelMetadata":
        """Attach models beside those that the file names."""
        sources = list(dict.fromkeys([*self.model_sources, *handles]))
        return self.model_copy(update={"model_sources": sources})

    def write(self, path: Path, code_file: str) -> None:
        """Write the file that the client reads, beside the notebook ``code_file``."""
        content = self.model_dump(exclude_none=True) | {"code_file": code_file}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _owned(source: str, username: str) -> str:
    owner, *rest = source.split("/")
    return "/".join([username if owner == USERNAME else owner, *rest])


def load_metadata(path: Path) -> KernelMetadata:
    """Read and validate a kernel's metadata.

    Raises
    ------
    InputError
        If there is no such file, it is not JSON, or a key is unknown, missing or wrong: each is
        named.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such kernel metadata")
    return validate(KernelMetadata, parse_json(path.read_bytes(), path), path)
