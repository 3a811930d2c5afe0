"""Retrieval against loops, and against pairs judged one by one."""

import json
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import log_softmax

from helpers.families_vilt import tiny_vilt
from helpers.noise import noise_photo
from helpers.runs import Counter, Killed
from helpers.small_models import ConvModel
from molyneux.backends.vilt import Vilt
from molyneux.datasets.captioned import CaptionedPhotos
from molyneux.datasets.photos import load_batch
from molyneux.datasets.toy import draw_shapes
from molyneux.errors import ConfigError, DataError, ModelError, OutputError
from molyneux.tasks.classification import matches
from molyneux.tasks.classification.matches import match_rows
from molyneux.tasks.classification.metrics import bootstrap_interval
from molyneux.tasks.classification.results import BOOTSTRAP_SEED
from molyneux.tasks.retrieval import metrics as retrieval_ranks
from molyneux.tasks.retrieval.metrics import (
    Ranks,
    candidates,
    find_ranks,
    image_to_text_ranks,
    recall_at,
    recall_change,
    reranked,
    text_to_image_ranks,
)
from molyneux.tasks.retrieval.metrics import retrieval_scores as scores_of_ranks
from molyneux.tasks.retrieval.scores import ControlRetrieval, Reranking, retrieve, score_matrix


def retrieval_scores(scores, owners):
    return scores_of_ranks(find_ranks(scores, owners), owners)


steady = settings(deadline=None, max_examples=60)


@st.composite
def cases(draw):
    count = draw(st.integers(1, 5))
    extra = draw(st.lists(st.integers(0, count - 1), max_size=6))
    owners = draw(st.permutations([*range(count), *extra]))
    row = st.lists(st.integers(0, 3).map(float), min_size=len(owners), max_size=len(owners))  # ties are common
    return torch.tensor(draw(st.lists(row, min_size=count, max_size=count))), torch.tensor(owners)


def slow_ranks(scores, owners):
    """By sorting, others first where scores are the same."""
    forward, backward = [], []
    for photo, row in enumerate(scores.tolist()):
        order = sorted(range(len(row)), key=lambda text: (-row[text], owners[text] == photo))
        forward.append(next(place for place, text in enumerate(order) if owners[text] == photo))
    for text, own in enumerate(owners.tolist()):
        column = scores[:, text].tolist()
        order = sorted(range(len(column)), key=lambda photo: (-column[photo], photo == own))
        backward.append(order.index(own))
    return forward, backward


@steady
@given(cases())
def test_ranks_agree_with_sorting_by_hand(case):
    forward, backward = slow_ranks(*case)
    assert image_to_text_ranks(*case).tolist() == forward
    assert text_to_image_ranks(*case).tolist() == backward


@steady
@given(cases())
def test_all_numbers_agree_with_a_slow_loop_and_recall_rises_with_the_cutoff(case):
    found = retrieval_scores(*case)
    for direction, ranks in zip((found.image_to_text, found.text_to_image), slow_ranks(*case), strict=True):
        assert direction.queries == len(ranks)
        assert direction.median_rank == statistics.median(ranks)
        for cutoff in (1, 5, 10):
            assert direction.recall[cutoff] == pytest.approx(statistics.mean(rank < cutoff for rank in ranks))
        assert direction.recall[1] <= direction.recall[5] <= direction.recall[10]


def test_intervals_are_over_photos_whose_captions_are_drawn_together():
    scores = torch.rand(20, 20, generator=torch.Generator().manual_seed(0)) + 0.3 * torch.eye(20)
    alone = retrieval_scores(scores, torch.arange(20))
    hits = text_to_image_ranks(scores, torch.arange(20)) < 1
    assert 0.2 < alone.text_to_image.recall[1] < 0.9
    assert alone.text_to_image.recall_interval[1] == bootstrap_interval(hits, BOOTSTRAP_SEED)
    # five times the same caption tells no more than one; ties are among a photo's own, which do not count
    five = retrieval_scores(scores.repeat_interleave(5, dim=1), torch.arange(20).repeat_interleave(5))
    assert five.text_to_image.recall == alone.text_to_image.recall
    assert five.text_to_image.recall_interval[1] == pytest.approx(alone.text_to_image.recall_interval[1])


@steady
@given(cases(), st.integers(1, 12))
def test_blocks_of_rows_change_nothing(case, cells):
    whole = image_to_text_ranks(*case), text_to_image_ranks(*case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval_ranks, "_CELLS_AT_ONCE", cells)
        parts = image_to_text_ranks(*case), text_to_image_ranks(*case)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


