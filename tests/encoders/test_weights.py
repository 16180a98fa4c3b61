"""Weights in and out: what timm loads, and what does not fit."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from wsc_ray.encoders import build_encoder, export_encoder, load_exported, load_weights
from wsc_ray.encoders.weights import save_state
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
