"""Which greys of a medical image are shown, and which slice of a volume; importing this needs no torch."""

import math
from dataclasses import dataclass
from typing import Literal

from molyneux.errors import ConfigError
from molyneux.foreign import whole

DICOM = (".dcm",)
NIFTI = (".nii", ".nii.gz")
SCANS = (*DICOM, *NIFTI)

Kind = Literal["scan", "volume", "deep", "deep colour"]
"""What a window is for: DICOM or NIfTI; such with several slices or frames; other images of 16-bit greys. It is for
none of 16-bit colours."""

RESEARCH_ONLY = (
    "for research only: not a medical device, not validated for any clinical use, and no basis for a diagnosis"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How DICOM and NIfTI files, and images of 16-bit greys, become images of 8-bit greys."""

    window_center: float | None = None
    """The middle of the values shown, after slope and intercept; else the file's own window, else all values. Of other
    16-bit greys 0 to 65535 is shown by default: for 12-bit values give 2048 and a width of 4096."""
    window_width: float | None = None
    """Their range."""
    slice: int | None = None
    """Which slice of a NIfTI volume (or frame of a DICOM file), from 0, feet to head; else the middle one."""

    def __post_init__(self) -> None:
        if (self.window_center is None) != (self.window_width is None):
            raise ConfigError("--window-center and --window-width go together: give both, or neither")
        if self.window_center is not None and not math.isfinite(self.window_center):
            raise ConfigError(f"the window's center is {self.window_center}: expected a finite number")
        if self.window_width is not None and not 1 <= self.window_width < math.inf:
            raise ConfigError(f"the window's width is {self.window_width}: expected a finite number of at least 1")
        if self.slice is not None and not whole(self.slice):
            raise ConfigError(f"the slice is {self.slice}: expected a whole number of at least 0")

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Center and width."""
        return self.window_center, self.window_width

    @property
    def said(self) -> str:
        """What was done, in words.

        >>> Window(slice=3).said.partition(";")[0]
        "slope and intercept, or a table, applied, then the file's own window or table, else all of an image's values"
        """
        shown = (
            "the file's own window or table, else all of an image's values"
            if self.window_center is None
            else f"the window of center {self.window_center:g} and width {self.window_width:g}"
        )
        place = "the middle slice" if self.slice is None else f"slice {self.slice}"
        return (
            f"slope and intercept, or a table, applied, then {shown}; MONOCHROME1 inverted; of volumes {place} of "
            "the third axis, from feet to head, the front up and the right side left"
        )


def is_scan(name: str) -> bool:
    """Whether a file's name ends as DICOM's and NIfTI's do.

    >>> is_scan("a.NII.gz"), is_scan("a.gz")
    (True, False)
    """
    return name.lower().endswith(SCANS)
