"""What to cite: the method, and what a model was made of."""

from pathlib import Path

from molyneux.records import CONCEPTS, Lineage, read_record
from molyneux.tables import SHIPPED

METHOD = """\
@misc{molinaro2024describe,
  title  = {If you can describe it, they can see it: Cross-Modal Learning of Visual Concepts
            from Textual Descriptions},
  author = {Molinaro, Luca and Ciranni, Massimiliano and Aiello, Emanuele and Pastore, Vito Paolo
            and Grangetto, Marco},
  year   = {2024},
  eprint = {2411.15611},
  archivePrefix = {arXiv},
  primaryClass  = {cs.CV}
}"""

EFFICIENTNET = """\
@inproceedings{tan2019efficientnet,
  title     = {EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks},
  author    = {Tan, Mingxing and Le, Quoc V.},
  booktitle = {International Conference on Machine Learning},
  year      = {2019},
  note      = {The vision tower of mini is EfficientNet-Lite0, a member of this family}
}"""

MINILM = """\
@inproceedings{wang2020minilm,
  title     = {MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression
               of Pre-Trained Transformers},
  author    = {Wang, Wenhui and Wei, Furu and Dong, Li and Bao, Hangbo and Yang, Nan and Zhou, Ming},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2020},
  note      = {The text tower of mini, all-MiniLM-L6-v2, starts from this model}
}"""

SENTENCE_BERT = """\
@inproceedings{reimers2019sentence,
  title     = {Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks},
  author    = {Reimers, Nils and Gurevych, Iryna},
  booktitle = {Conference on Empirical Methods in Natural Language Processing},
  year      = {2019},
  note      = {How the text tower of mini was trained}
}"""

IMAGENET = """\
@article{russakovsky2015imagenet,
  title   = {ImageNet Large Scale Visual Recognition Challenge},
  author  = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev
             and Ma, Sean and Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael
             and Berg, Alexander C. and Fei-Fei, Li},
  journal = {International Journal of Computer Vision},
  volume  = {115},
  number  = {3},
  pages   = {211--252},
  year    = {2015},
  note    = {The classes that mini knows}
}"""

OPEN_CLIP = """\
@software{ilharco2021openclip,
  title     = {OpenCLIP},
  author    = {Ilharco, Gabriel and Wortsman, Mitchell and Wightman, Ross and Gordon, Cade
               and Carlini, Nicholas and Taori, Rohan and Dave, Achal
               and Shankar, Vaishaal and Namkoong, Hongseok
               and Miller, John
               and Hajishirzi, Hannaneh and Farhadi, Ali and Schmidt, Ludwig},
  year      = {2021},
  publisher = {Zenodo},
  doi       = {10.5281/zenodo.5143773}
}"""


CLIP = """\
@inproceedings{radford2021learning,
  title     = {Learning Transferable Visual Models From Natural Language Supervision},
  author    = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel
               and Agarwal, Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack
               and Krueger, Gretchen and Sutskever, Ilya},
  booktitle = {International Conference on Machine Learning},
  year      = {2021}
}"""

SIGLIP = """\
@inproceedings{zhai2023sigmoid,
  title     = {Sigmoid Loss for Language Image Pre-Training},
  author    = {Zhai, Xiaohua and Mustafa, Basil and Kolesnikov, Alexander and Beyer, Lucas},
  booktitle = {IEEE/CVF International Conference on Computer Vision},
  year      = {2023}
}"""

SIGLIP_2 = """\
@misc{tschannen2025siglip2,
  title  = {{SigLIP} 2: Multilingual Vision-Language Encoders with Improved Semantic Understanding, Localization,
            and Dense Features},
  author = {Tschannen, Michael and Gritsenko, Alexey and Wang, Xiao and Naeem, Muhammad Ferjad and others},
  year   = {2025},
  eprint = {2502.14786},
  archivePrefix = {arXiv}
}"""

LIT = """\
@inproceedings{zhai2022lit,
  title     = {{LiT}: Zero-Shot Transfer with Locked-image text Tuning},
  author    = {Zhai, Xiaohua and Wang, Xiao and Mustafa, Basil and Steiner, Andreas and Keysers, Daniel
               and Kolesnikov, Alexander and Beyer, Lucas},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2022},
  note      = {How transformers' VisionTextDualEncoder is meant to be trained}
}"""

BIOMED_CLIP = """\
@misc{zhang2023biomedclip,
  title  = {{BiomedCLIP}: a multimodal biomedical foundation model pretrained from fifteen million scientific
            image-text pairs},
  author = {Zhang, Sheng and Xu, Yanbo and Usuyama, Naoto and Xu, Hanwen and Bagga, Jaspreet and others},
  year   = {2023},
  eprint = {2303.00915},
  archivePrefix = {arXiv}
}"""

