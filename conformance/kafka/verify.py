"""Compares what a topic holds with the findings file that lapwing wrote beside it.

    python verify.py BROKER TOPIC FINDINGS.ndjson AT_LEAST
"""

import collections
import json
import sys

from confluent_kafka import Consumer, TopicPartition

from checks import check, equal, finish
import outputs


def main():
    broker, topic, path, at_least = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    revisions = outputs.findings(path)
    written = {(f["id"], f["revision"]): f for f in revisions}
    check(f"lapwing found what was to be found ({len(written)} revisions)", len(written) >= at_least)
    messages = everything(broker, topic)
    seen = collections.Counter()
    keys_right, same = True, True
    for message in messages:
        value = json.loads(message.value())
        identity = (value.get("id"), value.get("revision"))
        seen[identity] += 1
        keys_right &= message.key() is not None and message.key().decode() == value.get("id")
        same &= written.get(identity) == value
    missing, extra = written.keys() - seen.keys(), seen.keys() - written.keys()
    check("every finding revision is in the topic", not missing, f"{len(missing)} of {len(written)} missing")
    check("nothing else is in the topic", not extra, f"{len(extra)} more")
    twice = {identity: n for identity, n in seen.items() if n > 1}
    check("each is there once", not twice, f"{len(twice)} more than once")
    check("the key of each is its finding's id", messages and keys_right)
    check("each says what the findings file says", messages and same)
    order = collections.defaultdict(list)
    for message in sorted(messages, key=lambda m: (m.partition(), m.offset())):
        value = json.loads(message.value())
        order[value.get("id")].append(value.get("revision"))
    check("the revisions of a finding are in order", all(o == sorted(o) for o in order.values()))
    equal("no message is without a type", sum(1 for m in messages if not dict(m.headers() or [])), 0)
    finish()


def everything(broker, topic):
    """Every message of every partition, up to the end at the time of asking."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "verify", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    messages, wanted = [], sum(ends.values())
    while len(messages) < wanted:
        message = consumer.poll(15)
        if message is None:
            break
        if message.error() is None:
            messages.append(message)
    consumer.close()
    return messages


if __name__ == "__main__":
    main()
