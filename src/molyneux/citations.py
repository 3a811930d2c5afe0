"""What to cite: the method, and what a model was made of."""

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


def cite(model: str = "mini") -> str:
    """BibTeX of the method and of what was used with it; for `mini`, of its parts too.

    >>> cite().count("@")
    6
    """
    parts = (EFFICIENTNET, MINILM, SENTENCE_BERT, IMAGENET) if model == "mini" else ()
    return "\n\n".join((METHOD, *parts, OPEN_CLIP)) + "\n"
