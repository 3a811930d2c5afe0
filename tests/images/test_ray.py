"""Jobs on a real local cluster of two nodes, against the same jobs one after the other."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import torch

from helpers.families_open_clip import RESNET, build_random
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.images.jobs import ImageMaker, InversionJob
from molyneux.images.ray_jobs import import_ray
from molyneux.inversion.config import InversionConfig
from molyneux.runs.stage import StageFolder

CONCEPTS = (Concept("ring", "a circle with a hole"), Concept("cross", "two dark bars that meet"))
QUICK = InversionConfig(images=2, steps=30, trace_every=10)


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'molyneux\[ray\]'"):
        import_ray()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build_random("tiny", RESNET).save(folder)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    quiet = {"RAY_DISABLE_IMPORT_WARNING": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    paths = os.pathsep.join(path for path in sys.path if path)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (quiet | {"PYTHONPATH": paths}).items():
            patch.setenv(key, value)
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        started.add_node(num_cpus=1)
        ray.init(address=started.address, log_to_driver=False)
        yield
        ray.shutdown()
        started.shutdown()


def descendants(process: int) -> Iterator[int]:
    children = Path(f"/proc/{process}/task")
    for child in (int(one) for task in children.iterdir() for one in (task / "children").read_text().split()):
        yield child
        yield from descendants(child)


def image_maker(model: Path, executor: str, root: Path) -> ImageMaker:
    folder = StageFolder(root)
    return ImageMaker(model=load(model), name=str(model), running=Running(), folder=folder, executor=executor)


def jobs(root: Path, config: InversionConfig = QUICK, seeds: tuple[int, ...] = (0, 1)) -> list[InversionJob]:
    return [
        InversionJob(
            concept=concept, config=config, seed=seed, folder=root / f"{concept.slug}-{seed}", work=root / "work"
        )
        for concept in CONCEPTS
        for seed in seeds
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_makes_the_same_pixels_to_the_bit_on_both_nodes(cluster, model, tmp_path):
    told: list[tuple[str, int, int]] = []
    spread = image_maker(model, "ray", tmp_path)(jobs(tmp_path / "spread"), lambda *step: told.append(step))
    alone = image_maker(model, "serial", tmp_path)(jobs(tmp_path / "alone"))
    assert told == [("images", done, 4) for done in (1, 2, 3, 4)]
    for one, other in zip(spread, alone, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert (one.concept, one.seed, one.trace) == (other.concept, other.seed, other.trace)
    assert not list((tmp_path / "spread" / "work").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the worker is looked for in /proc")
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_loses_nothing(cluster, model, tmp_path):
    job = jobs(tmp_path / "spread", InversionConfig(images=2, steps=120), seeds=(0,))[0]
    state = job.work / f"{job.folder.parent.name}-{job.folder.name}.pt"
    killed: list[int] = []

    def kill_in_the_middle() -> None:
        while not state.exists():
            time.sleep(0.01)
        for worker in descendants(os.getpid()):
            if Path(f"/proc/{worker}/cmdline").read_bytes().startswith(b"ray::work"):
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    assassin = Thread(target=kill_in_the_middle)
    assassin.start()
    (made,) = image_maker(model, "ray", tmp_path)([job])
    assassin.join()
    (whole,) = image_maker(model, "serial", tmp_path)(
        [InversionJob(concept=job.concept, config=job.config, seed=0, folder=tmp_path / "alone", work=tmp_path)]
    )
    assert killed
    assert torch.equal(made.pixels, whole.pixels)
    assert made.trace == whole.trace
