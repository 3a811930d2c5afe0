"""How much of a lesson to keep for a promised price, judged from pictures that the model made itself."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from molyneux.backends.base import DualEncoder
from molyneux.errors import ConfigError
from molyneux.shapes import Images
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import LoRA, TeachingConfig
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objective import shown
from molyneux.teaching.teach import OnStep, teach
from molyneux.teaching.texts import NAME_PROMPT, known_prompts
from molyneux.teaching.updates import moves_texts, shares_trunk

RATES = (0.5, 1.0, 2.0)
"""Learning rates tried, as multiples of the configuration's."""

PROBES = 600
"""Mixtures of replay pictures that forgetting is judged on."""

HALVINGS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What was chosen, and what it was expected to cost and to bring before any photo was seen."""

    budget: float
    learning_rate: float
    share: float
    """Of the change, how much is kept."""
    forgotten: float
    """Share of the mixtures of replay pictures that another known name fits best than before."""
    captured: float
    """The largest share of them that one new name fits best."""
    recognised: float
    """Share of the concepts' pictures, each mixed with a replay picture, that their name fits best."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def teach_within(
    model: DualEncoder,
    pictures: Sequence[SyntheticImages],
    config: TeachingConfig | None = None,
    *,
    budget: float,
    known: Sequence[str],
    replay: Sequence[SyntheticImages],
    seed: int = 0,
    on_step: OnStep | None = None,
) -> tuple[DualEncoder, Forecast]:
    """Teach at several rates, keep as much of each change as the budget allows, and of these the one that helps most.

    No photo is seen. Forgetting is judged on mixtures of two replay pictures, halves of both, which leave the model
    less sure of its answer than the pictures alone, as photos do; help, on the concepts' pictures mixed with replay
    pictures. Both are forecasts: the benchmark of teaching shows how well they hold.

    Args:
        model: one whose text tower stays.
        pictures: one value per concept.
        config: rates are multiples of its own; its `interpolate` is not used.
        budget: the largest share of the mixtures that may be forgotten, and that one new name may capture.
        known: names that the model knows already.
        replay: pictures of known classes; two at least.
        seed: as for `teach`; the mixtures are the same for every seed.
        on_step: called with (steps done, steps in all) of all rates together.

    Raises:
        ConfigError: if the budget is no share above 0, the text tower would move, the update is low-rank, or there
            are no known names or too few replay pictures.
        ModelError: as for `teach`.
    """
    config = config or TeachingConfig()
    names = known_prompts(known, (value.concept for value in pictures))
    check_budget(budget, config)
    if not names or sum(map(len, replay)) < 2:
        raise ConfigError("a budget of forgetting is judged on replay pictures of known names: give both, or no budget")
    probe = _Probe.prepare(model, pictures, replay, names, shares_trunk(config))
    best: tuple[DualEncoder, Forecast] | None = None
    for place, rate in enumerate(RATES):
        tried = replace(config, learning_rate=rate * config.learning_rate, interpolate=1.0)
        told = _part(on_step, place) if on_step is not None else None
        full = teach(model, pictures, tried, known=known, replay=replay, seed=seed, on_step=told)
        taught, forecast = _keep(model, full, probe, budget, tried.learning_rate)
        if best is None or forecast.recognised > best[1].recognised:
            best = taught, forecast
    assert best is not None
    return best


def check_budget(budget: float, config: TeachingConfig) -> None:
    """See before any work whether a budget can be kept; errors as for `teach_within`."""
    if not 0 < budget <= 1:
        raise ConfigError(f"the budget of forgetting is {budget}: expected a share above 0 and at most 1, such as 0.01")
    if isinstance(config.update, LoRA) or moves_texts(config.update) or config.loss not in ("bank", "anchors"):
        raise ConfigError(
            "a budget of forgetting is for the losses 'bank' and 'anchors' with updates of the vision tower's own "
            f"weights: got the loss {config.loss!r} and the update {config.update}"
        )


@dataclass(frozen=True, slots=True)
class _Probe:
    """Pictures, or their features where the trunk stays, and the names that they are asked for."""

    embed: Callable[[DualEncoder, Tensor], Tensor]
    mixtures: Tensor
    halves: Tensor
    owners: Tensor
    """For each half its concept."""
    known: Float[Tensor, "m d"]
    new: Float[Tensor, "c d"]
    answers: Tensor
    """The known name that fits each mixture best before."""

    @classmethod
    @torch.no_grad()
    def prepare(
        cls,
        model: DualEncoder,
        pictures: Sequence[SyntheticImages],
        replay: Sequence[SyntheticImages],
        names: Sequence[str],
        features: bool,
    ) -> "_Probe":
        generator = Generator().manual_seed(0)
        everything = shown(model, [*replay, *pictures])
        old, own = everything.split([sum(map(len, replay)), sum(map(len, pictures))])
        owners = torch.cat([torch.full((len(value),), place) for place, value in enumerate(pictures)]).to(old.device)
        first, second = torch.randint(len(old), (2, PROBES), generator=generator)
        partner = torch.randint(len(old), (len(owners),), generator=generator)

        def read(images: Images) -> Tensor:
            return torch.cat([model.features(part) for part in images.split(50)]) if features else images

        def embed(student: DualEncoder, inputs: Tensor) -> Tensor:
            if features:
                return student.project(inputs)
            return torch.cat([student.embed_images(part) for part in inputs.split(50)])

        mixtures = read((old[first] + old[second]) / 2)
        halves = read((own + old[partner]) / 2)
        known = model.embed_texts(list(names))
        new = model.embed_texts([NAME_PROMPT.format(value.concept.name) for value in pictures])
        answers = (embed(model, mixtures) @ known.T).argmax(dim=1)
        return cls(embed, mixtures, halves, owners, known, new, answers)

    @torch.no_grad()
    def judge(self, student: DualEncoder) -> tuple[float, float, float]:
        """Forgotten, captured and recognised, as in `Forecast`."""
        seen = self.embed(student, self.mixtures)
        old, new = seen @ self.known.T, seen @ self.new.T
        forgotten = (old.argmax(dim=1) != self.answers).float().mean()
        captured = (new > old.max(dim=1, keepdim=True).values).float().mean(dim=0).max()
        own = self.embed(student, self.halves)
        mine = (own @ self.new.T).gather(1, self.owners[:, None])[:, 0]
        recognised = (mine > (own @ self.known.T).max(dim=1).values).float().mean()
        return float(forgotten), float(captured), float(recognised)


def _keep(
    model: DualEncoder, full: DualEncoder, probe: _Probe, budget: float, rate: float
) -> tuple[DualEncoder, Forecast]:
    """The largest share of the change within the budget, by halving; forgetting grows with the share."""
    low, high = 0.0, 1.0
    share = 1.0
    for _ in range(HALVINGS):
        forgotten, captured, _ = probe.judge(interpolate(model, full, share))
        low, high = (share, high) if max(forgotten, captured) <= budget else (low, share)
        if low == high:
            break
        share = (low + high) / 2
    kept = interpolate(model, full, low)
    forgotten, captured, recognised = probe.judge(kept)
    forecast = Forecast(
        budget=budget,
        learning_rate=rate,
        share=low,
        forgotten=forgotten,
        captured=captured,
        recognised=recognised,
    )
    return kept, forecast


def _part(on_step: OnStep, place: int) -> OnStep:
    return lambda done, total: on_step(place * total + done, len(RATES) * total)
