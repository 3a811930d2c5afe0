"""Jobs spread over a Ray cluster; Ray is imported here alone, and only where it is asked for."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.backends.packs import untaught
from molyneux.errors import ConfigError, ModelError, MolyneuxError
from molyneux.images.jobs import InversionJob
from molyneux.runs.options import Progress
from molyneux.synthetic import SyntheticImages

RETRIES = 5
"""How often a job is restarted after its worker died."""


def on_cluster(
    model: VisionLanguageModel,
    name: str,
    running: Running,
    jobs: Sequence[InversionJob],
    keep: Callable[[InversionJob, Callable[[], SyntheticImages]], None],
    on_step: Progress | None = None,
) -> None:
    """Do the jobs on the cluster at RAY_ADDRESS, or on one of this machine's own, and `keep` each as it is finished.

    A job uses as many threads as this process would: another number changes how sums are rounded. A job whose worker
    dies is restarted, from its last checkpoint if the workers share a file system.

    Raises:
        ConfigError: if Ray is not installed, or no node of the cluster has a processor.
        ModelError: if a job's images cannot be made, its workers died too often, or the model there is another one.
    """
    ray = import_ray()
    if not ray.is_initialized():
        # workers print what this process would not
        ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
    source = Path(name)
    place = str(source.resolve()) if source.exists() else name
    threads, digest = torch.get_num_threads(), weights_digest(model.native)
    needs = {"num_cpus": processors(ray.nodes(), threads), "num_gpus": int(model.device.type == "cuda")}
    remote = ray.remote(max_retries=RETRIES, **needs)(work)
    waiting = {}
    for job in jobs:
        absolute = replace(job, folder=job.folder.resolve(), work=job.work.resolve())
        waiting[remote.remote(place, running, threads, digest, absolute)] = job
    total = len(waiting)
    try:
        while waiting:
            (finished,), _ = ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(finished)
            keep(job, partial(_result, ray, finished, job))
            if on_step is not None:
                on_step(job.what, total - len(waiting), total)
    finally:
        for unfinished in waiting:
            ray.cancel(unfinished)


def processors(nodes: Sequence[Mapping[str, Any]], threads: int) -> int:
    """How many processors a job asks for: one for each thread, or all of the largest node.

    A node with fewer processors than threads is slower; one that is waited for in vain never ends.

    Args:
        nodes: what `ray.nodes()` returns.
        threads: how many threads a job uses.

    Raises:
        ConfigError: if no node has a processor.

    >>> processors([{"Alive": True, "Resources": {"CPU": 1.0}}], threads=2)
    1
    """
    largest = max((int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]), default=0)
    if not largest:
        raise ConfigError("the Ray cluster has no node with a processor to compute on: add one, or run without Ray")
    return min(threads, largest)


def work(name: str, running: Running, threads: int, digest: str, job: InversionJob) -> SyntheticImages:
    """One job, on a worker."""
    torch.set_num_threads(threads)
    model = _loaded(name, running)
    if isinstance(model, DualEncoder) and weights_digest(model.native) != digest:
        model = untaught(model)  # which makes the images that an edit is computed from
    if weights_digest(model.native) != digest:
        raise ModelError(f"{name!r} has other weights on the node {os.uname().nodename}: put the same model there")
    return job.make(model)


def import_ray() -> Any:
    """The library. Without RAY_ADDRESS, a cluster that it starts listens on this machine's loopback alone.

    Raises:
        ConfigError: if it is not installed.
    """
    if not os.environ.get("RAY_ADDRESS"):
        # read when Ray is imported; despite its name it makes nodes listen on loopback anywhere
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError as error:
        raise ConfigError("the executor 'ray' needs Ray: pip install 'molyneux[ray]'") from error
    return ray


@cache
def _loaded(name: str, running: Running) -> VisionLanguageModel:
    return load(name, **asdict(running))


def _result(ray: Any, reference: Any, job: InversionJob) -> SyntheticImages:
    try:
        found: SyntheticImages = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MolyneuxError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"the {job.label} could not be made on the cluster ({reason}): run the same again") from error
    return found
