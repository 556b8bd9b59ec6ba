import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Json, JsonObject } from '../../../../protocol/encoding/jcs.ts';
import {
  createEntry,
  ENTRY_TYPE_NAMES,
  type EntryTypeName,
  leafHash,
  OCSF_VERSION,
  type ParsedEntry,
  toOcsf,
  toOcsfLine,
} from '../../../../protocol/log/index.ts';
import { NOW_MS } from '../../../builders.ts';
import {
  acme,
  actionEntry,
  agent,
  alice,
  beta,
  entryOf,
  HASH,
  idOf,
  rootLink,
  SAMPLES,
  TRACE,
} from '../entry-sample.ts';

const ORIGIN = 'agentmesh/v1/log/z6Mkx/0';
const leafOf = (made: ParsedEntry) => ({ origin: ORIGIN, index: 41, leafHash: leafHash(made.bytes) });
const eventOf = (made: ParsedEntry): JsonObject => toOcsf(made, leafOf(made));
const samples = Object.entries(SAMPLES);
const dataOf = (event: JsonObject): JsonObject => object(object(event.unmapped).data);
const object = (value: Json | undefined): JsonObject => value as JsonObject;

const words = (text: string): string[] => text.split(/\s+/);
/**
 * From the schema of OCSF 1.9.0, as far as it is used here: attributes of each class with those of its profiles, and of
 * each object. Whatever is in none of these would be a name that OCSF does not know.
 */
const BASE = words(`activity_id activity_name category_name category_uid class_name class_uid message metadata raw_data
  raw_data_hash raw_data_size severity severity_id status status_code status_detail status_id time type_name type_uid
  unmapped attestation_list`);
const AI = ['actor', 'ai_agent', 'delegation'];
const CLASSES: Readonly<
  Record<number, { readonly attributes: readonly string[]; readonly required: readonly string[] }>
> = {
  0: { attributes: BASE, required: [] },
  3003: { attributes: [...BASE, ...AI, 'user', 'privileges', 'session'], required: ['user', 'privileges'] },
  3004: { attributes: [...BASE, ...AI, 'entity'], required: ['entity'] },
  6002: { attributes: [...BASE, ...AI, 'application'], required: ['application'] },
  6003: {
    attributes: [...BASE, ...AI, 'api', 'src_endpoint', 'dst_endpoint', 'trace'],
    required: ['actor', 'api', 'src_endpoint'],
  },
};
const FINGERPRINT = words('algorithm algorithm_id encoding encoding_id serialization serialization_id value');
const OBJECTS: Readonly<Record<string, readonly string[]>> = {
  metadata: words(`version product profiles uid original_event_uid original_time event_code log_name log_format sequence
    tenant_uid`),
  product: ['name', 'vendor_name'],
  raw_data_hash: FINGERPRINT,
  fingerprint: FINGERPRINT,
  attestation: ['uid', 'chain_uid', 'authority_uid', 'fingerprint'],
  actor: ['user'],
  user: ['uid'],
  session: ['uid', 'expiration_time'],
  entity: ['uid', 'type'],
  application: ['name', 'uid', 'version'],
  api: ['operation', 'service'],
  service: ['name'],
  src_endpoint: ['uid'],
  dst_endpoint: ['uid'],
  ai_agent: ['uid'],
  delegation: ['uid'],
  trace: ['uid'],
};

/** Names of objects below `unmapped`, which is free, are not looked at. */
function verifyNames(value: JsonObject, name: string): number {
  let looked = 1;
  for (const [attribute, inner] of Object.entries(value)) {
    expect(OBJECTS[name], `${name}.${attribute}`).toContain(attribute);
    if (typeof inner === 'object' && !Array.isArray(inner)) looked += verifyNames(object(inner), attribute);
  }
  return looked;
}

/** Canonical JSON for the ASCII names and integers of these events, made here to check what is made there. */
const canonical = (value: Json): string => {
  if (Array.isArray(value)) return `[${value.map((item: Json) => canonical(item)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(',')}}`;
};

