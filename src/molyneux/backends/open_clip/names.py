"""From a name, a folder or a weights file to a model of the open_clip family."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from molyneux.backends.hub import cached_folder
from molyneux.backends.open_clip.build import TEXT_FILES, build
from molyneux.backends.open_clip.model import OpenClipEncoder
from molyneux.backends.open_clip.weights import CONFIG, load_weights, weights_in
from molyneux.errors import ModelError
from molyneux.foreign import read_json

HUB = "hf-hub:"
FOLDER = "local-dir:"
_RULES = ("mean", "std", "interpolation", "resize_mode", "fill_color")


def load_named(rest: str) -> OpenClipEncoder:
    """Load what stands behind `open_clip:` in a model's name.

    - `NAME/TAG`: an architecture and published weights, such as "ViT-B-32-quickgelu/openai"
    - `NAME/FILE`: an architecture and a weights file; images are prepared as for all weights that were published
      for the architecture
    - `hf-hub:ORG/NAME`: a repository of the hub with open_clip's configuration
    - a folder that Molyneux or open_clip saved

    Raises:
        ModelError: if there is no such architecture, tag, file or repository, the weights belong to an architecture
            with another activation (said before anything is fetched), or the hub cannot be reached.
    """
    from open_clip import get_model_config
    from open_clip.pretrained import get_pretrained_cfg

    if rest.startswith(HUB):
        return _load_from_hub(rest)
    folder = Path(rest.removeprefix(FOLDER))
    name, _, source = rest.partition("/")
    architecture = None if rest.startswith(FOLDER) else get_model_config(name)
    if architecture is None:
        if folder.is_dir():
            return load_folder(folder)
        raise ModelError(_unknown(name, rest))
    tag = get_pretrained_cfg(name, source) if source else {}
    if tag:
        _check_activation(name, source, bool(tag.get("quick_gelu")), bool(architecture.get("quick_gelu")))
        return _load_tag(rest, architecture, tag)
    if source and Path(source).is_file():
        config = {"model_cfg": architecture, "preprocess_cfg": _published_rules(name)}
        with _built(f"open_clip:{rest}"):
            model = build(f"open_clip:{rest}", config)
        load_weights(model, Path(source))
        return model
    raise ModelError(_unknown_weights(name, source))


def load_folder(folder: Path, *, name: str = "") -> OpenClipEncoder:
    """A folder that `save` or open_clip wrote: configuration, weights, and a Hugging Face text tower's files.

    Raises:
        ModelError: naming the file that is missing or cannot be read.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} has no {CONFIG}: expected a folder that Molyneux or open_clip saved")
    weights = weights_in(folder)
    with _built(str(folder / CONFIG)):
        config = read_json(folder / CONFIG, "the configuration", error=ModelError)
        text = config["model_cfg"]["text_cfg"]
        model = build(name or str(folder), config, {key: _text_folder(folder, text, key) for key in TEXT_FILES})
    load_weights(model, weights)
    return model


def _text_folder(folder: Path, text: Mapping[str, Any], key: str) -> Path:
    """Where a Hugging Face text tower's configuration or tokenizer is: beside the weights, else in the hub's cache."""
    name, file = text.get(key), TEXT_FILES[key]
    if not name or (folder / file).is_file():
        return folder
    cached = cached_folder(str(name), file)
    if cached is None:
        raise ModelError(
            f"{folder} has no {file}, nor has the hub's cache: put there what {name!r} publishes under this name, or "
            f"fetch it where there is a network: hf download {name}"
        )
    return cached


def _load_tag(rest: str, architecture: dict[str, Any], tag: dict[str, Any]) -> OpenClipEncoder:
    from open_clip.pretrained import download_pretrained

    config = {"model_cfg": architecture, "preprocess_cfg": {key: tag[key] for key in _RULES if key in tag}}
    with _fetched(f"open_clip:{rest}"):
        weights = Path(download_pretrained(tag))
    return _load_fetched(rest, config, weights)


