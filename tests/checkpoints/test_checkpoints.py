"""Every published layout, small: read as its makers read it, saved, moved, and read by its makers' library again."""

import importlib.util
from pathlib import Path

import pytest
import torch

from helpers.checkpoints import LAYOUTS, TEXTS
from helpers.families import sample_images
from molyneux.backends.load import load

_spec = importlib.util.spec_from_file_location("checkpoint_report", Path(__file__).with_name("report.py"))
report = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_layout_is_what_its_makers_library_makes_of_it(name, tmp_path):
    found = report.differences(LAYOUTS[name], tmp_path / "layout")
    assert found.keys() == set(report.COLUMNS)
    assert (found["pixels"] is None) == (name in {"transformers siglip2", "MedCLIP, Swin", "MedCLIP, ResNet"})
    read_as_sentences = name.startswith("transformers") and name != "transformers siglip2"
    assert (found["sentence-transformers"] is None) == (not read_as_sentences)
    # a thousandth of a grey level is what single precision leaves of a normalised pixel
    assert (found.pop("pixels") or 0) < 1e-3
    # it computes in single precision, and pads a batch
    assert (found.pop("sentence-transformers") or 0) < 1e-5
    assert max(value for value in found.values() if value is not None) < 2e-6
    model = load(tmp_path / "layout" / "published")
    with torch.no_grad():
        for rows in (model.embed_images(sample_images(model)), model.embed_texts(TEXTS)):
            assert torch.pdist(rows).min() > 1e-4  # the stand-in tells them apart
