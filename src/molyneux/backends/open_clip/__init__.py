"""Models of the open_clip family: its own, timm's and Hugging Face's towers, and CoCa."""

from molyneux.backends.open_clip.build import build as build
from molyneux.backends.open_clip.coca import CoCaModel as CoCaModel
from molyneux.backends.open_clip.model import OpenClipEncoder as OpenClipEncoder
from molyneux.backends.open_clip.model import OpenClipModel as OpenClipModel
from molyneux.backends.open_clip.names import load_folder as load_folder
from molyneux.backends.open_clip.names import load_named as load_named
from molyneux.backends.open_clip.weights import CONFIG as CONFIG
from molyneux.backends.open_clip.weights import WEIGHTS as WEIGHTS
from molyneux.backends.open_clip.weights import load_weights as load_weights
