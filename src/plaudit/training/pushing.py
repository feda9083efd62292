"""Pushing to the hub: transformers' way, with what it leaves out or keeps quiet about.

A push in the middle of training takes ``plaudit.json`` along; one that failed in the background is said; and the
hub's refusal becomes an error with what to do.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from huggingface_hub import CommitInfo
from huggingface_hub.errors import HfHubHTTPError
from transformers import Trainer
from transformers.trainer_utils import HubStrategy

from plaudit.errors import PlauditError
from plaudit.model.record import RECORD_FILE

__all__ = ["PushingTrainer"]

log = logging.getLogger(__name__)


class PushingTrainer(Trainer):
    """Trainer, whose pushes are whole and whose failures to push are said."""

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository before training starts.

        Raises:
            PlauditError: When the hub refuses.
        """
        with self._refusals("nothing was trained"):
            super().init_hf_repo(token, private)

    def push_to_hub(self, *args: Any, **kwargs: Any) -> CommitInfo:
        """Save the model and push its folder.

        Raises:
            PlauditError: When the hub refuses; the model is saved before.
        """
        with self._refusals(f"the model is in {self.args.output_dir}"):
            return super().push_to_hub(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        self._say_failures()
        record = Path(checkpoint_folder) / RECORD_FILE
        if self.args.hub_strategy != HubStrategy.END and self.is_world_process_zero() and record.is_file():
            shutil.copy(record, Path(cast(str, self.args.output_dir)) / RECORD_FILE)
        super()._push_from_checkpoint(checkpoint_folder)

    def _finish_current_push(self) -> None:
        super()._finish_current_push()
        self._say_failures()

    def _say_failures(self) -> None:
        """Warn of pushes in the background that failed; Trainer waits for them and looks no further."""
        push = getattr(self, "push_in_progress", None)
        for job in [] if push is None else [job for job in push.jobs if job.done()]:
            if (error := job.exception()) is not None:
                log.warning("a push to %s failed: %s", self.hub_model_id, _reason(error))
        if push is not None and push.is_done():
            self.push_in_progress = None

    @contextmanager
    def _refusals(self, state: str) -> Iterator[None]:
        try:
            yield
        except HfHubHTTPError as error:
            name = self.args.hub_model_id or Path(cast(str, self.args.output_dir)).absolute().name
            raise PlauditError(
                f"the hub does not let us push to {name} ({_reason(error)}); {state}",
                where="--push-to-hub",
                fix="Log in with `hf auth login`, or give a token that may write there as HF_TOKEN or --hub-token.",
            ) from error


def _reason(error: BaseException) -> str:
    """The status and the hub's own words."""
    said = getattr(error, "server_message", None) or str(error).strip().splitlines()[0]
    response = getattr(error, "response", None)
    return said if response is None else f"{response.status_code}: {said}"
