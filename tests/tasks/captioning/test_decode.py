import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from helpers.small_captioner import END, PADDING, START, WORDS, build_letters
from molyneux.backends.open_clip import CoCaModel
from molyneux.errors import ConfigError, ModelError
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.captioning.decode import beam_search, greedy, nucleus, sample, write_captions

SHORT = CaptioningConfig(longest=5)
SEEDS = range(4)


def sample_images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def generators(count: int = 4, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(1000 * seed + index) for index in range(count)]


@pytest.fixture(scope="module")
def model() -> CoCaModel:
    return build_letters()


def following(
    model: CoCaModel, image: torch.Tensor, beginnings: Sequence[tuple[int, ...]], may_end: bool = True
) -> list[list[float]]:
    """Log-probabilities of the next token from the vendor's own forward, over what a caption may hold."""
    images = ((image - 0.5) / 0.2).expand(len(beginnings), -1, -1, -1)
    with torch.no_grad():
        logits = model.native(images, torch.tensor(beginnings), output_labels=False)["logits"][:, -1]
    barred = {START, PADDING} | (set() if may_end else {END})
    found = []
    for values in logits.tolist():
        row = [-math.inf if token in barred else value for token, value in enumerate(values)]
        total = math.log(sum(math.exp(value) for value in row))
        found.append([value - total for value in row])
    return found


def exhaustive(model: CoCaModel, image: torch.Tensor, config: CaptioningConfig) -> tuple[int, ...]:
    """The best of all captions that there are: ended ones, and those cut at the greatest length."""
    best, best_score, counted = (), -math.inf, 0
    open_ones = {(START,): 0.0}
    for length in range(2, config.longest + 1):
        longer = {}
        steps = following(model, image, list(open_ones), may_end=length >= config.shortest)
        for (beginning, score), step in zip(open_ones.items(), steps, strict=True):
            for token in (*WORDS, END):
                caption, total = (*beginning, token), score + step[token]
                if token != END and length < config.longest:
                    longer[caption] = total
                    continue
                counted += 1
                rated = total / (length - 1) ** config.length_power
                if rated > best_score:
                    best, best_score = caption, rated
        open_ones = longer
    assert counted == 1 + 3 + 9 + 27 + 3**4  # up to three words and an end, and four words that are cut
    return best


def rows(tokens: torch.Tensor) -> list[tuple[int, ...]]:
    """Captions without padding, which must be at their end alone."""
    found = []
    for row in tokens.tolist():
        end = row.index(END) + 1 if END in row else len(row)
        assert set(row[end:]) <= {PADDING}
        assert PADDING not in row[:end]
        found.append(tuple(row[:end]))
    return found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("power", [0.0, 0.7])
@pytest.mark.parametrize("shortest", [0, 4])
def test_a_wide_beam_finds_the_best_caption_there_is(seed, power, shortest):
    model, images = build_letters(seed), sample_images(2)
    config = replace(SHORT, beams=120, length_power=power, shortest=shortest)
    assert rows(beam_search(model, images, config)) == [exhaustive(model, image, config) for image in images]


def test_the_best_captions_differ_so_that_finding_them_says_something():
    """Over the models of these tests: in length, between images, by the length rule, and from the greedy ones."""
    searched = {}
    for power in (0.0, 1.0):
        config = replace(SHORT, beams=120, length_power=power)
        searched[power] = [rows(beam_search(build_letters(seed), sample_images(2), config)) for seed in SEEDS]
    flat = [caption for pair in searched[0.0] for caption in pair]
    assert len({len(caption) for caption in flat}) >= 2
    assert searched[0.0] != searched[1.0]
    assert any(one != other for one, other in searched[1.0])
    assert [rows(greedy(build_letters(seed), sample_images(2), SHORT)) for seed in SEEDS] != searched[0.0]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_greedy_method_takes_the_likeliest_token_each_time(seed):
    model, images = build_letters(seed), sample_images(3)
    for image, caption in zip(images, rows(greedy(model, images, SHORT)), strict=True):
        beginning: tuple[int, ...] = (START,)
        while len(beginning) < SHORT.longest and beginning[-1] != END:
            (steps,) = following(model, image, [beginning])
            beginning = (*beginning, steps.index(max(steps)))
        assert caption == beginning


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("shortest", [0, 6])
def test_one_beam_is_the_greedy_method(seed, power, shortest):
    model, config = build_letters(seed), CaptioningConfig(longest=9, beams=1, length_power=power, shortest=shortest)
    assert torch.equal(beam_search(model, sample_images(), config), greedy(model, sample_images(), config))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("top_p", [0.0, 1e-6])
def test_drawing_from_the_one_likeliest_is_the_greedy_method(seed, top_p):
    model, config = build_letters(seed), CaptioningConfig(longest=9, top_p=top_p)
    assert torch.equal(sample(model, sample_images(), generators(), config), greedy(model, sample_images(), config))


