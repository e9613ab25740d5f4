#!/usr/bin/env python3
"""Runs `lapwing replay --series` on labelled sets and scores what it finds (standard library only).

  score.py FOLDER [--lapwing target/release/lapwing] [--budget X] [--list]

FOLDER holds one folder per set, each with series.csv.gz, labels.csv and meta.json (datasets/series has three). A set whose
whole file has one warm-up (`"train": {"*": …}`) or one series is run with --train-until; others without. Event level, no point
adjustment:
  * a window counts as found if a finding lies in it or within one step after it: of its own series (match `key`), or of any (`any`);
  * all other findings are joined to false events while they are at most three steps apart, and split after `renotify_steps`
    (60); one that begins within three steps after a found window is the way back, and not counted;
  * what lies in the warm-up is not counted.
Where a set's name is `nab`, the score of the benchmark (Lavin and Ahmad, ICMLA 2015; standard profile) is computed too, by the
published rules: 15 % of a file but at most 750 rows are probationary; the first finding in a window counts by a scaled sigmoid
of its place in it, each outside by one of its distance from the window before; weights 1, 0.11 and 1 for found, false and missed.
It takes findings as they are (0 or 1), with no threshold fitted to the labels. Checked against numenta/NAB's own sweeper: equal.
"""
import argparse, csv, datetime as dt, gzip, json, math, os, subprocess, sys, tempfile
from collections import defaultdict


def seconds(text):
    try:
        return float(text)
    except ValueError:
        return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def read(folder):
    meta = json.load(open(os.path.join(folder, "meta.json")))
    labels = list(csv.DictReader(open(os.path.join(folder, "labels.csv"), encoding="utf-8")))
    return meta, labels


def replay(lapwing, folder, meta, budget):
    out = tempfile.NamedTemporaryFile(suffix=".ndjson", delete=False).name
    command = [lapwing, "replay", "--series", os.path.join(folder, "series.csv.gz"), "--findings", out, "--format", "json"]
    if len(meta["train"]) == 1:
        command += ["--train-until", str(int(next(iter(meta["train"].values()))[1]))]
    if budget:
        command += ["--budget", budget]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    findings = [json.loads(line) for line in open(out, encoding="utf-8")]
    os.remove(out)
    return findings, json.loads(done.stdout)


def name_of(key, table):
    return next((n for n in (key[1], key[0], "*") if n in table), None)


def events(points, gap, longest):
    out = []
    for t in sorted(points):
        if out and t - out[-1][-1] <= gap and t - out[-1][0] <= longest:
            out[-1].append(t)
        else:
            out.append([t])
    return out


def merged(spans):
    out = []
    for a, b in sorted(spans):
        if out and a <= out[-1][1]:
            out[-1][1] = max(out[-1][1], b)
        else:
            out.append([a, b])
    return out


