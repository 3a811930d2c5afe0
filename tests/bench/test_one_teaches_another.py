import json
import sys
from importlib import util
from pathlib import Path

import pytest

from helpers.runs import CROSS, RING, use_few_classes, write_photos
from helpers.small_models import ConvModel
from molyneux.images.config import ReplayConfig
from molyneux.images.replay import replay_images
from molyneux.inversion.config import InversionConfig

SCRIPT = Path(__file__).parents[2] / "bench" / "one_teaches_another.py"


@pytest.fixture(scope="module")
def bench():
    spec = util.spec_from_file_location("one_teaches_another", SCRIPT)
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_every_model_learns_from_every_models_images_and_from_controls(bench, preset, tmp_path, monkeypatch, capsys):
    models = {"one": ConvModel(name="one"), "other": ConvModel(seed=5, name="other")}
    few = ReplayConfig(count=4, inversion=InversionConfig(steps=2))
    monkeypatch.setattr(bench, "load", models.__getitem__)
    monkeypatch.setattr(bench, "replay_images", lambda model, taught: replay_images(model, few, taught=taught))
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "cache"))
    use_few_classes(monkeypatch)
    photos = write_photos(tmp_path / "photos")
    concepts = tmp_path / "concepts.json"
    concepts.write_text(json.dumps({one.name: list(one.descriptions) for one in (RING, CROSS)}))
    folders = (
        f"--novel {photos / 'novel'} --known {photos / 'known'} --cache {tmp_path / 'kept'} --out {tmp_path / 'out'}"
    )
    flags = f"--models one other --concepts {concepts} {folders} --preset {preset} --images 2 --steps 12 --seeds 1"
    bench.main(flags.split())
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    pairs = [(reader, maker) for reader in models for maker in models]
    assert {(row["reader"], row["maker"]) for row in found["readings"]} == set(pairs)
    assert len(found["readings"]) == 2 * len(pairs)
    # for each concept and model: noise, and of each maker its images and those of the other concept
    assert len(found["learned"]) == 2 * len(models) * (1 + 2 * len(models))
    near = dict.fromkeys(pairs, 0.0)
    for row in found["readings"]:
        near[row["reader"], row["maker"]] += row["cosine"]
    # each model made its images for itself
    assert near["one", "one"] > near["one", "other"]
    assert near["other", "other"] > near["other", "one"]
    printed = capsys.readouterr().out
    assert "| one | its own | one |" in printed
    assert "| other | of one | one |" in printed
    assert (tmp_path / "out" / "table.md").read_text() == printed


def test_folders_that_are_neither_one_nor_one_for_each_model_are_refused(bench):
    folders = [Path("a"), Path("b")]
    assert bench.one_for_each(folders[:1], ["x", "y", "z"], "--novel") == dict.fromkeys("xyz", Path("a"))
    with pytest.raises(SystemExit, match="--novel has 2 folders: expected one, or one for each of 3 models"):
        bench.one_for_each(folders, ["x", "y", "z"], "--novel")
