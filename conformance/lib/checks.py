"""Checks that a script's `tally` counts: one printed line each, `ok SENTENCE` or `FAIL SENTENCE`."""

import sys

_failed = 0


def check(sentence: str, condition, detail: str = "") -> bool:
    """Prints one line; DETAIL, which says what was seen instead, only with a failure."""
    global _failed
    if condition:
        print(f"ok    {sentence}", flush=True)
    else:
        _failed += 1
        print(f"FAIL  {sentence}{': ' + detail if detail else ''}", flush=True)
    return bool(condition)


def equal(sentence: str, seen, expected) -> bool:
    return check(sentence, seen == expected, f"expected {expected!r}, saw {seen!r}")


def finish():
    sys.exit(1 if _failed else 0)
