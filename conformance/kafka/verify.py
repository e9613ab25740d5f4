"""Compares what a topic holds with the findings file that lapwing wrote beside it.

python verify.py BROKER TOPIC FINDINGS.ndjson AT_LEAST
python verify.py BROKER TOPIC FINDINGS.ndjson complete    exit code 0 once all have arrived
"""

import collections
import json
import sys

from confluent_kafka import Consumer, TopicPartition

from checks import check, equal, finish
import outputs


def main():
    broker, topic, path, at_least = sys.argv[1:5]
    written = {(f["id"], f["revision"]): f for f in outputs.findings(path)}
    messages = everything(broker, topic)
    if at_least == "complete":
        sys.exit(0 if len(messages) >= len(written) else 1)
    strangers = {f["source"] for f in written.values() if f["kind"] == "new_pair"}
    equal("lapwing found each new pair", len(strangers), int(at_least))
    seen = collections.Counter()
    keys_right, headers_right, same = True, True, True
    for message in messages:
        value = json.loads(message.value())
        identity = (value.get("id"), value.get("revision"))
        seen[identity] += 1
        keys_right &= message.key() is not None and message.key().decode() == value.get("id")
        headers = dict(message.headers() or [])
        headers_right &= headers.get("ce_id", b"").decode() == f"{identity[0]}.{identity[1]}"
        headers_right &= headers.get("content-type") == b"application/json"
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
    check("the headers of each name the revision and the content type", messages and headers_right)
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
