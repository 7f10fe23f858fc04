"""The kaggle client, signed in: the few things that are asked of Kaggle.

It is used unchanged and in this process, because its answers say more as objects than its
command line prints: a push that failed is a good answer with an ``error`` in it, which the
command line reports with exit code 0. Versions are asked for by name through the client's own
SDK, since kaggle 2.2.4 drops them.
"""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from hbac_utils.data.competition import SLUG
from hbac_utils.errors import InputError, one_line
from hbac_utils.kernels.connection import ACCESS, RULES, Connection

PERHAPS = "it may have got through: look at https://www.kaggle.com before you call again"
SHOWN = 10_000_000  # bytes of a file from which on its download shows how far it is


class Kaggle:
    """The client, signed in with the user's credentials.

    Parameters
    ----------
    patience : float
        Seconds to wait for an answer, or for the next byte of a file. The client itself would
        wait for ever.

    Raises
    ------
    InputError
        If there are no credentials.
    KaggleError
        If they are not accepted, or could not be checked.
    """

    def __init__(self, patience: float = 60.0):
        self._api = None
        self._connection = Connection(patience, lambda: self.secrets)
        # the import signs in already; where that fails it is silent, so it is tried again
        self._api = self._connection.ask("to sign in", _imported, repeat=False)
        if not self._signed_in:
            self._connection.ask("to sign in", self._authenticate)
        if not self._signed_in:
            raise InputError(
                f"no valid Kaggle credentials: make a token at {ACCESS} and put it into "
                "~/.kaggle/access_token (or kaggle.json into ~/.kaggle), or set KAGGLE_API_TOKEN"
            )

    @property
    def username(self) -> str:
        """Whose credentials they are."""
        return self._api.get_config_value(self._api.CONFIG_NAME_USER)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be written anywhere."""
        if self._api is None:
            return ()
        names = (self._api.CONFIG_NAME_KEY, self._api.CONFIG_NAME_TOKEN, "api_token")
        return tuple(filter(None, map(self._api.get_config_value, names)))

    @property
    def _signed_in(self) -> bool:
        return bool(self._api.get_config_value(self._api.CONFIG_NAME_AUTH_METHOD))

    def _authenticate(self) -> None:
        with contextlib.suppress(SystemExit):  # its way to say that there are no credentials
            self._api.authenticate()

    def push(self, folder: Path) -> Any:
        """Push a staged kernel; the answer may hold an ``error`` or ``invalid_*`` sources."""
        return self._connection.ask(
            "to save the notebook",
            lambda: self._api.kernels_push(str(folder)),
            repeat=False,  # each version uses GPU hours
            lost=PERHAPS,
            remedies={
                409: "the title is in use: change title and id in the kernel's metadata",
                413: "the notebook is too large",
            },
        )

    def status(self, kernel: str, version: int) -> tuple[str, str]:
        """Ask for a version's state.

        Returns
        -------
        state : str
            ``QUEUED``, ``RUNNING``, ``COMPLETE``, ``ERROR`` and a few more.
        message : str
            Kaggle's, of a failure.
        """
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

        request = _of_version(ApiGetKernelSessionStatusRequest(), kernel, version)
        answer = self._connection.ask(
            f"for the state of {kernel} version {version}",
            lambda: self._service("kernels").get_kernel_session_status(request),
        )
        return answer.status.name, answer.failure_message

    def outputs(self, kernel: str, version: int) -> tuple[dict[str, str], str]:
        """List what a version wrote.

        Returns
        -------
        files : dict of str to str
            From a path within the output to where it can be fetched for some minutes.
        log : str
            As Kaggle keeps it, JSON.
        """
        from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

        files, token, log = {}, "", ""
        while True:
            request = _of_version(ApiListKernelSessionOutputRequest(), kernel, version)
            request.page_size, request.page_token = 100, token
            answer = self._connection.ask(
                f"for the output of {kernel} version {version}",
                lambda request=request: self._service("kernels").list_kernel_session_output(
                    request
                ),
            )
            files |= {file.file_name: file.url for file in answer.files or []}
            log = log or answer.log or ""
            token = answer.next_page_token
            if not token:
                return files, log

    def submit(self, kernel: str, version: int, file: str, message: str) -> Any:
        """Submit a version's output file; the answer has a ``message`` and a ``ref``."""
        return self._connection.ask(
            f"to submit {kernel} version {version}",
            lambda: self._api.competition_submit_code(
                file, message, SLUG, kernel, version, quiet=True
            ),
            repeat=False,  # a second one would count against the day's five
            lost=PERHAPS,
            remedies={
                403: f"accept the competition's rules first: {RULES}",
                404: "competition, notebook or version does not exist, or submissions have closed",
            },
        )

    def submission(self, ref: int) -> Any:
        """Ask for a submission's ``status``, ``public_score``, ``error_description``."""
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest

        request = ApiGetSubmissionRequest()
        request.ref = ref
        return self._connection.ask(
            f"for submission {ref}", lambda: self._service("competition").get_submission(request)
        )

    def archive(self) -> requests.Response:
        """Ask for the competition's files, one zip; the answer's body is not read yet."""
        from kagglesdk.competitions.types.competition_api_service import (
            ApiDownloadDataFilesRequest,
        )

        request = ApiDownloadDataFilesRequest()
        request.competition_name = SLUG
        return self._connection.ask(
            "for the competition's files",
            lambda: self._service("competition").download_data_files(request),
            remedies={403: f"accept the competition's rules first: {RULES}"},
        )

    def open_file(self, url: str, name: str) -> requests.Response:
        """Ask for a file of an output; the answer's body is not read yet."""

        def call() -> requests.Response:
            response = requests.get(
                url,
                stream=True,
                timeout=self._connection.patience,
                headers={"Accept-Encoding": "identity"},  # so that its length is the file's
            )
            response.raise_for_status()
            return response

        return self._connection.ask(
            f"for {name}", call, remedies={403: "the address has expired: call again"}
        )

    def fetch(self, response: requests.Response, path: Path) -> None:
        """Write an answer's body to a file; what an earlier call wrote of it is kept.

        Raises
        ------
        KaggleError
            If no byte arrives for as long as the patience is, or the connection is lost again
            and again.
        """
        size = int(response.headers.get("Content-Length") or 0)
        with tqdm(
            total=size, desc=path.name, unit="B", unit_scale=True, disable=size < SHOWN
        ) as bar:

            def moving() -> int:
                bar.update((path.stat().st_size if path.exists() else 0) - bar.n)
                return bar.n

            self._connection.ask(
                f"for {path.name}",
                lambda: self._api.download_file(response, str(path), None, resume=True),
                repeat=False,  # the client repeats by itself
                lost="call again, it goes on where it stopped",
                moving=moving,
            )

    def _service(self, name: str) -> Any:
        client = self._api.build_kaggle_client()
        return {
            "kernels": client.kernels.kernels_api_client,
            "competition": client.competitions.competition_api_client,
        }[name]


def _imported() -> Any:
    for variable in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(variable, None)  # it would print every request, the credentials included
    try:
        # where it cannot sign in it explains at length how to
        with contextlib.redirect_stdout(io.StringIO()):
            import kaggle
    except (ImportError, OSError) as error:
        raise InputError(
            f"the kaggle client cannot be used ({one_line(error)}): pip install kaggle six, and "
            "let ~/.kaggle be writable"
        ) from None
    return kaggle.api


def _of_version(request: Any, kernel: str, version: int) -> Any:
    request.user_name, request.kernel_slug = kernel.split("/")
    request.version_label = f"v{version}"  # a bare number is answered with 404
    return request
