"""Jobs spread over a Ray cluster; Ray is imported here alone, and only where it is asked for."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from molyneux.backends.base import VisionLanguageModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.options import Running
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
        ConfigError: if Ray is not installed.
        ModelError: if a job's images cannot be made, its workers died too often, or the model there is another one.
    """
    ray = import_ray()
    if not ray.is_initialized():
        # workers print what this process would not
        ray.init(log_to_driver=False, configure_logging=False, include_dashboard=False)
    source = Path(name)
    place = str(source.resolve()) if source.exists() else name
    threads, digest = torch.get_num_threads(), weights_digest(model.native)
    needs = {"num_cpus": threads, "num_gpus": int(model.device.type == "cuda")}
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


def work(name: str, running: Running, threads: int, digest: str, job: InversionJob) -> SyntheticImages:
    """One job, on a worker."""
    torch.set_num_threads(threads)
    model = _loaded(name, running)
    if weights_digest(model.native) != digest:
        raise ModelError(f"{name!r} has other weights on the node {os.uname().nodename}: put the same model there")
    return job.make(model)


def import_ray() -> Any:
    """The library.

    Raises:
        ConfigError: if it is not installed.
    """
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
