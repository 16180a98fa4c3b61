"""Reading and writing weights: folders that timm loads, and weights that do not fit."""

import json
import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from wsc_ray.encoders import (
    IMAGENET,
    PixelStatistics,
    build_encoder,
    export_encoder,
    exported_name,
    exported_statistics,
    load_exported,
    load_weights,
    normalise_pixels,
)
from wsc_ray.encoders.weights import save_state, statistics_for
from wsc_ray.errors import WeightsError


def encoder(name="test_resnet", seed=0):
    torch.manual_seed(seed)
    return build_encoder(name, size=32, head_hidden=8, head_dim=4)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_timm_loads_what_is_exported(tmp_path, name):
    ours = encoder(name).eval()
    export_encoder(ours, tmp_path, name=name, size=32)
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    again, config = load_exported(tmp_path)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(pixels), ours.backbone(pixels))
        torch.testing.assert_close(again(pixels), ours.backbone(pixels))
    assert config["num_features"] == ours.backbone.num_features
    data = timm.data.resolve_data_config(model=theirs)
    assert tuple(data["mean"]) == (0.485, 0.456, 0.406)
    assert tuple(data["input_size"]) == (3, 32, 32)


def test_starting_weights_may_be_a_checkpoint_a_backbone_or_a_classifier(tmp_path):
    source = encoder(seed=1)
    save_state(source, tmp_path / "model.safetensors")
    whole = encoder()
    load_weights(whole, tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), source.state_dict().values(), strict=True)
    )

    state = {k: v.contiguous() for k, v in source.backbone.state_dict().items()}
    save_file(
        {**state, "fc.weight": torch.zeros(1000, 96), "fc.bias": torch.zeros(1000)}, tmp_path / "classifier.safetensors"
    )
    begun = encoder()
    load_weights(begun, tmp_path / "classifier.safetensors")
    assert torch.equal(begun.backbone.conv1[0].weight, source.backbone.conv1[0].weight)
    assert torch.equal(begun.head[0].weight, encoder().head[0].weight)


def test_weights_of_another_encoder_are_refused(tmp_path):
    save_state(encoder("test_vit"), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="another encoder"):
        load_weights(encoder(), tmp_path)


def test_unreadable_weights(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"pickle")
    for path in (tmp_path / "missing.safetensors", tmp_path / "broken.safetensors", tmp_path):
        with pytest.raises(WeightsError, match="cannot be read"):
            load_weights(encoder(), path)
    with pytest.raises(WeightsError, match="holds no encoder"):
        load_exported(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    with pytest.raises(WeightsError, match="holds no encoder"):
        load_exported(tmp_path)


@pytest.mark.parametrize(
    ("backbone", "mean"), [("vit_tiny_patch16_224", 0.5), ("tf_efficientnet_lite0", 0.5), ("resnet18.tv_in1k", 0.485)]
)
def test_pixels_are_normalised_as_the_weights_were_trained(backbone, mean, tmp_path):
    assert statistics_for(backbone, "imagenet", None).mean[0] == mean
    assert statistics_for(backbone, "random", None) == IMAGENET
    assert statistics_for(backbone, "w.safetensors", tmp_path / "w.safetensors").mean[0] == mean
    (tmp_path / "config.json").write_text('{"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}')
    assert statistics_for(backbone, "folder", tmp_path).mean == (0.1, 0.2, 0.3)


def test_a_checkpoint_says_what_its_pixels_were_normalised_with(tmp_path):
    state = {"step": 1, "steps_per_epoch": 1, "recipe_digest": "", "world_size": 1}
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert statistics_for("vit_tiny_patch16_224", "folder", tmp_path) == IMAGENET, "before it was kept"
    (tmp_path / "state.json").write_text(json.dumps({**state, "pixels": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
    assert statistics_for("resnet18", "folder", tmp_path).std == (0.25,) * 3


def test_a_damaged_file_about_it_is_a_sentence(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="does not say what its pixels are normalised with"):
        statistics_for("resnet18", "folder", tmp_path)


def test_a_tag_that_timm_does_not_know_is_a_sentence():
    with pytest.raises(WeightsError, match=r"no weights 'resnet18.nope'; there are .*resnet18.tv_in1k"):
        build_encoder("resnet18.nope", size=32, head_hidden=4, head_dim=4)


def test_an_export_keeps_them_and_its_tag(tmp_path):
    encoder = build_encoder("resnet18.tv_in1k", size=32, head_hidden=4, head_dim=4)
    export_encoder(
        encoder, tmp_path, name="resnet18.tv_in1k", size=32, statistics=PixelStatistics((0.5,) * 3, (0.25,) * 3)
    )
    backbone, config = load_exported(tmp_path)
    assert (config["architecture"], config["pretrained_cfg"]["tag"]) == ("resnet18", "tv_in1k")
    assert exported_statistics(config) == PixelStatistics((0.5,) * 3, (0.25,) * 3)
    assert exported_name(config) == "resnet18.tv_in1k"
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=0)
    assert tuple(theirs.pretrained_cfg["mean"]) == (0.5,) * 3
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(theirs.eval()(x), backbone(x))


WEIGHTS_FOLDER = os.environ.get("WSC_RAY_WEIGHTS")


@pytest.mark.skipif(WEIGHTS_FOLDER is None, reason="WSC_RAY_WEIGHTS names no folder of weights")
def test_a_folder_of_real_weights_gives_timms_features():
    """`tf_efficientnet_lite0`, whose pixels want 0.5: our pixels and timm's own transform, one encoder."""
    folder = Path(WEIGHTS_FOLDER) / "tf_efficientnet_lite0"
    encoder = build_encoder("tf_efficientnet_lite0", size=64, head_hidden=4, head_dim=4).eval()
    load_weights(encoder, folder)
    bare = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    bare.load_state_dict(load_file(folder / "model.safetensors"))
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    wanted = bare((pixels.movedim(-1, 1).float() / 255 - 0.5) / 0.5)
    statistics = statistics_for("tf_efficientnet_lite0", str(folder), folder)
    torch.testing.assert_close(encoder.backbone(normalise_pixels(pixels, statistics)), wanted, rtol=1e-4, atol=1e-4)
