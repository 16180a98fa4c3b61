"""metrics.jsonl holds each step once, also after the file was cut in the middle."""

import pytest

from wsc_ray.pretrain import metrics_file
from wsc_ray.pretrain.metrics_file import MetricsReader, MetricsWriter
from wsc_ray.storage import as_path


def test_what_comes_after_the_checkpoint_is_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(path, 0)
    for step in (1, 2, 3, 4):
        writer.append(step, {"loss": step / 2})
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # killed while writing
    assert [line["step"] for line in metrics_file.read(path)] == [1, 2, 3, 4]
    writer = MetricsWriter(path, 2)
    writer.append(3, {"loss": 9.0})
    assert metrics_file.read(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": 9.0}]
    assert [line["step"] for line in metrics_file.read(path, after=2)] == [3]


def test_no_file_is_no_metrics(tmp_path):
    assert metrics_file.read(tmp_path / "none") == []
    MetricsWriter(tmp_path / "none", 0)
    assert metrics_file.read(tmp_path / "none") == []


def test_an_object_is_written_again_now_and_then_and_at_flush(s3, monkeypatch: pytest.MonkeyPatch):
    path = as_path(s3.uri("metrics/metrics.jsonl"))
    writer, reader = MetricsWriter(path, 0), MetricsReader(path)
    writer.append(1, {"loss": 0.5})
    assert reader.read(after=0) == metrics_file.read(path) == []
    writer.flush()
    assert [line["step"] for line in reader.read(after=0)] == [1]
    assert reader.read(after=0) == []  # as large as before
    assert [line["step"] for line in reader.read(after=0, whole=True)] == [1]
    monkeypatch.setattr(metrics_file, "WRITE_SECONDS", 0.0)
    writer.append(2, {"loss": 0.25})
    assert [line["step"] for line in reader.read(after=1)] == [2]
    MetricsWriter(path, 1)
    assert [line["step"] for line in metrics_file.read(path)] == [1]
