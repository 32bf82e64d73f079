"""Starts the web app: flags and CARTOON_* variables -> settings -> page and REST on one port."""

import argparse
import sys
from typing import get_args

from pydantic import ValidationError

from cartoon.errors import CartoonError
from cartoon.settings import Settings
from cartoon.web.serve import serve


def main() -> int:
    """Serves until stopped; 2 for a wrong flag, setting or address."""
    precisions = get_args(Settings.model_fields["precision"].annotation)
    parser = argparse.ArgumentParser(description="Turn portraits into cartoons in the browser and over REST.")
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 for all (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default 7860)")
    parser.add_argument(
        "--allowed-host",
        dest="allowed_hosts",
        action="append",
        metavar="NAME",
        help="a name that it is reached by, beside localhost and IP addresses; may be given several times",
    )
    parser.add_argument("--password", help="ask for it on the page; rather CARTOON_PASSWORD, which `ps` does not show")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument("--precision", choices=precisions, help="number format of the network (default auto)")
    flags = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    try:
        serve(Settings(**flags))
    except ValidationError as error:
        first = error.errors()[0]
        print(f"error: setting {first['loc'][0]}: {first['msg']}.", file=sys.stderr)
        return 2
    except CartoonError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
