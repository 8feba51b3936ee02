"""More text for the teacher to label, made from the training split alone."""

import numpy as np

from lmopt.data import SENTENCE_END, Split, pack


def rechunk(split: Split, copies: int, min_words: int, seed: int) -> Split:
    """Cut each document of a chunked split anew, `copies` times, by `seed`.

    Each copy cuts at other sentences: a random first one, and a random length between half of
    `min_words` and half more. Chunks that the split has already, repeated ones and those under half
    of `min_words` are left out.
    Labels and document numbers are the document's. Text that is not in `split` cannot come in:
    documents are put together from its own chunks.
    """
    rng = np.random.default_rng(seed)
    shortest = -(-min_words // 2)
    seen = set(split.texts)
    texts: list[str] = []
    rows: list[int] = []
    documents, first = np.unique(split.groups, return_index=True)
    for document, row in zip(documents, first, strict=True):
        chunks = [split.texts[i] for i in np.flatnonzero(split.groups == document)]
        sentences = [s for chunk in chunks for s in SENTENCE_END.split(chunk) if s]
        for _ in range(copies):
            words = int(rng.integers(shortest, min_words * 3 // 2, endpoint=True))
            start = int(rng.integers(len(sentences)))
            for text in pack(sentences[:start], words) + pack(sentences[start:], words):
                if text not in seen and len(text.split()) >= shortest:
                    seen.add(text)
                    texts.append(text)
                    rows.append(int(row))
    return Split(texts, split.labels[rows], split.groups[rows])
