"""The same planner and update in plain PyTorch, written as typical ports of PlaNet, for comparison.

The arithmetic is that of `WorldModelConfig(kind="rssm", activation="relu")`, of `make_cem` and of the plain ELBO;
`tests/benchmarks/test_peer_torch.py` compares the two. Time and iterations are Python loops.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from latentplan.agents.planet import PlaNetConfig
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners.cem import CEMConfig
from latentplan.types import Batch, EnvSpec

INSTALL = (
    "uv sync --extra peer (or the CPU build: uv pip install torch --index-url https://download.pytorch.org/whl/cpu)"
)
try:
    import torch
    from torch import nn
    from torch.distributions import Independent, Normal, kl_divergence
    from torch.nn import functional
except ImportError as error:
    raise SystemExit(f"--peer: expected PyTorch beside latentplan, found none; {INSTALL}") from error

IMPLEMENTATIONS = {"torch": {"torch eager": False}, "torch-compile": {"torch eager": False, "torch compiled": True}}
"""What --peer times: name -> whether torch.compile is used."""
DEVICE = {"cpu": "cpu", "gpu": "cuda"}
"""PyTorch's name of the device, by JAX's."""
torch._dynamo.config.recompile_limit = 64  # every case is compiled for its own shapes
torch._inductor.config.force_disable_caches = True  # so that first calls compile, as JAX's do
torch.distributions.Distribution.set_default_validate_args(False)


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with a ReLU between them."""
    layers = [layer for ends in pairwise(sizes) for layer in (nn.Linear(*ends), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class GaussianMLP(nn.Module):
    """Hidden layers, then mean and std = softplus(x) + min_std; the two heads are one product."""

    def __init__(self, sizes: list[int], outputs: int, min_std: float) -> None:
        super().__init__()
        self.net, self.min_std = mlp(*sizes, 2 * outputs), min_std

    def forward(self, x):
        mean, std = self.net(x).float().chunk(2, -1)
        return mean, functional.softplus(std) + self.min_std


class GRU(nn.Module):
    """r, u = sigmoid(W [x, h]);  c = tanh(V [x, r h]);  h' = u h + (1 - u) c. nn.GRUCell resets after the product."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.gates, self.candidate = nn.Linear(inputs + size, 2 * size), nn.Linear(inputs + size, size)

    def forward(self, x, h):
        reset, update = torch.sigmoid(self.gates(torch.cat([x, h], -1))).chunk(2, -1)
        candidate = torch.tanh(self.candidate(torch.cat([x, reset * h], -1)))
        return (update * h + (1 - update) * candidate).float()


class WorldModel(nn.Module):
    """PlaNet's RSSM with encoder, decoder and reward head."""

    def __init__(self, config: WorldModelConfig, spec: EnvSpec) -> None:
        super().__init__()
        hidden, feature = [config.hidden] * config.layers, config.stoch + config.deter
        vector = [config.vector_hidden] * config.vector_layers
        (space,) = spec.observations.values()
        self.config, self.is_pixels = config, space.is_image
        if space.is_image:
            self.encoder, self.decoder = conv_encoder(config.conv_depth), conv_decoder(feature, config.conv_depth)
            embed = 32 * config.conv_depth
        else:
            self.encoder = mlp(*space.shape, *vector, config.vector_hidden)
            self.decoder = mlp(feature, *vector, *space.shape)
            embed = config.vector_hidden
        inputs = [config.stoch + spec.action_size, *hidden]
        self.inputs = nn.Sequential(mlp(*inputs), nn.ReLU()) if hidden else nn.Identity()
        self.gru = GRU(inputs[-1], config.deter)
        self.prior = GaussianMLP([config.deter, *hidden], config.stoch, config.min_std)
        self.posterior = GaussianMLP([config.deter + embed, *hidden], config.stoch, config.min_std)
        self.reward = mlp(feature, *[config.reward_hidden] * config.reward_layers, 1)

    def imagine_step(self, deter, stoch, action):
        deter = self.gru(self.inputs(torch.cat([stoch, action], -1)), deter)
        mean, std = self.prior(deter)
        return deter, mean + std * torch.randn_like(std), (mean, std)

    def observe_step(self, deter, stoch, action, embed, keep):
        deter = self.gru(self.inputs(torch.cat([stoch * keep, action * keep], -1)), deter * keep)
        prior = self.prior(deter)
        mean, std = self.posterior(torch.cat([deter, embed], -1))
        return deter, mean + std * torch.randn_like(std), (mean, std), prior

    def imagined_return(self, deter, stoch, actions):
        """Sum of expected rewards; deter [N, D], stoch [N, S], actions [H, N, A] -> [N]."""
        features = []
        for action in actions:
            deter, stoch, _ = self.imagine_step(deter, stoch, action)
            features.append(torch.cat([stoch, deter], -1))
        return self.reward(torch.stack(features)).sum(0).squeeze(-1)


def conv_encoder(depth: int) -> nn.Module:
    """Ha & Schmidhuber's convolutions."""
    channels = (3, depth, 2 * depth, 4 * depth, 8 * depth)
    layers = [layer for ends in pairwise(channels) for layer in (nn.Conv2d(*ends, 4, stride=2), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten())


def conv_decoder(feature: int, depth: int) -> nn.Module:
    """A linear layer and Ha & Schmidhuber's transposed convolutions."""
    channels = (32 * depth, 4 * depth, 2 * depth, depth, 3)
    layers = [
        layer
        for ends, size in zip(pairwise(channels), (5, 5, 6, 6), strict=True)
        for layer in (nn.ConvTranspose2d(*ends, size, stride=2), nn.ReLU())
    ]
    return nn.Sequential(nn.Linear(feature, channels[0]), nn.Unflatten(-1, (-1, 1, 1)), *layers[:-1])


def make_planner(config: CEMConfig, action_size: int, evaluate: Callable) -> Callable:
    """The cross-entropy method on `model.imagined_return`: (deter [B, D], stoch [B, S]) -> actions [B, A]."""
    horizon, candidates = config.horizon, config.num_candidates

    @torch.inference_mode()
    def plan(deter, stoch):
        beliefs, device = len(deter), deter.device
        deter, stoch = deter.repeat_interleave(candidates, 0), stoch.repeat_interleave(candidates, 0)
        mean = torch.zeros(horizon, beliefs, 1, action_size, device=device)
        std = torch.full_like(mean, config.init_std)
        for _ in range(config.num_iterations):
            noise = torch.randn(horizon, beliefs, candidates, action_size, device=device)
            actions = (mean + std * noise).clamp(-1, 1)
            returns = evaluate(deter, stoch, actions.flatten(1, 2)).view(beliefs, candidates)
            elites = returns.topk(config.num_elites).indices[None, :, :, None]
            best = actions.gather(2, elites.expand(horizon, -1, -1, action_size))
            mean = best.mean(2, keepdim=True)
            std = (best.var(2, keepdim=True, unbiased=False) + config.min_std**2).sqrt()
        return mean[0, :, 0]

    return plan


def make_loss(model: WorldModel, config: PlaNetConfig, observe_step: Callable) -> Callable:
    """The negative ELBO with `model.observe_step`, averaged: (batch from `to_torch`) -> scalar."""
    sizes, losses = config.model, config.loss
    pixels, levels = model.is_pixels, 2**sizes.image_bits

    def preprocess(observation):
        if not pixels:
            return observation.sign() * observation.abs().log1p()
        image = torch.floor(observation.float() / (256 / levels)) / levels - 0.5
        return (image + torch.rand_like(image) / levels).to(memory_format=torch.channels_last)

    def observe(actions, embeds, keep):
        deter, stoch = embeds.new_zeros(len(embeds), sizes.deter), embeds.new_zeros(len(embeds), sizes.stoch)
        steps = []
        for inputs in zip(actions.unbind(1), embeds.unbind(1), keep.unbind(1), strict=True):
            deter, stoch, posterior, prior = observe_step(deter, stoch, *inputs)
            steps.append((torch.cat([stoch, deter], -1), *posterior, *prior))
        return (torch.stack(values, 1) for values in zip(*steps, strict=True))

    def loss(batch):
        observation = preprocess(batch["observation"].flatten(0, 1))
        embeds = model.encoder(observation).float().unflatten(0, batch["reward"].shape)
        features, *moments = observe(batch["action"], embeds, ~batch["is_first"][..., None])
        posterior, prior = Independent(Normal(*moments[:2]), 1), Independent(Normal(*moments[2:]), 1)
        kl = (kl_divergence(posterior, prior) - losses.free_nats).clamp(min=0)
        decoded = Normal(model.decoder(features.flatten(0, 1)).float(), sizes.pixel_std if pixels else sizes.vector_std)
        image = decoded.log_prob(observation).flatten(1).sum(-1)
        reward = Normal(model.reward(features).squeeze(-1).float(), 1.0).log_prob(batch["reward"])
        return kl.mean() - image.mean() - losses.reward_scale * reward.mean()

    return loss


def make_update(model: WorldModel, config: PlaNetConfig, loss: Callable) -> Callable:
    """Gradients, clipping and Adam: (batch) -> loss."""
    rates = config.optimizer
    optimizer = torch.optim.Adam(model.parameters(), lr=rates.learning_rate, eps=rates.eps)

    def update(batch):
        optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), rates.clip_norm)
        optimizer.step()
        return value.detach()

    return update


def to_torch(batch: Batch, device: str) -> dict[str, torch.Tensor]:
    """A batch of NumPy arrays [T, B, ...] as tensors [B, T, ...]; images become [B, T, channels, height, width]."""
    (observation,) = batch.observation.values()
    fields = batch._asdict() | {"observation": observation}
    arrays = {name: torch.from_numpy(value).to(device) for name, value in fields.items()}
    tensors = {name: x.transpose(0, 1).contiguous() for name, x in arrays.items()}
    if tensors["observation"].dtype == torch.uint8:
        tensors["observation"] = tensors["observation"].movedim(-1, 2).contiguous()
    return tensors


def configure(backend: str) -> str:
    """Checks the device and sets the precision of its matrix products; nothing is compared across devices.

    Args:
        backend: where JAX runs, as `jax.default_backend` names it.

    Returns:
        A note for interpreting the times.

    Raises:
        SystemExit: PyTorch cannot run there.
    """
    if backend not in DEVICE or (backend == "gpu" and not torch.cuda.is_available()):
        raise SystemExit(f"--peer: expected PyTorch on the {backend} that JAX uses, got {torch.__version__}; {INSTALL}")
    torch.set_float32_matmul_precision("high" if backend == "gpu" else "highest")  # TF32 on GPUs, as XLA's default
    return (
        f"PyTorch {torch.__version__} with {torch.get_num_threads()} threads in a process of its own; its threads wait "
        "for each other, so work beside it slows it far more than XLA: compare only where nothing else ran"
    )


def plan_calls(
    peer: str, backend: str, model_config: WorldModelConfig, config: CEMConfig, spec: EnvSpec, beliefs: int
) -> dict[str, Callable[[], Any]]:
    """One plan for each belief, by implementation; compiled is the evaluation of all candidates, H steps unrolled."""
    device = DEVICE[backend]
    model = make_model(model_config, spec, device)
    belief = [torch.zeros(beliefs, size, device=device) for size in (model_config.deter, model_config.stoch)]

    def call(compiled: bool) -> Callable[[], Any]:
        evaluate = torch.compile(model.imagined_return, dynamic=False) if compiled else model.imagined_return
        plan = make_planner(config, spec.action_size, evaluate)
        return _finished(lambda: plan(*belief), device, model_config.dtype)

    return {name: call(compiled) for name, compiled in IMPLEMENTATIONS[peer].items()}


def update_calls(
    peer: str, backend: str, config: PlaNetConfig, spec: EnvSpec, batch: Batch
) -> dict[str, Callable[[], Any]]:
    """One update, by implementation; compiled is one step of filtering, as all of them unrolled compile for minutes."""
    device = DEVICE[backend]
    tensors = to_torch(batch, device)

    def call(compiled: bool) -> Callable[[], Any]:
        model = make_model(config.model, spec, device)
        step = torch.compile(model.observe_step, dynamic=False) if compiled else model.observe_step
        update = make_update(model, config, make_loss(model, config, step))
        return _finished(lambda: update(tensors), device, config.model.dtype)

    return {name: call(compiled) for name, compiled in IMPLEMENTATIONS[peer].items()}


def make_model(config: WorldModelConfig, spec: EnvSpec, device: str) -> WorldModel:
    """A model where it will run; convolutions in channels_last, which is the faster layout."""
    if config.kind != "rssm" or config.activation != "relu":
        raise SystemExit(f"--peer: expected kind rssm and activation relu, got {config.kind} and {config.activation}")
    return WorldModel(config, spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _finished(work: Callable[[], Any], device: str, dtype: str) -> Callable[[], None]:
    """Work in the networks' precision that returns when it is done."""

    def call() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            work()
        if device == "cuda":
            torch.cuda.synchronize()

    return call
