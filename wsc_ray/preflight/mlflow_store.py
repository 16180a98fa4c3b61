"""Checking that the MLflow store can be used, without creating one that does not exist yet."""

from __future__ import annotations

import os

from wsc_ray.errors import TrackingError
from wsc_ray.tracking_store import connect
from wsc_ray.uris import shown

EXPERIMENT = "wsc-ray"


def look_at_store(uri: str, experiment: str = EXPERIMENT) -> tuple[str, str]:
    """Return the store's URI without its password, and why the store cannot be used ("" if it can)."""
    path = uri.removeprefix("sqlite:///")
    if uri.startswith("sqlite:///") and "\0" not in path and not os.path.exists(path):
        folder = os.path.dirname(os.path.abspath(path))
        problem = "" if os.access(folder, os.W_OK) else f"{folder} is not writable; set MLFLOW_TRACKING_URI"
        return f"{uri} (will be made)", problem
    try:
        connect(uri, experiment)
    except TrackingError as error:
        return shown(uri), str(error)
    return shown(uri), ""
