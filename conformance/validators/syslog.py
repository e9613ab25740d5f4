"""Judges syslog messages by a published RFC 5424 parser, and their bodies by the OCSF schema.

    python syslog.py lines FILE       one message per line
    python syslog.py frames FILE      octet counting, RFC 6587 section 3.4.1

The parser is lax about lengths, so the limits of RFC 5424 section 6 are checked beside it.
"""

import json
import pathlib
import sys

from syslog_rfc5424_parser import ParseError, SyslogMessage

from checks import check, finish
from ocsf import faults

LIMITS = {"hostname": 255, "appname": 48, "procid": 128, "msgid": 32}
CAP = 8 * 1024


def frames(stream):
    """The messages of an octet-counted stream."""
    while stream:
        count, space, rest = stream.partition(b" ")
        if not (space and count.isdigit() and count[:1] != b"0" and int(count) <= len(rest)):
            raise ValueError(f"no frame begins {len(stream)} bytes before the end")
        yield rest[: int(count)]
        stream = rest[int(count) :]


def message_faults(raw):
    found = []
    if len(raw) > CAP:
        found.append(f"longer than {CAP} bytes")
    try:
        message = SyslogMessage.parse(raw.decode("utf-8")).as_dict()
    except (ParseError, UnicodeDecodeError) as error:
        return [f"not RFC 5424: {error}"]
    for field, limit in LIMITS.items():
        if len(str(message[field] or "")) > limit:
            found.append(f"{field} is longer than {limit}")
    data = message["sd"].get("finding@32473", {})
    try:
        event = json.loads(message["msg"])
    except (TypeError, ValueError):
        return found + ["the body is not JSON"]
    if event.get("metadata", {}).get("uid") != f"{data.get('id')}.{data.get('rev')}":
        found.append("structured data and body name different revisions")
    if event.get("unmapped", {}).get("kind") != message["msgid"]:
        found.append("MSGID and body name different kinds")
    return found + faults(event)


def main():
    form, path = sys.argv[1], pathlib.Path(sys.argv[2])
    raw = path.read_bytes()
    messages = list(frames(raw)) if form == "frames" else raw.removesuffix(b"\n").split(b"\n")
    check(f"{path.name} holds messages ({len(messages)})", messages)
    for i, message in enumerate(messages, 1):
        found = message_faults(message)
        check(f"{path.name} {i}: {len(message)} bytes, RFC 5424 with a valid body", not found, "; ".join(found[:5]))
    finish()


if __name__ == "__main__":
    main()
