import torch

from models.layers.running_mean import RunningMean


def test_commit_is_one_exponential_step_however_the_batch_is_cut():
    x = torch.randn(12, 3)
    whole, cut = RunningMean(3, 0.9), RunningMean(3, 0.9)
    for mean, sizes in ((whole, [12]), (cut, [4, 4, 4])):
        mean.value.fill_(2.0)
        for part in x.split(sizes):
            mean.observe(part)
        assert torch.equal(mean.value, torch.full((3,), 2.0))  # forwards only gather
        mean.commit(lambda t: t)
    torch.testing.assert_close(whole.value, 0.9 * torch.full((3,), 2.0) + 0.1 * x.mean(0))
    torch.testing.assert_close(cut.value, whole.value)


def test_ranks_count_by_their_samples():
    x = torch.randn(6, 2)
    ranks = [RunningMean(2, 0.5), RunningMean(2, 0.5)]
    ranks[0].observe(x[:2])
    ranks[1].observe(x[2:])
    total = ranks[0].gathered + ranks[1].gathered
    for rank in ranks:
        rank.commit(lambda _: total.clone())
        torch.testing.assert_close(rank.value, 0.5 * x.mean(0))


def test_nothing_gathered_changes_nothing():
    mean = RunningMean(2, 0.5)
    mean.value.fill_(3.0)
    mean.commit(lambda t: t)
    mean.eval()
    mean.observe(torch.ones(4, 2))
    mean.train()
    mean.tracks = False
    mean.observe(torch.ones(4, 2))
    mean.commit(lambda t: t)
    assert torch.equal(mean.value, torch.full((2,), 3.0))
    assert list(mean.state_dict()) == ["value"]


def test_each_class_has_its_mean_and_each_sample_is_a_step():
    x, label = torch.randn(3, 2), torch.tensor([2, 0, 2])
    whole, cut = RunningMean(2, 0.9, num_classes=4), RunningMean(2, 0.9, num_classes=4)
    start = torch.randn(4, 2)
    for mean, sizes in ((whole, [3]), (cut, [1, 2])):
        mean.value.copy_(start)
        for part, of in zip(x.split(sizes), label.split(sizes), strict=True):
            mean.observe(part, of)
        mean.commit(lambda t: t)
    expected = start.clone()
    expected[0] = 0.9 * start[0] + 0.1 * x[1]
    expected[2] = 0.81 * start[2] + 0.19 * (x[0] + x[2]) / 2
    torch.testing.assert_close(whole.value, expected)
    torch.testing.assert_close(cut.value, whole.value)
    assert torch.equal(whole.value[[1, 3]], start[[1, 3]])
    assert torch.equal(whole.centre(label), whole.value[label])


def test_a_beta_of_zero_keeps_the_last_samples_alone():
    mean = RunningMean(2, 0.0, num_classes=3)
    mean.value.fill_(5.0)
    mean.observe(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), torch.tensor([1, 1]))
    mean.commit(lambda t: t)
    assert mean.value.tolist() == [[5.0, 5.0], [2.0, 4.0], [5.0, 5.0]]
