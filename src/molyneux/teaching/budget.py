"""How much of a lesson to keep for a promised price, judged without a photo."""

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
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.fine_tune import OnStep, learn
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objectives.base import portions
from molyneux.teaching.text_anchors import description_embedding, nothing_to_learn
from molyneux.teaching.texts import NAME_PROMPT, known_prompts
from molyneux.teaching.updates import moves_embedding_map

RATES = (0.5, 1.0, 2.0)
"""Learning rates tried, as multiples of the configuration's."""

STAND_INS = 2000
"""Points of the shared space that stand for photos of known classes, and as many for each concept's."""

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
    """Teach at several rates, keep as much of each change as the budget allows, and of these the one that helps most.

    No photo is seen. A known photo's stand-in is a random direction, turned towards its name until their cosine is
    the one that replay images have to their names on average; a concept's stand-ins are turned towards its images
    in the same way, or towards its words where it has none. The forecast is right on average more than for one
    concept: the benchmark of teaching shows how well it held.

    Args:
        model: one whose shared space can be remapped.
        images: one value per concept.
        config: rates are multiples of its own; its `interpolate` is not used.
        budget: the largest accuracy that may be lost, and share that one new name may capture, both forecast.
        known: names that the model knows already.
        replay: images of known classes.
        seed: as for `teach`; the stand-ins are the same for every seed.
        on_step: called with (steps done, steps in all) of all rates together.

    Raises:
        ConfigError: if the budget is no share above 0, more than the shared space would move, or there are no known
            names or no replay images of them.
        ModelError: as for `teach`.
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
        student, objective = learn(model, images, tried, known=known, replay=replay, seed=seed, on_step=told)
        forecast = _largest(stand_ins, objective.parameters()[0].detach(), budget, tried.learning_rate)
        if best is None or forecast.recognised > best[1].recognised:
            objective.finish()
            student.native.requires_grad_(False)
            best = student, forecast
    assert best is not None
    return interpolate(model, best[0], best[1].strength), best[1]


def check_budget(budget: float, config: TeachingConfig) -> None:
    """See before any work whether a budget can be kept; errors as for `teach_within`."""
    if not 0 < budget <= 1:
        raise ConfigError(f"the budget of forgetting is {budget}: expected a share above 0 and at most 1, such as 0.01")
    if not moves_embedding_map(config.update) or config.loss not in ("bank", "anchors"):
        raise ConfigError(
            "a budget of forgetting is forecast for a map of the shared space with the losses 'bank' and 'anchors': "
            f"got the loss {config.loss!r} and {config.update}; set teaching.strength by hand instead"
        )


@dataclass(frozen=True, slots=True)
class _StandIns:
    """Points of the shared space in place of photos."""

    known: Embeddings
    answers: Tensor
    """For each known point its name's index."""
    own: Float[Tensor, "k d"]
    owners: Tensor
    """For each of the concepts' points its concept."""
    names: Float[Tensor, "m d"]
    new: Float[Tensor, "c d"]

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
        """Forgotten, captured and recognised, as in `Forecast`, where the space is followed by I + change."""
        before, free = self._read(self.known)
        after, taken = self._read(normalize(self.known + self.known @ change.T, dim=1))
        own = normalize(self.own + self.own @ change.T, dim=1)
        mine = (own @ self.new.T).gather(1, self.owners[:, None])[:, 0]
        recognised = (mine > (own @ self.names.T).max(dim=1).values).float().mean()
        return float(before - after), float((taken - free).max()), float(recognised)

    def _read(self, seen: Embeddings) -> tuple[Tensor, Float[Tensor, " c"]]:
        """The accuracy of known points, and the share of them that each new name fits best."""
        old, new = seen @ self.names.T, seen @ self.new.T
        accuracy = (old.argmax(dim=1) == self.answers).float().mean()
        return accuracy, (new > old.max(dim=1, keepdim=True).values).float().mean(dim=0)


def _largest(stand_ins: _StandIns, change: Tensor, budget: float, rate: float) -> Forecast:
    """The largest share of the change within the budget, by halving: the price grows with the share."""
    low, high, share = 0.0, 1.0, 1.0
    for _ in range(HALVINGS):
        forgotten, captured, _ = stand_ins.judge(share * change)
        low, high = (share, high) if max(forgotten, captured) <= budget else (low, share)
        if low == high:
            break
        share = (low + high) / 2
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
