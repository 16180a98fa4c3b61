"""Run folders, here and on an object store."""

import pytest

from wsc_ray.errors import RunFolderError
from wsc_ray.run_folder import RunFolder


def test_what_is_no_run_folder(tmp_path):
    with pytest.raises(RunFolderError, match=r"no readable identity\.json"):
        RunFolder(tmp_path).read_info()
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunFolderError, match="another format"):
        RunFolder(tmp_path).read_info()
