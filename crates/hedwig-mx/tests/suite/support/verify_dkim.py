"""Verifies every DKIM signature of the messages in a directory with dkimpy.

DIR/records.json maps names to TXT records. For each DIR/*.eml, in order, a line: the file, and for each
signature from the top its algorithm and whether it holds.
"""

import json
import pathlib
import sys

import dkim

directory = pathlib.Path(sys.argv[1])
records = json.loads((directory / "records.json").read_text())


def txt(name, timeout=5):
    record = records.get(name.decode().rstrip("."))
    return record.encode() if record else None


for path in sorted(directory.glob("*.eml")):
    message = path.read_bytes()
    signer = dkim.DKIM(message)
    count = sum(1 for name, _ in signer.headers if name.lower() == b"dkim-signature")
    words = []
    for index in range(count):
        verifier = dkim.DKIM(message)
        try:
            holds = verifier.verify(idx=index, dnsfunc=txt)
        except dkim.DKIMException as error:
            words.append(f"error:{error!r}".replace(" ", "_"))
            continue
        algorithm = verifier.signature_fields.get(b"a", b"?").decode()
        words.append(f"{algorithm}:{'pass' if holds else 'fail'}")
    print(path.name, *words)
