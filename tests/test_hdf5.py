"""HDF5 files on a disk that becomes full: an error of the system, no file, and a process that ends well."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from wsc_ray import checksums
from wsc_ray.hdf5 import new_hdf5


def test_a_file_is_whole_and_has_its_checksum(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((50, 7))
    with new_hdf5(tmp_path / "a.h5") as file:
        file.create_dataset("x", data=values).attrs["name"] = "a"
    checksums.check(tmp_path / "a.h5")
    assert b"wsc_ray_sha256" in (tmp_path / "a.h5").read_bytes()[:512]
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["x"], values)


_FILL = """
import resource, sys, numpy as np
from pathlib import Path
from wsc_ray.hdf5 import new_hdf5
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with new_hdf5(Path(sys.argv[1])) as file:
        data = file.create_dataset("x", (400, 100), "f4")
        for row in range(400):
            data[row] = row
        file.create_dataset("y", data=np.ones(3000)).attrs["name"] = "a"
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [0, 600, 3000, 100_000])
def test_a_disk_without_room_is_an_error_of_the_system_and_no_crash(tmp_path: Path, room: int) -> None:
    path = tmp_path / "a.h5"
    ended = subprocess.run([sys.executable, "-c", _FILL, path, str(room)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"[Errno 27] File too large: '{path}'\n"
    assert not [*tmp_path.iterdir()]