@steady
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_photos_and_captions_does_not_matter(case, random):
    scores, owners = case
    rows, columns = list(range(len(scores))), list(range(len(owners)))
    random.shuffle(rows)
    random.shuffle(columns)
    place = {row: index for index, row in enumerate(rows)}
    moved = scores[rows][:, columns], torch.tensor([place[owner] for owner in owners[columns].tolist()])
    assert image_to_text_ranks(*moved).tolist() == image_to_text_ranks(*case)[rows].tolist()
    assert text_to_image_ranks(*moved).tolist() == text_to_image_ranks(*case)[columns].tolist()


def test_who_scores_everything_alike_finds_nothing():
    owners = torch.arange(12).repeat_interleave(5)
    found = retrieval_scores(torch.zeros(12, 60), owners)
    assert set(found.image_to_text.recall.values()) == {0.0}
    assert set(found.text_to_image.recall.values()) == {0.0}
    assert found.image_to_text.median_rank == 55
    assert found.text_to_image.median_rank == 11
    own = (owners[None, :] == torch.arange(12)[:, None]).float()
    best = retrieval_scores(own, owners)
    assert set(best.image_to_text.recall.values()) == set(best.text_to_image.recall.values()) == {1.0}
    assert best.text_to_image.recall_interval[1] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "owners", "reason"),
    [
        (torch.zeros(0, 0), [], "nothing to retrieve"),
        (torch.zeros(2, 2), [0, 0], "photo 1 has no caption"),
        (torch.zeros(2, 2), [0, 2], "outside 0 to 1"),
        (torch.full((1, 1), torch.nan), [0], "not a number"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores, owners, reason):
    for ranks in (image_to_text_ranks, text_to_image_ranks):
        with pytest.raises(DataError, match=reason):
            ranks(scores, torch.tensor(owners, dtype=torch.long))
    with pytest.raises(DataError, match="no recall of no ranks"):
        recall_at(torch.zeros(0, dtype=torch.long), 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> CaptionedPhotos:
    root = tmp_path_factory.mktemp("images")
    names = ("circle", "cross", "ring")
    for seed, name in enumerate(names):
        draw_shapes(name, 1, 60, seed=seed)[0].save(root / f"{name}.png")
    captions = (("a round thing", "a circle"), ("two bars",), ("a ring", "a round line", "gold"))
    return CaptionedPhotos(root=root, names=tuple(f"{name}.png" for name in names), captions=captions)


@pytest.fixture(scope="module")
def vilt() -> Vilt:
    return tiny_vilt()


def test_an_encoders_scores_are_cosines_of_photos_and_captions(photos):
    model = ConvModel()
    images = load_batch(photos.paths, model.image_size, model.crop_fraction, model.photo_fit)
    expected = model.embed_images(images) @ model.embed_texts(photos.texts).T
    told = []
    found = score_matrix(model, photos, on_step=lambda *step: told.append(step))
    torch.testing.assert_close(found, expected.detach())
    assert told == [("photos", 3, 3)]


def test_captions_are_read_once_by_text_towers_that_are_the_same(photos):
    model, texts = ConvModel(), list(photos.texts)
    seeing, saying = model.copy(), model.copy(whole=True)
    with torch.no_grad():
        seeing.native["vision"]["head"][0].weight.mul_(-1)
        saying.native["text"].weight.mul_(-1)
    for one in (model, seeing, saying):
        one.texts_seen = []
    found = retrieve(model, photos, base=seeing, controls={"other": saying})
    assert model.texts_seen + seeing.texts_seen == texts
    assert saying.texts_seen == texts
    assert found.before == retrieve(seeing, photos).after != found.after
    said = retrieve(saying, photos).after
    assert found.controls["other"] == ControlRetrieval(model=saying.name, **said.given())
    assert said != found.after


def test_a_matchers_scores_are_those_of_pairs_judged_one_by_one(photos, vilt):
    found = score_matrix(vilt, photos)
    for row, path in enumerate(photos.paths):
        image = load_batch([path], vilt.image_size, vilt.crop_fraction, vilt.photo_fit)
        for column, text in enumerate(photos.texts):
            expected = log_softmax(vilt.match_logits(image, [text]), dim=1)[0, 1]
            torch.testing.assert_close(found[row, column], expected.detach(), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("end", [KeyboardInterrupt, Killed])
def test_finished_rows_are_not_computed_again(photos, vilt, tmp_path, monkeypatch, end):
    monkeypatch.setattr(matches, "_PHOTOS_AT_ONCE", 1)
    folder, whole = tmp_path / "kept", score_matrix(vilt, photos)
    stop, rest = Counter(end=2, how=end), Counter()
    with pytest.raises(end):
        match_rows(vilt, photos.paths, photos.texts, on_step=stop, finished=folder)
    (path,) = folder.iterdir()
    with path.open("ab") as file:
        file.write(b"a row cut short"[:11])
    again = match_rows(vilt, photos.paths, photos.texts, on_step=rest, finished=folder)
    assert rest.calls == 1
    torch.testing.assert_close(again, whole, atol=1e-6, rtol=0.0)
    nothing = match_rows(vilt, photos.paths, photos.texts, on_step=rest, finished=folder)
    assert rest.calls == 1
    assert torch.equal(nothing, again)


def test_pairs_are_ranked_by_the_probability_or_by_the_logit_of_a_match(photos, vilt, tmp_path):
    logits = torch.stack(
        [vilt.match_logits(load_batch([path] * 6, 56, 1.0), photos.texts).detach() for path in photos.paths]
    )
    owners = torch.tensor(photos.owners)
    for by_logit, expected in ((True, logits[..., 1]), (False, logits[..., 1] - logits[..., 0])):
        found = retrieve(vilt, photos, by_logit=by_logit, finished=tmp_path)
        assert found.after == retrieval_scores(expected, owners)
        said = found.as_dict()["protocol"]["score"]
        assert said == (
            "logit of a match of photo and caption" if by_logit else "log-probability that photo and caption match"
        )
    torch.testing.assert_close(
        score_matrix(vilt, photos, by_logit=True, finished=tmp_path), logits[..., 1], atol=1e-5, rtol=0
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_rows_are_kept_by_weights_and_texts_and_pairs(photos, vilt, tmp_path):
    other = vilt.copy()
    with torch.no_grad():
        other.native.vilt.pooler.dense.bias += 0.1
    some = torch.tensor([[True, False] * 3] * 3)
    for model, texts, wanted in (
        (vilt, photos.texts, None),
        (other, photos.texts, None),
        (vilt, photos.texts[::-1], None),
        (vilt, photos.texts, some),
    ):
        found = match_rows(model, photos.paths, texts, wanted=wanted, finished=tmp_path / "kept")
        assert torch.equal(found, match_rows(model, photos.paths, texts, wanted=wanted))
    assert len(list((tmp_path / "kept").iterdir())) == 4
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        match_rows(vilt, photos.paths, photos.texts, finished=tmp_path / "file")
    with pytest.raises(DataError, match="nothing to match"):
        match_rows(vilt, photos.paths, ())


def test_photos_keep_their_shape_and_those_of_one_shape_are_read_together(vilt, tmp_path, monkeypatch):
    sizes = [(60, 90), (90, 60), (70, 105), (60, 60), (200, 20)]
    for place, size in enumerate(sizes):
        noise_photo(size, 80).save(tmp_path / f"{place}.png")
    paths = sorted(tmp_path.iterdir())
    shapes = [(80, 56), (56, 80), (80, 56), (56, 56), (8, 88)]
    assert [vilt.photo_shape(*size) for size in sizes] == shapes
    seen, judge = [], vilt.match_scores
    monkeypatch.setattr(
        Vilt, "match_scores", lambda self, images, texts, **how: (seen.append(images.shape), judge(images, texts))[1]
    )
    found = match_rows(vilt, paths, ["a ring", "two bars that meet"])
    assert sorted(tuple(shape) for shape in seen) == [(1, 3, 8, 88), (1, 3, 56, 56), (1, 3, 56, 80), (2, 3, 80, 56)]
    for row, (path, (high, wide)) in enumerate(zip(paths, shapes, strict=True)):
        image = Image.open(path).resize((wide, high), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        torch.testing.assert_close(found[row], judge(pixels, ["a ring", "two bars that meet"])[0])


@steady
@given(cases(), st.integers(1, 12), st.randoms(use_true_random=False))
def test_reranking_agrees_with_a_slow_loop(case, top, random):
    # without ties: what a tie at the last candidate gives is a matter of order
    second, owners = torch.rand(case[0].shape, generator=torch.Generator().manual_seed(0)), case[1]
    cells = list(range(second.numel()))
    random.shuffle(cells)
    first = torch.tensor(cells, dtype=torch.float).reshape(second.shape)
    found, old = reranked(first, second, owners, top), find_ranks(first, owners)
    for photo in range(len(first)):
        order = sorted(range(len(owners)), key=lambda text: -first[photo, text])
        order[:top] = sorted(order[:top], key=lambda text: -second[photo, text])
        place = next(place for place, text in enumerate(order) if owners[text] == photo)
        own = sum(owners[text] == photo for text in order[:place])
        assert own == 0
        assert found.image_to_text[photo] == place
    for text in range(len(owners)):
        order = sorted(range(len(first)), key=lambda photo: -first[photo, text])
        order[:top] = sorted(order[:top], key=lambda photo: -second[photo, text])
        assert found.text_to_image[text] == order.index(owners[text])
    for new, was in ((found.image_to_text, old.image_to_text), (found.text_to_image, old.text_to_image)):
        assert torch.equal(new < top, was < top)
    whole = reranked(first, second, owners, 100)
    assert torch.equal(whole.image_to_text, image_to_text_ranks(second, owners))
    assert torch.equal(whole.text_to_image, text_to_image_ranks(second, owners))


def test_only_candidates_are_judged_and_both_orders_of_models_agree(photos, vilt, tmp_path, monkeypatch):
    encoder, owners, judged = ConvModel(), torch.tensor(photos.owners), []
    judge = vilt.match_scores
    monkeypatch.setattr(
        Vilt, "match_scores", lambda self, images, texts, **how: (judged.extend(texts), judge(images, texts))[1]
    )
    first = score_matrix(encoder, photos)
    by_photo, by_text = candidates(first, 1)
    found = retrieve(encoder, photos, reranking=Reranking(model=vilt, top=1), finished=tmp_path)
    assert len(judged) == int((by_photo | by_text).sum()) < first.numel()
    second = match_rows(vilt, photos.paths, photos.texts)
    assert found.after == scores_of_ranks(reranked(first, second, owners, 1), owners)
    swapped = retrieve(vilt, photos, reranking=Reranking(model=encoder, top=1), finished=tmp_path)
    assert swapped.after == found.after
    said = [one.as_dict()["protocol"]["reranking"] for one in (found, swapped)]
    assert [one["with"] for one in said] == ["tiny-vilt", "tiny"]
    assert all(one["top"] == 1 and "not every pair was judged" in one["means"] for one in said)
    for one, other in ((vilt, vilt), (encoder, encoder)):
        with pytest.raises(ModelError, match="re-ranking needs one model that embeds"):
            retrieve(one, photos, reranking=Reranking(model=other, top=1))
    with pytest.raises(ModelError, match="cannot stand side by side"):
        retrieve(vilt, photos, base=encoder)
    with pytest.raises(ConfigError, match="expected at least 1"):
        Reranking(model=vilt, top=0)


def test_a_change_is_that_of_the_recalls_and_its_interval_is_paired():
    owners = torch.arange(40).repeat_interleave(2)
    scores = torch.rand(40, 80, generator=torch.Generator().manual_seed(0))
    scores += 0.5 * (owners[None, :] == torch.arange(40)[:, None])
    before = find_ranks(scores, owners)
    same = recall_change(before, before, owners).text_to_image
    assert set(same.recall.values()) == {0.0}
    assert set(same.recall_interval.values()) == {(0.0, 0.0)}
    better = Ranks(image_to_text=before.image_to_text // 2, text_to_image=before.text_to_image)
    found = recall_change(before, better, owners)
    for cutoff in (1, 5, 10):
        old, new = (scores_of_ranks(one, owners).image_to_text.recall[cutoff] for one in (before, better))
        assert found.image_to_text.recall[cutoff] == pytest.approx(new - old)
        low, high = found.image_to_text.recall_interval[cutoff]
        assert 0 <= low <= new - old <= high
    assert found.text_to_image == same


def test_before_stands_beside_after(photos, vilt, tmp_path):
    twin = vilt.copy()
    with torch.no_grad():
        twin.native.vilt.pooler.dense.weight.mul_(-1)
    owners = torch.tensor(photos.owners)
    for model, base, score in ((ConvModel(1), ConvModel(0), "cosine"), (twin, vilt, "match")):
        found = retrieve(model, photos, base=base, controls={"noise": base}, finished=tmp_path / score)
        assert found.controls == {"noise": ControlRetrieval(model=base.name, **found.before.given())}
        assert found.after == retrieval_scores(score_matrix(model, photos), owners)
        assert found.before == retrieval_scores(score_matrix(base, photos), owners)
        content = json.loads(json.dumps(found.as_dict()))
        protocol = content["protocol"]
        assert (protocol["photos"], protocol["captions"], protocol["reranking"]) == (3, 6, None)
        assert protocol["score"].startswith({"cosine": "cosine", "match": "log-probability"}[score])
        assert content["change"]["text_to_image"]["recall"]["1"] == pytest.approx(
            found.after.text_to_image.recall[1] - found.before.text_to_image.recall[1]
        )
        assert content["after"]["text_to_image"]["recall"]["1"] == found.after.text_to_image.recall[1]
    assert not {"before", "change"} & retrieve(vilt, photos).as_dict().keys()


def test_a_diverged_model_and_a_long_caption_are_named(photos, vilt):
    long = CaptionedPhotos(root=photos.root, names=photos.names[:1], captions=(("word " * 60,),))
    for model in (vilt, ConvModel()):
        with pytest.raises(ModelError, match="tokens"):
            score_matrix(model, long)
    broken = vilt.copy()
    broken.native.itm_score["fc"].weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="no numbers"):
        score_matrix(broken, photos)
