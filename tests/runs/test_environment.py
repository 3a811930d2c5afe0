import json

import torch

from molyneux.backends.load import load
from molyneux.records import ENVIRONMENT
from molyneux.runs.environment import write_environment
from molyneux.runs.folder import open_run


def test_the_record_says_what_weights_do_not_show(tmp_path):
    model = load("tiny:clip")
    folder = open_run(tmp_path / "run", {}, {"tiny:clip": "0" * 64})
    write_environment(folder, "cpu", ["molyneux"], model)
    found = json.loads((folder.root / ENVIRONMENT).read_text())
    assert found["model"]["activation"] == model.activation != ""
    assert found["machine"]["threads"] == torch.get_num_threads()
