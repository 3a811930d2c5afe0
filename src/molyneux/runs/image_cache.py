"""A cache for the embeddings of images that many lessons share: a large model looks at replay images for a while."""

import hashlib
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.backends.base import DualEncoder
from molyneux.backends.digest import state_digest
from molyneux.runs.text_cache import cache_folder, keep_rows, kept_rows
from molyneux.shapes import Embeddings


@torch.no_grad()
def embedded_once(model: DualEncoder, batches: Iterable[Float[Tensor, "_ 3 _ _"]]) -> Embeddings:
    """The unit-length embeddings of all images, from the cache if these were seen before.

    They are kept under the vision tower's weights and settings, the pixels of each batch, and all else that decides
    their last digits: the number of threads, the release of torch, the kind of device. A file whose rows have not the
    SHA-256 that it states is made again; a folder that cannot be written only costs time.
    """
    batches = [batch.to(model.device) for batch in batches]
    path = cache_folder() / "images" / f"{_key(model, batches)}.safetensors"
    rows = kept_rows(path)
    if rows is not None and len(rows) == sum(map(len, batches)):
        return rows.to(model.device)
    found = torch.cat([model.embed_images(batch) for batch in batches])
    keep_rows(path, found)
    return found


def _key(model: DualEncoder, batches: Iterable[Float[Tensor, "_ 3 _ _"]]) -> str:
    about = (
        type(model).__name__,
        state_digest(model.vision_module().state_dict()),
        model.image_settings,
        model.activation,
        model.precision,
        model.device.type,
        torch.get_num_threads(),
        torch.__version__,
        state_digest({str(place): batch for place, batch in enumerate(batches)}),
    )
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]
