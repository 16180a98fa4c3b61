"""Checks that this machine can bring a cluster up, before anything is started or paid for."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from wsc_ray.errors import ClusterError, PlaceError
from wsc_ray.places import local_path
from wsc_ray.provision.cluster_file import ClusterFile

TOKEN = "~/.ray/auth_token"
_TOOLS = {
    "ssh": "install an SSH client",
    "rsync": "install rsync",
    "kubectl": "install it, and connect it to your Kubernetes cluster",
}


def check_requirements(file: ClusterFile) -> None:
    """Check that this machine has the programs, keys, files to copy and cloud credentials that a cluster file needs.

    Raises:
        ClusterError: something is missing; the message names everything that is.
    """
    missing = list(_missing(file))
    if missing:
        raise ClusterError(f"--cluster {file.path}: " + "; ".join(missing))


def token_of(file: ClusterFile) -> str | None:
    """Return this user's token if the file copies it to the cluster, which then asks for it; None otherwise."""
    if TOKEN not in (file.config.get("file_mounts") or {}).values():
        return None
    return Path(TOKEN).expanduser().read_text().strip()


def _missing(file: ClusterFile) -> Iterator[str]:
    for tool in ("ssh", "rsync") if file.kind == "launcher" else ("kubectl",):
        if shutil.which(tool) is None:
            yield f"{tool} is not on this machine; {_TOOLS[tool]}"
    if file.kind == "kuberay":
        return
    key = (file.config.get("auth") or {}).get("ssh_private_key")
    if key and not _place(key).is_file():
        yield f"auth.ssh_private_key: there is no {key}; name the key that logs in to the machines"
    for source in (file.config.get("file_mounts") or {}).values():
        if source == TOKEN and not _place(TOKEN).is_file():
            yield (
                f"{TOKEN} is missing; make one: ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token"
            )
        elif source != TOKEN and not _place(source).exists():
            yield f"file_mounts: there is no {source} here; type the command in the project's folder"
    yield from _CREDENTIALS.get(file.provider, lambda: [])()


def _place(text: object) -> Path:
    """Return the path of a file that the cluster file names; of what no path can be, such as `~nosuchuser/key`, one where nothing is."""
    try:
        return local_path(str(text))
    except PlaceError:
        return Path(os.devnull) / "nothing"


def _aws() -> Iterator[str]:
    if importlib.util.find_spec("boto3") is None:
        yield "Ray starts machines on AWS with boto3; pip install boto3"
        return
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        credentials = boto3.Session().get_credentials()
    except BotoCoreError as error:
        yield f"AWS credentials cannot be read: {error}"
        return
    if credentials is None:
        yield "no AWS credentials; `aws configure`, or set AWS_PROFILE"


def _gcp() -> Iterator[str]:
    if importlib.util.find_spec("googleapiclient") is None:
        yield "Ray starts machines on Google Cloud with google-api-python-client; pip install google-api-python-client"
        return
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        google.auth.default()
    except DefaultCredentialsError:
        yield "no Google Cloud credentials; `gcloud auth application-default login`"


_CREDENTIALS = {"aws": _aws, "gcp": _gcp}