@pytest.mark.parametrize(("top_p", "temperature"), [(0.7, 1.0), (1.0, 1.0), (0.9, 2.0)])
def test_drawn_tokens_have_the_frequencies_of_the_truncated_distribution(top_p, temperature):
    model, image, count = build_letters(boldness=2.0), sample_images(1)[0], 4000
    config = CaptioningConfig(longest=2, top_p=top_p, temperature=temperature)
    drawn = sample(model, image.expand(count, -1, -1, -1), generators(count), config)[:, 1]
    scaled = [math.exp(value / temperature) for value in following(model, image, [(START,)])[0]]
    order = sorted(range(6), key=lambda token: -scaled[token])
    kept: list[int] = []
    while sum(scaled[token] for token in kept) < top_p * sum(scaled) - 1e-9:
        kept.append(order[len(kept)])
    expected = {token: scaled[token] / sum(scaled[other] for other in kept) for token in kept}
    assert 1 < len(kept) <= 4
    counted = Counter(drawn.tolist())
    assert counted.keys() <= expected.keys()
    for token, share in expected.items():
        # four standard deviations of a count
        assert abs(counted[token] / count - share) < 4 * math.sqrt(share * (1 - share) / count) + 1e-9


@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.5, 0.79, 0.81, 1.0])
def test_a_nucleus_is_the_smallest_likely_enough_set(top_p):
    shares = torch.tensor([[0.1, 0.5, 0.3, 0.1], [0.25, 0.25, 0.25, 0.25]])
    for row, cut in zip(shares.tolist(), nucleus(shares, top_p).tolist(), strict=True):
        kept = [share for share, now in zip(row, cut, strict=True) if now > 0]
        assert sum(kept) >= top_p - 1e-6
        assert len(kept) == 1 or sum(kept) - min(kept) < top_p + 1e-6
        assert min(kept) >= max([share for share, now in zip(row, cut, strict=True) if now == 0], default=0)
        assert cut == pytest.approx([share / sum(kept) if now else 0 for share, now in zip(row, cut, strict=True)])


@pytest.mark.parametrize("method", ["beam", "greedy", "top_p"])
def test_a_permuted_batch_gives_permuted_captions(method):
    order, config = [2, 0, 3, 1], CaptioningConfig(longest=9, beams=4)
    for seed in SEEDS:
        model = build_letters(seed)
        if method == "top_p":
            one = sample(model, sample_images(), generators(), config)
            other = sample(model, sample_images()[order], [generators()[index] for index in order], config)
        else:
            decode = beam_search if method == "beam" else greedy
            one, other = (decode(model, images, config) for images in (sample_images(), sample_images()[order]))
        assert torch.equal(one[order], other)


@pytest.mark.parametrize("method", ["beam", "greedy", "top_p"])
def test_a_caption_does_not_depend_on_the_images_beside_it(method):
    model, config = build_letters(2), CaptioningConfig(method=method, longest=9)
    together = write_captions(model, sample_images(), config)
    assert write_captions(model, sample_images()[:1], config) == together[:1]
    assert all(set(caption) <= set("abc") for caption in together)


def test_captions_end_at_different_places_and_are_padded():
    lengths = [
        {
            len(row)
            for row in rows(sample(build_letters(seed), sample_images(8), generators(8), CaptioningConfig(longest=9)))
        }
        for seed in SEEDS
    ]
    assert max(len(found) for found in lengths) >= 3


@pytest.mark.parametrize("method", ["beam", "greedy", "top_p"])
@pytest.mark.parametrize("shortest", [5, 9])
def test_no_caption_is_shorter_than_asked(method, shortest):
    config = CaptioningConfig(longest=9, shortest=shortest)
    for seed in SEEDS:
        model = build_letters(seed)
        if method == "top_p":
            tokens = sample(model, sample_images(), generators(), config)
        else:
            tokens = (beam_search if method == "beam" else greedy)(model, sample_images(), config)
        assert all(shortest <= len(caption) <= 9 for caption in rows(tokens))


def test_seeds_give_the_same_drawn_captions_again_and_others_give_others():
    model, config = build_letters(1, boldness=1.0), CaptioningConfig(method="top_p", longest=9, top_p=1.0)
    once = write_captions(model, sample_images(), config, seed=3)
    torch.rand(5)
    assert write_captions(model, sample_images(), config, seed=3) == once
    assert write_captions(model, sample_images(), config, seed=4) != once
    alike = write_captions(model, sample_images(1).expand(8, -1, -1, -1), config)
    assert len(set(alike)) > 1  # each image has a stream of its own


def test_nothing_is_learned_while_writing(model):
    before = {key: value.clone() for key, value in model.native.state_dict().items()}
    images = sample_images().requires_grad_()
    write_captions(model, images, CaptioningConfig(longest=6))
    assert images.grad is None
    assert all(torch.equal(value, before[key]) for key, value in model.native.state_dict().items())


def test_captions_longer_than_the_model_reads_are_refused(model):
    for method in ("beam", "greedy", "top_p"):
        config = CaptioningConfig(method=method, longest=13)
        with pytest.raises(ConfigError, match="expected at most the 12 tokens that 'letters' reads"):
            write_captions(model, sample_images(), config)
    assert write_captions(model, sample_images(1), CaptioningConfig(longest=12, shortest=12))


def test_logits_that_are_no_numbers_are_refused():
    model = build_letters()
    model.decoder_module().text_projection.data.fill_(math.nan)
    with pytest.raises(ModelError, match="values that are no numbers"):
        write_captions(model, sample_images(), SHORT)


@pytest.mark.parametrize(
    "settings",
    [
        {"longest": 1},
        {"longest": 5, "shortest": 6},
        {"beams": 0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"temperature": 0.0},
        {"length_power": -1.0},
    ],
)
def test_settings_out_of_range_are_named(settings):
    with pytest.raises(ConfigError, match=f"captioning.{list(settings)[-1]} is"):
        CaptioningConfig(**settings)
