"""What to cite: the method, and what a model was made of."""

from pathlib import Path
from typing import Protocol

from molyneux.errors import ModelError
from molyneux.records import CONCEPTS, Lineage, read_record
from molyneux.tables import SHIPPED

METHOD = """\
@misc{barbano2024describe,
  title  = {If you can describe it, they can see it: Cross-Modal Learning of Visual Concepts
            from Textual Descriptions},
  author = {Barbano, Carlo Alberto and Molinaro, Luca and Ciranni, Massimiliano and Aiello, Emanuele
            and Pastore, Vito Paolo and Grangetto, Marco},
  year   = {2024},
  eprint = {2411.15611},
  archivePrefix = {arXiv},
  primaryClass  = {cs.CV}
}"""

EFFICIENTNET = """\
@inproceedings{tan2019efficientnet,
  title     = {EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks},
  author    = {Tan, Mingxing and Le, Quoc V.},
  booktitle = {Proceedings of the 36th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {97},
  pages     = {6105--6114},
  year      = {2019},
  note      = {The vision tower of mini is EfficientNet-Lite0, a member of this family}
}"""

MINILM = """\
@inproceedings{wang2020minilm,
  title     = {MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression
               of Pre-Trained Transformers},
  author    = {Wang, Wenhui and Wei, Furu and Dong, Li and Bao, Hangbo and Yang, Nan and Zhou, Ming},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {33},
  pages     = {5776--5788},
  year      = {2020},
  note      = {The text tower of mini, all-MiniLM-L6-v2, starts from this model}
}"""

SENTENCE_BERT = """\
@inproceedings{reimers2019sentence,
  title     = {Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks},
  author    = {Reimers, Nils and Gurevych, Iryna},
  booktitle = {Proceedings of the 2019 Conference on Empirical Methods in Natural Language Processing and the 9th
               International Joint Conference on Natural Language Processing},
  pages     = {3982--3992},
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
  note    = {The classes whose names and descriptions a lesson compares with, and which mini knows}
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
  booktitle = {Proceedings of the 38th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {139},
  pages     = {8748--8763},
  year      = {2021}
}"""

SIGLIP = """\
@inproceedings{zhai2023sigmoid,
  title     = {Sigmoid Loss for Language Image Pre-Training},
  author    = {Zhai, Xiaohua and Mustafa, Basil and Kolesnikov, Alexander and Beyer, Lucas},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  pages     = {11975--11986},
  year      = {2023}
}"""

SIGLIP_2 = """\
@misc{tschannen2025siglip2,
  title  = {{SigLIP} 2: Multilingual Vision-Language Encoders with Improved Semantic Understanding, Localization,
            and Dense Features},
  author = {Tschannen, Michael and Gritsenko, Alexey and Wang, Xiao and Naeem, Muhammad Ferjad
            and Alabdulmohsin, Ibrahim and Parthasarathy, Nikhil and Evans, Talfan and Beyer, Lucas and Xia, Ye
            and Mustafa, Basil and H{\\'e}naff, Olivier and Harmsen, Jeremiah and Steiner, Andreas and Zhai, Xiaohua},
  year   = {2025},
  eprint = {2502.14786},
  archivePrefix = {arXiv},
  primaryClass  = {cs.CV}
}"""

LIT = """\
@inproceedings{zhai2022lit,
  title     = {{LiT}: Zero-Shot Transfer with Locked-image text Tuning},
  author    = {Zhai, Xiaohua and Wang, Xiao and Mustafa, Basil and Steiner, Andreas and Keysers, Daniel
               and Kolesnikov, Alexander and Beyer, Lucas},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {18123--18133},
  year      = {2022},
  note      = {How transformers' VisionTextDualEncoder is meant to be trained}
}"""

