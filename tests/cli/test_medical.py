"""Medical images through the command line: what was done to them is said, and nobody in them is named."""

import json

import numpy as np
import pytest

from helpers.command import RING, Command
from helpers.runs import use_tiny
from helpers.scan_files import SECRETS, write_dicom, write_nifti


@pytest.fixture
def molyneux(capsys, monkeypatch, tmp_path):
    use_tiny(monkeypatch, tmp_path / "cache")
    return Command(capsys)


@pytest.fixture
def scans(tmp_path):
    chance = np.random.default_rng(0)
    for index in range(3):
        write_dicom(tmp_path / "novel" / "ring" / f"{index}.dcm", chance.integers(0, 4000, (30, 30)))
        write_dicom(tmp_path / "known" / "circle" / f"{index}.dcm", chance.integers(0, 4000, (30, 30)))
        write_nifti(tmp_path / "known" / "square" / f"{index}.nii.gz", chance.normal(size=(30, 30, 4)))
    return tmp_path


def test_a_run_on_scans_says_how_they_were_shown_and_names_nobody(molyneux, scans):
    out = scans / "run"
    given = ("--novel", scans / "novel", "--known", scans / "known")
    window = ("--window-center", "2000", "--window-width", "3000", "--slice", "1")
    ended = molyneux("teach", *RING, "--out", out, *given, *window)
    assert ended.code == 0
    scores = json.loads((out / "scores.json").read_text())
    assert "center 2000 and width 3000; MONOCHROME1 inverted; of volumes slice 1" in scores["protocol"]["scans"]
    assert scores["protocol"]["use"].startswith("for research only")
    page = (out / "report.html").read_text()
    assert "The images or the model are medical: for research only" in page
    assert "for research only: not a medical device" in ended.out
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len([path for path in written if path.suffix == ".jpg"]) == 3
    for path in written:
        content = path.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in content, path
    for secret in SECRETS:
        assert secret not in ended.out + ended.err


def test_photos_are_not_called_medical(molyneux, tmp_path):
    from helpers.runs import write_photos

    photos = write_photos(tmp_path / "photos")
    protocol = json.loads(molyneux("evaluate", "--model=tiny", "--known", photos / "known", "--json", "--quiet").out)
    assert {"scans", "use"}.isdisjoint(protocol["protocol"])


def test_help_says_research_only(molyneux):
    assert "for research only" in molyneux("evaluate", "--help-all").out.replace("\n", " ")
