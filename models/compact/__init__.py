"""Networks as bytes: the encoded file, which is what size means here, and the way back."""

from models.compact.decode import change, decode, decode_state
from models.compact.effective import plain
from models.compact.encode import encode
from models.compact.size import encoded_bytes, lower_bound

__all__ = ["change", "decode", "decode_state", "encode", "encoded_bytes", "lower_bound", "plain"]
