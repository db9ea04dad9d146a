"""The RemoteMonitor callback, which sends the logs of epochs to a server.

`kgraph.callbacks` offers it to users. It needs the library `requests`, which is looked for when it first sends.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np

from kgraph.callbacks import Callback, Logs

__all__ = ["RemoteMonitor"]


class RemoteMonitor(Callback):
    """Sends the epoch and its logs to `root + path` by HTTP POST. Warns where the server cannot be reached.

    # Arguments
        root: address of the server.
        path: path at the server.
        field: name of the form's field that holds the logs as JSON; not used with `send_as_json`.
        headers: a dictionary of HTTP headers.
        send_as_json: whether to send the logs as the request's JSON body in place of a form.
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
    ) -> None:
        super().__init__()
        self.root = root
        self.path = path
        self.field = field
        self.headers = headers
        self.send_as_json = send_as_json

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        try:
            import requests
        except ImportError:
            raise ImportError(
                "RemoteMonitor requires the `requests` library. Install it with `pip install requests`."
            ) from None
        sent: dict[str, Any] = {"epoch": epoch}
        for name, value in (logs or {}).items():
            sent[name] = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
        content: dict[str, Any] = {"json": sent} if self.send_as_json else {"data": {self.field: json.dumps(sent)}}
        try:
            requests.post(self.root + self.path, headers=self.headers, **content)
        except requests.exceptions.RequestException:
            warnings.warn(f"Warning: could not reach RemoteMonitor root server at {self.root}", stacklevel=2)
