from pathlib import Path

import torch

from lmopt.compression.student import build_student
from lmopt.models.loading import load_classifier, load_tokenizer


def test_a_checkpoint_gets_a_new_head_drawn_by_seed(student_folder: Path, tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
        build_student(student_folder, names, 1, seed, tmp_path / folder)
    one, two, three = (load_classifier(tmp_path / f) for f in ("one", "two", "three"))
    assert one.config.id2label == dict(enumerate(names))
    assert one.config.num_hidden_layers == 1
    assert torch.equal(one.classifier.weight, two.classifier.weight)
    assert not torch.equal(one.classifier.weight, three.classifier.weight)
    assert torch.equal(one.get_input_embeddings().weight, three.get_input_embeddings().weight)
    vocabularies = [load_tokenizer(f).get_vocab() for f in (tmp_path / "one", student_folder)]
    assert vocabularies[0] == vocabularies[1]
