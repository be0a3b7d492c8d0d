"""Networks as bytes: the encoded file, which is what size means here, and the way back; reading it needs no torch."""

from typing import TYPE_CHECKING

from kirigami.on_demand import on_demand

if TYPE_CHECKING:
    from kirigami.models.compact.codes import compress_codes, expand_codes
    from kirigami.models.compact.decoder import change, decode, decode_state
    from kirigami.models.compact.effective import entries, held, is_linked, outside_links, plain
    from kirigami.models.compact.encoder import costs, encode
    from kirigami.models.compact.file import File, read
    from kirigami.models.compact.reduction import reduce, rounded
    from kirigami.models.compact.size import encoded_bytes, lower_bound
    from kirigami.models.compact.text import compress_bytes, expand_bytes
else:
    __getattr__ = on_demand(
        __name__,
        {
            "codes": ("compress_codes", "expand_codes"),
            "decoder": ("change", "decode", "decode_state"),
            "effective": ("entries", "held", "is_linked", "outside_links", "plain"),
            "encoder": ("costs", "encode"),
            "file": ("File", "read"),
            "reduction": ("reduce", "rounded"),
            "size": ("encoded_bytes", "lower_bound"),
            "text": ("compress_bytes", "expand_bytes"),
        },
    )

__all__ = [
    "File",
    "change",
    "compress_bytes",
    "compress_codes",
    "costs",
    "decode",
    "decode_state",
    "encode",
    "encoded_bytes",
    "entries",
    "expand_bytes",
    "expand_codes",
    "held",
    "is_linked",
    "lower_bound",
    "outside_links",
    "plain",
    "read",
    "reduce",
    "rounded",
]
