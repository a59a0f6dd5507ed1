"""Two models for tests: one whose every prediction is known, and a random one of the embedded kind."""

import copy

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from worldmodel.actions import ActionSpec
from worldmodel.backends.cosmos25 import Cosmos25Backend
from worldmodel.backends.domains import Domain
from worldmodel.backends.recipe import Recipe
from worldmodel.envs.ball import velocity_commands
from worldmodel.envs.grasp import Grasp
from worldmodel.model import WorldModel
from worldmodel.sampling.schedules import flow_sigmas
from worldmodel.training import transformer as training
from worldmodel.training.autoencoder import AutoencoderSettings, Stage
from worldmodel.training.tiny import TinySettings

BALL = velocity_commands(0.6, 16.0)
RED = np.array([217.0, 31.0, 26.0])
SHORTEST = TinySettings(
    AutoencoderSettings(stages=(Stage(1, 32, 32, 2, 2), Stage(5, 32, 32, 1, 1)), warmup_steps=1),
    training.TransformerSettings(steps=2, batch=2, warmup_steps=1),
    frames=5,
    stride=4,
)


class PaintedBall:
    """A world in which a red ball goes where it is told, through walls too: latents are pixels, x0 is the painting.

    ``noise`` (m) is the standard deviation of a shift of each sample's way, drawn from what it starts from.
    """

    frames_per_latent, from_text, weights_hash, device = 1, False, "painted", torch.device("cpu")

    def __init__(self, radius=0.025, under=(115, 74, 41), num_frames=9, size=64, noise=0.0, scenes=None):
        self.recipe = Recipe("painted ball", (size, size), num_frames, 16.0, steps=2, scenes=scenes or {})
        self.action_spec, self.radius, self.under, self.noise = BALL, radius, np.array(under, float), noise
        self.calls, self.decoded = 0, 0

    latent_shape = property(lambda self: (3, self.recipe.num_frames, *self.recipe.image_size))

    def sigmas(self, steps):
        return flow_sigmas(steps)

    def encode(self, video):
        return torch.from_numpy(np.moveaxis(video, -1, 1).astype(np.float32) / 255.0)

    def decode(self, latents):
        self.decoded += len(latents)
        return (np.moveaxis(latents.numpy(), 1, -1).clip(0, 1) * 255).round().astype(np.uint8)

    def denoiser(self, given, actions=None, frames=None):
        return _Painting(self, given, actions)

    def conditioned(self, **options):
        return copy.copy(self)

    def provenance(self):
        return {}

    def check_memory(self, batch, sparse=False):
        """It takes next to none."""

    def paint(self, frame, actions, shift):
        """(n, H, W, 3) of what follows a frame (H, W, 3) under actions (n, 2)."""
        side = frame.shape[0]
        colours = frame.astype(float)
        share = np.clip((colours[..., 0] - colours[..., 1:].max(axis=-1) - 60) / 110, 0, 1)
        rows, columns = np.indices(share.shape) + 0.5
        mass = max(share.sum(), 1e-9)
        u, v = (share * columns).sum() / mass, (share * rows).sum() / mass
        plate = np.where((share > 0.0)[..., None], self.under, colours)
        dx, dy = np.moveaxis(np.cumsum(actions, axis=0) / 16.0 + shift, 1, 0)[..., None, None] * side
        distance = np.hypot(columns - u - dx, rows - v + dy)
        cover = np.clip(self.radius * side + 0.5 - distance, 0, 1)[..., None]
        return plate * (1 - cover) + RED * cover


class _Painting:
    def __init__(self, backend, given, actions):
        self.backend, self.known = backend, given.shape[2]
        clip = torch.zeros(len(given), *backend.latent_shape)
        clip[:, :, : self.known] = given
        self.clip, self.actions, self.painted = clip, actions, False
        self.pinned = torch.zeros_like(clip[:, :1], dtype=torch.bool)
        self.pinned[:, :, : self.known] = True

    def __call__(self, x, sigma):
        self.backend.calls += 1
        if not self.painted:
            frames = self.backend.decode(self.clip[:, :, self.known - 1 : self.known])[:, 0]
            self.backend.decoded -= len(frames)
            for row, frame in enumerate(frames):
                shift = self.backend.noise * x[row, :2, -1, 0, 0].numpy()
                video = self.backend.paint(frame, self.actions[row], shift) / 255.0
                self.clip[row, :, self.known :] = torch.from_numpy(np.moveaxis(video, -1, 0))
            self.painted = True
        return self.clip.clone()


def painted(**options):
    return WorldModel(PaintedBall(**options))


def random_robots(size=32, num_frames=9, whole=False):
    """Of the embedded kind, with random weights: it knows the ball and the Fetch arm; small, or of the whole size."""
    torch.manual_seed(0)
    small = {} if whole else {"num_layers": 2, "num_attention_heads": 1}
    network = training.ActionCosmosTransformer3DModel(**training.TINY_TRANSFORMER | small)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    vae = AutoencoderKLWan(
        base_dim=16 if whole else 4,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    fetch: ActionSpec = Grasp().action_spec
    domains = (
        Domain("ball", BALL, (0, 1), tuple(zip(BALL.low, BALL.high, strict=True))),
        Domain("fetch", fetch, (2, 3, 4, 5), tuple(zip(fetch.low, fetch.high, strict=True))),
    )
    recipe = Recipe("random robots", (size, size), num_frames, 16.0, steps=2, domains=domains)
    return WorldModel(Cosmos25Backend(network, vae, {"flow_shift": 2.0}, recipe))