describe('an OCSF event', () => {
  test.each(samples)('of %s has the attributes of its class and no others', (type, made) => {
    const event = eventOf(made);
    const { attributes = [], required = [] } = CLASSES[event.class_uid as number] ?? {};
    expect(Object.keys(event).filter((name) => !attributes.includes(name))).toEqual([]);
    for (const name of ['metadata', 'time', 'severity_id', ...required]) expect(event, name).toHaveProperty(name);
    expect(event.category_uid).toBe(Math.floor((event.class_uid as number) / 1000));
    expect(event.type_uid).toBe((event.class_uid as number) * 100 + (event.activity_id as number));
    expect(event.type_name).toBe(`${event.class_name as string}: ${event.activity_name as string}`);
    expect(event.time).toBe(NOW_MS);
    let looked = 0;
    for (const [name, value] of Object.entries(event)) {
      if (name !== 'unmapped' && typeof value === 'object' && !Array.isArray(value))
        looked += verifyNames(object(value), name);
    }
    expect(looked).toBeGreaterThan(2);
    expect(object(event.metadata)).toMatchObject({
      version: OCSF_VERSION,
      original_event_uid: made.entry.id,
      event_code: `agentmesh.${type}.v1`,
      log_name: ORIGIN,
      sequence: 41,
      tenant_uid: acme.did,
    });
  });

  test.each(samples)('of %s holds the entry as it is, and says every member of its data somewhere', (_, made) => {
    const event = eventOf(made);
    expect(Buffer.from(event.raw_data as string)).toEqual(Buffer.from(made.bytes));
    expect(event.raw_data_size).toBe(made.bytes.length);
    expect(object(event.raw_data_hash).value).toBe(createHash('sha256').update(made.bytes).digest('hex'));
    const { raw_data: _raw, ...rest } = event;
    const text = canonical(rest);
    const { phase, ...data } = made.entry.data;
    expect(dataOf(event).phase).toBe(phase);
    for (const value of leaves(data)) expect(text).toContain(value);
  });

  test.each(samples)('of %s has a fingerprint over all else, by the profile record_integrity', (_, made) => {
    const event = eventOf(made);
    expect(object(event.metadata).profiles).toContain('record_integrity');
    const [attestation] = event.attestation_list as JsonObject[];
    const { fingerprint, ...position } = attestation as JsonObject;
    verifyNames(attestation as JsonObject, 'attestation');
    expect(position).toEqual({ uid: `${ORIGIN}/41`, chain_uid: ORIGIN });
    const covered = canonical({ ...event, attestation_list: [position] });
    expect(fingerprint).toEqual({
      algorithm_id: 3,
      algorithm: 'SHA-256',
      encoding_id: 1,
      encoding: 'Hex',
      serialization_id: 2,
      serialization: 'JCS',
      value: createHash('sha256').update(covered).digest('hex'),
    });
  });

  test('is another in another place of another log, and says who exports it if asked to', () => {
    const made = actionEntry();
    const value = (event: JsonObject): Json | undefined =>
      object(object((event.attestation_list as JsonObject[])[0]).fingerprint).value;
    const leaf = leafOf(made);
    const exported = toOcsf(made, leaf, { authority: beta.did });
    const others = [toOcsf(made, { ...leaf, index: 42 }), toOcsf(made, { ...leaf, origin: 'x' }), exported];
    expect(new Set([eventOf(made), ...others].map(value)).size).toBe(4);
    expect((exported.attestation_list as JsonObject[])[0]).toMatchObject({ authority_uid: beta.did });
  });

  test('is one line of canonical JSON', () => {
    for (const [, made] of samples) {
      const line = toOcsfLine(made, leafOf(made));
      expect(line).toBe(canonical(eventOf(made)));
      expect(line).not.toContain('\n');
    }
  });
});

/** Texts and numbers, at any depth. */
function leaves(value: Json): string[] {
  if (typeof value === 'string') return [JSON.stringify(value).slice(1, -1)];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value)
    .flatMap((inner: Json) => leaves(inner))
    .filter((text) => !text.endsWith('.000Z'));
}

