import math
from dataclasses import replace

import pytest

from molyneux.errors import ConfigError
from molyneux.teaching.config import Full, TeachingConfig


def test_the_paper_preset_holds_what_the_authors_did():
    paper = TeachingConfig.paper()
    assert (paper.loss, paper.temperature, paper.texts) == ("anchors", 0.07, "definition")
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
        replace(TeachingConfig(), **{name: value})


def test_no_block_at_all_is_refused():
    with pytest.raises(ConfigError, match=r"update\.blocks is 0"):
        Full(part="blocks", blocks=0)
