"""Frozen encoders from a run, from timm's cache and from folders that timm loads: the same features as timm's own way."""

import json
import os
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from wsc_ray.encoders import build_encoder, export_encoder
from wsc_ray.encoders.choose import choose_encoder
from wsc_ray.encoders.frozen import AS_TRAINED
from wsc_ray.errors import WeightsError
from wsc_ray.features.encode import Encoder
from wsc_ray.features.fit import fit

WEIGHTS = os.environ.get("WSC_RAY_WEIGHTS")
STATISTICS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (3, 50, 50, 3), np.uint8)


def saved(folder, name="test_resnet", size=40, interpolation="bicubic", **arguments):
    """A folder as `timm.models.save_for_hf` writes it, with a classifier of 7 classes."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **arguments)
    known = {**STATISTICS, "input_size": [3, size, size], "interpolation": interpolation, "crop_pct": 0.5}
    model_config = {"pretrained_cfg": {**model.pretrained_cfg, **known, "num_classes": 7}, "model_args": arguments}
    timm.models.save_for_hf(model, str(folder), model_config=model_config, safe_serialization="both")
    return folder


def timms(model, patches, size, interpolation, mean, std):
    """Features by timm's own transform, but for the crop that ours leaves out."""
    transform = timm.data.create_transform(
        (3, size, size), interpolation=interpolation, mean=mean, std=std, crop_pct=1.0, crop_mode="squash"
    )
    pixels = torch.stack([transform(Image.fromarray(patch)) for patch in patches])
    with torch.inference_mode():
        return model.eval()(pixels).numpy()


def ours(encoder, patches):
    return Encoder(encoder)(np.stack([fit(patch, encoder.size, encoder.interpolation) for patch in patches]))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_a_folder_gives_what_timm_gives(tmp_path, patches, interpolation):
    folder = saved(tmp_path / "encoder", interpolation=interpolation)
    encoder = choose_encoder(f"local-dir:{folder}")
    assert (encoder.name, encoder.size, encoder.interpolation) == ("test_resnet.r160_in1k", 40, interpolation)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    expected = timms(theirs, patches, 40, interpolation, STATISTICS["mean"], STATISTICS["std"])
    np.testing.assert_allclose(ours(encoder, patches), expected, rtol=1e-4, atol=1e-5)
    assert encoder.width == expected.shape[1]


def test_a_transformer_has_its_folders_input_size(tmp_path, patches):
    folder = saved(tmp_path / "encoder", "test_vit", size=48, img_size=48)
    encoder = choose_encoder(f"local-dir:{folder}")
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    expected = timms(theirs, patches, 48, "bicubic", STATISTICS["mean"], STATISTICS["std"])
    np.testing.assert_allclose(ours(encoder, patches), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match=r"test_vit\.\w+ does not take patches of 40 px; set embed.size to 48"):
        choose_encoder(f"local-dir:{folder}", size=40)


def test_an_encoder_is_known_by_its_weights(tmp_path):
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two")
    assert choose_encoder(f"local-dir:{one}").digest == choose_encoder(f"local-dir:{two}").digest
    state = load_file(two / "model.safetensors")
    state["conv1.0.weight" if "conv1.0.weight" in state else next(iter(state))] += 1
    save_file(state, two / "model.safetensors")
    assert choose_encoder(f"local-dir:{one}").digest != choose_encoder(f"local-dir:{two}").digest


def test_a_runs_export_is_resized_as_in_training(tmp_path, patches):
    made = build_encoder("test_resnet", size=32, head_hidden=8, head_dim=4).eval()
    export_encoder(made, tmp_path, name="test_resnet", size=32)
    encoder = choose_encoder(tmp_path)
    assert (encoder.interpolation, encoder.size, encoder.width) == (AS_TRAINED, 32, made.backbone.num_features)
    assert choose_encoder(str(tmp_path), size=64).size == 64
    from wsc_ray.stream.augment import resize

    np.testing.assert_array_equal(fit(patches[0], 32, AS_TRAINED), resize(patches[0], 32))


def test_a_published_folder_has_to_be_called_one(tmp_path):
    with pytest.raises(WeightsError, match="the weights do not fit"):
        choose_encoder(saved(tmp_path / "encoder"))


