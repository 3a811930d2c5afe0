"""Drawn scenes with captions: nouns that the model `drawn` knows, and concepts that it does not."""

from molyneux.datasets.drawn.designs import Design as Design
from molyneux.datasets.drawn.designs import parse_design as parse_design
from molyneux.datasets.drawn.nouns import KNOWN as KNOWN
from molyneux.datasets.drawn.nouns import NOVEL as NOVEL
from molyneux.datasets.drawn.nouns import NovelConcept as NovelConcept
from molyneux.datasets.drawn.scenes import draw_designs as draw_designs
