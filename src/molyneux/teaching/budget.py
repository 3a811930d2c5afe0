"""How much of the change to keep so that forgetting stays within a budget; no photo is used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import normalize

from molyneux.backends.base import DualEncoder
from molyneux.errors import ConfigError
from molyneux.records import Forecast
from molyneux.shapes import Embeddings
from molyneux.synthetic import SyntheticImages
from molyneux.tables import listed
from molyneux.teaching.choices import losses_where
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.fine_tune import OnStep, learn
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objectives.base import Lesson, portions
from molyneux.teaching.text_anchors import description_embedding, nothing_to_learn
from molyneux.teaching.texts import NAME_PROMPT, known_prompts

RATES = (0.5, 1.0, 2.0)
"""Learning rates tried, as multiples of the configuration's."""

STAND_INS = 2000
"""Number of embeddings that stand for photos of known classes, and number for each concept."""

HALVINGS = 8


def teach_within(
    model: DualEncoder,
    images: Sequence[SyntheticImages],
    config: TeachingConfig | None = None,
    *,
    budget: float,
    known: Sequence[str],
    replay: Sequence[SyntheticImages],
    seed: int = 0,
    on_step: OnStep | None = None,
) -> tuple[DualEncoder, Forecast]:
    """Teach at several learning rates, each at the largest strength within the budget; return the best by recall.

    Stand-ins take the place of photos. For a known photo, that is a random direction turned towards its name until
    their cosine is the mean cosine of replay images and their names. For a concept's photo, it is turned in the same
    way towards one of its synthetic images, or towards its description's embedding if it has none. The forecast is
    right on average, less so for one concept: the benchmark of teaching shows how well it held.

    Args:
        model: one whose shared space can be remapped.
        images: one value per concept.
        config: its learning rate is multiplied by `RATES`; its `strength` is not used.
        budget: the largest accuracy that may be lost, and the largest fraction that one new name may take, both
            as forecast.
        known: names of the stand-ins for known photos.
        replay: images of known classes.
        seed: as for `fine_tune`.
        on_step: called after each step with (steps done, steps in all), all learning rates together.

    Raises:
        ConfigError: if the budget is not above 0 and at most 1, if more than an embedding map would move, or if there
            are no known names or no replay images of them.
        ModelError: as for `fine_tune`.
    """
    config = config or TeachingConfig()
    check_budget(budget, config)
    for value in images:
        if not (len(value) or (value.source_descriptions and config.uses_text_anchors)):
            raise ConfigError(nothing_to_learn(value.concept.name))
    stand_ins = _StandIns.prepare(model, images, known, replay)
    best: tuple[DualEncoder, Forecast] | None = None
    for place, rate in enumerate(RATES):
        tried = replace(config, learning_rate=rate * config.learning_rate, strength=1.0)
        told = None if on_step is None else _part(on_step, place)
        student, objective = learn(model, Lesson(model, images, tried, known, replay, seed), told)
        forecast = _largest(stand_ins, objective.parameters()[0].detach(), budget, tried.learning_rate)
        if best is None or forecast.recognised > best[1].recognised:
            objective.finish()
            student.native.requires_grad_(False)
            best = student, forecast
    assert best is not None
    return interpolate(model, best[0], best[1].strength), best[1]


def check_budget(budget: float, config: TeachingConfig) -> None:
    """Raise ConfigError if no budget can be kept with these settings; cheap."""
    if not 0 < budget <= 1:
        raise ConfigError(f"the budget of forgetting is {budget}: expected a number above 0, at most 1, such as 0.01")
    if not (config.update.kind.is_map and config.objective.forecasts):
        losses = listed(losses_where(lambda kind: kind.forecasts), "and")
        raise ConfigError(
            f"a budget of forgetting is forecast for the update 'embedding_map' with the losses {losses}: "
            f"got the loss {config.loss!r} and {config.update}; set teaching.strength by hand instead"
        )


