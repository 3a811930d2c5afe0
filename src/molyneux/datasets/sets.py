"""The data sets that can be named on the command line, as plain data: what they are and where they can be had."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from molyneux.datasets.folders import WHOLE, PhotoFolder, read_folder
from molyneux.datasets.imagenet import ClassNames
from molyneux.datasets.imagenet_sets import read_imagenet, read_imagenet_100
from molyneux.datasets.radiographs import read_chexpert, read_jsrt_malignancy, read_jsrt_nodules
from molyneux.datasets.windows import Window
from molyneux.errors import DataError

Task = Literal["classification", "retrieval and captioning", "segmentation"]

Reader = Callable[[Path, ClassNames], PhotoFolder]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """What a user has to know before bringing a data set."""

    name: str
    task: Task
    usage: str
    """What takes it on the command line."""
    what: str
    layout: str
    """What FOLDER holds."""
    source: str
    """Where it can be had."""
    medical: bool = False
    """Whether what is computed on it is for research only."""
    read: Reader | None = None
    """For sets that photos are classified on."""


_EVALUATE = "evaluate --known {0}:FOLDER"
_LOCALISE = "localise --images {0}"
_PAIRS = "images/ and masks/ with the same file names, the masks black and white"
_CAPTIONED = "images/ and dataset_{0}.json (Karpathy), the photos where it says"


def _any(root: Path, class_names: ClassNames) -> PhotoFolder:
    return read_folder(root, class_names=class_names)


def _rare(root: Path, class_names: ClassNames) -> PhotoFolder:
    names = ("moongate", "tonometer", "gyroscope", "bengal stripe", "bengal strip", "madras", "floral", "chantilly")
    return read_folder(root, only=names, class_names=class_names)


SETS: tuple[DataSet, ...] = (
    DataSet(
        name="folder",
        task="classification",
        usage="evaluate --known FOLDER --novel FOLDER",
        what="any photos in a folder per class",
        layout="CLASS/IMAGE; a WordNet id becomes its name, underscores become spaces",
        source="your own photos",
        read=_any,
    ),
    DataSet(
        name="imagenet-1k",
        task="classification",
        usage=_EVALUATE.format("imagenet-1k"),
        what="ImageNet's validation photos: 50,000 of 1,000 classes",
        layout="WNID/IMAGE for all 1,000 WordNet ids, or all photos beside one list of their classes: val.txt, "
        "LOC_val_solution.csv or imagenet_2012_validation_synset_labels.txt",
        source="image-net.org, with an account; Kaggle's imagenet-object-localization-challenge",
        read=read_imagenet,
    ),
    DataSet(
        name="imagenet-100",
        task="classification",
        usage=_EVALUATE.format("imagenet-100"),
        what="the validation photos of 100 ImageNet classes: 5,000",
        layout="val.X/WNID/IMAGE, or WNID/IMAGE, for 100 WordNet ids",
        source="Kaggle's ambityga/imagenet100",
        read=read_imagenet_100,
    ),
    DataSet(
        name="rare-concepts",
        task="classification",
        usage="evaluate --novel rare-concepts:FOLDER",
        what="the paper's own photos: moongate, tonometer, gyroscope, three fabrics, a parquet; 10 of each",
        layout="CLASS/IMAGE for some of moongate, tonometer, gyroscope, bengal_stripe, madras, floral, chantilly",
        source="nowhere yet: the paper (arXiv 2411.15611) announces it; gather photos of your own meanwhile",
        read=_rare,
    ),
    DataSet(
        name="chexpert-5x200",
        task="classification",
        usage=_EVALUATE.format("chexpert-5x200"),
        what="1,000 radiographs of the chest, 200 for each of five findings",
        layout="chexpert_5x200.json and the radiographs that it names (train/patientN/studyN/view1_frontal.jpg)",
        source="the list from github.com/QtacierP/PRIOR, the radiographs from Stanford's CheXpert, with an account",
        medical=True,
        read=lambda root, _: read_chexpert(root),
    ),
    DataSet(
        name="jsrt-nodules",
        task="classification",
        usage=_EVALUATE.format("jsrt-nodules"),
        what="radiographs of the chest: 154 with a lung nodule, 93 without",
        layout="JPCLN001 to JPCLN154 and JPCNN001 to JPCNN093, as PNG, JPEG or DICOM, in any sub-folders",
        source="db.jsrt.or.jp, with an account",
        medical=True,
        read=lambda root, _: read_jsrt_nodules(root),
    ),
    DataSet(
        name="jsrt-malignancy",
        task="classification",
        usage="evaluate --novel jsrt-malignancy:FOLDER",
        what="the 154 with a nodule: 100 malignant ('lung cancer'), 54 benign ('benign nodule')",
        layout="JPCLN001 to JPCLN154, as PNG, JPEG or DICOM, and CLNDAT_EN.txt, in any sub-folders",
        source="db.jsrt.or.jp, with an account",
        medical=True,
        read=lambda root, _: read_jsrt_malignancy(root),
    ),
    DataSet(
        name="chest-x-ray",
        task="classification",
        usage=_EVALUATE.format("chest-x-ray"),
        what="radiographs of the chest in a folder per finding (no_findings, pneumonia, covid_19, ...)",
        layout="FINDING/IMAGE",
        source="NIH ChestX-ray and COVID collections; any of that layout",
        medical=True,
        read=_any,
    ),
    DataSet(
        name="flickr8k",
        task="retrieval and captioning",
        usage="retrieve --data FOLDER, caption --references FOLDER",
        what="photos with five captions each",
        layout="images/ and captions.csv (image,caption), or as the next",
        source="Kaggle's adityajn105/flickr8k",
    ),
    DataSet(
        name="flickr30k",
        task="retrieval and captioning",
        usage="retrieve --data FOLDER, caption --references FOLDER",
        what="1,000 test photos with five captions each",
        layout=_CAPTIONED.format("flickr30k"),
        source="the University of Illinois, on request; the list is Karpathy's",
    ),
    DataSet(
        name="coco",
        task="retrieval and captioning",
        usage="retrieve --data FOLDER, caption --references FOLDER",
        what="5,000 test photos with five captions each",
        layout=f"{_CAPTIONED.format('coco')}, or images/ and annotations.json",
        source="cocodataset.org; the list is Karpathy's",
    ),
    DataSet(
        name="masks",
        task="segmentation",
        usage=_LOCALISE.format("FOLDER"),
        what="any images with a mask each",
        layout=_PAIRS,
        source="your own images",
    ),
    DataSet(
        name="plain",
        task="segmentation",
        usage=_LOCALISE.format("FOLDER"),
        what="any images without masks: heat maps and masks are made, and not scored",
        layout="images in any sub-folders",
        source="your own images",
    ),
    DataSet(
        name="coco-instances",
        task="segmentation",
        usage=_LOCALISE.format("FOLDER"),
        what="photos in which the instances of 80 categories are marked; what is sought is the category's name",
        layout="images/ and annotations.json (instances_val2017.json), its marks as polygons or runs",
        source="cocodataset.org",
    ),
    DataSet(
        name="udiat",
        task="segmentation",
        usage=_LOCALISE.format("udiat:FOLDER"),
        what="163 ultrasound images of the breast, a lesion marked in each",
        layout="original/ and GT/ with the same file names, or images/ and masks/",
        source="the authors (Yap et al., 2017), on request",
        medical=True,
    ),
    DataSet(
        name="busi",
        task="segmentation",
        usage=_LOCALISE.format("busi:FOLDER"),
        what="780 ultrasound images of the breast, 647 with lesions",
        layout="'benign (1).png' beside 'benign (1)_mask.png', and ..._mask_1.png if there are several, in any folders",
        source="scholar.cu.edu.eg (Dataset_BUSI_with_GT)",
        medical=True,
    ),
    DataSet(
        name="unitochest",
        task="segmentation",
        usage=_LOCALISE.format("unitochest:FOLDER"),
        what="slices of chest CT with nodules marked",
        layout=f"{_PAIRS}, the slices made into images",
        source="Zenodo (UniToChest)",
        medical=True,
    ),
    DataSet(
        name="siim",
        task="segmentation",
        usage=_LOCALISE.format("siim:FOLDER"),
        what="radiographs of the chest with pneumothorax marked",
        layout="train-rle.csv (ImageId, EncodedPixels), and the radiographs as ImageId.dcm or .png in any folders",
        source="Kaggle's siim-acr-pneumothorax-segmentation",
        medical=True,
    ),
    DataSet(
        name="brats23",
        task="segmentation",
        usage=_LOCALISE.format("brats23:FOLDER"),
        what="MRI of the brain with gliomas marked; every slice with a tumour is an image",
        layout="CASE/CASE-t2f.nii.gz and CASE/CASE-seg.nii.gz",
        source="synapse.org (BraTS 2023), with an account; needs molyneux[medical]",
        medical=True,
    ),
)


def data_set(name: str) -> DataSet | None:
    """The data set of that name; None if there is none."""
    return next((one for one in SETS if one.name == name), None)


def named_set(photos: str | Path) -> tuple[DataSet, Path]:
    """What 'NAME:FOLDER' or 'FOLDER' names: the data set, and where it lies.

    >>> named_set("imagenet-100:photos")[0].what, named_set("photos")[0].name
    ('the validation photos of 100 ImageNet classes: 5,000', 'folder')
    """
    name, colon, folder = str(photos).partition(":")
    found = data_set(name) if colon else None
    if found is None or found.read is None:
        return SETS[0], Path(photos)
    return found, Path(folder)


def read_set(
    photos: str | Path,
    only: Collection[str] | None = None,
    class_names: ClassNames = "openai",
    window: Window = WHOLE,
) -> PhotoFolder:
    """The photos of 'NAME:FOLDER' or of a plain folder per class; with `only`, of the classes with these names.

    Raises:
        DataError: if they are not there, or not in the layout of NAME, with what was expected and where it can be had.
    """
    found, root = named_set(photos)
    if found.name == "folder":
        whole = read_folder(root, only, class_names)
        return replace(whole, window=window, medical=whole.scans is not None)
    assert found.read is not None
    try:
        whole = found.read(root, class_names)
        whole = replace(whole, window=window, medical=found.medical or whole.scans is not None)
        return whole if only is None else whole.only(only)
    except DataError as error:
        raise DataError(
            f"{str(error).rstrip('.')}; {found.name} is expected as {found.layout}, and can be had from {found.source}"
        ) from error