describe('its class', () => {
  const classes: Partial<Record<EntryTypeName, [classUid: number, activityId: number]>> = {
    'daemon.started': [6002, 3],
    'daemon.stopped': [6002, 4],
    'did.operation': [3004, 1],
    'sponsor.registered': [3004, 1],
    'agent.registered': [3004, 1],
    'agent.changed': [3004, 12],
    'agent.action': [6003, 99],
    'handshake.accepted': [3003, 1],
    'session.opened': [3003, 1],
  };

  test.each(ENTRY_TYPE_NAMES)('of %s is as the table says, or the base event', (type) => {
    const { class_uid, activity_id, activity_name } = eventOf(SAMPLES[type]);
    expect([class_uid, activity_id]).toEqual(classes[type] ?? [0, 99]);
    if (activity_id === 99 && class_uid === 0) expect(activity_name).toBe(`agentmesh.${type}.v1`);
  });

  test.each([
    ['active', 13],
    ['suspended', 12],
    ['revoked', 99],
    ['unregistered', 99],
  ] as const)('of an agent that is %s has activity %i', (status, activity) => {
    const event = eventOf(entryOf('agent.changed', { did: agent.did, status }));
    expect(event.activity_id).toBe(activity);
    expect(event.entity).toEqual({ uid: agent.did, type: 'agent' });
    expect(dataOf(event).status).toBe(status);
  });

  test('is the base event for a session that grants nothing, since its own class wants a privilege', () => {
    const { data } = SAMPLES['session.opened'].entry;
    const members = { ...(data as object), granted: [] } as never;
    expect(eventOf(entryOf('session.opened', members)).class_uid).toBe(0);
  });

  test('of an action is an API call by an AI agent, for the person who answers for it', () => {
    const made = entryOf(
      'agent.action',
      {},
      {
        actor: agent.did,
        principal: alice.did,
        peer: beta.did,
        op: 'execute_tool',
        tool: 'sql.query',
        trace: TRACE,
        delegation: { chain: HASH, leaf: rootLink.id },
        result: { code: 'timeout', message: 'no answer' },
      },
      { key: agent.keys.sign },
    );
    const event = eventOf(made);
    expect(event).toMatchObject({
      class_uid: 6003,
      activity_name: 'execute_tool',
      actor: { user: { uid: alice.did } },
      ai_agent: { uid: agent.did },
      delegation: { uid: rootLink.id },
      api: { operation: 'execute_tool', service: { name: 'sql.query' } },
      src_endpoint: { uid: agent.did },
      dst_endpoint: { uid: beta.did },
      trace: { uid: TRACE },
      status_id: 2,
      status: 'Failure',
      status_code: 'timeout',
      status_detail: 'no answer',
    });
    expect(object(event.metadata).profiles).toEqual(['record_integrity', 'ai_operation', 'trace']);
    expect(dataOf(event).delegation).toEqual({ chain: HASH, leaf: rootLink.id });
  });

  test('of another maker is an API call too, named by its type', () => {
    const data = { actor: acme.did, phase: 'outcome', result: { code: 'ok' } } as const;
    const type = 'com.example.order.paid';
    const made = createEntry(
      { id: idOf(3), source: acme.did, timeMs: NOW_MS, type, subject: 'order 7', data },
      acme.keys.sign,
    );
    const event = eventOf(made);
    expect(event).toMatchObject({ class_uid: 6003, activity_name: type, api: { operation: type }, status_id: 1 });
    expect(event).not.toHaveProperty('ai_agent'); // the organisation itself acts
    expect(object(event.unmapped).subject).toBe('order 7');
  });

  test('comes with a severity', () => {
    const severe = ENTRY_TYPE_NAMES.filter((type) => (eventOf(SAMPLES[type]).severity_id as number) > 2);
    expect(severe).toEqual(['log.halted', 'fork.proven']);
    expect(eventOf(SAMPLES['handshake.refused']).severity).toBe('Low');
    expect(eventOf(SAMPLES['daemon.started']).severity).toBe('Informational');
  });
});
