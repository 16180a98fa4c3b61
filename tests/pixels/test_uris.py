import pytest

from wsc_ray.errors import DataError
from wsc_ray.pixels.uris import locate, read_uri


def test_read_uri_starts_at_the_folder(tmp_path):
    (tmp_path / "a b.png").write_bytes(b"x")
    assert read_uri("a b.png", str(tmp_path)) == b"x"
    assert read_uri(f"{tmp_path}/a b.png", "/elsewhere") == b"x"
    assert read_uri(f"file://{tmp_path}/a b.png", "/elsewhere") == b"x"
    with pytest.raises(DataError, match=r"gone.png cannot be read"):
        read_uri("gone.png", str(tmp_path))


def test_one_filesystem_for_a_bucket():
    first, path = locate("memory://bucket/a/b%20#1.png", "/")
    second, _ = locate("memory://bucket/c.png", "/")
    assert first is second
    assert path == "/bucket/a/b%20#1.png"
