"""What the default lesson costs on a model of real size, with random weights: seconds and peak memory.

    python bench/cost.py                              # mini and ViT-B/32
    python bench/cost.py --model open_clip:ViT-L-14

Prints one row for each stage, on one thread: reading the known texts and making the replay images, once for each
model; a first and a second concept, each from text to taught model; and 300 concepts at once. Each model has a process
of its own, so that its peak memory is its own. NAME of 'open_clip:NAME' is one of open_clip's; its weights are drawn at
random, and 'mini' keeps its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

MODELS = ("mini", "open_clip:ViT-B-32-quickgelu")
MANY = 300


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def measure(name: str) -> None:
    """Print the rows of one model."""
    from speed import peak_mib

    from molyneux import load, teach
    from molyneux.backends.base import dual_encoder
    from molyneux.concepts import Concept
    from molyneux.datasets.imagenet import imagenet_names
    from molyneux.images.config import ReplayConfig
    from molyneux.images.replay import make_replay
    from molyneux.pipeline.known_texts import load_known_texts
    from molyneux.teaching.config import TeachingConfig

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        source = name
        if name.startswith("open_clip:"):
            source = str(Path(scratch) / "model")
            random_weights(name.partition(":")[2], Path(source))
        model = dual_encoder(load(source), "a lesson")
        rows = {"the model alone": (0.0, peak_mib())}

        def row(what: str, function: Callable[[], object]) -> None:
            rows[what] = (timed(function), peak_mib())

        names = imagenet_names()
        replay = []
        row("once: known texts", lambda: load_known_texts(model, names, TeachingConfig()))
        row("once: replay images", lambda: replay.extend(make_replay(model, ReplayConfig(), Path(scratch) / "groups")))
        okapi = Concept("okapi", "A hoofed animal with a dark brown velvety body and striped legs.")
        moongate = Concept("moongate", "A perfectly circular archway built from uniformly cut stones.")
        row("a first concept", lambda: teach(model, okapi, known=names, replay=replay))
        row("a second concept", lambda: teach(model, moongate, known=names, replay=replay))
        many = [Concept(f"thing {number}", f"A thing with {number} legs.") for number in range(MANY)]
        row(f"{MANY} concepts at once", lambda: teach(model, many, known=names, replay=replay))
        for what, (seconds, peak) in rows.items():
            print(f"| {name} | {what} | {seconds:.1f} | {peak:,.0f} |", flush=True)


def random_weights(name: str, folder: Path) -> None:
    """A folder as open_clip saves one, with random weights."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    native = open_clip.create_model(name, pretrained=None)
    folder.mkdir()
    config = {
        "model_cfg": open_clip.get_model_config(name),
        "preprocess_cfg": open_clip.get_model_preprocess_cfg(native),
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = {key: value.contiguous() for key, value in native.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="mini or open_clip:NAME; may be given several times")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        measure(given.only)
        return
    print("| model | stage | seconds | peak memory, MiB |\n|---|---|---|---|", flush=True)
    for name in given.model or MODELS:
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"MOLYNEUX_CACHE": cache, "OMP_NUM_THREADS": "1"}
            subprocess.run([sys.executable, __file__, "--only", name], check=True, env=environment)


if __name__ == "__main__":
    main()
