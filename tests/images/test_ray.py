"""Jobs on a real local cluster of two nodes, against the same jobs one after the other."""

import os
import signal
import subprocess
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
from molyneux.images.ray_jobs import import_ray, processors
from molyneux.inversion.config import InversionConfig
from molyneux.runs.stage import StageFolder

CONCEPTS = (Concept("ring", "a circle with a hole"), Concept("cross", "two dark bars that meet"))
QUICK = InversionConfig(images=2, steps=30, trace_every=10)


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'molyneux\[ray\]'"):
        import_ray()


def test_a_job_asks_for_no_more_processors_than_a_node_has():
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]
    assert [processors(nodes, threads) for threads in (1, 4, 8)] == [1, 4, 4]
    with pytest.raises(ConfigError, match="no node with a processor"):
        processors([{"Alive": True, "Resources": {"GPU": 1.0}}], 1)


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


_LISTENS = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from molyneux.images import ray_jobs

class Weights:
    device = type("Device", (), {{"type": "cpu"}})()
    native = None
ray_jobs.weights_digest = lambda _: ""
ray_jobs.on_cluster(Weights(), "tiny", None, [], None)
import ray
mine = set()
for folder in Path("/proc").glob("[0-9]*"):
    try:
        command = (folder / "cmdline").read_bytes()
        for link in (folder / "fd").iterdir() if b"ray" in command and SESSION.encode() in command else ():
            mine.add(str(link.readlink()))
    except OSError:
        pass
for family in ("tcp", "tcp6"):
    for line in Path(f"/proc/net/{{family}}").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{{fields[9]}}]" in mine:
            print("listens", fields[1].split(":")[0])
"""


@pytest.mark.slow
def test_a_cluster_of_this_machines_own_listens_on_loopback_alone(tmp_path):
    pytest.importorskip("ray")
    program = _LISTENS.format(paths=[path for path in sys.path if path]).replace(
        "mine = set()", "mine = set()\nSESSION = ray._private.worker._global_node.get_session_dir_path()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    places = [line.split()[1] for line in ended.stdout.splitlines() if line.startswith("listens")]
    assert places
    # little-endian words: 127.0.0.1, ::1, and the former in the latter's notation
    local = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert set(places) <= local
