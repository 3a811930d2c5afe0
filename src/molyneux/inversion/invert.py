"""Text to images: climb the model's own similarity from noise (Eq. 3)."""

import hashlib
import io
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from molyneux.arguments import check_finite, check_kind
from molyneux.backends.base import Alignment, VisionLanguageModel, check_model, frozen
from molyneux.backends.digest import weights_digest
from molyneux.backends.folding import LayerStatistics, folded
from molyneux.backends.gradients import with_gradients
from molyneux.concepts import Concept
from molyneux.errors import ConceptError, ModelError
from molyneux.files import write_bytes
from molyneux.inversion.canvas import CANVASES, COLORS, Canvas
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.priors import batch_norm_moments, frobenius_variation, statistics_distance, total_variation
from molyneux.inversion.views import draw_views, view
from molyneux.records import TracePoint
from molyneux.runs.options import check_seed
from molyneux.runs.progress import counting
from molyneux.shapes import Images
from molyneux.synthetic import SyntheticImages

OnStep = Callable[[int, int], None]

OnImages = Callable[[Concept, Callable[[], Images], Sequence[TracePoint]], None]
"""Called with the concept, what gives the images as they are now, and the trace so far."""

LOG = logging.getLogger(__name__)

STORED_EVERY = 10.0
"""Seconds after which a job's state is stored once its step is done, so that of slow steps one is lost at most."""


@with_gradients
def invert(
    model: VisionLanguageModel,
    concept: Concept,
    config: InversionConfig | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
    on_images: OnImages | None = None,
) -> SyntheticImages:
    """Optimise images until the model finds them similar to the concept's descriptions.

    The name is not shown to the model, only the descriptions (paper, appendix G). All images of a concept
    form one job: its result depends on the model, the concept, the settings and the seed alone.

    Args:
        model: stays as it is; its weights are frozen meanwhile.
        concept: its descriptions are embedded once; `config.descriptions` says how images are compared with several.
        config: Molyneux's own defaults if None.
        seed: each image has its own stream of random numbers, made from this, the concept and its index.
        checkpoint: a file that holds the job's state while it runs; if it is there, the job goes on from it
            to the same pixels, and it is removed at the end.
        on_step: called after each step with (steps done, steps in all).
        on_images: called after each step, to watch the images form.

    Raises:
        ModelError: if a description does not fit, or the similarity is not a number.
    """
    config = InversionConfig() if config is None else config
    check_model(model)
    check_kind(concept, Concept, "what is inverted", "a molyneux.Concept with a name and a description", ConceptError)
    check_kind(config, InversionConfig, "the config", "an InversionConfig")
    check_seed(seed)
    generators = [Generator().manual_seed(image_seed(seed, concept, i)) for i in range(config.images)]
    started = time.perf_counter()
    alignment = aligned(model, concept.descriptions, config)
    fingerprint = _fingerprint(model, config, [concept], seed) if checkpoint else ""
    look = None if on_images is None else partial(on_images, concept)
    with counting(f"inverting {concept.name!r}", on_step) as told:
        pixels, trace = _climb(model, alignment, config, generators, fingerprint, checkpoint, told, look)
    seconds = time.perf_counter() - started
    LOG.info("inverted %r: %d images in %.1f seconds", concept.name, len(pixels), seconds)
    return SyntheticImages(
        concept=concept,
        pixels=pixels,
        seed=seed,
        depicted=concept.name,
        source_descriptions=concept.descriptions,
        trace=trace,
        seconds=seconds,
    )


@with_gradients
def invert_each(
    model: VisionLanguageModel,
    concepts: Sequence[Concept],
    config: InversionConfig | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    on_step: OnStep | None = None,
) -> tuple[SyntheticImages, ...]:
    """One image of each concept's first description, all in one job: what replay of known classes is made of.

    Arguments and errors as for `invert`; `config.images` is not used.
    """
    config = config or InversionConfig()
    generators = [Generator().manual_seed(image_seed(seed, concept, 0)) for concept in concepts]
    started = time.perf_counter()
    distance = config.similarity == "distance"
    alignment = model.alignment_each([concept.descriptions[0] for concept in concepts], distance=distance)
    fingerprint = _fingerprint(model, config, concepts, seed) if checkpoint else ""
    pixels, trace = _climb(model, alignment, config, generators, fingerprint, checkpoint, on_step)
    seconds = (time.perf_counter() - started) / len(concepts)
    return tuple(
        SyntheticImages(
            concept=concept,
            pixels=image[None],
            seed=seed,
            depicted=concept.name,
            source_descriptions=concept.descriptions[:1],
            trace=trace,
            seconds=seconds,
        )
        for concept, image in zip(concepts, pixels, strict=True)
    )


