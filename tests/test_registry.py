"""Registries: names, plug-ins by file, module and entry point, and what is wrong with them."""

import importlib.metadata
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from wsc_ray import plugins
from wsc_ray.errors import PluginError
from wsc_ray.registry import Registry

REGISTERS = "from tests.test_registry import CURRENT\nCURRENT[0].register('{name}')(object())\n"
CURRENT: list[Registry] = []  # the registry that the plug-ins of a test register in


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """One over a package of two small files; plug-ins are loaded anew, and forgotten afterwards."""
    package = tmp_path / f"things_{tmp_path.name}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in ("one", "two"):
        (package / f"{name}.py").write_text(REGISTERS.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("wsc_ray.registry.load_plugins", plugins.load_plugins.__wrapped__)
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    before = set(sys.modules)
    CURRENT[:] = [Registry("thing", package.name)]
    yield CURRENT[0]
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_packages_files_are_imported_when_a_registry_is_first_read(registry):
    assert f"{registry.package}.one" not in sys.modules
    assert registry.names() == ["one", "two"]
    assert "one" in registry
    assert "three" not in registry
    assert registry.missing("ona") == "there is no thing ona (did you mean one?); there are one, two"
    assert registry.missing("xyz") == "there is no thing xyz; there are one, two"


def test_threads_that_read_it_first_at_the_same_time_all_find_everything(registry, tmp_path):
    slow = "import time\ntime.sleep(0.05)\n"
    (tmp_path / registry.package / "zzz.py").write_text(slow + REGISTERS.format(name="zzz"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: "zzz" in registry, range(8))) == [True] * 8


def test_plugins_by_file_module_and_entry_point(registry, tmp_path, monkeypatch):
    for name in ("by_file", "by_module", "by_entry_point"):
        (tmp_path / f"{name}.py").write_text(REGISTERS.format(name=name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, os.pathsep.join(["by_file.py", "by_module"]))
    point = importlib.metadata.EntryPoint("mine", "by_entry_point", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    assert registry.names() == ["by_entry_point", "by_file", "by_module", "one", "two"]
    # Processes that are started from here may work in another folder.
    assert os.environ[plugins.VARIABLE] == os.pathsep.join([str(tmp_path / "by_file.py"), "by_module"])


def test_a_broken_plugin_is_one_sentence_each_time(registry, monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "nothing_of_that_name")
    for _ in range(2):
        with pytest.raises(PluginError, match=r"^WSC_RAY_PLUGINS names nothing_of_that_name, which cannot be imported"):
            registry.names()
    monkeypatch.delenv(plugins.VARIABLE)
    point = importlib.metadata.EntryPoint("mine", "nothing_of_that_name", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    with pytest.raises(PluginError, match=r"^the plug-in mine of nothing_of_that_name cannot be imported"):
        registry.names()


def test_a_name_is_given_once(registry, tmp_path, monkeypatch):
    (tmp_path / "again.py").write_text(REGISTERS.format(name="one"))
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "again.py"))
    with pytest.raises(PluginError, match="two things are registered as thing 'one'"):
        registry.names()


def test_a_file_that_is_called_like_another_module_is_not_passed_over(registry, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text(REGISTERS.format(name="json"))
    monkeypatch.setenv(plugins.VARIABLE, str(tmp_path / "json.py"))
    with pytest.raises(PluginError, match="a module json is imported already; give the file another name"):
        registry.names()
