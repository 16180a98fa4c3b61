"""What computes imports without Ray and MLflow, so that it runs where only torch is, such as `benchmarks/gpu.sh`."""

import subprocess
import sys

import pytest

# A process in which some packages are missing, and modules are then imported.
CODE = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
for module in {modules}:
    importlib.import_module(module)
"""

WITHOUT_RECIPES = [
    "wsc_ray.distributed",
    "wsc_ray.encoders",
    "wsc_ray.encoders.norm",
    "wsc_ray.evaluate.bootstrap",
    "wsc_ray.evaluate.metrics",
    "wsc_ray.features.store",
    "wsc_ray.files",
    "wsc_ray.losses",
    "wsc_ray.manifest",
    "wsc_ray.mil.bags",
    "wsc_ray.pixels",
    "wsc_ray.random",
    "wsc_ray.slides.grid",
    "wsc_ray.storage",
    "wsc_ray.stream.class_order",
    "wsc_ray.stream.order",
]
WITH_RECIPES = [
    *WITHOUT_RECIPES,
    "wsc_ray.bench.environment",
    "wsc_ray.bench.rounds",
    "wsc_ray.mil.fit",
    "wsc_ray.pretrain.checkpoint",
    "wsc_ray.pretrain.gradient_cache",
    "wsc_ray.pretrain.loop",
    "wsc_ray.recipe.reading",
    "wsc_ray.stream.augment",
    "wsc_ray.stream.device",
    "wsc_ray.stream.plan",
    "wsc_ray.stream.read",
]


@pytest.mark.parametrize(
    ("missing", "modules"),
    [({"ray", "mlflow"}, WITH_RECIPES), ({"ray", "mlflow", "pydantic"}, WITHOUT_RECIPES)],
    ids=["no Ray and no MLflow", "nor pydantic"],
)
def test_the_pure_rooms_import_without(missing, modules):
    code = CODE.format(missing=missing, modules=modules)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