def _climb(
    model: VisionLanguageModel,
    alignment: Alignment,
    config: InversionConfig,
    generators: Sequence[Generator],
    fingerprint: str,
    checkpoint: Path | None,
    on_step: OnStep | None,
    look: Callable[[Callable[[], Images], Sequence[TracePoint]], None] | None = None,
) -> tuple[Images, tuple[TracePoint, ...]]:
    size, view_size = config.size or model.inversion_size, config.view or model.inversion_size
    canvas = CANVASES[config.canvas](config, size, generators, model.device)
    state = InversionState(config, model, alignment, canvas, generators, fingerprint)
    if checkpoint is not None and checkpoint.exists():
        state.restore(checkpoint)
    with frozen(model.native), folded(model) as state.expected:
        stored = time.monotonic()
        try:
            while state.step < config.steps:
                state.advance(view_size)
                if look is not None:
                    look(state.pixels, state.trace)
                if on_step is not None:
                    on_step(state.step, config.steps)
                if checkpoint is not None and (state.step % 25 == 0 or time.monotonic() - stored > STORED_EVERY):
                    state.store(checkpoint)
                    stored = time.monotonic()
        except KeyboardInterrupt:
            # in the middle of a step the state is of no one step, and the last one stored stays
            if checkpoint is not None and state.whole:
                state.store(checkpoint)
            raise
    pixels = state.pixels()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return pixels, tuple(state.trace)


def aligned(model: VisionLanguageModel, descriptions: Sequence[str], config: InversionConfig) -> Alignment:
    """What a concept's images climb; errors as for `VisionLanguageModel.alignment`."""
    distance = config.similarity == "distance"
    if config.descriptions == "turns":
        own = [descriptions[place % len(descriptions)] for place in range(config.images)]
        return model.alignment_each(own, distance=distance)
    return model.alignment(descriptions, each=config.descriptions == "each", distance=distance)


