"""Rate pages of the built site by Lighthouse, which needs npx and Chromium or Chrome.

    make lighthouse                     five pages
    python -m docs.lighthouse docs/faq/ pages by their addresses

Exits with 1 if a page scores below 95 for accessibility or best practices.
"""

import functools
import http.server
import json
import pathlib
import shutil
import subprocess
import sys
import threading

SITE = pathlib.Path(__file__).parents[1] / "build" / "site"
PAGES = ("", "docs/results/", "docs/guides/imaml_in_5_minutes.ipynb/", "docs/faq/", "api/inner/")
CATEGORIES = ("accessibility", "best-practices", "seo")
LOWEST = 95


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Leave the output to the scores."""


def scores(address: str) -> dict[str, int]:
    """The scores of a page, from 0 to 100."""
    command = [
        *("npx", "--yes", "lighthouse", address, "--quiet", "--output=json"),
        f"--only-categories={','.join(CATEGORIES)}",
        "--chrome-flags=--headless=new --no-sandbox",
    ]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    categories = json.loads(report)["categories"]
    return {name: round(100 * (categories[name]["score"] or 0)) for name in CATEGORIES}


def main(pages: list[str]) -> int:
    """Print the scores of `pages`."""
    if shutil.which("npx") is None:
        print("Lighthouse comes by npx: install Node.js and npm.", file=sys.stderr)
        return 1
    handler = functools.partial(_Quiet, directory=SITE)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    passed = True
    for page in pages:
        result = scores(f"http://127.0.0.1:{server.server_port}/{page}")
        passed &= min(result["accessibility"], result["best-practices"]) >= LOWEST
        print(f"/{page}", *(f"{name} {score}" for name, score in result.items()), sep="  ")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(PAGES)))
