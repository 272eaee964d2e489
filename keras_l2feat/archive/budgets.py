"""How much a file may lead to, by its size."""

__all__ = ["MAX_CONFIG", "allowed_bytes"]

MAX_CONFIG = 32 << 20  # bytes; the largest of keras.applications has under 1 MB
# Unpacked bytes that a file may lead to: a multiple of its size (weights hardly compress, constant
# ones do) plus …
EXPANSION, ALLOWANCE = 50, 16 << 20


def allowed_bytes(size: int) -> int:
    """Bytes of memory that a file of `size` bytes may take."""
    return EXPANSION * size + ALLOWANCE
