import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from molyneux.teaching.objectives.losses import anchors_loss, bank_loss, distillation_loss, symmetric_loss


def unit(count: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def slow_anchors(images: list[list[float]], texts: list[list[float]], temperature: float) -> float:
    """Every embedding is an anchor; all but itself are in its denominator, its partner is its positive."""
    count, everything, total = len(images), images + texts, 0.0
    for anchor in range(2 * count):
        partner = anchor + count if anchor < count else anchor - count
        among = [math.exp(dot(everything[anchor], v) / temperature) for i, v in enumerate(everything) if i != anchor]
        own = math.exp(dot(everything[anchor], everything[partner]) / temperature)
        total -= math.log(own / sum(among))
    return total / (2 * count)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_anchors_loss_equals_a_slow_loop(count, temperature):
    images, texts = unit(count), unit(count, seed=1)
    expected = slow_anchors(images.tolist(), texts.tolist(), temperature)
    torch.testing.assert_close(anchors_loss(images, texts, temperature), torch.tensor(expected))


def test_the_anchors_loss_does_not_depend_on_the_order_of_the_batch():
    images, texts, order = unit(5), unit(5, seed=1), [3, 0, 4, 1, 2]
    torch.testing.assert_close(anchors_loss(images[order], texts[order], 0.1), anchors_loss(images, texts, 0.1))
    torch.testing.assert_close(anchors_loss(texts, images, 0.1), anchors_loss(images, texts, 0.1))


def test_one_pair_is_its_own_only_choice():
    torch.testing.assert_close(anchors_loss(unit(1), unit(1, seed=1), 0.07), torch.tensor(0.0))


@pytest.mark.parametrize("count", [2, 4])
def test_with_one_text_the_anchors_loss_cannot_reach_zero(count):
    text = unit(1)
    floor = anchors_loss(text.expand(count, -1), text.expand(count, -1), 0.07)
    torch.testing.assert_close(floor, torch.tensor(math.log(2 * count - 1)))


def plain_clip_halves(images: torch.Tensor, texts: torch.Tensor, temperature: float) -> tuple[torch.Tensor, ...]:
    """The usual symmetric contrastive loss: images over texts, texts over images."""
    logits = images @ texts.T / temperature
    places = torch.arange(len(images))
    return cross_entropy(logits, places), cross_entropy(logits.T, places)


def slow_symmetric(images: list[list[float]], texts: list[list[float]], temperature: float) -> float:
    total = 0.0
    for anchors, others in ((images, texts), (texts, images)):
        for place, anchor in enumerate(anchors):
            among = [math.exp(dot(anchor, other) / temperature) for other in others]
            total -= math.log(among[place] / sum(among)) / (2 * len(anchors))
    return total


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_symmetric_loss_equals_a_slow_loop(count, temperature):
    images, texts = unit(count), unit(count, seed=1)
    expected = slow_symmetric(images.tolist(), texts.tolist(), temperature)
    torch.testing.assert_close(symmetric_loss(images, texts, temperature), torch.tensor(expected))
    torch.testing.assert_close(symmetric_loss(texts, images, temperature), torch.tensor(expected))


def test_the_symmetric_loss_of_one_text_has_a_half_without_gradient_and_a_half_without_net_pull():
    text, images = unit(1, seed=9)[0], unit(4).requires_grad_()
    texts = text.expand(4, -1)
    loss = symmetric_loss(images, texts, 0.07)
    _, over_images = plain_clip_halves(images, texts, 0.07)
    torch.testing.assert_close(loss, (math.log(4) + over_images) / 2)
    whole, half = (torch.autograd.grad(value, images, retain_graph=True)[0] for value in (loss, over_images))
    torch.testing.assert_close(whole, half / 2, atol=1e-6, rtol=0.0)
    coefficients = whole @ text
    assert coefficients.abs().max() > 0.1
    torch.testing.assert_close(coefficients.sum(), torch.tensor(0.0), atol=1e-5, rtol=0.0)
    # along the text alone: nothing else moves an image
    torch.testing.assert_close(whole, coefficients[:, None] * text, atol=1e-5, rtol=0.0)


def pull(loss: torch.Tensor, images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """How far a descent step moves each image along the text."""
    (gradient,) = torch.autograd.grad(loss, images)
    return -gradient @ text


def test_the_plain_loss_does_not_pull_images_to_one_shared_text_and_the_anchors_loss_does():
    text, images = unit(1, seed=9)[0], unit(4).requires_grad_()
    texts = text.expand(4, -1)
    over_texts, over_images = plain_clip_halves(images, texts, 0.07)
    # images over texts: log B whatever the images, so no gradient at all
    torch.testing.assert_close(over_texts, torch.tensor(math.log(4)))
    assert torch.autograd.grad(over_texts, images, retain_graph=True)[0].abs().max() < 1e-6
    # texts over images: coefficients that sum to zero, so no common pull
    net = pull(over_images, images, text).sum()
    torch.testing.assert_close(net, torch.tensor(0.0), atol=1e-5, rtol=0.0)
    assert (pull(anchors_loss(images, texts, 0.07), images, text) > 0).sum() >= 3
    assert pull(anchors_loss(images, texts, 0.07), images, text).sum() > 1


def test_the_plain_loss_is_still_where_all_images_are_alike():
    text, images = unit(1, seed=9)[0], unit(1).repeat(4, 1).requires_grad_()
    for half in plain_clip_halves(images, text.expand(4, -1), 0.07):
        assert torch.autograd.grad(half, images, retain_graph=True)[0].abs().max() < 1e-5
    assert (pull(anchors_loss(images, text.expand(4, -1), 0.07), images, text) > 0).all()


def slow_bank(images, positives, bank, allowed, temperature) -> float:
    total = 0.0
    for image, own, row in zip(images, positives, allowed, strict=True):
        up = math.exp(dot(image, own) / temperature)
        down = sum(math.exp(dot(image, text) / temperature) for text, may in zip(bank, row, strict=True) if may)
        total -= math.log(up / (up + down))
    return total / len(images)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_bank_loss_equals_a_slow_loop(temperature):
    images, positives, bank = unit(4), unit(4, seed=1), unit(7, seed=2)
    allowed = torch.rand(4, 7, generator=torch.Generator().manual_seed(3)) > 0.4
    expected = slow_bank(images.tolist(), positives.tolist(), bank.tolist(), allowed.tolist(), temperature)
    torch.testing.assert_close(bank_loss(images, positives, bank, allowed, temperature), torch.tensor(expected))


def test_what_is_not_allowed_in_the_bank_has_no_say():
    images, positives, bank = unit(3).requires_grad_(), unit(3, seed=1), unit(5, seed=2)
    allowed = torch.ones(3, 5, dtype=torch.bool)
    allowed[:, 4] = False
    with_any = [torch.cat([bank[:4], other]) for other in (bank[4:], unit(1, seed=8))]
    losses = [bank_loss(images, positives, texts, allowed, 0.1) for texts in with_any]
    losses.append(bank_loss(images, positives, bank[:4], allowed[:, :4], 0.1))
    gradients = [torch.autograd.grad(loss, images)[0] for loss in losses]
    for loss, gradient in zip(losses[1:], gradients[1:], strict=True):
        torch.testing.assert_close(loss, losses[0])
        torch.testing.assert_close(gradient, gradients[0])
    assert gradients[0].isfinite().all()


def test_the_bank_loss_is_the_log_of_the_choices_where_all_are_equal_and_zero_where_one_is_far_nearer():
    image = unit(1)
    alike, opposite = image.expand(6, -1), -image.expand(6, -1)
    allowed = torch.ones(1, 6, dtype=torch.bool)
    torch.testing.assert_close(bank_loss(image, image, alike, allowed, 0.1), torch.tensor(math.log(7)))
    torch.testing.assert_close(bank_loss(image, image, opposite, allowed, 0.02), torch.tensor(0.0))


def test_the_bank_loss_with_nothing_allowed_is_zero():
    allowed = torch.zeros(2, 3, dtype=torch.bool)
    torch.testing.assert_close(bank_loss(unit(2), unit(2), unit(3), allowed, 0.1), torch.tensor(0.0))


def test_the_distillation_loss_equals_a_slow_loop():
    images, texts = unit(3), unit(5, seed=1)
    answers = torch.rand(3, 5, generator=torch.Generator().manual_seed(2)).softmax(dim=1)
    expected = 0.0
    for image, row in zip(images.tolist(), answers.tolist(), strict=True):
        scores = [math.exp(dot(image, text) / 0.1) for text in texts.tolist()]
        expected -= sum(share * math.log(score / sum(scores)) for share, score in zip(row, scores, strict=True)) / 3
    torch.testing.assert_close(distillation_loss(images, texts, answers, 0.1), torch.tensor(expected))


def test_old_answers_given_again_are_the_least_loss_and_have_no_gradient():
    texts, images = unit(5, seed=1), unit(3).requires_grad_()
    answers = (images.detach() @ texts.T / 0.1).softmax(dim=1)
    loss = distillation_loss(images, texts, answers, 0.1)
    entropy = -(answers * answers.log()).sum(dim=1).mean()
    torch.testing.assert_close(loss, entropy)
    assert torch.autograd.grad(loss, images)[0].abs().max() < 1e-5
    assert distillation_loss(unit(3, seed=4), texts, answers, 0.1) > loss
