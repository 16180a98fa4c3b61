"""metrics.jsonl: each step once, whatever was cut off in the middle."""

from wsc_ray.pretrain import metrics_file


def test_what_comes_after_the_checkpoint_is_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2, 3, 4):
        metrics_file.append(path, step, {"loss": step / 2})
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # killed while writing
    assert [line["step"] for line in metrics_file.read(path)] == [1, 2, 3, 4]
    metrics_file.truncate(path, 2)
    metrics_file.append(path, 3, {"loss": 9.0})
    assert metrics_file.read(path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": 9.0}]
    assert [line["step"] for line in metrics_file.read(path, after=2)] == [3]


def test_no_file_is_no_metrics(tmp_path):
    assert metrics_file.read(tmp_path / "none") == []
    metrics_file.truncate(tmp_path / "none", 0)
    assert metrics_file.read(tmp_path / "none") == []
