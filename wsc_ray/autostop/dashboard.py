"""The jobs of this machine's Ray cluster, from the REST API of its dashboard.

Ray is not imported, so that the watch stays small and works even if Ray does not.
https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsc_ray.autostop.verdict import SeenJob

ADDRESS = "http://127.0.0.1:8265"
TOKEN = "~/.ray/auth_token"
_SECONDS = 10.0  # for an answer
# Errors of a dashboard that is away, or ends in the middle of its answer.
_AWAY = (OSError, http.client.HTTPException)


def jobs(address: str = ADDRESS) -> list[SeenJob] | None:
    """Return the jobs of all users; None if the dashboard does not answer."""
    try:
        answer = json.loads(_ask(f"{address}/api/jobs/", "GET"))
        return [_job(details) for details in answer]
    except (*_AWAY, ValueError, TypeError, LookupError, AttributeError):
        return None


def stop(job_id: str, address: str = ADDRESS) -> None:
    """Ask the dashboard to stop a job. If it does not answer, nothing is done: then no job runs."""
    try:
        _ask(f"{address}/api/jobs/{urllib.parse.quote(job_id)}/stop", "POST")
    except _AWAY:
        return


def _ask(url: str, method: str) -> bytes:
    request = urllib.request.Request(url, method=method)
    token = _token()
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        return bytes(answer.read())


def _token() -> str | None:
    try:
        return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN).expanduser().read_text().strip()
    except (OSError, ValueError):
        return None


def _job(details: Mapping[str, Any]) -> SeenJob:
    metadata = details.get("metadata") or {}
    return SeenJob(
        id=details.get("submission_id"),
        status=str(details["status"]),
        started=(details.get("start_time") or 0) / 1000,
        ended=details["end_time"] / 1000 if details.get("end_time") else None,
        exit_status=details.get("driver_exit_code"),
        command=metadata.get("wsc_ray", ""),
        out=metadata.get("out", ""),
    )
