"""Caption metrics against closed forms and COCO's own evaluation on the same words."""

import csv
import importlib.util
import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from molyneux.errors import ConfigError, DataError
from molyneux.tasks.captioning import java as caption_java
from molyneux.tasks.captioning.java import Score, java_version, meteor, meteor_answers, spice
from molyneux.tasks.captioning.metrics import bleu, cider, rouge_l
from molyneux.tasks.captioning.record import MeanGain
from molyneux.tasks.captioning.scores import caption_change, score_captions
from molyneux.tasks.captioning.tokens import tokenize

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data"

has_coco = importlib.util.find_spec("pycocoevalcap") is not None
needs_coco = pytest.mark.skipif(not has_coco, reason="pycocoevalcap is not installed")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java")
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample data is not beside the project")

sentences = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=9).map(" ".join)
groups = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=2, max_size=5)
steady = settings(deadline=None, max_examples=40)


def by_coco(captions, references):
    """BLEU, ROUGE-L and CIDEr as COCO's evaluation computes them."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    scorer = BleuScorer(n=4)
    for caption, group in zip(captions, references, strict=True):
        scorer += (caption, group)
    expected = {place: list(group) for place, group in enumerate(references)}
    given = {place: [caption] for place, caption in enumerate(captions)}
    return (
        scorer.compute_score(option="closest")[0],
        Rouge().compute_score(expected, given)[1].tolist(),
        Cider().compute_score(expected, given)[1].tolist(),
    )


def assert_as_coco(captions, references):
    blue, rouge, agreement = by_coco(captions, references)
    assert bleu(captions, references) == pytest.approx(blue, abs=1e-6)
    assert rouge_l(captions, references).tolist() == pytest.approx(rouge, abs=1e-6)
    assert cider(captions, references).tolist() == pytest.approx(agreement, abs=1e-6)


@needs_coco
@steady
@given(groups)
def test_scores_of_any_words_are_those_of_cocos_evaluation(cases):
    captions, references = zip(*cases, strict=True)
    assert_as_coco(captions, references)


def sample_captions(name: str) -> list[list[str]]:
    found: dict[object, list[str]] = {}
    if name == "coco-mini":
        for entry in json.loads((SAMPLES / name / "annotations.json").read_text())["captions"]:
            found.setdefault(entry["image_id"], []).append(entry["caption"])
    else:
        with (SAMPLES / name / "captions.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["image"], []).append(row["caption"])
    return [group for group in found.values() if len(group) > 1]


@pytest.mark.real_data
@needs_samples
@needs_coco
@pytest.mark.parametrize("name", ["coco-mini", "flickr8k-1k"])
def test_scores_of_what_people_wrote_are_those_of_cocos_evaluation(name):
    groups = [[tokenize(text) for text in group] for group in sample_captions(name)[:150]]
    captions, references = [group[0] for group in groups], [group[1:] for group in groups]
    assert_as_coco(captions, references)
    # people agree with each other far more than with an image's neighbour
    wrong = captions[1:] + captions[:1]
    assert cider(captions, references).mean() > 5 * cider(wrong, references).mean()


@pytest.mark.real_data
@pytest.mark.slow
@needs_samples
@needs_coco
@needs_java
@pytest.mark.parametrize("name", ["coco-mini", "flickr8k-1k"])
def test_meteor_of_what_people_wrote_is_that_of_cocos_evaluation(name):
    from pycocoevalcap.meteor.meteor import Meteor

    groups = [[tokenize(text) for text in group] for group in sample_captions(name)[:40]]
    captions, references = [group[0] for group in groups], [group[1:] for group in groups]
    other = Meteor()
    expected = {place: list(group) for place, group in enumerate(references)}
    together, each = other.compute_score(expected, {place: [caption] for place, caption in enumerate(captions)})
    other.meteor_p.kill()
    other.meteor_p.communicate()
    found = meteor(captions, references)
    assert found.value == pytest.approx(together, abs=1e-6)
    assert found.each == pytest.approx(each, abs=1e-6)


@pytest.mark.real_data
@pytest.mark.slow
@needs_samples
@needs_coco
@needs_java
def test_words_are_those_of_the_java_tokenizer(tmp_path):
    from pycocoevalcap.tokenizer import ptbtokenizer

    texts = [
        " ".join(text.split())
        for name in ("coco-mini", "flickr8k-1k")
        for group in sample_captions(name)
        for text in group
    ]
    (tmp_path / "captions.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    jar = Path(ptbtokenizer.__file__).parent / ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR
    command = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run([*command, str(tmp_path / "captions.txt")], capture_output=True, text=True, check=True)
    for text, line in zip(texts, done.stdout.splitlines(), strict=True):
        expected = [word for word in line.split() if word not in ptbtokenizer.PUNCTUATIONS]
        assert tokenize(text).split() == expected


@steady
@given(groups)
def test_scores_keep_to_their_ranges_and_know_no_order_of_references(cases):
    captions, references = zip(*cases, strict=True)
    turned = [group[::-1] for group in references]
    scores, again = bleu(captions, references), bleu(captions, turned)
    assert scores == pytest.approx(again)
    assert all(0 <= score <= 1 + 1e-6 for score in scores)
    assert ((rouge_l(captions, references) >= 0) & (rouge_l(captions, references) <= 1 + 1e-9)).all()
    found = cider(captions, references)
    torch.testing.assert_close(found, cider(captions, turned))
    assert ((found >= 0) & (found <= 10 + 1e-9)).all()


def test_bleu_is_precision_times_brevity():
    # 2 of 4 words, 1 of 3 pairs, length 4 against 5: the penalty is exp(1 - 5/4)
    first, second, third, _ = bleu(["a b x y"], [["a b c d e"]])
    penalty = math.exp(1 - 5 / 4)
    assert first == pytest.approx(penalty * 2 / 4, abs=1e-7)
    assert second == pytest.approx(penalty * math.sqrt(2 / 4 * 1 / 3), abs=1e-7)
    assert third < 1e-4


def test_a_repeated_word_counts_no_more_often_than_in_a_reference():
    assert bleu(["the the the the"], [["the cat", "the the cat sat"]])[0] == pytest.approx(2 / 4, abs=1e-7)


def test_rouge_is_the_f_measure_of_the_longest_common_subsequence():
    # "a c e" is common: 3 of 4 words of the caption, 3 of 5 of the reference
    precision, recall, weight = 3 / 4, 3 / 5, 1.2**2
    expected = (1 + weight) * precision * recall / (recall + weight * precision)
    assert rouge_l(["a c x e"], [["a b c d e"]]).item() == pytest.approx(expected)
    assert rouge_l(["x y"], [["a b"]]).item() == 0


def test_cider_of_own_reference_is_ten_and_words_that_all_images_share_are_worth_nothing():
    captions = ["one red cup stands here", "two dogs run through snow"]
    assert cider(captions, [[text] for text in captions]).tolist() == pytest.approx([10.0, 10.0])
    assert cider(["a man"] * 2, [["a man"], ["a man"]]).tolist() == [0.0, 0.0]
    assert cider(["a man"], [["a man"]]).tolist() == [0.0]


def test_cider_falls_with_the_difference_in_length_as_a_gaussian():
    # all n-grams of the reference are rare and in the caption; what the caption repeats is clipped
    references = [["p q r s t"], ["v w x y z"]]
    short = cider(["p q r s t", "v"], references)[0].item()
    long = cider(["p q r s t v", "v"], references)[0].item()
    orders = [(5, 1), (4, 0), (3, 0), (2, 0)]  # n-grams shared, and rare ones beside them
    extra = [(count, 1) for count, _ in orders]  # of each order the sixth word adds one n-gram
    rare = math.log(2)
    expected = sum(
        count * rare**2 / (math.sqrt(count) * rare * math.sqrt(count + more) * rare) for count, more in extra
    )
    assert short == pytest.approx(10.0)
    assert long == pytest.approx(10 * expected / 4 * math.exp(-1 / 72))


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("A man's hat, isn't it?", "a man 's hat is n't it"),
        ('He said "no" (twice) ... - why!', "he said no twice why"),
        ("It can't; they cannot; I'm gonna.", "it ca n't they can not i 'm gon na"),
        ("boys’ shoes cost $5 at 7:30", "boys shoes cost $ 5 at 7:30"),
        ("A black-and-white t-shirt and/or 1/2 cup", "a black-and-white t-shirt and/or 1/2 cup"),
        ("In the U.S. it's 3.5 % of 3,000.", "in the u.s. it 's 3.5 % of 3,000"),
        ("...", ""),
        ("Ein Mädchen läuft", "ein mädchen läuft"),
    ],
)
def test_sentences_become_words(sentence, words):
    assert tokenize(sentence) == words


@steady
@given(st.text(max_size=60))
def test_words_of_any_text_hold_no_capitals_and_no_spaces_and_stay_themselves(text):
    words = tokenize(text)
    assert words == " ".join(words.split())
    assert words == words.lower() or not words.isascii()


def test_all_scores_together_are_those_of_the_words():
    captions = {"a.jpg": "A red cup.", "b.jpg": "Two dogs run!"}
    references = {"b.jpg": ["two dogs run", "dogs"], "a.jpg": ["One red cup"], "c.jpg": ["unused"]}
    found = score_captions(captions, references)
    words, others = ["a red cup", "two dogs run"], [["one red cup"], ["two dogs run", "dogs"]]
    assert found.bleu == bleu(words, others)
    assert found.rouge_l == pytest.approx(rouge_l(words, others).mean().item())
    assert found.cider == pytest.approx(cider(words, others).mean().item())
    assert found.cider_interval[0] <= found.cider <= found.cider_interval[1]
    content = json.loads(json.dumps(found.metrics.as_dict()))
    assert content["images"] == 2
    assert content["bleu_4"] == found.bleu[3]
    assert content["meteor"] == {"value": None, "reason": "not computed: not asked for"}
    with pytest.raises(DataError, match=r"no references for 'd\.jpg'"):
        score_captions({"d.jpg": "x"}, references)


def test_a_change_is_that_of_the_scores_and_its_interval_is_paired():
    references = {str(place): [f"a photo of thing{place} there"] for place in range(20)}
    before = {name: f"a photo of thing{name}" for name in references}
    after = {name: f"a photo of thing{name}{' there' if int(name) % 2 else ''}" for name in references}
    old, new = (score_captions(one, references) for one in (before, after))
    change = caption_change(old, new)
    assert change.bleu_4.value == new.bleu[3] - old.bleu[3]
    for name, first, second in (("cider", old.cider, new.cider), ("rouge_l", old.rouge_l, new.rouge_l)):
        assert getattr(change, name).value == pytest.approx(second - first)
        low, high = getattr(change, name).interval
        assert 0 < low < second - first < high
    assert "meteor" not in change.as_dict()
    assert caption_change(old, old).cider == MeanGain(value=0.0, interval=(0.0, 0.0))


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Lets a few lines of Python stand for Java."""

    def stand_in(lines: str) -> None:
        monkeypatch.setattr(caption_java, "_lacking", lambda: None)
        for name in ("_meteor_command", "_spice_command"):
            monkeypatch.setattr(caption_java, name, lambda *_: [sys.executable, "-c", lines])

    return stand_in


