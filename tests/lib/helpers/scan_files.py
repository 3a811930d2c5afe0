"""Small DICOM files and NIfTI volumes, with what identifies a person in their headers."""

import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

SECRETS = ("DOE^JANE", "19470229", "ID-31415", "Hospital of Nowhere")


def write_dicom(path: Path, values: np.ndarray, **tags: Any) -> Path:
    """16-bit greys with a patient's name, date of birth and number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["molyneux", str(path)])
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientBirthDate, data.PatientID, data.InstitutionName = SECRETS
    data.Rows, data.Columns = values.shape[-2:]
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, int(values.min() < 0)
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.astype("<i2" if values.min() < 0 else "<u2").tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a date that no calendar has
        data.save_as(path, enforce_file_format=True)
    return path


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """A volume whose description names a patient."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    volume.header["descrip"] = SECRETS[0].encode()
    nibabel.save(volume, path)
    return path


def by_pydicom(path: Path) -> np.ndarray:
    """The windowed greys as pydicom's own functions give them, over the range of their output."""
    data = pydicom.dcmread(path)
    rescaled = pydicom.pixels.apply_rescale(data.pixel_array, data)
    shown = pydicom.pixels.apply_windowing(rescaled, data)
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    low, high = 0.0, 2.0**data.BitsStored - 1
    if data.PixelRepresentation:
        low, high = -(2.0 ** (data.BitsStored - 1)), 2.0 ** (data.BitsStored - 1) - 1
    low, high = low * slope + intercept, high * slope + intercept
    return (shown - low) / (high - low) * 255