def test_timms_older_form_of_a_configuration_is_read(tmp_path, patches):
    folder = saved(tmp_path / "encoder")
    new = choose_encoder(f"local-dir:{folder}")
    config = json.loads((folder / "config.json").read_text())
    older = {**config["pretrained_cfg"], "architecture": config["architecture"], "num_features": 96}
    (folder / "config.json").write_text(json.dumps(older))
    np.testing.assert_array_equal(ours(choose_encoder(f"local-dir:{folder}"), patches), ours(new, patches))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of Hugging Face."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache, repository, state):
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "snapshots" / "abc" / "model.safetensors")


def test_timms_weights_come_from_the_cache_with_their_statistics(cache, patches):
    torch.manual_seed(1)
    whole = timm.create_model("test_resnet")
    put(cache, "timm/test_resnet.r160_in1k", whole.state_dict())
    encoder = choose_encoder("timm:test_resnet", size=64)
    assert (encoder.name, encoder.interpolation) == ("test_resnet.r160_in1k", "bilinear")
    assert encoder.pixels.mean == (0.5, 0.5, 0.5)
    bare = timm.create_model("test_resnet", num_classes=0)
    bare.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("fc.")})
    expected = timms(bare, patches, 64, "bilinear", (0.5,) * 3, (0.5,) * 3)
    np.testing.assert_allclose(ours(encoder, patches), expected, rtol=1e-4, atol=1e-5)
    assert choose_encoder("timm:test_resnet.r160_in1k").digest == encoder.digest


def test_nothing_is_fetched_unless_asked_for(cache, monkeypatch):
    asked = []

    def fetch(repository, filename):
        asked.append((repository, filename))
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    with pytest.raises(WeightsError, match=r"not in the cache.*give --fetch.*hf download timm/test_resnet\.r160_in1k"):
        choose_encoder("timm:test_resnet")
    assert asked == []
    with pytest.raises(WeightsError, match="cannot be fetched from Hugging Face: no network"):
        choose_encoder("timm:test_resnet", fetch=True)
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no encoder as timm saves one"),
        (lambda f: (f / "config.json").write_text("{"), "holds no encoder as timm saves one"),
        (lambda f: change(f, pretrained_cfg={}), "input_size"),
        (lambda f: change(f, architecture="resnot18"), r"config\.json: timm knows no model 'resnot18'"),
        (lambda f: change(f, architecture="test_vit"), "the weights do not fit test_vit"),
        (lambda f: change(f, model_args={"colour": 1}), "cannot make test_resnet with these model_args"),
        (lambda f: change(f, model_args={"global_pool": ""}), "gives .* for a patch, not one vector"),
        (lambda f: (f / "model.safetensors").unlink(), "weights cannot be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"pickle"), "weights cannot be read"),
    ],
)
def test_a_folder_that_does_not_fit_is_a_sentence(tmp_path, damage, said):
    folder = saved(tmp_path / "encoder")
    damage(folder)
    with pytest.raises(WeightsError, match=said):
        choose_encoder(f"local-dir:{folder}")


def test_what_timm_does_not_know_is_a_sentence(cache):
    with pytest.raises(WeightsError, match="--encoder timm:resnet1: timm knows no model 'resnet1'; did you mean"):
        choose_encoder("timm:resnet1")
    with pytest.raises(WeightsError, match=r"timm knows no weights 'test_resnet\.mine'"):
        choose_encoder("timm:test_resnet.mine")
    put(cache, "timm/test_resnet.r160_in1k", {"other": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"model\.safetensors is not whole: \d+ tensors are missing"):
        choose_encoder("timm:test_resnet")


@pytest.mark.skipif(not WEIGHTS, reason="WSC_RAY_WEIGHTS names no folder of weights")
def test_weights_that_are_published(tmp_path, patches):
    source = Path(WEIGHTS) / "tf_efficientnet_lite0" / "model.safetensors"
    known = timm.get_pretrained_cfg("tf_efficientnet_lite0").to_dict()
    (tmp_path / "model.safetensors").symlink_to(source)
    known["input_size"] = [3, 64, 64]
    config = {"architecture": "tf_efficientnet_lite0", "num_features": 1280, "num_classes": 0, "pretrained_cfg": known}
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = choose_encoder(f"local-dir:{tmp_path}")
    assert (encoder.pixels.mean, encoder.interpolation, encoder.width) == ((0.5, 0.5, 0.5), "bicubic", 1280)
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    theirs.load_state_dict(load_file(source))
    expected = timms(theirs, patches, 64, "bicubic", (0.5,) * 3, (0.5,) * 3)
    np.testing.assert_allclose(ours(encoder, patches), expected, rtol=1e-4, atol=1e-5)
