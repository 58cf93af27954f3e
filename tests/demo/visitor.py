"""A visitor of the page without a browser."""

import uuid

import httpx
import PIL.Image

from benchmarks.pictures.figures import canvas


class Visitor:
    """One window. It asks without the client of Gradio, which hears of an answer every 50 ms.

    Args:
        address: Of the page.
    """

    def __init__(self, address):
        self._connection = httpx.Client(base_url=f"{address.rstrip('/')}/gradio_api", timeout=120)
        self._session = uuid.uuid4().hex

    def upload(self, *paths):
        """Files as the server takes them, which several requests may name."""
        files = [("files", (path.name, path.read_bytes())) for path in paths]
        kept = self._connection.post("/upload", files=files).raise_for_status().json()
        of_files = {"_type": "gradio.FileData"}
        return [
            {"path": place, "orig_name": path.name, "meta": of_files}
            for place, path in zip(kept, paths, strict=True)
        ]

    def drawing(self, folder, strokes):
        """A canvas with a drawing on it."""
        path = folder / f"{uuid.uuid4().hex}.png"
        PIL.Image.fromarray(canvas(strokes)).save(path)
        return {"background": None, "layers": [], "composite": self.upload(path)[0]}

    def ask(self, name, *values):
        """What an event of the page shows."""
        request = {"data": values, "session_hash": self._session}
        answer = self._connection.post(f"/run/{name}", json=request)
        return answer.raise_for_status().json()["data"]
