"""Judges CEF lines by three parsers that others wrote, which must read the same.

    python cef.py [--messages] FILE      one line each; with --messages after an RFC 5424 header

The parsers are pycef and cefp (PyPI) and liblognorm's (Debian liblognorm-utils), which rsyslog uses and which
is the strictest. Lines that are broken on purpose must be refused by it. liblognorm 2.0.6 loses the first
character of the first key, because it expects a space before it that the specification does not have.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import cefp
import pycef

from checks import check, equal, finish

# Keys of the dictionary ("Implementing ArcSight Common Event Format", revision 26) that lapwing may use.
KEYS = set(
    "rt start end cat act externalId deviceExternalId dvchost sourceServiceName destinationServiceName requestMethod request outcome "
    "cs1 cs1Label cs2 cs2Label cs3 cs3Label cs4 cs4Label cs5 cs5Label cs6 cs6Label cn1 cn1Label cfp1 cfp1Label cfp2 cfp2Label reason msg".split()
)
CAP = 8 * 1024


def lognorm(lines):
    """What liblognorm reads of each line; None where it refuses."""
    with tempfile.NamedTemporaryFile("w", suffix=".rb") as rule:
        rule.write("version=2\nrule=:%f:cef%\n")
        rule.flush()
        run = subprocess.run(
            ["lognormalizer", "-r", rule.name, "-e", "json"], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=30
        )
    return [json.loads(line).get("f") for line in run.stdout.splitlines()]


def unescaped(text):
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), text)


def faults(line, read):
    if read is None:
        return ["liblognorm does not read it"]
    found = []
    extension = dict(read["Extensions"])
    first = re.split(r"(?<!\\)\|", line, maxsplit=7)[-1].split("=", 1)[0]
    if first[1:] in extension:
        extension[first] = extension.pop(first[1:])
    parsed = pycef.CEFParser().parse(line) if hasattr(pycef, "CEFParser") else pycef.parse(line)
    cefp.CEFParser.parse(line)
    for key, value in extension.items():
        if key not in KEYS:
            found.append(f"{key} is not in the dictionary")
        # pycef writes a labelled field under its label and leaves escapes as they are.
        theirs = (parsed or {}).get(extension.get(key + "Label", key), "")
        if not key.endswith("Label") and unescaped(str(theirs)) != value:
            found.append(f"two parsers read {key} differently")
    header = re.split(r"(?<!\\)\|", line)
    if not (header[6].isdigit() and 0 <= int(header[6]) <= 10):
        found.append("the severity is not 0 to 10")
    if "\\" in re.sub(r"\\[\\=nr]", "", "|".join(header[7:])):
        found.append("an escape that there is not")
    if len(line.encode()) > CAP:
        found.append(f"longer than {CAP} bytes")
    return found


def main():
    messages = "--messages" in sys.argv
    path = pathlib.Path(sys.argv[-1])
    lines = path.read_text(encoding="utf-8").splitlines()
    if messages:
        lines = [line[line.index("CEF:0|") :] for line in lines if "CEF:0|" in line]
    check(f"{path.name} holds CEF ({len(lines)})", lines)
    read = lognorm(lines)
    equal("liblognorm answers for each line", len(read), len(lines))
    for i, (line, fields) in enumerate(zip(lines, read), 1):
        found = faults(line, fields)
        check(f"{path.name} {i}: {line.split('|')[4]} is read the same by three parsers", not found, "; ".join(found[:5]))
    broken = [lines[0].replace("CEF:0|", "CEF0|"), lines[0].replace("|", "/"), "CEF:0|lapwing|lapwing"]
    check("refused: without its version, its bars, its fields", all(f is None for f in lognorm(broken)))
    finish()


if __name__ == "__main__":
    main()
