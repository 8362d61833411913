"""The paper's setting, against a plain loop over users in autograd that shares no code with the package."""

import math

import numpy as np
import pytest
import torch

from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.estimators import core_data
from skmrm.meta.outer import loop

PAPER = {
    "n_bases": 2,
    "adaptation": "gradient",
    "inner_steps": 1,
    "inner_lr": 1e-3,
    "inner_optimizer": "adam",
    "weight_constraint": "simplex",
    "users_per_batch": 2,
    "learning_rate": 1e-3,
    "support_fraction": 0.1,
    "robust_ratio": 0.5,
    "robust_temperature": 0.5,
    "validation_fraction": 0,
    "random_state": 0,
    "device": "cpu",
}


def oracle(features, episodes, initial, split, batches, inner_lr=1e-3, outer_lr=1e-3, rho=0.5, gamma=0.5):
    """Three outer steps, written as the paper describes them: one user at a time, gradients by autograd."""
    mean, scale = features.mean(0, dtype=torch.float64), features.std(0, correction=0)
    z = ((features - mean) / scale).to(features.dtype)
    bases = initial["bases"].clone().requires_grad_()
    start = initial["start"].clone().requires_grad_()
    optimiser = torch.optim.Adam([bases, start], lr=outer_lr)
    chosen, rejected = torch.tensor(episodes.chosen), torch.tensor(episodes.rejected)

    def loss_of(logits, pairs):
        weights = torch.softmax(logits, 0)
        reward = (z @ bases.T) @ weights
        return -torch.nn.functional.logsigmoid(reward[chosen[pairs]] - reward[rejected[pairs]]).mean()

    total = len(batches)
    for step, users in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = outer_lr * 0.5 * (1 + math.cos(math.pi * step / total))
        losses = []
        for user in users.tolist():
            own = torch.tensor(episodes.user == user)
            logits = start * 1.0
            (gradient,) = torch.autograd.grad(loss_of(logits, own & split.support), logits, create_graph=True)
            first, second = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
            logits = logits - inner_lr * first / (second.sqrt() + 1e-8)
            losses.append(loss_of(logits, own & split.query))
        losses = torch.stack(losses)
        tau = np.quantile(losses.detach().numpy(), 1 - rho)
        omega = torch.sigmoid((losses.detach() - tau) / gamma)
        optimiser.zero_grad()
        ((omega * losses).sum() / omega.sum()).backward()
        norm = math.sqrt(sum(float((leaf.grad**2).sum()) for leaf in (bases, start)))
        for leaf in (bases, start):
            leaf.grad *= min(1.0, 1.0 / (norm + 1e-6))
        optimiser.step()
    return {"bases": bases.detach(), "start": start.detach()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test__fit__paper_setting__equals_a_plain_autograd_loop(monkeypatch, dtype, tolerance):
    episodes = make_user_preferences(n_users=6, n_pairs=20, n_features=5, n_bases=2, random_state=3).episodes
    episodes = episodes.canonical()  # the order in which draws are made
    episodes = episodes.with_features(np.asarray(episodes.features, dtype))
    splits, batches = [], []
    draw, batch = core_data._draw_split, loop.user_batches
    monkeypatch.setattr(core_data, "_draw_split", lambda *a: splits.append(draw(*a)) or splits[-1])

    def recorded(*arguments):
        for users in batch(*arguments):
            batches.append(users)
            yield users

    monkeypatch.setattr(loop, "user_batches", recorded)
    untrained = MetaRewardModel(**PAPER, max_epochs=0)
    trained = MetaRewardModel(**PAPER, max_epochs=1)
    untrained.fit(episodes)
    splits.clear()
    trained.fit(episodes)
    assert [len(users) for users in batches] == [2, 2, 2]

    initial = {
        "bases": torch.tensor(untrained.base_rewards_.params["bases"]),
        "start": torch.tensor(untrained._rule_params["start"]),
    }
    expected = oracle(torch.tensor(episodes.features), episodes, initial, splits[-1], batches)
    bases, start = trained.base_rewards_.params["bases"], trained._rule_params["start"]
    assert bases.dtype == dtype
    assert np.abs(bases - initial["bases"].numpy()).max() > 1e-4
    for found, wanted in ((bases, expected["bases"].numpy()), (start, expected["start"].numpy())):
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())
