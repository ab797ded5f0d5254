"""TD-MPC2's plan and update in plain PyTorch, written as its released code, for comparison.

The arithmetic is that of `make_tdmpc2` on state vectors without terminations. Time and iterations are Python loops, the
ensemble is one batched product per layer, and where two random Q-functions count, all are computed, as there (ours
computes the two). `tests/benchmarks/test_peer_torch_tdmpc2.py` holds one against the other.
"""

from collections.abc import Callable
from typing import Any

import torch
from peer_torch import DEVICE, IMPLEMENTATIONS, _finished
from torch import nn
from torch.nn import functional

from latentplan.agents.tdmpc.v2 import TDMPC2Config
from latentplan.losses.td import discount_of
from latentplan.types import Batch, EnvSpec


class SimNorm(nn.Module):
    """Softmax over groups of neighbours."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x):
        return functional.softmax(x.unflatten(-1, (-1, self.size)), -1).flatten(-2)


def normed_mlp(sizes: list[int], last: nn.Module | None = None) -> nn.Sequential:
    """Linear, LayerNorm, Mish; the last layer is linear, or normalised and then `last`."""
    layers: list[nn.Module] = []
    for i, ends in enumerate(zip(sizes, sizes[1:], strict=False)):
        layers.append(nn.Linear(*ends))
        if i < len(sizes) - 2:
            layers += [nn.LayerNorm(ends[1]), nn.Mish()]
    return nn.Sequential(*layers, *([nn.LayerNorm(sizes[-1]), last] if last else []))


class Ensemble(nn.Module):
    """Q-functions side by side: [..., inputs] -> [N, ..., bins]."""

    weights: Any
    biases: Any
    scales: Any
    shifts: Any

    def __init__(self, sizes: list[int], members: int, dropout: float) -> None:
        super().__init__()
        ends = list(zip(sizes, sizes[1:], strict=False))
        self.weights = nn.ParameterList([torch.randn(members, *pair) * 0.02 for pair in ends])
        self.biases = nn.ParameterList([torch.zeros(members, 1, pair[1]) for pair in ends])
        self.scales = nn.ParameterList([torch.ones(members, 1, pair[1]) for pair in ends[:-1]])
        self.shifts = nn.ParameterList([torch.zeros(members, 1, pair[1]) for pair in ends[:-1]])
        self.dropout = dropout

    def forward(self, x, dropout=False):
        lead = x.shape[:-1]
        x = x.reshape(1, -1, x.shape[-1]).expand(len(self.biases[0]), -1, -1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if i == 0 and dropout:
                x = functional.dropout(x, self.dropout)
            if i < len(self.weights) - 1:
                x = functional.layer_norm(x, x.shape[-1:], eps=1e-5) * self.scales[i] + self.shifts[i]
                x = functional.mish(x)
        return x.reshape(len(x), *lead, -1)


class Model(nn.Module):
    """Encoder, dynamics, reward, policy and Q-functions."""

    bins: torch.Tensor

    def __init__(self, config: TDMPC2Config, spec: EnvSpec) -> None:
        super().__init__()
        sizes, hidden = config.model, [config.model.hidden] * 2
        both = sizes.latent + spec.action_size
        (space,) = spec.observations.values()
        encoder = [*space.shape, *[sizes.encoder_hidden] * sizes.encoder_layers, sizes.latent]
        self.config, self.action_size = config, spec.action_size
        self.encoder = normed_mlp(encoder, SimNorm(sizes.simplex))
        self.dynamics = normed_mlp([both, *hidden, sizes.latent], SimNorm(sizes.simplex))
        self.reward = normed_mlp([both, *hidden, sizes.num_bins])
        self.policy = normed_mlp([sizes.latent, *hidden, 2 * spec.action_size])
        self.q = Ensemble([both, *hidden, sizes.num_bins], sizes.num_q, sizes.dropout)
        self.register_buffer("bins", torch.linspace(sizes.low, sizes.high, sizes.num_bins))
        self.discount = discount_of(
            spec.max_decisions,
            config.loss.discount_denominator,
            config.loss.discount_min,
            config.loss.discount_max,
        )

    def number(self, logits):
        x = functional.softmax(logits, -1) @ self.bins
        return x.sign() * x.abs().expm1()

    def act(self, z):
        sizes = self.config.model
        mean, log_std = self.policy(z).chunk(2, -1)
        log_std = sizes.min_log_std + 0.5 * (sizes.max_log_std - sizes.min_log_std) * (log_std.tanh() + 1)
        noise = torch.randn_like(mean)
        log_prob = (-0.5 * noise**2 - log_std - 0.9189385).sum(-1)
        return torch.tanh(mean + noise * log_std.exp()), log_prob

    def two(self):
        return torch.randperm(self.config.model.num_q, device=self.bins.device)[:2]

    def value_of(self, z, actions, members):
        """Discounted rewards of actions [H, N, A], then the mean of two Q-functions."""
        total, discount = torch.zeros(actions.shape[1], device=z.device), 1.0
        for action in actions:
            both = torch.cat([z, action], -1)
            total = total + discount * self.number(self.reward(both))
            z = self.dynamics(both)
            discount *= self.discount
        action, _ = self.act(z)
        q = self.number(self.q(torch.cat([z, action], -1))[members])
        return total + discount * q.mean(0)


def make_plan(model: Model, config: TDMPC2Config, value_of: Callable) -> Callable:
    """MPPI with the policy's candidates: (latent state [1, L]) -> action [A]."""
    planner: Any = config.planner

    @torch.inference_mode()
    def plan(z):
        device = z.device
        guide, proposed = z.expand(planner.policy_candidates, -1), []
        for _ in range(planner.horizon):
            action, _ = model.act(guide)
            proposed.append(action)
            guide = model.dynamics(torch.cat([guide, action], -1))
        z = z.expand(planner.num_candidates, -1)
        mean = torch.zeros(planner.horizon, model.action_size, device=device)
        std = torch.full_like(mean, planner.init_std)
        drawn = planner.num_candidates - planner.policy_candidates
        for _ in range(planner.num_iterations):
            noise = torch.randn(planner.horizon, drawn, model.action_size, device=device)
            actions = torch.cat([(mean[:, None] + std[:, None] * noise).clamp(-1, 1), torch.stack(proposed)], 1)
            best = value_of(z, actions, model.two()).topk(planner.num_elites)
            elites = actions[:, best.indices]
            weights = functional.softmax(planner.temperature * best.values, 0)[None, :, None]
            mean = (weights * elites).sum(1)
            std = (weights * (elites - mean[:, None]) ** 2).sum(1).sqrt().clamp(planner.min_std, planner.max_std)
        choice = torch.multinomial(weights.flatten(), 1)
        return elites[0, choice[0]]

    return plan


