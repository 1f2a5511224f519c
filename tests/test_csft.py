"""CSFT: behind each control token, what was called so."""

import torch
from torch import tensor
from torch.testing import assert_close

from algos import CSFT
from algos.core import Labels, Responses
from tests.samples import value


def test_every_token_counts_the_same_whatever_its_label():
    # three tokens of cost 1 and one of cost 5: 8 / 4
    logps = tensor([[-1.0, -1.0, -1.0], [-5.0, -9.0, -9.0]])
    mask = tensor([[True, True, True], [True, False, False]])
    data = Labels(
        responses=Responses(token_logps=logps, mask=mask), desirable=tensor([True, False])
    )
    assert_close(value(CSFT().loss(data)), tensor(2.0))


def test_behind_a_token_stands_bayes_rule():
    """Four answers were drawn with p and called good with q: π(y | good) = p q / Σ p q."""
    p, q = tensor([0.4, 0.3, 0.2, 0.1]).double(), tensor([0.1, 0.5, 0.9, 0.4]).double()
    counts = (1000 * torch.stack([p * (1 - q), p * q])).round().long()  # bad, good
    label, answer = (
        x.repeat_interleave(counts.flatten())
        for x in (tensor([0, 1]).repeat_interleave(4), torch.arange(4).repeat(2))
    )
    logits = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-10)

    def cost() -> torch.Tensor:
        optimizer.zero_grad()
        logps = logits.log_softmax(-1)[label, answer][:, None]
        responses = Responses(token_logps=logps, mask=torch.ones_like(logps).bool())
        loss = value(CSFT().loss(Labels(responses=responses, desirable=label == 1)))
        loss.backward()
        return loss

    optimizer.step(cost)
    assert_close(logits.softmax(-1)[1].detach(), p * q / (p * q).sum(), rtol=0, atol=1e-5)
    assert_close(
        logits.softmax(-1)[0].detach(), p * (1 - q) / (p * (1 - q)).sum(), rtol=0, atol=1e-5
    )
