"""The loop on the device: as on the CPU within rounding, on from a checkpoint, in micro-batches, in bfloat16."""

import copy

import numpy as np
import pytest
import torch

from wsc_ray.encoders import build_encoder
from wsc_ray.pretrain import checkpoint
from wsc_ray.pretrain.loop import Loop, make_optimizer
from wsc_ray.pretrain.objective import make_objective
from wsc_ray.recipe.reading import validate_recipe
from wsc_ray.stream.augment import apply_view
from wsc_ray.stream.order import Geometry
from wsc_ray.stream.parameters import view_draws, view_parameters

STEPS, BATCH, SIZE = 6, 16, 32


class Training:
    """One process that trains a small encoder on drawn patches."""

    def __init__(self, device, *, precision="fp32", **changes):
        train = {"batch_size": BATCH, "epochs": 1, "steps_per_epoch": STEPS, "warmup_epochs": 0, "lr": 0.02}
        values = {
            "encoder": {"backbone": "test_resnet", "weights": "random", "norm": changes.pop("norm", "batch")},
            "loss": {"similarity_weight": 0.1},
            "augment": {"size": SIZE},
            "stream": {"augment_on": "device", "shards": 1},
            "train": {**train, **changes},
        }
        self.recipe, self.logged = validate_recipe(values), []
        encoder = self.recipe.encoder
        torch.manual_seed(0)
        self.encoder = build_encoder(encoder.backbone, size=SIZE, head_hidden=16, head_dim=8, norm=encoder.norm).to(
            device
        )
        self.optimizer = make_optimizer(self.encoder, self.recipe)
        self.loop = Loop(
            model=self.encoder,
            optimizer=self.optimizer,
            objective=make_objective(self.recipe.loss, pure=1),
            recipe=self.recipe,
            geometry=Geometry(0, "replacement", BATCH, 1, STEPS, 1),
            device=device,
            precision=precision,
            on_log=lambda *_: None,
            on_checkpoint=lambda *_: None,
        )
        self.encoder.train()

    def steps(self, first=0, last=STEPS):
        return [float(self.loop._step(step, batch(self.recipe, step), False)["loss"]) for step in range(first, last)]


def batch(recipe, step):
    rng = np.random.default_rng([1, step])
    images = rng.integers(0, 256, (BATCH, 40, 40, 3), dtype=np.uint8)
    draws = view_draws(BATCH, 0, step)
    parameters = np.stack([view_parameters(recipe.augment, 40, 40, row.tolist()) for row in draws])
    return {"images": images, "parameters": parameters, "label": (np.arange(BATCH) >= BATCH // 2).astype(np.int64)}


@pytest.fixture
def exact():
    """Convolutions and products in whole float32, and the same algorithm every time."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = (
        False,
        False,
        True,
    )
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = kept


def test_losses_are_those_of_the_cpu(device, exact):
    """Of views made on the CPU for both: those of the device differ by a rounding here and there, which grows in training."""
    here, there = Training(torch.device("cpu")), Training(device)
    for step in range(STEPS):
        fed = batch(here.recipe, step)
        pairs = zip(fed.pop("images"), fed.pop("parameters"), strict=True)
        fed["views"] = np.stack([[apply_view(image, row, SIZE) for row in rows] for image, rows in pairs])
        expected, found = (float(each.loop._step(step, fed, False)["loss"]) for each in (here, there))
        assert found == pytest.approx(expected, rel=1e-3), step


def test_bfloat16_comes_near_float32(device):
    if device.type == "cpu":
        pytest.skip("bfloat16 convolutions are emulated on most CPUs")
    np.testing.assert_allclose(Training(device, precision="bf16").steps(), Training(device).steps(), rtol=0.05)


def test_micro_batches_give_the_gradient_of_one_pass(device, exact):
    """With GroupNorm, whose statistics do not depend on the batch."""
    whole, parts = Training(device, norm="group"), Training(device, norm="group", micro_batch=5)
    whole.steps(0, 1), parts.steps(0, 1)
    for a, b in zip(whole.encoder.parameters(), parts.encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_run_goes_on_from_its_checkpoint_as_if_never_stopped(device, exact, tmp_path):
    unbroken = Training(device)
    torch.manual_seed(3)
    expected = unbroken.steps()
    first = Training(device)
    torch.manual_seed(3)
    first.steps(0, 3)
    state = checkpoint.State(3, STEPS, "digest", 1)
    checkpoint.save(tmp_path, first.encoder, first.optimizer, state)
    checkpoint.save_rng(tmp_path, 0)
    drawn = torch.rand(4, device=device)
    second = Training(device)
    torch.manual_seed(99)
    checkpoint.load(tmp_path, second.encoder, second.optimizer, rank=0, digest="digest")
    assert torch.equal(torch.rand(4, device=device), drawn)  # the device's generator stands where it stood
    np.testing.assert_allclose(second.steps(3), expected[3:], rtol=1e-6)


def test_momentum_comes_back_on_the_device(device, tmp_path):
    training = Training(device)
    training.steps(0, 2)
    kept = copy.deepcopy(training.optimizer.state_dict()["state"])
    checkpoint.save(tmp_path, training.encoder, training.optimizer, checkpoint.State(2, STEPS, "digest", 1))
    other = Training(device)
    checkpoint.load(tmp_path, other.encoder, other.optimizer, rank=0, digest="digest")
    for number, values in other.optimizer.state_dict()["state"].items():
        assert values["momentum_buffer"].device.type == device.type
        assert torch.equal(values["momentum_buffer"], kept[number]["momentum_buffer"])
