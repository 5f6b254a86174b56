"""Images that are sent as they are."""

import base64
from typing import Final

from autogen_core import Image

_SIGNATURES: Final = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


class EncodedImage(Image):
    """An image of a message which is never decoded in this process; AutoGen's own would be, and be
    encoded again each time it is sent."""

    def __init__(self, data: bytes, media_type: str) -> None:  # the pixels are not looked at
        """Raises ValueError for what is no PNG or JPEG."""
        signature = _SIGNATURES.get(media_type)
        if signature is None or not data.startswith(signature):
            raise ValueError(f"not {media_type}")
        self.data = data
        self.media_type = media_type

    def to_base64(self) -> str:
        """The bytes, in base64."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_uri(self) -> str:
        """The image as a `data:` address (RFC 2397)."""
        return f"data:{self.media_type};base64,{self.to_base64()}"