@pytest.fixture
def corenlp(tmp_path):
    for name in caption_java._PARSER:
        (tmp_path / name).write_text("")
    return tmp_path


def test_what_cannot_be_computed_says_why(monkeypatch):
    monkeypatch.setattr(caption_java.shutil, "which", lambda name: None)
    assert java_version() is None
    for score in (meteor(["a"], [["a"]]), spice(["a"], [["a"]])):
        assert score.value is None
        assert "Java" in score.reason
    monkeypatch.setattr(caption_java, "java_version", lambda: "openjdk 17")
    assert "give --corenlp-dir" in spice(["a"], [["a"]]).reason or not has_coco
    monkeypatch.setattr(caption_java, "_PACKAGE", "no_such_package_here")
    for score in (meteor(["a"], [["a"]]), spice(["a"], [["a"]])):
        assert score.value is None
        assert "no_such_package_here" in score.reason


def test_a_java_that_does_not_run_is_none(monkeypatch, tmp_path):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho 'no runtime present' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert java_version() is None
    broken.write_text("#!/bin/sh\necho 'openjdk version 17' >&2\n")
    assert java_version() == "openjdk version 17"


def test_a_program_that_answers_with_nonsense_gives_a_reason(program, corenlp, monkeypatch):
    for text, reason in (("no number", "no number"), ("", "ended without an answer")):
        program(f"for _ in range(3): input(); print({text!r}, flush=True)")
        score = meteor(["a"], [["a"]])
        assert score.value is None
        assert reason in score.reason
    monkeypatch.setattr(caption_java, "_meteor_command", lambda: ["/no/such/program"])
    assert meteor(["a"], [["a"]]).value is None
    assert Score(value=0.5).measured.as_dict() == {"value": 0.5}
    for lines, reason in (
        ("import sys; sys.exit('no memory')", "no memory"),
        ("", "No such file"),
        ("import sys; open(sys.argv[3], 'w').write('[]')", "KeyError"),
    ):
        program(lines)
        score = spice(["a"], [["a"]], corenlp)
        assert score.value is None
        assert reason in score.reason