def make_update(model: Model, config: TDMPC2Config, *, compiled: bool) -> Callable:
    """One update of model, policy, scale and target: (observation [T, B, n], action, reward) -> loss."""
    losses, rates = config.loss, config.optimizer
    target = Ensemble(
        [model.q.weights[0].shape[1], *[config.model.hidden] * 2, config.model.num_bins], config.model.num_q, 0.0
    ).to(model.bins.device)
    target.load_state_dict(model.q.state_dict())
    parts = [model.dynamics, model.reward, model.q]
    groups: list[dict[str, Any]] = [
        {"params": model.encoder.parameters(), "lr": rates.learning_rate * rates.encoder_scale}
    ]
    groups += [{"params": part.parameters()} for part in parts]
    optimizer = torch.optim.Adam(groups, lr=rates.learning_rate, eps=rates.eps)
    policy_optimizer = torch.optim.Adam(model.policy.parameters(), lr=rates.learning_rate, eps=rates.policy_eps)
    scale = torch.ones((), device=model.bins.device)
    learned = [parameter for part in (model.encoder, *parts) for parameter in part.parameters()]

    def soft_cross_entropy(logits, number):
        place = (number.sign() * number.abs().log1p()).clamp(model.bins[0], model.bins[-1])
        place = (place - model.bins[0]) / (model.bins[1] - model.bins[0])
        low = place.floor().clamp(max=len(model.bins) - 2).long()
        share = (place - low)[..., None]
        log_p = functional.log_softmax(logits, -1)
        low = low[..., None].expand(*logits.shape[:-1], 1)
        picked = (1 - share) * log_p.gather(-1, low) + share * log_p.gather(-1, low + 1)
        return -picked.squeeze(-1)

    def model_loss(observation, action, reward):
        with torch.no_grad():
            later = model.encoder(observation[1:])
            next_action, _ = model.act(later)
            q = model.number(target(torch.cat([later, next_action], -1))[model.two()])
            goals = reward + model.discount * q.min(0).values
        z = model.encoder(observation[0])
        rollout, consistency = [z], torch.zeros((), device=z.device)
        for t in range(len(action)):
            z = model.dynamics(torch.cat([z, action[t]], -1))
            consistency = consistency + losses.rho**t * functional.mse_loss(z, later[t])
            rollout.append(z)
        latents = torch.stack(rollout)
        both = torch.cat([latents[:-1], action], -1)
        weights = losses.rho ** torch.arange(len(action), device=z.device)
        reward_loss = (soft_cross_entropy(model.reward(both), reward).mean(1) * weights).mean()
        q_loss = (soft_cross_entropy(model.q(both, dropout=True), goals).mean((0, 2)) * weights).mean()
        total = losses.consistency_scale * consistency / len(action)
        return total + losses.reward_scale * reward_loss + losses.value_scale * q_loss, latents.detach()

    def policy_loss(latents, scale):
        action, log_prob = model.act(latents)
        q = model.number(model.q(torch.cat([latents, action], -1), dropout=True)[model.two()]).mean(0)
        with torch.no_grad():
            low, high = torch.quantile(q[0], torch.tensor([0.05, 0.95], device=q.device))
            scale = scale + rates.target_rate * ((high - low).clamp(min=1.0) - scale)
        entropy = -log_prob * model.action_size
        weights = losses.rho ** torch.arange(len(latents), device=q.device)
        return -((q / scale + losses.entropy_scale * entropy).mean(1) * weights).mean(), scale

    if compiled:
        model_loss = torch.compile(model_loss, dynamic=False)
        policy_loss = torch.compile(policy_loss, dynamic=False)

    def update(observation, action, reward):
        nonlocal scale
        optimizer.zero_grad()
        loss, latents = model_loss(observation, action, reward)
        loss.backward()
        nn.utils.clip_grad_norm_(learned, rates.clip_norm)
        optimizer.step()
        policy_optimizer.zero_grad()
        model.q.requires_grad_(False)
        value, scale = policy_loss(latents, scale)
        value.backward()
        model.q.requires_grad_(True)
        nn.utils.clip_grad_norm_(model.policy.parameters(), rates.clip_norm)
        policy_optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), model.q.parameters(), strict=True):
                slow.lerp_(fast, rates.target_rate)
        return loss.detach()

    return update


