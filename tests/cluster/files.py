"""What the tests of `cluster/` share: its files with their CHANGE-ME-s replaced, and machines asked for as Ray's launcher
does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler import sdk

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"


def read(name: str) -> str:
    return (CLUSTER / name).read_text()


def filled(name: str, **values: str) -> Any:
    """The documents of a file whose CHANGE-ME-s somebody has replaced, `{"CHANGE-ME-X": value}`."""
    text = read(name)
    for mark, value in sorted(values.items(), key=lambda item: -len(item[0])):
        mark = mark.replace("_", "-")
        assert mark in text
        text = text.replace(mark, value)
    assert not re.findall(r"CHANGE-ME-\w|\w-CHANGE-ME", text)
    return list(yaml.safe_load_all(text))


def ask_for_all(config: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Bootstrap a launcher's file and ask for one machine of each of its types, as `ray up` and its autoscaler do.

    Returns:
        The bootstrapped file, and Ray's node provider.
    """
    config = sdk.bootstrap_config(config, no_config_cache=True)
    # Ray has no public way to ask for machines without waiting for them to answer over SSH, which a stand-in never does.
    from ray.autoscaler._private.providers import _get_node_provider

    provider = _get_node_provider(config["provider"], config["cluster_name"])
    for name, node_type in config["available_node_types"].items():
        head = name == config["head_node_type"]
        tags = {
            "ray-node-type": "head" if head else "worker",
            "ray-node-name": f"ray-{name}",
            "ray-user-node-type": name,
            "ray-launch-config": "test",
        }
        provider.create_node({**(config["head_node"] if head else {}), **node_type["node_config"]}, tags, 1)
    return config, provider


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where Ray leaves the key pairs that it makes, instead of the developer's ~/.ssh."""
    with pytest.MonkeyPatch.context() as environment:
        folder = tmp_path_factory.mktemp("home")
        environment.setenv("HOME", str(folder))
        environment.chdir(ROOT)
        yield folder
