import math
from dataclasses import replace

import pytest

from molyneux.errors import ConfigError
from molyneux.teaching.config import Edit, Full, LoRA, TeachingConfig


def test_the_paper_preset_holds_what_the_authors_did():
    paper = TeachingConfig.paper()
    assert (paper.loss, paper.temperature, paper.texts) == ("infonce", 0.07, "definition")
    assert paper.update == Full(part="tower", blocks=paper.update.blocks)
    assert (paper.learning_rate, paper.weight_decay, paper.betas, paper.eps) == (2e-5, 0.2, (0.9, 0.98), 1e-6)
    assert (paper.steps, paper.epochs, paper.batch) == (0, 1, 4)
    assert (paper.replay_batch, paper.strength) == (0, 1.0)
    assert TeachingConfig.paper(learning_rate=1e-5) == replace(paper, learning_rate=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", math.nan),
        ("learning_rate", -1e-4),
        ("learning_rate", math.inf),
        ("learning_rate", 1e300),
        ("temperature", -0.1),
        ("weight_decay", math.nan),
        ("betas", (0.9, math.nan)),
        ("betas", (0.9, 1.0)),
        ("eps", -1e-9),
        ("steps", -1),
        ("epochs", -1),
        ("batch", 0),
        ("replay_batch", -1),
        ("replay_weight", math.inf),
        ("strength", 1.5),
        ("strength", -0.1),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"teaching\.{name} is .*expected"):
        replace(TeachingConfig(loss="bank"), **{name: value})


def test_no_block_at_all_is_refused():
    with pytest.raises(ConfigError, match=r"update\.blocks is 0"):
        Full(part="blocks", blocks=0)


@pytest.mark.parametrize("name", ["learning_rate", "steps", "replay_batch", "strength", "update", "texts"])
def test_a_setting_of_training_is_refused_for_an_edit_and_not_passed_over(name):
    other = {"update": LoRA(rank=2), "texts": "names", "steps": 3, "replay_batch": 3}.get(name, 0.5)
    with pytest.raises(ConfigError, match=rf"teaching\.{name} has no use for the loss 'edit'"):
        TeachingConfig(**{name: other})


def test_settings_of_the_edit_are_refused_for_other_losses():
    with pytest.raises(ConfigError, match=r"teaching\.edit has no use for the loss 'bank'"):
        TeachingConfig(loss="bank", edit=Edit(strength=0.3))
