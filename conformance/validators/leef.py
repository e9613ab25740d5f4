"""Judges LEEF 2.0 lines by the rules of IBM's guide. No parser of LEEF is published that one could ask.

    python leef.py FILE
"""

import pathlib
import re
import sys

from checks import check, finish


def faults(line):
    parts = line.split("|", 6)
    if len(parts) != 7 or parts[0] != "LEEF:2.0":
        return ["not LEEF 2.0 with six header fields"]
    delimiter = chr(int(parts[5][1:], 16)) if re.fullmatch(r"x[0-9A-Fa-f]{2,4}", parts[5]) else parts[5]
    found = [] if len(delimiter) == 1 else ["the delimiter is not one character"]
    attributes = {}
    for attribute in parts[6].split(delimiter):
        key, equals, value = attribute.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9_]+", key):
            found.append(f"`{key[:20]}` is no attribute")
        if key in attributes:
            found.append(f"{key} is there twice")
        attributes[key] = value
    if ("devTime" in attributes) != ("devTimeFormat" in attributes):
        found.append("devTime without its format")
    if not (attributes.get("sev", "").isdigit() and 1 <= int(attributes["sev"]) <= 10):
        found.append("sev is not 1 to 10")
    if len(line.encode()) > 8 * 1024:
        found.append("longer than 8 KiB")
    return found


def main():
    path = pathlib.Path(sys.argv[1])
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "LEEF:2.0|" in line]
    check(f"{path.name} holds LEEF ({len(lines)})", lines)
    for i, line in enumerate(lines, 1):
        found = faults(line[line.index("LEEF:2.0|") :])
        check(f"{path.name} {i}: {line.split('|')[4]} keeps to the guide", not found, "; ".join(found[:5]))
    finish()


if __name__ == "__main__":
    main()