def test_spice_is_the_mean_of_what_its_program_says_of_each_image(program, corenlp):
    program(
        "import json, sys\n"
        "asked = json.load(open(sys.argv[1]))\n"
        "said = [{'image_id': one['image_id'], 'scores': {'All': {'f': len(one['refs']) / len(one['test'])}}}\n"
        "        for one in reversed(asked)]\n"
        "assert sys.argv[2] == '-out' and sys.argv[4] == '-silent'\n"
        "json.dump(said, open(sys.argv[3], 'w'))\n"
    )
    found = spice(["ab", "abcd"], [["x"], ["x", "y", "z"]], corenlp)
    assert found.each == (0.5, 0.75)
    assert found.value == 0.625
    captions, references = {"1": "ab", "2": "abcd"}, {"1": ["x"], "2": ["x", "y", "z"]}
    (corenlp / caption_java._PARSER[1]).unlink()
    with pytest.raises(ConfigError, match=r"does not hold stanford-corenlp-3\.6\.0-models\.jar"):
        score_captions(captions, references, java=True, corenlp=corenlp)


@needs_coco
def test_spices_program_and_all_it_needs_but_the_parser_are_in_the_package(corenlp):
    command = caption_java._spice_command(corenlp)
    path = command[command.index("-cp") + 1].split(os.pathsep)
    assert Path(path[0]).is_file()
    assert len(list(Path(path[1]).parent.glob("*.jar"))) > 5
    assert path[2:] == [str(corenlp / name) for name in caption_java._PARSER]


@pytest.mark.slow
@needs_coco
@needs_java
def test_meteor_tells_a_caption_from_a_shuffled_one():
    text = "a brown dog runs through deep snow"
    shuffled = text.split()
    random.Random(0).shuffle(shuffled)
    own, other, wrong, together = meteor_answers([text, " ".join(shuffled), "two cups on a shelf"], [[text]] * 3)
    assert own == pytest.approx(1.0)
    assert wrong < other < own
    assert wrong < together < own


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider])
def test_captions_without_references_are_refused(metric):
    with pytest.raises(DataError, match="0 captions"):
        metric([], [])
    with pytest.raises(DataError, match="1 captions and 2 lists"):
        metric(["a"], [["a"], ["b"]])
    with pytest.raises(DataError, match="caption 1"):
        metric(["a", "b"], [["a"], []])
