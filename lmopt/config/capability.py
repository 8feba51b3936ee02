"""Numbers that a model can be cut to, known before anything is trained.

Each function gives the reason in one line that begins with the field, None where there is none.
"""


def layers_refusal(keep: int, layers: int) -> str | None:
    """Why so many of `layers` cannot be kept."""
    if 1 <= keep <= layers:
        return None
    return f"layers must be in [1, {layers}] for this model, got {keep}"


def width_refusal(width: int, hidden_size: int, heads: int) -> str | None:
    """Why a model cannot be cut to `width`: it keeps whole heads, and gets narrower."""
    head = hidden_size // heads
    if width < hidden_size and width % head == 0:
        return None
    return (
        f"hidden_size must be a multiple of {head} (the width of a head) below {hidden_size} for "
        f"this model, or null for as it is, got {width}"
    )


def rank_refusal(rank: int, width: int) -> str | None:
    """Why word embeddings of `width` numbers are no product of two matrices of this rank."""
    if 1 <= rank < width:
        return None
    return f"embedding_rank must be in [1, {width - 1}] for this model, got {rank}"