@dataclass(frozen=True, slots=True)
class _StandIns:
    """Embeddings in place of photos, and of names."""

    known: Embeddings
    answers: Tensor
    """For each of `known` the index of its name."""
    own: Float[Tensor, "k d"]
    owners: Tensor
    """For each of `own` the index of its concept."""
    names: Float[Tensor, "m d"]
    """The known names'."""
    new: Float[Tensor, "c d"]
    """The concepts' names'."""

    @classmethod
    @torch.no_grad()
    def prepare(
        cls,
        model: DualEncoder,
        images: Sequence[SyntheticImages],
        known: Sequence[str],
        replay: Sequence[SyntheticImages],
    ) -> "_StandIns":
        names = known_prompts(known, (value.concept for value in images))
        if not names or not replay:
            raise ConfigError(
                "a budget of forgetting is forecast from known names and replay images: give both, or no budget"
            )
        texts = model.embed_texts(names)
        new = model.embed_texts([NAME_PROMPT.format(value.concept.name) for value in images])
        seen = torch.cat([model.embed_images(part) for part in portions(model, replay)])
        own_names = model.embed_texts([NAME_PROMPT.format(value.concept.name) for value in replay])
        told = own_names.repeat_interleave(torch.tensor(list(map(len, replay)), device=seen.device), dim=0)
        nearness = float((seen * told).sum(dim=1).mean().clamp(0, 1))
        generator = Generator().manual_seed(0)

        def towards(targets: Tensor) -> Tensor:
            noise = normalize(torch.randn(targets.shape, generator=generator), dim=1).to(targets)
            across = normalize(noise - (noise * targets).sum(dim=1, keepdim=True) * targets, dim=1)
            points: Tensor = nearness * targets + (1 - nearness**2) ** 0.5 * across
            return points

        answers = torch.randint(len(names), (STAND_INS,), generator=generator).to(seen.device)
        parts = [
            torch.cat([model.embed_images(part) for part in portions(model, [value])])
            if len(value)
            else description_embedding(model, value.source_descriptions)
            for value in images
        ]
        drawn = [part[torch.randint(len(part), (STAND_INS,), generator=generator)] for part in parts]
        owners = torch.arange(len(parts), device=seen.device).repeat_interleave(STAND_INS)
        return cls(towards(texts[answers]), answers, towards(torch.cat(drawn)), owners, texts, new)

    def judge(self, change: Float[Tensor, "d d"]) -> tuple[float, float, float]:
        """Forgotten, captured and recognised, as in `Forecast`, with the shared space mapped by I + change."""
        before, free = self._read(self.known)
        after, taken = self._read(normalize(self.known + self.known @ change.T, dim=1))
        own = normalize(self.own + self.own @ change.T, dim=1)
        mine = (own @ self.new.T).gather(1, self.owners[:, None])[:, 0]
        recognised = (mine > (own @ self.names.T).max(dim=1).values).float().mean()
        return float(before - after), float((taken - free).max()), float(recognised)

    def _read(self, seen: Embeddings) -> tuple[Tensor, Float[Tensor, " c"]]:
        """Accuracy on the known stand-ins, and for each new name the fraction of them that are nearest to it."""
        old, new = seen @ self.names.T, seen @ self.new.T
        accuracy = (old.argmax(dim=1) == self.answers).float().mean()
        return accuracy, (new > old.max(dim=1, keepdim=True).values).float().mean(dim=0)


def _largest(stand_ins: _StandIns, change: Tensor, budget: float, rate: float) -> Forecast:
    """The largest strength within the budget, by bisection: what is forgotten grows with the strength."""
    low, high, strength = 0.0, 1.0, 1.0
    for _ in range(HALVINGS):
        forgotten, captured, _ = stand_ins.judge(strength * change)
        low, high = (strength, high) if max(forgotten, captured) <= budget else (low, strength)
        if low == high:
            break
        strength = (low + high) / 2
    forgotten, captured, recognised = stand_ins.judge(low * change)
    return Forecast(
        budget=budget,
        learning_rate=rate,
        strength=low,
        forgotten=forgotten,
        captured=captured,
        recognised=recognised,
    )


def _part(on_step: OnStep, place: int) -> OnStep:
    return lambda done, total: on_step(place * total + done, len(RATES) * total)
