"""`cluster/local.yaml` for the machines of a test, and the project's folder on its laptop."""

from __future__ import annotations

import secrets
import shutil
import sys
from typing import Any

from tests.cluster.files import ROOT, filled
from tests.cluster.machines import Network


def local_config(net: Network) -> dict[str, Any]:
    """What the file says for these machines, which have this Python already; the package is copied beside it."""
    head, *workers = net.machines
    marks = {
        "CHANGE_ME_HEAD": head,
        "CHANGE_ME_SECOND": workers[0],
        "CHANGE_ME_THIRD": "unused",
        "CHANGE_ME_USER": "root",
    }
    (config,) = filled("local.yaml", **marks, CHANGE_ME_FOLDER=str(net.shared).removeprefix("/"))
    for source in config["file_mounts"].values():
        if not source.startswith("~"):
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, net.project / source)
    config["provider"]["worker_ips"] = workers
    config["auth"]["ssh_private_key"] = str(net.key)
    config["setup_commands"] = [config["setup_commands"][0], f"ln -sfn {sys.prefix} ~/wsc-ray/venv"]
    (net.project / "cluster").mkdir()
    return config


def write_token(net: Network) -> None:
    """A token for this laptop's clusters, as `ray get-auth-token` makes one."""
    (net.folder / "laptop" / ".ray" / "auth_token").write_text(secrets.token_hex(32))