BIOMED_CLIP = """\
@article{zhang2025biomedclip,
  title   = {A Multimodal Biomedical Foundation Model Trained from Fifteen Million Image--Text Pairs},
  author  = {Zhang, Sheng and Xu, Yanbo and Usuyama, Naoto and Xu, Hanwen and Bagga, Jaspreet and Tinn, Robert
             and Preston, Sam and Rao, Rajesh and Wei, Mu and Valluri, Naveen and Wong, Cliff and Tupini, Andrea
             and Wang, Yu and Mazzola, Matt and Shukla, Swadheen and Liden, Lars and Gao, Jianfeng
             and Crabtree, Angela and Piening, Brian and Bifulco, Carlo and Lungren, Matthew P.
             and Naumann, Tristan and Wang, Sheng and Poon, Hoifung},
  journal = {NEJM AI},
  volume  = {2},
  number  = {1},
  year    = {2025},
  doi     = {10.1056/AIoa2400640}
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
  booktitle = {Proceedings of the 2022 Conference on Empirical Methods in Natural Language Processing},
  pages     = {3876--3887},
  year      = {2022}
}"""

CLINICAL_BERT = """\
@inproceedings{alsentzer2019publicly,
  title     = {Publicly Available Clinical {BERT} Embeddings},
  author    = {Alsentzer, Emily and Murphy, John and Boag, William and Weng, Wei-Hung and Jin, Di
               and Naumann, Tristan and McDermott, Matthew},
  booktitle = {Proceedings of the 2nd Clinical Natural Language Processing Workshop},
  pages     = {72--78},
  year      = {2019},
  note      = {MedCLIP's text tower, Bio\\_ClinicalBERT}
}"""

VILT = """\
@inproceedings{kim2021vilt,
  title     = {{ViLT}: Vision-and-Language Transformer Without Convolution or Region Supervision},
  author    = {Kim, Wonjae and Son, Bokyung and Kim, Ildoo},
  booktitle = {Proceedings of the 38th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {139},
  pages     = {5583--5594},
  year      = {2021}
}"""

TRANSFORMERS = """\
@inproceedings{wolf2020transformers,
  title     = {Transformers: State-of-the-Art Natural Language Processing},
  author    = {Wolf, Thomas and Debut, Lysandre and Sanh, Victor and Chaumond, Julien and Delangue, Clement
               and Moi, Anthony and Cistac, Pierric and Rault, Tim and Louf, R{\\'e}mi and Funtowicz, Morgan
               and Davison, Joe and Shleifer, Sam and von Platen, Patrick and Ma, Clara and Jernite, Yacine
               and Plu, Julien and Xu, Canwen and Le Scao, Teven and Gugger, Sylvain and Drame, Mariama
               and Lhoest, Quentin and Rush, Alexander M.},
  booktitle = {Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing:
               System Demonstrations},
  pages     = {38--45},
  year      = {2020}
}"""

ROME = """\
@inproceedings{meng2022locating,
  title     = {Locating and Editing Factual Associations in {GPT}},
  author    = {Meng, Kevin and Bau, David and Andonian, Alex and Belinkov, Yonatan},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {35},
  pages     = {17359--17372},
  year      = {2022},
  note      = {Rank-one edits of a layer, in closed form}
}"""

MEMIT = """\
@inproceedings{meng2023mass,
  title     = {Mass-Editing Memory in a Transformer},
  author    = {Meng, Kevin and Sen Sharma, Arnab and Andonian, Alex and Belinkov, Yonatan and Bau, David},
  booktitle = {International Conference on Learning Representations},
  year      = {2023},
  note      = {Sums of such edits}
}"""

CLIP_INVERSION = """\
@misc{kazemi2024what,
  title  = {What do we learn from inverting {CLIP} models?},
  author = {Kazemi, Hamid and Chegini, Atoosa and Geiping, Jonas and Feizi, Soheil and Goldstein, Tom},
  year   = {2024},
  eprint = {2403.02580},
  archivePrefix = {arXiv},
  primaryClass  = {cs.CV}
}"""

DEEP_INVERSION = """\
@inproceedings{yin2020dreaming,
  title     = {Dreaming to Distill: Data-free Knowledge Transfer via {DeepInversion}},
  author    = {Yin, Hongxu and Molchanov, Pavlo and Alvarez, Jose M. and Li, Zhizhong and Mallya, Arun
               and Hoiem, Derek and Jha, Niraj K. and Kautz, Jan},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {8715--8724},
  year      = {2020},
  note      = {The prior of batch norm's statistics}
}"""

SDXL = """\
@inproceedings{podell2024sdxl,
  title     = {{SDXL}: Improving Latent Diffusion Models for High-Resolution Image Synthesis},
  author    = {Podell, Dustin and English, Zion and Lacey, Kyle and Blattmann, Andreas and Dockhorn, Tim
               and M{\\"u}ller, Jonas and Penna, Joe and Rombach, Robin},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}"""

