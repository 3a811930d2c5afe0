"""Make the replay set that ships with `mini`: inverted images of known classes, with the default settings.

    python scripts/make_mini_replay.py

Run it again whenever the head, or a default of the inversion or of `ReplayConfig`, changes.
"""

import tempfile
from importlib import resources
from pathlib import Path

from molyneux import load
from molyneux.images.replay import FILE, make_replay, save_replay
from molyneux.pipeline.settings import ReplayConfig


def main() -> None:
    model, config = load("mini"), ReplayConfig()
    with tempfile.TemporaryDirectory() as scratch:
        images = make_replay(model, config, Path(scratch))
    save_replay(images, Path(str(resources.files("molyneux") / "models" / "mini" / FILE)), config)


if __name__ == "__main__":
    main()