def image_seed(seed: int, concept: Concept, index: int) -> int:
    """A 63-bit seed from the run's seed, the concept and the image's index; the same everywhere."""
    text = repr((seed, concept.name, concept.descriptions, index))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class InversionState:
    """One inversion between two steps."""

    def __init__(
        self,
        config: InversionConfig,
        model: VisionLanguageModel,
        alignment: Alignment,
        canvas: Canvas,
        generators: Sequence[Generator],
        fingerprint: str,
    ) -> None:
        self.config, self.alignment, self.canvas, self.generators = config, alignment, canvas, generators
        self.model, self.fingerprint = model, fingerprint
        self.color = COLORS[config.color]
        self.variation = total_variation if config.variation_norm == "mean" else frobenius_variation
        self.layers = model.vision_batch_norms() if config.batch_norm else []
        self.expected: Sequence[LayerStatistics] = ()
        self.optimiser = _adam(canvas, config)
        self.step = 0
        self.whole = True
        self.grown_at = 0
        self.trace: list[TracePoint] = []

    def images(self) -> Images:
        return self.color(self.canvas.values())

    def pixels(self) -> Images:
        # in the layout in which they are read from a file: convolutions round otherwise in another
        return self.images().detach().clamp(0, 1).cpu().float().contiguous()

    def advance(self, size: int) -> None:
        self.whole = False
        config = self.config
        if self.canvas.advance(self.step, config.steps):
            self.optimiser = _adam(self.canvas, config)
            self.grown_at = self.step
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(config, self.step, self.grown_at)
        noise = config.noise * (1 - self.step / config.steps)
        draw = draw_views(config, size, noise, self.generators)
        with batch_norm_moments(self.layers) as seen:
            images = self.images()
            scores, together = self._scores(view(images, draw, size), size)
            loss = -scores.mean() - config.joint * together
            if self.layers:
                loss = loss + config.batch_norm * statistics_distance(seen, self.expected)
        if config.total_variation:
            loss = loss + config.total_variation * self.variation(images).mean()
        check_finite(loss, "similarity", self.step)
        gradients = torch.autograd.grad(loss, self.canvas.leaves())
        if config.gradient_clip:
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            gradients = tuple(g * (config.gradient_clip / norm.clamp(min=config.gradient_clip)) for g in gradients)
        for leaf, gradient in zip(self.canvas.leaves(), gradients, strict=True):
            leaf.grad = gradient
        self.optimiser.step()
        self.canvas.settle()
        self.step += 1
        if self.step % config.trace_every == 0 or self.step in (1, config.steps):
            self.trace.append(self.measure(size, float(scores.detach().mean())))
        self.whole = True

    def _scores(self, views: Images, size: int) -> tuple[Tensor, Tensor]:
        try:
            return self.alignment.score(views)
        except (RuntimeError, ValueError, AssertionError) as error:
            own = sorted({self.model.image_size, self.model.inversion_size})
            if size in own or isinstance(error, torch.OutOfMemoryError):
                raise
            raise ModelError(
                f"{self.model.name!r} reads no views of {size} pixels: set inversion.view to "
                f"{' or '.join(map(str, own))}, or to 0 for its own"
            ) from error

    @torch.no_grad()
    def measure(self, size: int, augmented: float) -> TracePoint:
        still = InversionConfig(affine_probability=0.0, color_shift=0.0)
        plain_view = draw_views(still, size, 0.0, [Generator() for _ in self.generators])
        plain = self.alignment.score(view(self.images(), plain_view, size))[0].mean()
        return TracePoint(step=self.step, plain=float(plain), augmented=augmented)

    def state(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "grown_at": self.grown_at,
            "leaves": [leaf.detach().cpu() for leaf in self.canvas.leaves()],
            "optimiser": self.optimiser.state_dict(),
            "generators": [generator.get_state() for generator in self.generators],
            "trace": [point.as_dict() for point in self.trace],
        }

    def store(self, path: Path) -> None:
        buffer = io.BytesIO()
        torch.save(self.state(), buffer)
        content = buffer.getvalue()
        write_bytes(path, hashlib.sha256(content).digest() + content)

    def restore(self, path: Path) -> None:
        """Go on from a stored state; one of another job, or one that is not as it was stored, is left aside."""
        try:
            stored = path.read_bytes()
            content = stored[hashlib.sha256().digest_size :]
            if hashlib.sha256(content).digest() != stored[: -len(content)]:
                return
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
            fits = state["fingerprint"] == self.fingerprint and state.keys() == self.state().keys()
        except Exception:  # whatever is wrong with the file, starting over gives the same pixels
            return
        if not fits:
            return
        self.step, self.grown_at = state["step"], state["grown_at"]
        self.canvas.advance(max(self.grown_at, self.step - 1), self.config.steps)
        leaves: list[Tensor] = self.canvas.leaves()
        for leaf, values in zip(leaves, state["leaves"], strict=True):
            leaf.data.copy_(values)
        self.optimiser = _adam(self.canvas, self.config)
        self.optimiser.load_state_dict(state["optimiser"])
        for generator, values in zip(self.generators, state["generators"], strict=True):
            generator.set_state(values)
        self.trace = [TracePoint(**point) for point in state["trace"]]


def _adam(canvas: Canvas, config: InversionConfig) -> torch.optim.Adam:
    return torch.optim.Adam(canvas.leaves(), lr=config.learning_rate, fused=True)


def learning_rate(config: InversionConfig, step: int, grown_at: int) -> float:
    """Adam's step size at `step`.

    `cosine` falls from the full rate to zero over the run. `restarts` is the authors' schedule: a cosine begun anew
    whenever the canvas grows. Its half period is the same in all stages, a third of the steps of the last stage;
    after it the rate climbs again, as PyTorch's does.
    """
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    last_growth = round(config.growth[-1][0] * config.steps) if config.growth else 0
    half_period = max(1, (config.steps - last_growth) // 3)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - grown_at) / half_period))


def _fingerprint(model: VisionLanguageModel, config: InversionConfig, concepts: Sequence[Concept], seed: int) -> str:
    described = [(concept.name, concept.descriptions) for concept in concepts]
    weights = weights_digest(model.native)
    size = (model.image_size, model.inversion_size)
    read = (model.long_text, model.precision, torch.get_num_threads())
    text = repr((model.name, weights, size, read, asdict(config), described, seed))
    return hashlib.sha256(text.encode()).hexdigest()
