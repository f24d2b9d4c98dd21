import torch

from models.losses.adversarial import hinge_discriminator, hinge_generator


def test_hinge_is_the_mean_over_each_samples_logits():
    real = torch.tensor([[2.0, 0.0], [-1.0, 0.5]])
    fake = torch.tensor([[-2.0, 0.0], [1.0, -0.5]])
    # relu(1 - real): 0, 1 | 2, 0.5; relu(1 + fake): 0, 1 | 2, 0.5
    assert hinge_discriminator(real, fake).tolist() == [1.0, 2.5]
    assert hinge_generator(fake).tolist() == [1.0, -0.25]


def test_values_are_float32_from_bfloat16_logits():
    logits = torch.randn(3, 1001).bfloat16()
    expected = -logits.double().mean(1)
    torch.testing.assert_close(hinge_generator(logits).double(), expected, atol=1e-6, rtol=1e-5)
