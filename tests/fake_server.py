"""Serves the web doors with a FakeArtist: `python -m tests.fake_server FOLDER` prints the port it took, then serves.

A process of its own because Gradio leaves event loops unclosed, and this project's tests count warnings as errors.
"""

import socket
import sys
from pathlib import Path

import uvicorn

from cartoon.server import Server, create_app
from cartoon.settings import Settings
from tests.fakes import FakeArtist


def main(home: Path) -> None:
    """Serves on a free port of this machine until the process is ended; uploads of more than 1 MB are refused.

    A user's own styles are those in FOLDER/styles.
    """
    app = create_app(FakeArtist(home / "styles"), Settings(data_dir=home, max_upload_mb=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        Server(uvicorn.Config(app, log_level="warning"), app.state.end_streams).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
