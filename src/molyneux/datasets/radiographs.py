"""Radiographs in the layouts in which they are published: CheXpert 5x200 and JSRT. For research only."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from molyneux.datasets.folders import PhotoFolder, labelled, photos_below
from molyneux.errors import DataError
from molyneux.files import leads_out
from molyneux.foreign import read_bytes, read_json, said

CHEXPERT_CLASSES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The order in which CheXpert's five competition findings are scored."""

CHEXPERT_LIST = "chexpert_5x200.json"
PER_FINDING = 200

JSRT_LIST = "CLNDAT_EN.txt"
NODULES, OTHERS = 154, 93
MALIGNANT, BENIGN = 100, 54
LUNG_CANCER, BENIGN_NODULE = "lung cancer", "benign nodule"
NODULE, NO_NODULE = "lung nodule", "no lung nodule"


def read_chexpert(root: Path, per_class: int = PER_FINDING) -> PhotoFolder:
    """CheXpert 5x200: `root/chexpert_5x200.json`, and the radiographs it names below `root` (`train/patientN/...`).

    The list maps an id to `image_path` and `label`, five numbers of which one is 1, in the order of
    `CHEXPERT_CLASSES`.

    Raises:
        DataError: if the list or a radiograph is missing, or a finding has not `per_class` of them.

    Source: Huang et al. (2021), GLoRIA; the list as PRIOR publishes it.
    """
    root = Path(root)
    path = root / CHEXPERT_LIST
    try:
        entries = read_json(path, "the list")
        pairs = [(_finding(entry["label"]), entry["image_path"]) for entry in entries.values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"cannot read the list {path}: {said(error)}") from error
    counts = Counter(name for name, _ in pairs)
    for name in CHEXPERT_CLASSES:
        if counts[name] != per_class:
            raise DataError(f"{path} lists {counts[name]} radiographs of {name!r}, not {per_class}")
    for _, file in pairs:
        if not isinstance(file, str) or leads_out(file) or not (root / file).is_file():
            raise DataError(f"{path} lists {file!r}, which is not in {root}")
    pairs.sort(key=lambda pair: CHEXPERT_CLASSES.index(pair[0]))
    return labelled(root, ((name, root / file) for name, file in pairs))


def read_jsrt_nodules(root: Path, counts: tuple[int, int] = (NODULES, OTHERS)) -> PhotoFolder:
    """JSRT's radiographs with a nodule (`JPCLN001` to 154) and without (`JPCNN001` to 093), anywhere below `root`.

    Raises:
        DataError: if there are other `counts` of them, or a radiograph is there twice.
    """
    root = Path(root)
    found = {name: _jsrt_files(root, letters) for name, letters in ((NODULE, "JPCLN"), (NO_NODULE, "JPCNN"))}
    came = tuple(len(files) for files in found.values())
    if came != counts:
        raise DataError(
            f"{root} holds {came[0]} radiographs with a nodule (JPCLN) and {came[1]} without (JPCNN), "
            f"not {counts[0]} and {counts[1]}"
        )
    return labelled(root, ((name, path) for name, files in found.items() for path in files.values()))


def read_jsrt_malignancy(root: Path, counts: tuple[int, int] = (MALIGNANT, BENIGN)) -> PhotoFolder:
    """JSRT's radiographs with a nodule, as 'lung cancer' (malignant) and 'benign nodule', as `CLNDAT_EN.txt` says.

    Each line of the list, which lies anywhere below `root`, holds a file's name and 'malignant' or 'benign'.

    Raises:
        DataError: if the list is missing, does not say it of each radiograph, or there are other `counts`.
    """
    root = Path(root)
    files = _jsrt_files(root, "JPCLN")
    lists = [path for path in root.rglob("*") if path.name.casefold() == JSRT_LIST.casefold()]
    if len(lists) != 1:
        raise DataError(f"{root} holds {len(lists) or 'no'} {JSRT_LIST}: expected one")
    text = read_bytes(lists[0], "the list").decode(errors="replace")
    said = {
        one[0].upper(): one[1].casefold()
        for one in re.findall(r"^\W*(JPCLN\d{3})\b.*\b(malignant|benign)\b", text, re.IGNORECASE | re.MULTILINE)
    }
    unsaid = sorted(files.keys() - said.keys())
    if unsaid:
        raise DataError(f"{lists[0]} does not say whether {unsaid[0]} is malignant or benign")
    groups = {
        LUNG_CANCER: [path for stem, path in files.items() if said[stem] == "malignant"],
        BENIGN_NODULE: [path for stem, path in files.items() if said[stem] == "benign"],
    }
    came = tuple(len(group) for group in groups.values())
    if came != counts:
        raise DataError(
            f"{root} holds {came[0]} malignant and {came[1]} benign radiographs, not {counts[0]} and {counts[1]}"
        )
    return labelled(root, ((name, path) for name, group in groups.items() for path in group))


def _finding(label: Any) -> str:
    if len(label) != len(CHEXPERT_CLASSES) or sorted(label) != [0, 0, 0, 0, 1]:
        raise ValueError(f"a label is {label!r:.60}, not five numbers of which one is 1")
    return CHEXPERT_CLASSES[list(label).index(1)]


def _jsrt_files(root: Path, letters: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in photos_below(root):
        stem = path.stem.upper()
        if re.fullmatch(rf"{letters}\d{{3}}", stem):
            first = found.setdefault(stem, path)
            if first != path:
                raise DataError(f"{root} holds {stem} twice, as {first.name} and {path.name}: leave one of them")
    return found
