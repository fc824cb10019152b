"""Verifies every DKIM signature of each message by itself.

On standard input is a JSON list of messages in base64; a JSON list with a list for each of them is printed.
"""

import base64
import json
import sys

import dkim
import dkim.util
import dns.resolver

resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [sys.argv[1]]
resolver.port = int(sys.argv[2])


def txt_record(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    try:
        answer = resolver.resolve(name, "TXT", lifetime=timeout)
    except dns.resolver.NXDOMAIN:
        return None
    return b"".join(answer[0].strings)


def verify(message):
    verifier = dkim.DKIM(message, minkey=1024)
    fields = [value for name, value in verifier.headers if name.lower() == b"dkim-signature"]
    results = []
    for index, field in enumerate(fields):
        tags = dkim.util.parse_tag_value(field)
        result = {
            "domain": tags[b"d"].decode(),
            "selector": tags[b"s"].decode(),
            "algorithm": tags[b"a"].decode(),
            "valid": False,
            "error": None,
        }
        try:
            # What was verified before is kept by a verifier: each signature has one of its own.
            result["valid"] = dkim.DKIM(message, minkey=1024).verify(idx=index, dnsfunc=txt_record)
        except dkim.DKIMException as error:
            result["error"] = f"{type(error).__name__}: {error}"
        results.append(result)
    return results


messages = [base64.b64decode(message) for message in json.load(sys.stdin)]
json.dump([verify(message) for message in messages], sys.stdout)