LORA = """\
@inproceedings{hu2022lora,
  title     = {{LoRA}: Low-Rank Adaptation of Large Language Models},
  author    = {Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi
               and Wang, Shean and Wang, Lu and Chen, Weizhu},
  booktitle = {International Conference on Learning Representations},
  year      = {2022}
}"""

WISE_FT = """\
@inproceedings{wortsman2022robust,
  title     = {Robust Fine-Tuning of Zero-Shot Models},
  author    = {Wortsman, Mitchell and Ilharco, Gabriel and Kim, Jong Wook and Li, Mike and Kornblith, Simon
               and Roelofs, Rebecca and Gontijo-Lopes, Raphael and Hajishirzi, Hannaneh and Farhadi, Ali
               and Namkoong, Hongseok and Schmidt, Ludwig},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {7959--7971},
  year      = {2022},
  note      = {Interpolation of weights}
}"""

L2_SP = """\
@inproceedings{li2018explicit,
  title     = {Explicit Inductive Bias for Transfer Learning with Convolutional Networks},
  author    = {Li, Xuhong and Grandvalet, Yves and Davoine, Franck},
  booktitle = {Proceedings of the 35th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {80},
  pages     = {2825--2834},
  year      = {2018},
  note      = {Decay towards the start}
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
    "MedCLIP": (MEDCLIP, CLINICAL_BERT, TRANSFORMERS),
    "ViLT": (VILT, TRANSFORMERS),
}
"""By the name of a row in `backends.families.FAMILIES`."""

MEANS_ENTRIES: dict[str, tuple[str, ...]] = {
    "edit": (ROME, MEMIT, IMAGENET),
    "inversion": (CLIP_INVERSION,),
    "batch-norm prior": (DEEP_INVERSION,),
    "sdxl": (SDXL,),
    "low-rank update": (LORA,),
    "interpolation": (WISE_FT,),
    "decay towards the start": (L2_SP,),
}
"""By what a model was taught with, as its lineage tells."""

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


def cite(model: "str | Path | HasLineage" = "mini") -> str:
    """BibTeX of the method and of what a model was made with, before and after it was taught and saved.

    Args:
        model: a model, or what `load` takes. Of a folder, or of what was fetched from the hub, the `concepts.json`
            there tells what it comes from.

    Raises:
        DataError: if that file cannot be read.
        ModelError: for anything else.

    >>> cite().count("@"), cite("hf:openai/clip-vit-base-patch32").count("@")
    (6, 3)
    """
    if not (isinstance(model, str | Path) or hasattr(model, "lineage")):
        raise ModelError(f"cannot cite {model!r:.60}: expected a model, a folder, or a name that molyneux.load takes")
    lineage = lineage_of(model) if isinstance(model, str | Path) else model.lineage
    found = entries(cited_family(str(model))) if lineage is None else lineage_entries(lineage)
    return "\n\n".join((METHOD, *found)) + "\n"


class HasLineage(Protocol):
    """A model."""

    @property
    def lineage(self) -> Lineage: ...


def lineage_entries(lineage: Lineage) -> tuple[str, ...]:
    """What the base is made of and what it was taught with, each once."""
    means = [entry for name in lineage.means for entry in MEANS_ENTRIES.get(name, ())]
    return tuple(dict.fromkeys((*entries(lineage.family), *means)))


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
    found = lineage_of(model)
    if found is not None:
        return found.family
    loader, _, name = model.partition(":")
    words = _WORDS.get(loader, ())
    return next((family for word, family in words if word in name.casefold()), "")


def lineage_of(model: str | Path) -> Lineage | None:
    """What `concepts.json` says of a folder, of that of a run, or of a repository that was fetched; None without it."""
    loader, _, name = str(model).partition(":")
    for folder in (Path(model), Path(model) / "model", Path(name or model)):
        if (folder / CONCEPTS).is_file():
            return read_record(Lineage, folder / CONCEPTS)
    cached = _cached(name) if loader == "hf" else None
    return None if cached is None else read_record(Lineage, cached)


def _cached(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository, CONCEPTS)
    except ValueError:  # a path, or what else is no repository's name
        return None
    return Path(found) if isinstance(found, str) else None
