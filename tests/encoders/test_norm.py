"""The choices for BatchNorm; over all workers it equals BatchNorm in one process."""

import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from wsc_ray.encoders import build_encoder, export_encoder, load_exported
from wsc_ray.encoders.norm import SyncBatchNorm, batch_norms, synchronise

SHARDS = (5, 3, 6)  # uneven; one worker's, or two's, or all three's
torch.manual_seed(0)
ROWS = torch.randn(sum(SHARDS), 4, 3, 3, dtype=torch.float64) * 3 + 1
TOWARDS = torch.randn(sum(SHARDS), 4, 3, 3, dtype=torch.float64)


def trained(norm: nn.Module, x: torch.Tensor, towards: torch.Tensor, workers: int) -> dict[str, torch.Tensor]:
    """Value, gradients and running statistics after one step on part of the rows."""
    x = x.clone().requires_grad_()
    out = norm(x)
    (workers * (out * towards).sum()).backward()
    return {
        "out": out.detach(),
        "x": x.grad,
        "weight": norm.weight.grad,
        "bias": norm.bias.grad,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
    }


def make(kind: type[nn.Module]) -> nn.Module:
    norm = kind(4).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.5]))
    return norm


def on_worker(rank: int, sizes: tuple[int, ...], kind: type[nn.Module]) -> dict[str, torch.Tensor]:
    start = sum(sizes[:rank])
    mine = slice(start, start + sizes[rank])
    return trained(synchronise(make(kind)), ROWS[mine], TOWARDS[mine], len(sizes))


def test_sync_norm_on_any_number_of_workers_is_batch_norm_in_one_process(gang_of):
    for kind in (nn.BatchNorm2d, BatchNormAct2d):
        for workers in (1, 2, 3):
            sizes = SHARDS[:workers]
            rows = slice(0, sum(sizes))
            expected = trained(make(kind), ROWS[rows], TOWARDS[rows], 1)
            found = gang_of(workers)(on_worker, sizes, kind)
            for name in ("out", "x"):
                joined = torch.cat([result[name] for result in found])
                scale = workers if name == "x" else 1  # a worker's gradient is W times its share, for DDP to average
                torch.testing.assert_close(joined, scale * expected[name], rtol=1e-10, atol=1e-10)
            for name in ("weight", "bias"):
                mean = sum(result[name] for result in found) / workers
                torch.testing.assert_close(mean, expected[name], rtol=1e-10, atol=1e-10)
            for name in ("running_mean", "running_var"):
                for result in found:
                    torch.testing.assert_close(result[name], expected[name], rtol=1e-10, atol=1e-10)


def test_sync_norm_keeps_names_and_eval_is_plain():
    plain = timm.create_model("test_efficientnet", num_classes=0)
    synced = synchronise(timm.create_model("test_efficientnet", num_classes=0))
    assert list(synced.state_dict()) == list(plain.state_dict())
    assert all(isinstance(module, SyncBatchNorm) for module in batch_norms(synced))
    synced.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(synced.eval()(x), plain.eval()(x))


def test_frozen_statistics_stay_in_training():
    encoder = build_encoder("test_resnet", size=32, head_hidden=8, head_dim=4, norm="frozen")
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder.train()
    encoder(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in encoder.named_buffers())
    assert all(module.weight.grad is not None for module in batch_norms(encoder))


def test_group_norm_is_in_the_export_that_timm_opens(tmp_path):
    encoder = build_encoder("test_resnet", size=32, head_hidden=8, head_dim=4, norm="group")
    assert not batch_norms(encoder)
    export_encoder(encoder, tmp_path / "encoder", name="test_resnet", size=32, norm="group")
    x = torch.randn(2, 3, 32, 32)
    expected = encoder.backbone.eval()(x)
    torch.testing.assert_close(load_exported(tmp_path / "encoder")[0](x), expected)
    opened = timm.create_model(f"local-dir:{tmp_path}/encoder", pretrained=True, num_classes=0).eval()
    torch.testing.assert_close(opened(x), expected)


def test_a_transformer_has_no_batch_norm_to_replace():
    for norm in ("sync", "group", "frozen"):
        encoder = build_encoder("test_vit", size=32, head_hidden=8, head_dim=4, norm=norm)
        assert not batch_norms(encoder)


def test_sync_norm_keeps_float32s_precision_in_the_layout_that_pixels_come_in():
    """torch's own loses 3e-5 here, on a CPU."""
    x = (torch.randn(64, 8, 32, 32) * 2 + 3).to(memory_format=torch.channels_last)
    towards = torch.randn(64, 8, 32, 32)
    found = trained(synchronise(nn.BatchNorm2d(8)), x, towards, 1)
    expected = trained(nn.BatchNorm2d(8).double(), x.double(), towards.double(), 1)
    for name in ("out", "x"):
        assert (found[name] - expected[name]).norm() / expected[name].norm() < 1e-6
