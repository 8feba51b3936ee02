"""Streams that cannot write all of Unicode: what they get in its place, instead of an error."""

import codecs
import sys

# Bars, sparklines and signs of `sweeps.cli.render` and `analysis.rows.units`.
_SUBSTITUTES = dict(zip("░▁▂▃▄▅▆▇█", "._.-:=+*#", strict=True)) | {
    "×": "x",
    "±": "+-",
    "…": "...",
    "α": "alpha",
    "–": "-",
    "≤": "<=",
}


def substitute(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the characters that could not be encoded; where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    # A path stays one that can be told from others: \u043f, as standard error has it without us.
    other = {c: c.encode("ascii", "backslashreplace").decode() for c in lost}
    return "".join((other | _SUBSTITUTES)[character] for character in lost), error.end


def protect_streams() -> None:
    """Let standard output and error take any character, whatever the locale."""
    codecs.register_error("lmopt-plain", substitute)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="lmopt-plain")
