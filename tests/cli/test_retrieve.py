import json

import pytest
import torch
from PIL import Image

from helpers.command import Command, check_refused
from helpers.families_vilt import tiny_vilt
from helpers.small_models import ConvModel, load_tiny
from molyneux.datasets.captioned import read_captioned
from molyneux.tasks.retrieval import run as retrieval
from molyneux.tasks.retrieval.scores import retrieve


@pytest.fixture
def molyneux(capsys, monkeypatch):
    def load(name, **running):
        del running
        if name == "vilt":
            return tiny_vilt()
        return ConvModel(seed=3, name="base") if name == "base" else load_tiny(name)

    monkeypatch.setattr(retrieval, "load", load)
    return Command(capsys)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "images").mkdir()
    generator = torch.Generator().manual_seed(0)
    lines = ["image,caption"]
    for index in range(12):
        pixels = (255 * torch.rand(24, 24, 3, generator=generator)).byte().numpy()
        Image.fromarray(pixels).save(root / "images" / f"{index}.png")
        lines += [f"{index}.png,a photo of number{index}", f"{index}.png,noise{index}"]
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    return root


def test_json_is_what_the_library_computes(molyneux, data):
    models = ("--model=tiny", "--base=base", "--control.noise=base")
    ended = molyneux("retrieve", *models, "--data", data, "--json", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    base = ConvModel(seed=3, name="base")
    found = retrieve(load_tiny("tiny"), read_captioned(data), base=base, controls={"noise": base})
    assert json.loads(ended.out) == json.loads(json.dumps(found.as_dict()))
    assert found.before != found.after


def test_a_table_shows_both_directions(molyneux, data):
    lines = molyneux("retrieve", "--model", "tiny", "--data", data, "--quiet").out.splitlines()
    assert lines[0].split() == ["recall@1", "recall@5", "recall@10", "median", "rank", "queries"]
    assert [line.split()[:3] for line in lines[1:3]] == [["image", "to", "text"], ["text", "to", "image"]]
    assert [line.split()[-1] for line in lines[1:3]] == ["12", "24"]
    assert "12 photos, 24 captions" in lines[3]
    both = molyneux("retrieve", "--model", "tiny", "--base", "base", "--data", data, "--quiet").out
    assert both.count("→") == 8
    beside = molyneux("retrieve", "--model=tiny", "--control.noise=base", "--data", data, "--quiet").out.splitlines()
    assert [line.split()[0] for line in beside[1:5]] == ["image", "noise", "text", "noise"]


def test_a_second_model_of_the_other_kind_shares_the_work(molyneux, data, tmp_path):
    flags = ("--data", data, "--finished", tmp_path / "kept", "--rerank-with=vilt", "--top=2", "--quiet")
    found = json.loads(molyneux("retrieve", "--model", "tiny", *flags, "--json").out)
    assert (found["protocol"]["reranking"]["with"], found["protocol"]["reranking"]["top"]) == ("tiny-vilt", 2)
    assert "which tiny-vilt put in order" in molyneux("retrieve", "--model", "tiny", *flags).out
    found = json.loads(molyneux("retrieve", "--model", "tiny", *flags, "--by-logit", "--json").out)
    assert found["protocol"]["score"].startswith("logit")
    check_refused(molyneux("retrieve", "--model", "vilt", *flags), "one model that embeds", "tiny-vilt")
    check_refused(molyneux("retrieve", "--model", "tiny", *flags[:4], "--top=0"), "expected at least 1")


def test_what_cannot_be_read_is_named(molyneux, data, tmp_path):
    check_refused(molyneux("retrieve", "--model", "tiny", "--data", tmp_path), "captions.csv")
    check_refused(molyneux("retrieve", "--model", "nothing-such", "--data", data), "nothing-such")
    (tmp_path / "captions.csv").write_text("image,caption\nx.png,a cup\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_text("no image")
    check_refused(molyneux("retrieve", "--model", "tiny", "--data", tmp_path), "x.png")
