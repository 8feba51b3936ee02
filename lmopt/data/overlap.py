"""Which texts hold a part of other texts, by words and by characters.

Parts are compared as 64-bit rolling hashes, so that millions of words take seconds.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

RUN_WORDS = 13
RUN_LETTERS = 100  # More than 13 words have in languages that put blanks between them.
SHORTEST_LETTERS = 24  # About five words.
IDEOGRAPH = 4  # A Chinese character says about as much as so many letters.
BLOCK_SYMBOLS = 1_000_000  # Words or letters that are hashed at once.
WORD = re.compile(r"\w+")
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
BASE = 0x9E3779B97F4A7C15  # Odd, so that it has an inverse modulo 2 ** 64.

Flags = npt.NDArray[np.bool_]
Symbols = npt.NDArray[np.uint32]
"""The words or letters of one text (length,), each as a number."""
Hashes = npt.NDArray[np.uint64]


def overlaps(texts: Sequence[str], others: Sequence[str]) -> tuple[Flags, Flags]:
    """Say of each text (n,) whether it shares a part with one of the others, and of each of these.

    Case, blanks and punctuation do not count. A part is 13 words in a row, or all words of two
    texts that have fewer; 100 letters in a row, where a Chinese character counts as 4; or the whole
    of a text of at least 24 letters inside of the other one.

    Source: Brown et al. (2020), Language Models are Few-Shot Learners, appendix C (13 words in a
    row); OpenAI (2023), GPT-4 Technical Report, appendix C (letters in a row, or the whole of a
    shorter text).
    """
    numbers: dict[str, int] = {}
    words, letters = _encode(texts, numbers)
    other_words, other_letters = _encode(others, numbers)
    holds, held = _holders(letters, other_letters)
    other_holds, other_held = _holders(other_letters, letters)
    found, other_found = holds | other_held, held | other_holds
    for own, other in (
        _share_runs(words, other_words, RUN_WORDS),
        _share_runs(letters, other_letters, RUN_LETTERS),
        (_equal_short(words, other_words), _equal_short(other_words, words)),
    ):
        found |= own
        other_found |= other
    return found, other_found


def _split(text: str) -> list[str]:
    """Return the words of a text; of signs alone, the signs."""
    folded = text.casefold()
    return WORD.findall(folded) or folded.split()


def _encode(texts: Sequence[str], numbers: dict[str, int]) -> tuple[list[Symbols], list[Symbols]]:
    """Return the words of each text by number (a new word gets the next one), and its letters."""
    words, letters = [], []
    for text in texts:
        found = _split(text)
        words.append(np.asarray([numbers.setdefault(w, len(numbers)) for w in found], np.uint32))
        joined = HAN.sub(lambda match: match[0] * IDEOGRAPH, "".join(found))
        letters.append(np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32))
    return words, letters


def _equal_short(texts: Sequence[Symbols], others: Sequence[Symbols]) -> Flags:
    """Say of each text (n,) with fewer than 13 words whether another has the same words."""
    short = {words.tobytes() for words in others if len(words) < RUN_WORDS}
    return np.asarray([words.tobytes() in short for words in texts], np.bool_)


def _share_runs(
    texts: Sequence[Symbols], others: Sequence[Symbols], length: int
) -> tuple[Flags, Flags]:
    """Say of each text (n,) and of each other one (m,) whether they share so many symbols."""
    shared = np.empty(0, np.uint64)
    found = []
    for part, index in ((texts, _index(others, length)), (others, None)):
        found.append(np.zeros(len(part), np.bool_))
        hits = [shared]
        for block in _blocks(part):
            hashes, owners = _runs([part[i] for i in block], length)
            inside = _is_in(hashes, shared if index is None else index)
            found[-1][block.start + owners[inside]] = True
            hits.append(hashes[inside])
        shared = np.sort(np.concatenate(hits))
    return found[0], found[1]


def _holders(texts: Sequence[Symbols], parts: Sequence[Symbols]) -> tuple[Flags, Flags]:
    """Say of each text (n,) whether it holds a whole part, and of each part (m,) if it is held.

    Parts of 24 to 99 letters are looked for: shorter ones are in everything, and longer ones share
    100 letters with the texts that hold them. Texts without the first letters of a part are left
    out.
    """
    holds, held = np.zeros(len(texts), np.bool_), np.zeros(len(parts), np.bool_)
    lengths = np.asarray([len(part) for part in parts], np.int64)
    sought = np.flatnonzero((lengths >= SHORTEST_LETTERS) & (lengths < RUN_LETTERS))
    heads = [parts[i][:SHORTEST_LETTERS] for i in sought.tolist()]
    rows = np.flatnonzero(_share_runs(texts, heads, SHORTEST_LETTERS)[0])
    candidates = [texts[i] for i in rows.tolist()]
    for length in np.unique(lengths[sought]).tolist():
        these = sought[lengths[sought] == length]
        own, whole = _share_runs(candidates, [parts[i] for i in these.tolist()], length)
        holds[rows[own]] = True
        held[these[whole]] = True
    return holds, held


def _index(texts: Sequence[Symbols], length: int) -> Hashes:
    """Return the hashes of all runs of so many symbols, sorted."""
    hashes = [_runs([texts[i] for i in block], length)[0] for block in _blocks(texts)]
    return np.sort(np.concatenate([*hashes, np.empty(0, np.uint64)]))


def _is_in(hashes: Hashes, index: Hashes) -> Flags:
    if len(index) == 0:
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(index, hashes), len(index) - 1)
    return np.asarray(index[places] == hashes)


def _runs(texts: Sequence[Symbols], length: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Return the hash of every run of `length` symbols of every text, and the text's index.

    A hash is the sum of symbol times `BASE` to the power of its place in the run, modulo 2 ** 64:
    the difference of two running sums, moved to the first place.
    """
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    count = len(owners) - length + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    symbols = np.concatenate(texts).astype(np.uint64) + np.uint64(1)
    sums = np.append(np.uint64(0), np.cumsum(symbols * _powers(BASE, len(symbols))))
    inverse = _powers(pow(BASE, -1, 2**64), count)
    inside = owners[:count] == owners[length - 1 :]
    hashes = (sums[length:] - sums[:-length]) * inverse
    return hashes[inside], owners[:count][inside]


def _powers(base: int, count: int) -> Hashes:
    """Return base ** 0, base ** 1, ... (count,) modulo 2 ** 64."""
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _blocks(texts: Sequence[Symbols]) -> Iterator[range]:
    """Yield the indices of texts that are hashed together."""
    start, symbols = 0, 0
    for i, text in enumerate(texts):
        symbols += len(text)
        if symbols >= BLOCK_SYMBOLS:
            yield range(start, i + 1)
            start, symbols = i + 1, 0
    if start < len(texts):
        yield range(start, len(texts))
