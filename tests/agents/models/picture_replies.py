"""A model that reads what `write_pdf` draws, by either protocol."""

import base64
import io
import json
from dataclasses import dataclass

from PIL import Image

from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai
from tests.agents.models.protocol_server import Behaviour, ProtocolServer, Reply, Request

TEXTS = {
    0: "A whiteboard about enzymes.",
    1: "Photosynthesis turns light into sugar.",
    2: "Mitochondria burn sugar for energy.",
    3: "Ribosomes build proteins.",
}


@dataclass(frozen=True)
class Shown:
    """A picture that was sent."""

    media_type: str
    data: bytes

    @property
    def page(self) -> int:
        """The page of a drawn PDF; 0 for other pictures."""
        image = Image.open(io.BytesIO(self.data)).convert("L")
        if min(image.size) < 1_000:
            return 0
        column = image.crop((350, 0, 351, image.height)).tobytes()
        return round(sum(shade < 128 for shade in column) / (20 * 150 / 72))


def shown_to(request: Request) -> Shown:
    """The picture of a request, of which there is one."""
    if "contents" in request.body:
        parts = request.body["contents"][-1]["parts"]
        (sent,) = (part["inlineData"] for part in parts if "inlineData" in part)
        encoded = sent["data"].replace("-", "+").replace("_", "/")
        (kind,) = sent.keys() - {"data"}  # mimeType or mime_type: the API takes both
        return Shown(sent[kind], base64.b64decode(encoded))
    (url,) = (
        part["image_url"]["url"]
        for part in request.body["messages"][-1]["content"]
        if part["type"] == "image_url"
    )
    kind, _, encoded = url.removeprefix("data:").partition(";base64,")
    return Shown(kind, base64.b64decode(encoded))


def pages_sent(server: ProtocolServer) -> list[int]:
    """The pages that were asked about, in order."""
    return sorted(shown_to(request).page for request in server.requests)


def says(text: str, *, finish: str | None = None) -> Behaviour:
    """The text as the answer to the one picture."""

    async def behave(request: Request, reply: Reply) -> None:
        body = json.dumps({"text": text})
        if "contents" in request.body:
            await gemini.says(body, finish=finish or "STOP")(request, reply)
        else:
            await openai.says(body, finish=finish or "stop")(request, reply)

    return behave


async def reads(request: Request, reply: Reply) -> None:
    """What stands on the page."""
    page = shown_to(request).page
    await says(TEXTS.get(page, f"Page {page} has words."))(request, reply)