COCA = """\
@article{yu2022coca,
  title   = {{CoCa}: Contrastive Captioners are Image-Text Foundation Models},
  author  = {Yu, Jiahui and Wang, Zirui and Vasudevan, Vijay and Yeung, Legg and Seyedhosseini, Mojtaba
             and Wu, Yonghui},
  journal = {Transactions on Machine Learning Research},
  year    = {2022}
}"""

MEDCLIP = """\
@inproceedings{wang2022medclip,
  title     = {{MedCLIP}: Contrastive Learning from Unpaired Medical Images and Text},
  author    = {Wang, Zifeng and Wu, Zhenbang and Agarwal, Dinesh and Sun, Jimeng},
  booktitle = {Conference on Empirical Methods in Natural Language Processing},
  year      = {2022}
}"""

VILT = """\
@inproceedings{kim2021vilt,
  title     = {{ViLT}: Vision-and-Language Transformer Without Convolution or Region Supervision},
  author    = {Kim, Wonjae and Son, Bokyung and Kim, Ildoo},
  booktitle = {International Conference on Machine Learning},
  year      = {2021}
}"""

TRANSFORMERS = """\
@inproceedings{wolf2020transformers,
  title     = {Transformers: State-of-the-Art Natural Language Processing},
  author    = {Wolf, Thomas and Debut, Lysandre and Sanh, Victor and Chaumond, Julien and Delangue, Clement
               and Moi, Anthony and Cistac, Pierric and Rault, Tim and Louf, R{\\'e}mi and Funtowicz, Morgan
               and others},
  booktitle = {Conference on Empirical Methods in Natural Language Processing: System Demonstrations},
  year      = {2020}
}"""

FAMILY_ENTRIES: dict[str, tuple[str, ...]] = {
    "mini": (EFFICIENTNET, MINILM, SENTENCE_BERT, IMAGENET, OPEN_CLIP),
    "drawn": (OPEN_CLIP,),
    "CLIP": (CLIP, TRANSFORMERS),
    "SigLIP": (SIGLIP, TRANSFORMERS),
    "SigLIP 2": (SIGLIP_2, TRANSFORMERS),
    "VisionTextDualEncoder": (LIT, TRANSFORMERS),
    "CLIP (open_clip)": (CLIP, OPEN_CLIP),
    "BiomedCLIP": (BIOMED_CLIP, OPEN_CLIP),
    "CoCa": (COCA, OPEN_CLIP),
    "MedCLIP": (MEDCLIP,),
    "ViLT": (VILT, TRANSFORMERS),
}
"""By the name of a row in `backends.families.FAMILIES`."""

_WORDS = {
    "hf": (("siglip2", "SigLIP 2"), ("siglip", "SigLIP"), ("", "CLIP")),
    "open_clip": (
        ("biomed", "BiomedCLIP"),
        ("coca", "CoCa"),
        ("siglip2", "SigLIP 2"),
        ("siglip", "SigLIP"),
        ("", "CLIP (open_clip)"),
    ),
    "medclip": (("", "MedCLIP"),),
    "vilt": (("", "ViLT"),),
}
"""For each loader, what in a name tells the family."""


def cite(model: str | Path = "mini") -> str:
    """BibTeX of the method and of what a model was made with, before and after it was taught and saved.

    Args:
        model: what `load` takes. Of a folder, the `concepts.json` there tells what it comes from.

    Raises:
        DataError: if that file cannot be read.

    >>> cite().count("@"), cite("hf:openai/clip-vit-base-patch32").count("@")
    (6, 3)
    """
    family = cited_family(str(model))
    return "\n\n".join((METHOD, *entries(family))) + "\n"


def entries(family: str) -> tuple[str, ...]:
    """What models of a family are made of; () for an unknown one."""
    return FAMILY_ENTRIES.get(family, ())


def cited_family(model: str) -> str:
    """The family of a model, without loading it; '' where nothing tells.

    >>> cited_family("open_clip:coca_ViT-L-14/laion2b_s13b_b90k"), cited_family("somewhere")
    ('CoCa', '')
    """
    if model in SHIPPED:
        return model
    loader, _, name = model.partition(":")
    for folder in (Path(model), Path(name or model)):
        if (folder / CONCEPTS).is_file():
            return read_record(Lineage, folder / CONCEPTS).family
    words = _WORDS.get(loader, ())
    return next((family for word, family in words if word in name.casefold()), "")
