"""Switches of the loop: speed and memory, not results."""

import pytest
import torch

from tests.components.training.fake_loop import run, ticks, weights
from tests.components.training.fake_recipes import fake_config


@pytest.mark.row("A23")
def test_compiled_networks_keep_their_names_and_results(monkeypatch):
    modes, real = set(), torch.compile

    def eager(function, mode):
        modes.add(mode)
        return real(function, backend="eager")

    monkeypatch.setattr(torch, "compile", eager)
    plain, _ = run()
    compiled, _ = run(config=fake_config(compile=True, cuda_graphs=True))
    assert modes == {"reduce-overhead"}
    assert "synthesize" in vars(compiled.networks.trained["generator"])
    one, two = weights(plain), weights(compiled)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
def test_a_gpu_resumes_and_stays_near_the_cpu(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    whole, _ = run(device="cuda")
    run(config=fake_config(total_kimg=0.04), folder=tmp_path, device="cuda")
    resumed, _ = run(folder=tmp_path, device="cuda")
    assert resumed.resumed_from_nimg == 40
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, weights(resumed)[name], rtol=1e-3, atol=1e-5)
    half, records = run(
        config=fake_config(precision="bf16", compile=True, cuda_graphs=True), device="cuda"
    )
    assert half.ema.conv.weight.device.type == "cuda"
    assert records[-2]["gpu_memory_gib"] > 0


@pytest.mark.row("A23")
def test_bf16_runs_near_fp32_and_keeps_fp32_weights():
    full, full_records = run()
    half, half_records = run(config=fake_config(precision="bf16"))
    assert all(t.dtype == torch.float32 for t in weights(half).values())
    assert not torch.equal(weights(full)["ema.conv.weight"], weights(half)["ema.conv.weight"])
    one, two = (ticks(r, "loss")[-1]["loss/judge/hinge"] for r in (full_records, half_records))
    assert one == pytest.approx(two, rel=0.02)
