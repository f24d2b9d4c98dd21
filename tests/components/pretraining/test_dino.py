"""The parts of DINO in closed form, and that a short training moves only what it should."""

import copy
import math

import pytest
import torch
from torch import nn

from components.pretraining.config import DinoTraining, FitConfig
from components.pretraining.dino import (
    DinoHead,
    dino_loss,
    momentum_at,
    neighbour_accuracy,
    teacher_targets,
    train_dino,
    update_centre,
    update_teacher,
)
from components.pretraining.images import ImageSet
from tests.components.pretraining.drawings import drawings


def test_centre_is_the_geometric_mean_of_past_outputs():
    outputs = torch.randn(5, 8, 3, generator=torch.Generator().manual_seed(0))
    centre = torch.zeros(3)
    for output in outputs:
        centre = update_centre(centre, output, 0.9)
    weights = torch.tensor([0.1 * 0.9 ** (4 - step) for step in range(5)])
    torch.testing.assert_close(centre, (weights[:, None] * outputs.mean(dim=1)).sum(dim=0))


def test_targets_are_centred_and_sharpened():
    output, centre = torch.tensor([[0.3, 0.1, -0.2]]), torch.tensor([0.2, 0.0, 0.0])
    powers = [math.exp(v / 0.05) for v in (0.1, 0.1, -0.2)]
    wanted = torch.tensor([[p / sum(powers) for p in powers]])
    torch.testing.assert_close(teacher_targets(output, centre, 0.05), wanted)


def test_a_lower_temperature_sharpens():
    output = torch.randn(6, 10, generator=torch.Generator().manual_seed(1))

    def entropy(temperature):
        target = teacher_targets(output, torch.zeros(10), temperature)
        return -(target * target.log()).sum(dim=1).mean()

    assert entropy(0.04) < entropy(0.1) < entropy(1.0) < math.log(10)


def test_loss_is_the_mean_cross_entropy_over_different_views():
    rng = torch.Generator().manual_seed(2)
    student = [torch.randn(4, 5, generator=rng) for _ in range(3)]
    target = [torch.rand(4, 5, generator=rng).softmax(dim=1) for _ in range(2)]
    loss = dino_loss(student, target, 0.1)
    for row in range(4):
        terms = []
        for i, j in [(0, 1), (0, 2), (1, 0), (1, 2)]:
            powers = [math.exp(v / 0.1) for v in student[j][row].tolist()]
            terms.append(-sum(
                t * math.log(p / sum(powers))
                for t, p in zip(target[i][row].tolist(), powers, strict=True)
            ))  # fmt: skip
        assert loss[row].item() == pytest.approx(sum(terms) / 4, rel=1e-4)


def test_no_gradient_reaches_the_teacher():
    output = torch.randn(2, 4, requires_grad=True)
    student = torch.randn(2, 4, requires_grad=True)
    targets = teacher_targets(output, torch.zeros(4), 0.04)
    dino_loss([student, student], [targets, targets], 0.1).sum().backward()
    assert student.grad is not None
    assert output.grad is None


def test_teacher_follows_by_its_momentum():
    student = nn.Linear(2, 2)
    teacher = copy.deepcopy(student)
    before = teacher.weight.detach().clone()
    nn.init.ones_(student.weight)
    update_teacher(teacher, student, 0.75)
    torch.testing.assert_close(teacher.weight, 0.75 * before + 0.25)
    assert momentum_at(0.0, 0.9) == pytest.approx(0.9)
    assert momentum_at(0.5, 0.9) == pytest.approx(0.95)
    assert momentum_at(1.0, 0.9) == pytest.approx(1.0)


def test_head_gives_cosines():
    head = DinoHead(6, 9)
    cosines = head(torch.randn(4, 6) * 100)
    assert cosines.shape == (4, 9)
    assert cosines.abs().max() <= 1 + 1e-5


def test_training_moves_the_teacher_and_freezes_it():
    config = DinoTraining(fit=FitConfig(total_kimg=0.064, batch=16), width=16, prototypes=8)
    lines: list[str] = []
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        rng = torch.Generator().manual_seed(0)
        net, metrics = train_dino(drawings("encoders", 32), config, rng, lines.append)
        nets.append(net)
    untrained = DinoTraining(fit=FitConfig(total_kimg=0.001, batch=2, learning_rate=0.0), width=16)
    torch.manual_seed(0)
    start, _ = train_dino(drawings("encoders", 4), untrained, torch.Generator(), lines.append)
    first, again, fresh = (n.network.state_dict() for n in (*nets, start))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.mlp.fc1.weight"], fresh["blocks.0.mlp.fc1.weight"])
    assert not any(p.requires_grad for p in nets[0].parameters())
    assert math.isfinite(metrics["loss"])
    assert len(lines) >= 4


def test_neighbours_are_counted_by_hand():
    class Colours(nn.Module):
        def forward(self, x):
            return {"pooled": x.mean(dim=(2, 3))}

    def flat(rows):
        pixels = torch.tensor(rows, dtype=torch.uint8).view(-1, 3, 1, 1).expand(-1, 3, 4, 4)
        label = torch.tensor([0, 1] * (len(rows) // 2))
        return ImageSet(pixels, [""] * len(rows), label, None)

    train = flat([[255, 0, 0], [0, 255, 0]] * 3)
    test = flat([[200, 0, 0], [200, 0, 0], [0, 200, 0], [0, 200, 0]])
    # The second and the third are labelled against their colour.
    assert neighbour_accuracy(Colours(), train, test, k=3) == {"neighbours_label": 0.5}
