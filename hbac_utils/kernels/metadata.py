"""Validate ``kernel-metadata.json``, the description of a kernel.

The client ignores unknown keys, turns the internet on if the file does not say otherwise, and only
prints a note if title and slug differ. Here these are errors, found before anything is sent.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator
from slugify import slugify  # the client's own rule for slugs

from hbac_utils.data.layout import SLUG
from hbac_utils.utils.config_io import StrictModel, parse_json, validate
from hbac_utils.utils.errors import InputError

USERNAME = "USERNAME"  # placeholder in the repository's files for the user who pushes

LIBRARY = "hbac-utils"  # data set with the library's wheel; made by `make wheel-dataset`

# with a GPU: https://github.com/Kaggle/kaggle-cli/blob/main/docs/kernels.md, September 2026; in
# place of another, such as the retired NvidiaTeslaP100, Kaggle silently takes one of these
MACHINES = (
    "NvidiaTeslaT4", "NvidiaTeslaT4Highmem", "NvidiaTeslaA100", "NvidiaL4", "NvidiaL4X1",
    "NvidiaH100", "NvidiaRtxPro6000",
)  # fmt: skip

KernelId = Annotated[str, Field(pattern=r"^[\w-]+/[\w-]{5,50}$")]  # owner/slug
Dataset = Annotated[str, Field(pattern=r"^[\w-]+/[\w-]+(/\d+)?$")]  # owner/slug/version
Competition = Annotated[str, Field(pattern=r"^[\w-]+$")]
# owner/model/framework/variation/version
Model = Annotated[str, Field(pattern=r"^[\w-]+/[\w.-]+/[\w-]+/[\w.-]+/\d+$")]


class KernelMetadata(StrictModel):
    """Description of a kernel; unknown keys and other types are errors.

    ``is_private``, ``enable_gpu`` and ``enable_internet`` have no default: the client's differ
    from its documentation.
    """

    id: KernelId
    title: Annotated[str, Field(min_length=5, max_length=50)]
    code_file: Annotated[str, Field(pattern=r"\.ipynb$")]
    language: Literal["python"]
    kernel_type: Literal["notebook"]
    is_private: StrictBool
    enable_gpu: StrictBool
    enable_internet: StrictBool
    enable_tpu: StrictBool = False
    machine_shape: str = ""
    competition_sources: tuple[Competition, ...] = ()
    dataset_sources: tuple[Dataset, ...] = ()
    kernel_sources: tuple[KernelId, ...] = ()
    model_sources: tuple[Model, ...] = ()
    keywords: tuple[str, ...] = ()
    docker_image: str | None = None
    docker_image_pinning_type: Literal["original", "latest"] | None = None

    @model_validator(mode="after")
    def _check(self):
        slug, title_slug = self.id.split("/")[1], slugify(self.title)
        machine = self.machine_shape
        problems = {
            f"id: the slug {slug} is not the title's, which is {title_slug}; Kaggle would make a "
            "second kernel: change one of the two": slug != title_slug,
            "enable_tpu: the notebooks use GPUs; set it to false": self.enable_tpu,
            f"machine_shape: {machine} is no machine with a GPU, or retired; Kaggle has "
            f"{', '.join(MACHINES)}": machine and machine not in MACHINES,
            f"machine_shape: {machine} has a GPU; set enable_gpu to true, or leave it out": (
                machine and not self.enable_gpu
            ),
            f"competition_sources: attach {SLUG}, the notebook reads its data": (
                SLUG not in self.competition_sources
            ),
            "enable_internet: a notebook with internet cannot be submitted; set it to false": (
                self.is_submitted and self.enable_internet
            ),
            "kernel_sources: attach the training kernel, whose output holds the weights (or a "
            "dataset in dataset_sources)": (
                self.is_submitted
                and not self.kernel_sources
                and not set(self.dataset_sources) - {self.library}
            ),
        }
        for problem, is_found in problems.items():
            if is_found:
                raise ValueError(problem)
        return self

    @property
    def is_submitted(self) -> bool:
        """Whether this is the notebook that is submitted."""
        return Path(self.code_file).stem.startswith("inference")

    @property
    def session_hours(self) -> int:
        """Hours after which Kaggle ends a session, without output."""
        return 9 if self.is_submitted else 12

    @property
    def library(self) -> str:
        """The attached data set that holds the library; empty: it is embedded."""
        return next((name for name in self.dataset_sources if name.split("/")[1] == LIBRARY), "")

    @property
    def slugs(self) -> set[str]:
        """Names of the attached sources, of which one is in each path below ``/kaggle/input``."""
        owned = self.dataset_sources + self.kernel_sources + self.model_sources
        return {name.split("/")[1] for name in owned} | set(self.competition_sources)

    def for_user(self, username: str) -> "KernelMetadata":
        """Replace ``USERNAME`` by a user's name; an `InputError` if the kernel is not theirs."""
        text = self.model_dump_json().replace(f'"{USERNAME}/', f'"{username}/')
        metadata = validate(KernelMetadata, parse_json(text, "metadata"), "metadata")
        owner, slug = metadata.id.split("/")
        if owner.lower() != username.lower():
            raise InputError(
                f"id: the kernel belongs to {owner}, and the credentials are {username}'s; write "
                f"{USERNAME}/{slug}, or use {owner}'s credentials"
            )
        return metadata


def load_metadata(path: Path, title: str = "") -> KernelMetadata:
    """Read and validate a kernel's metadata; another title makes it another kernel.

    Every mistake is an InputError.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such kernel metadata")
    content = parse_json(path.read_bytes(), path)
    if title and isinstance(content, dict):
        content |= {"title": title, "id": f"{USERNAME}/{slugify(title)}"}
    return validate(KernelMetadata, content, path)
