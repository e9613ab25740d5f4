"""Every acknowledged call is accounted for.  python verify.py SENT.json ARCHIVE DATA"""

import json
import pathlib
import sys

from checks import check, finish
import outputs


def main():
    sent = json.loads(pathlib.Path(sys.argv[1]).read_text())
    acknowledged = {bytes.fromhex(i) for i in sent["acknowledged"]}
    unanswered = {bytes.fromhex(i) for i in sent["unanswered"]}
    seen, _, rows = outputs.span_ids(sys.argv[2])
    check(f"there was load: {len(acknowledged)} spans acknowledged", len(acknowledged) > 1_000)
    check(f"the kills were felt: {len(unanswered)} spans sent without an answer", unanswered)
    lost = acknowledged - seen
    check("every acknowledged span is in the archive", not lost, f"{len(lost)} of {len(acknowledged)} lost")
    check("nothing is in the archive that was not sent", seen <= acknowledged | unanswered)
    twice = rows - len(seen)
    check("no row was archived twice", twice == 0, f"{twice} of {rows}")
    planted = sent["planted"].encode()
    files = [
        str(path) for path in pathlib.Path(sys.argv[3]).rglob("*") if path.is_file() and planted in path.read_bytes()
    ]
    check("the planted e-mail address is in no file lapwing wrote", not files, str(files))
    finish()


if __name__ == "__main__":
    main()