def _load_from_hub(rest: str) -> OpenClipEncoder:
    from open_clip.pretrained import download_pretrained_from_hf

    repository = rest.removeprefix(HUB)
    with _fetched(f"open_clip:{rest}"):
        description = Path(download_pretrained_from_hf(repository, filename=CONFIG))
        weights = Path(download_pretrained_from_hf(repository))
    with _built(f"open_clip:{rest}"):
        config = read_json(description, "the configuration", error=ModelError)
        config = {"model_cfg": config["model_cfg"], "preprocess_cfg": config["preprocess_cfg"]}
    return _load_fetched(rest, config, weights)


def _load_fetched(rest: str, config: dict[str, Any], weights: Path) -> OpenClipEncoder:
    text = config["model_cfg"]["text_cfg"]
    # a Hugging Face text tower's configuration and tokenizer are fetched while it is built
    asks_hub = bool(text.get("hf_model_name") or text.get("hf_tokenizer_name"))
    with _fetched(f"open_clip:{rest}") if asks_hub else _built(f"open_clip:{rest}"):
        model = build(f"open_clip:{rest}", config)
    load_weights(model, weights)
    return model


def _check_activation(name: str, tag: str, wanted: bool, built: bool) -> None:
    """QuickGELU's weights run under plain GELU too, only worse; open_clip itself does no more than warn."""
    if wanted and not built:
        raise ModelError(
            f"the weights {tag!r} were trained with QuickGELU and {name!r} has GELU: "
            f"ask for 'open_clip:{name}-quickgelu/{tag}'"
        )


def _published_rules(name: str) -> dict[str, Any]:
    """How images are prepared for every published set of weights of an architecture; OpenAI's way where there is none.

    Raises:
        ModelError: if they differ, so that a file alone does not tell.
    """
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    found = [get_pretrained_cfg(name, tag) for tag in list_pretrained_tags_by_model(name)]
    for key, how in (
        ("mean", "normalise"),
        ("std", "normalise"),
        ("resize_mode", "resize"),
        ("interpolation", "resize"),
    ):
        if len({str(tag.get(key)) for tag in found}) > 1:
            raise ModelError(
                f"the published weights of {name!r} {how} images in several ways ({key}), and a file does not say "
                f"which: put it into a folder with a {CONFIG}"
            )
    if not found:
        return {"mean": list(OPENAI_DATASET_MEAN), "std": list(OPENAI_DATASET_STD)}
    return {key: found[0][key] for key in _RULES if key in found[0]}


def _unknown(name: str, rest: str) -> str:
    from open_clip import list_models

    near = get_close_matches(name, list_models(), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "expected NAME/TAG, NAME/FILE, hf-hub:ORG/NAME or a folder"
    return f"open_clip has no architecture {name!r}, and there is no folder {rest!r}: {hint}"


def _unknown_weights(name: str, source: str) -> str:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    plain = name.removesuffix("-quickgelu")
    if plain != name and source and get_pretrained_cfg(plain, source):
        return (
            f"the weights {source!r} were trained with GELU and {name!r} has QuickGELU: "
            f"ask for 'open_clip:{plain}/{source}'"
        )
    tags = ", ".join(list_pretrained_tags_by_model(name)) or "none"
    missing = f"no published weights {source!r}, and there is no such file" if source else "to be given with weights"
    return f"{name!r} has {missing}: expected open_clip:{name}/TAG with one of {tags}, or open_clip:{name}/FILE"


@contextmanager
def _built(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, AssertionError, AttributeError) as error:
        raise ModelError(f"{name} does not describe a model that can be built: {_line(error)}") from error


@contextmanager
def _fetched(name: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # the hub's libraries change what they raise from version to version
        raise ModelError(
            f"{name} cannot be fetched ({_line(error)}): check the name and the connection, "
            "or fetch it elsewhere and give the folder"
        ) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
