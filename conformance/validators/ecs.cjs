// Judges ECS documents by the field list that Elastic publishes as the npm package @elastic/ecs.
//
//     node ecs.cjs MODULES FILE.ndjson       MODULES is the folder with node_modules
//
// Unknown fields fail unless under `lapwing`; types, allowed values and the pairs of category and type are
// checked. Then documents that are broken on purpose must be refused. Prints `ok` and `FAIL` lines.
const fs = require('fs');
const { isIP } = require('net');
const { createRequire } = require('module');
const [modules, file] = process.argv.slice(2);
const { EcsFlat, EcsVersion } = createRequire(modules + '/x.js')('@elastic/ecs');

const text = (v) => typeof v === 'string';
const TYPES = {
  keyword: text, constant_keyword: text, wildcard: text, text, match_only_text: text, version: text,
  long: Number.isInteger, integer: Number.isInteger, float: (v) => typeof v === 'number', scaled_float: (v) => typeof v === 'number',
  boolean: (v) => typeof v === 'boolean', ip: (v) => text(v) && isIP(v) > 0, date: (v) => text(v) && !Number.isNaN(Date.parse(v)),
};

function flat(object, path, out) {
  for (const [key, value] of Object.entries(object)) {
    const name = path ? `${path}.${key}` : key;
    const field = EcsFlat[name];
    const leaf = field && ['object', 'flattened', 'nested'].includes(field.type);
    if (!leaf && value && typeof value === 'object' && !Array.isArray(value)) flat(value, name, out);
    else out.push([name, value]);
  }
  return out;
}

function faults(document) {
  const found = [];
  const fields = flat(document, '', []);
  for (const [name, field] of Object.entries(EcsFlat)) {
    if (field.required && !fields.some(([key]) => key === name)) found.push(`${name} is required`);
  }
  for (const [name, value] of fields) {
    const field = EcsFlat[name];
    if (!field) {
      if (!name.startsWith('lapwing.')) found.push(`${name} is no ECS field`);
      continue;
    }
    const list = (field.normalize || []).includes('array');
    if (list !== Array.isArray(value)) found.push(`${name} ${list ? 'must' : 'must not'} be a list`);
    for (const one of [value].flat()) {
      if (TYPES[field.type] && !TYPES[field.type](one)) found.push(`${name}: ${JSON.stringify(one)} is not ${field.type}`);
      if (field.allowed_values && !field.allowed_values.some((a) => a.name === one)) found.push(`${name}: ${one} is not allowed`);
      if (field.ignore_above && text(one) && one.length > field.ignore_above) found.push(`${name} is longer than ${field.ignore_above}`);
    }
  }
  const categories = EcsFlat['event.category'].allowed_values;
  const event = document.event || {};
  const expected = [event.category || []].flat().flatMap((c) => (categories.find((a) => a.name === c) || {}).expected_event_types || []);
  for (const type of [event.type || []].flat()) if (expected.length && !expected.includes(type)) found.push(`event.type ${type} is not expected`);
  if (!document.ecs || document.ecs.version !== EcsVersion) found.push(`ecs.version is not ${EcsVersion}`);
  return found;
}

let failed = 0;
function check(sentence, good, detail) {
  if (!good) failed++;
  console.log(good ? `ok    ${sentence}` : `FAIL  ${sentence}: ${detail}`);
}
const documents = fs.readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
check(`there are documents to judge (${documents.length})`, documents.length > 0, 'none');
documents.forEach((document, i) => {
  const found = faults(document);
  check(`ECS ${i + 1}: ${document.event.action} ${document.lapwing.finding.state} is valid`, !found.length, found.slice(0, 5).join('; '));
});
const broken = {
  'without a time': (d) => delete d['@timestamp'],
  'with a field that ECS does not have': (d) => { d.colour = 'red'; },
  'with a kind that is not one': (d) => { d.event.kind = 'finding'; },
  'with a text for a number': (d) => { d.event.severity = '47'; },
  'with one value where a list must be': (d) => { d.event.category = 'network'; },
};
for (const [what, change] of Object.entries(broken)) {
  const document = structuredClone(documents[0]);
  change(document);
  check(`refused: ${what}`, faults(document).length > 0, 'accepted');
}
process.exit(failed ? 1 : 0);
