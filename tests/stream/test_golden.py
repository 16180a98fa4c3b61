"""The sample order and the parameters of views are those of commit 51c68f2, to the last bit.

The digests are of what one process feeds in two epochs of a small cohort: slide, position and view parameters of every patch. They came
from that commit's code; a change that gives others changes every run that resumes.
"""

import pytest

from wsc_ray.manifest import open_manifest
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.plan import make_plan
from wsc_ray.stream.read import read_window
from wsc_ray.stream.record import Recorder, samples_digest

DIGESTS = {
    ("epoch", "patch"): "24dbb870db34a4d73518ed7f1deed34f00164fe797b7eee89d8428820131c0ab",
    ("epoch", "slide"): "24dbb870db34a4d73518ed7f1deed34f00164fe797b7eee89d8428820131c0ab",  # slides of one size
    ("epoch", "patient"): "e4efe7e0682e283c6d7717140567cfaa6c0d3fe5baafd619a25efbc98c6fa91a",
    ("replacement", "patch"): "41c9de049310a99c9446622e288d6b28880578faf8747c2965b98b982f85a797",
    ("replacement", "slide"): "41c9de049310a99c9446622e288d6b28880578faf8747c2965b98b982f85a797",
    ("replacement", "patient"): "a3dcaf80a187ddad55677e7692e57f10bee624b135ca03847fbc1bc12bbf4d89",
}


@pytest.mark.parametrize(("sampling", "by"), DIGESTS)
def test_batches_are_those_of_the_earlier_commit(manifest, tmp_path, sampling, by):
    recipe = validate_recipe(
        {
            "data": {"manifest": str(manifest)},
            "augment": {"size": 32, "vflip": 0.5, "hed": 0.05},
            "stream": {"sampling": sampling, "by": by, "shards": 4, "window": 2},
            "train": {"epochs": 2, "steps_per_epoch": 4, "batch_size": 16},
        }
    )
    opened = open_manifest(recipe.data.manifest)
    plan, recorder = make_plan(opened, recipe), Recorder()
    for epoch in range(plan.epochs):
        for window in range(plan.geometry.windows):
            shards = range(plan.geometry.shards)
            for batch in read_window(plan, opened, recipe.augment, epoch=epoch, window=window, shards=shards):
                recorder.add(batch)
    recorder.save(tmp_path, 0)
    assert samples_digest(tmp_path) == DIGESTS[sampling, by]
