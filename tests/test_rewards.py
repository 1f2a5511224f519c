"""Reward models and critics: where they read, on what scale, and what a saved one opens with."""

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForTokenClassification

from bench.models.build import load_values, reset_head, with_value_head
from bench.models.rewards import RewardModel
from bench.models.scoring import state_values, token_values
from bench.models.tokens import Tokens
from tests import tiny
from tests.test_scoring import MODELS, built

ROWS = tiny.rows(6)
TOKENS = Tokens.collate(ROWS, tiny.PAD)
HEADED = [name for name in MODELS if name != "llama tied"]


def heard(values):
    """The head of a value model: its only linear layer outside the trunk."""
    (head,) = (m for m in values.children() if isinstance(m, torch.nn.Linear))
    return head


def values_model(seed: int = 0):
    model = with_value_head(tiny.llama(seed))
    torch.manual_seed(seed)
    torch.nn.init.normal_(heard(model).weight)
    torch.nn.init.normal_(heard(model).bias)
    return model


def read(model, ids: list[int]) -> float:
    """What the model says after reading so many tokens."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1, 0].item()


# -- values


def test_a_state_is_valued_before_its_token_and_a_token_after_it():
    model = values_model()
    before, after = state_values(model, TOKENS), token_values(model, TOKENS)
    assert before.shape == after.shape == TOKENS.mask.shape
    for i, (prompt, response) in enumerate(ROWS):
        for t in range(len(response)):
            so_far = [*prompt, *response[:t]]
            assert before[i, t].item() == pytest.approx(read(model, so_far), abs=1e-5)
            now = [*so_far, response[t]]
            assert after[i, t].item() == pytest.approx(read(model, now), abs=1e-5)
    for numbers in (before, after):
        assert (numbers[~TOKENS.mask] == 0).all()
        assert numbers.requires_grad


@pytest.mark.parametrize("name", HEADED)
def test_a_value_head_starts_at_zero_over_a_copy_of_the_trunk(name):
    policy = built(name, 0)
    values = with_value_head(policy)
    assert (state_values(values, TOKENS) == 0).all()
    assert (token_values(values, TOKENS) == 0).all()
    assert not values.training
    ours = values.base_model(input_ids=TOKENS.ids).last_hidden_state
    assert_close(ours, policy.base_model(input_ids=TOKENS.ids).last_hidden_state)
    state_values(values, TOKENS).sum().backward()
    assert heard(values).weight.grad.abs().sum() > 0  # and it can leave zero

    with torch.no_grad():
        for numbers in values.parameters():
            numbers.add_(1.0)
    again = policy.base_model(input_ids=TOKENS.ids).last_hidden_state
    assert_close(again, ours.detach())  # a copy: training it leaves the policy alone


def test_a_reward_model_becomes_a_critic_by_a_new_head():
    model = values_model()
    trunk = [x.clone() for x in model.base_model.parameters()]
    assert (state_values(reset_head(model), TOKENS) == 0).all()
    assert_close(list(model.base_model.parameters()), trunk)


# -- rewards


def test_a_reward_is_the_sum_of_the_head_or_what_it_says_at_the_end():
    model = values_model()
    total, last = RewardModel(model, "sum").raw(TOKENS), RewardModel(model, "last").raw(TOKENS)
    for i, (prompt, response) in enumerate(ROWS):
        said = [read(model, [*prompt, *response[: t + 1]]) for t in range(len(response))]
        assert total[i].item() == pytest.approx(sum(said), abs=1e-5)
        assert last[i].item() == pytest.approx(said[-1], abs=1e-5)
    assert total.requires_grad
    assert last.requires_grad


@pytest.mark.parametrize("reads", ["sum", "last"])
def test_rewards_are_normalized_by_offset_and_scale(reads):
    model = values_model()
    raw = RewardModel(model, reads).raw(TOKENS).detach()
    offset, scale = raw.mean().item(), raw.std(correction=0).item()
    normal = RewardModel(model, reads, offset, scale)(TOKENS)
    assert_close(normal, (raw - offset) / scale)
    assert_close(normal.mean(), torch.tensor(0.0), rtol=0, atol=1e-5)
    assert_close(normal.std(correction=0), torch.tensor(1.0))
    assert not normal.requires_grad


def test_it_does_not_matter_how_many_rows_are_judged_at_a_time():
    reward = RewardModel(values_model(), "sum", offset=1.0, scale=2.0)
    for rows in (1, 4):
        assert_close(reward(TOKENS, rows), reward(TOKENS))


@pytest.mark.parametrize("reads", ["sum", "last"])
def test_a_saved_reward_model_says_the_same_and_opens_with_transformers(tmp_path, reads):
    reward = RewardModel(values_model(), reads, offset=0.25, scale=3.0)
    reward.save(tmp_path)
    loaded = RewardModel.load(tmp_path)
    assert (loaded.reads, loaded.offset, loaded.scale) == (reads, 0.25, 3.0)
    assert_close(loaded(TOKENS), reward(TOKENS))
    for opened in (
        AutoModelForTokenClassification.from_pretrained(tmp_path).eval(),
        load_values(tmp_path),
    ):
        assert opened.config.num_labels == 1
        assert_close(token_values(opened, TOKENS), token_values(reward.model, TOKENS))


def test_another_way_of_reading_is_an_error_that_names_the_setting():
    with pytest.raises(
        ValueError, match=r"model\.reward_model\.reads is 'mean': one of .*sum.*last"
    ):
        RewardModel(values_model(), "mean")