def score(findings, labels, meta):
    match, steps = meta["match"], meta.get("step_s")
    longest = meta.get("renotify_steps") or 60
    unit = lambda key: name_of(key, meta["span"]) if match == "key" else "*"
    units = defaultdict(lambda: ([], []))
    for f in findings:
        n = unit((f["source"], f["destination"], f["metric"]))
        if n is not None:
            units[n][0].append(seconds(f["timestamp"]))
    for w in labels:
        units[unit((w["source"], w["destination"], w["metric"]))][1].append((float(w["start"]), float(w["end"])))
    for n in meta["span"]:
        units[n if match == "key" else "*"]
    found = false = total = 0
    days = 0.0
    for n, (points, windows) in units.items():
        train = (meta["train"].get(n) or meta["train"].get("*") or [0, float("-inf")])[1]
        span = meta["span"].get(n) or meta["span"]["*"]
        step = (sorted(steps.values())[len(steps) // 2] if n not in steps else steps[n]) if isinstance(steps, dict) else steps or 300
        skip = [w for w in windows if w[0] <= train < w[1]]
        windows = [w for w in windows if w[0] > train]
        points = sorted(t for t in points if train < t <= span[1] + step and not any(a <= t <= b for a, b in skip))
        hit = {w for w in windows if any(w[0] <= t <= w[1] + step for t in points)}
        out = [t for t in points if not any(w[0] <= t <= w[1] + step for w in windows)]
        ends = [w[1] + step for w in hit]
        false += sum(not any(0 <= e[0] - x <= 3 * step for x in ends) for e in events(out, 3 * step, longest * step))
        found, total = found + len(hit), total + len(windows)
        busy = sum(min(b, span[1]) - max(a, train) for a, b in merged([(a, b + step) for a, b in windows]))
        days += max(0.0, span[1] - max(train, span[0]) - busy - meta.get("dead_s", {}).get(n, 0)) / 86_400
    p = found / (found + false) if found + false else 0.0
    r = found / total if total else 0.0
    f1 = 2 * p * r / (p + r) if p + r else 0.0
    return {"found": found, "windows": total, "false": false, "precision": p, "recall": r, "f1": f1, "false_per_day": false / days if days else 0.0}


def sigmoid(place):
    return -1.0 if place > 3 else 2 / (1 + math.exp(5 * place)) - 1


def nab(findings, labels, folder):
    rows, hits, windows = defaultdict(list), defaultdict(set), defaultdict(list)
    with gzip.open(os.path.join(folder, "series.csv.gz"), "rt") as file:
        for row in csv.DictReader(file):
            rows[row["destination"]].append(float(row["timestamp"]))
    for f in findings:
        hits[f["destination"]].add(seconds(f["timestamp"]))
    for w in labels:
        windows[w["destination"]].append((float(w["start"]), float(w["end"])))
    got = 0.0
    for name, times in rows.items():
        times.sort()
        index = {}
        for i, t in enumerate(times):
            index.setdefault(t, i)
        probation = min(math.floor(0.15 * len(times)), 750)
        spans = [(index[a], index[b]) for a, b in sorted(windows[name])]
        best = {}
        for t in hits[name]:
            i = index[t]
            if i < probation:
                continue
            inside = next((s for s in spans if s[0] <= i <= s[1]), None)
            if inside:
                width = inside[1] - inside[0] + 1
                value = sigmoid(-(inside[1] - i + 1) / width) / sigmoid(-1)
                best[inside] = max(best.get(inside, -1), value)
            else:
                before = [s for s in spans if s[1] < i]
                got += 0.11 * (sigmoid((i - before[-1][1]) / (before[-1][1] - before[-1][0])) if before else -1)
        # A window that lies in the probationary part counts for nobody, as in the benchmark.
        for span in spans:
            got += best.get(span, -1.0 if span[1] >= probation else 0.0)
    total = sum(len(w) for w in windows.values())
    return 100 * (got + total) / (2 * total)


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder")
    ask.add_argument("--lapwing", default="target/release/lapwing")
    ask.add_argument("--budget")
    ask.add_argument("--list", action="store_true", help="print every finding of every set")
    args = ask.parse_args()
    print(f"{'set':16} {'P':>5} {'R':>5} {'F1':>5} {'false/day':>9}  found  false")
    for name in sorted(os.listdir(args.folder)):
        folder = os.path.join(args.folder, name)
        if not all(os.path.exists(os.path.join(folder, f)) for f in ("series.csv.gz", "labels.csv", "meta.json")):
            continue
        meta, labels = read(folder)
        findings, _ = replay(args.lapwing, folder, meta, args.budget)
        s = score(findings, labels, meta)
        extra = f"  NAB standard {nab(findings, labels, folder):.1f}" if name.startswith("nab") else ""
        roots = localisation(findings, labels)
        if roots:
            extra += "  root cause top-1 {:.2f}, top-3 {:.2f} of {} windows found".format(*roots)
        print(f"{name:16} {s['precision']:5.2f} {s['recall']:5.2f} {s['f1']:5.2f} {s['false_per_day']:9.3f}  {s['found']:>3}/{s['windows']:<3} {s['false']:>4}{extra}", flush=True)
        if args.list:
            for f in findings:
                print("   ", f["timestamp"], f["source"], f["destination"], f["metric"], f"{f['score']:.1f}")
    return 0


def localisation(findings, labels):
    """Share of windows with a named root cause, and with findings, whose incident names it first, or among three."""
    top1 = top3 = n = 0
    for w in labels:
        note = dict(part.split("=", 1) for part in w["note"].split(";") if "=" in part)
        inside = [f for f in findings if float(w["start"]) <= seconds(f["timestamp"]) <= float(w["end"])]
        if "root_cause" not in note or not inside:
            continue
        cause = note["root_cause"]
        origins = inside[-1]["origins"]
        n += 1
        top1 += origins[:1] == [cause]
        top3 += cause in origins[:3]
    return (top1 / n, top3 / n, n) if n else None


if __name__ == "__main__":
    sys.exit(main())
