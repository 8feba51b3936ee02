"""Pack the consecutive sentences of a document into chunks."""

import re
from collections.abc import Sequence

from lmopt.data.rows import Rows

# A sentence ends at . ! or ? (and its closing quote) before a space, or at the end of a line.
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"'”’»)])\s+|\s*\n\s*")


def chunk_text(text: str, min_words: int) -> list[str]:
    """Pack consecutive sentences to at least `min_words` words; a short rest joins the last."""
    return pack(list(filter(None, SENTENCE_END.split(text.strip()))), min_words)


def pack(sentences: Sequence[str], min_words: int) -> list[str]:
    """Join consecutive sentences to at least `min_words` words; a short rest joins the last."""
    chunks: list[list[str]] = []
    words = min_words
    for sentence in sentences:
        if words >= min_words:
            chunks.append([])
            words = 0
        chunks[-1].append(sentence)
        words += len(sentence.split())
    if len(chunks) > 1 and words < min_words:
        rest = chunks.pop()
        chunks[-1].extend(rest)
    return [" ".join(chunk) for chunk in chunks]


def chunk_rows(rows: Rows, min_words: int) -> Rows:
    """Replace every text by its chunks, which keep its label and document."""
    chunked = Rows([], [], [])
    for text, label, group in zip(*rows, strict=True):
        chunks = chunk_text(text, min_words)
        chunked.texts.extend(chunks)
        chunked.labels.extend([label] * len(chunks))
        chunked.groups.extend([group] * len(chunks))
    return chunked
