"""A tiny random language model, as transformers saves it."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from helpers.families_hf import quiet

WORDS = ["[PAD]", "[END]", "[UNK]", "say", "a", "round", "band", "with", "one", "hole", "user", "answer"]


def save_language_model(folder: Path, template: str | None = None) -> Path:
    """A random Llama of a few thousand weights that knows a dozen words."""
    core = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", eos_token="[END]", unk_token="[UNK]"
    )
    tokenizer.chat_template = template
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
