"""Ask the HTTP API of a gallery whatever its own document allows, and what it does not, for as long as wanted.

usage: .venv/bin/python scripts/torture/requests.py [STORE] [--examples 500] [--seed N] [--workers 1] [-- OPTION …]

It serves a STORE, or one of drawings that it makes, and has Schemathesis (`st run`) make the requests: of each
operation each parameter at its bounds and beyond, then so many at random, then some in a row, which go on with what was
answered. An answer must be no error of the server, and one that the document tells of: its status, its type, its
fields. Exits with 1 if one was not. What comes after -- is for `st run`.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

# In place of this script's own folder, in which it has the name of a package that others need.
sys.path[:1] = [str(Path(__file__).resolve().parents[2] / "tests")]

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main() -> int:
    from drawings import make_store
    from serving import serving
    from web.document import document_of

    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("store", nargs="?", type=Path)
    parser.add_argument("--examples", type=int, default=500, help="at random, of each operation (500)")
    parser.add_argument("--seed", type=int, help="of the random requests; a new one each time")
    parser.add_argument("--workers", type=int, default=1, help="that ask at once (1)")
    own, rest = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, rest = own[:at], own[at + 1 :]
    options = parser.parse_args(own)
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fpve-requests-")))
        store = options.store or make_store(scratch)
        server = stack.enter_context(serving(store))
        document = scratch / "openapi.json"
        document.write_text(json.dumps(document_of(server, known_only=False)), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("st")), "run", str(document), "--url", server.address]
        command += ["--checks", CHECKS, "--max-examples", str(options.examples), "--seed", str(seed)]
        command += [
            "--workers",
            str(options.workers),
            "--continue-on-failure",
            "--suppress-health-check",
            "all",
            *rest,
        ]
        done = subprocess.run([*command, *rest], check=False)
        said = [line for line in server.said if "Traceback" in line]
    print(f"seed {seed}")
    if said:
        print(f"FAILED the server told of {len(said)} exceptions")
    return 1 if done.returncode or said else 0


if __name__ == "__main__":
    sys.exit(main())