def plan_calls(peer: str, backend: str, config: TDMPC2Config, spec: EnvSpec) -> dict[str, Callable[[], Any]]:
    """One plan, by implementation; compiled is the evaluation of all candidates."""
    device = DEVICE[backend]
    model = Model(config, spec).to(device)
    z = torch.full((1, config.model.latent), 1 / config.model.simplex, device=device)

    def call(compiled: bool) -> Callable[[], Any]:
        value_of = torch.compile(model.value_of, dynamic=False) if compiled else model.value_of
        plan = make_plan(model, config, value_of)
        return _finished(lambda: plan(z), device, config.model.dtype)

    return {name: call(compiled) for name, compiled in IMPLEMENTATIONS[peer].items()}


def update_calls(
    peer: str, backend: str, config: TDMPC2Config, spec: EnvSpec, batch: Batch
) -> dict[str, Callable[[], Any]]:
    """One update, by implementation; compiled are both losses."""
    device = DEVICE[backend]
    (observation,) = batch.observation.values()
    tensors = [torch.from_numpy(x).to(device) for x in (observation, batch.action, batch.reward)]
    observation, action, reward = tensors[0], tensors[1][1:], tensors[2][1:]

    def call(compiled: bool) -> Callable[[], Any]:
        update = make_update(Model(config, spec).to(device), config, compiled=compiled)
        return _finished(lambda: update(observation, action, reward), device, config.model.dtype)

    return {name: call(compiled) for name, compiled in IMPLEMENTATIONS[peer].items()}
