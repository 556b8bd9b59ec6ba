/**
 * Entries as events of the Open Cybersecurity Schema Framework 1.9.0 (github.com/ocsf/ocsf-schema), for SIEMs. Only what
 * has a place there is put in it; the rest is under `unmapped`, and the entry as it is, which alone proves anything, in
 * `raw_data`.
 *
 * Of the profile record_integrity there is a fingerprint and no signature: OCSF means signatures over the OCSF event,
 * and what signed the entry signed the entry. `chain_uid` is the log's origin; a Merkle tree has no previous event.
 */
import { toHex } from '../../encoding/bytes.ts';
import { digestOf } from '../../encoding/cid.ts';
import { encodeJcs, type Json, type JsonObject } from '../../encoding/jcs.ts';
import { type Entry, isOfType, type ParsedEntry } from '../entry.ts';
import { entryRow, type EntryTypeName, entryTypeOf } from '../entry-types.ts';
import { type Leaf, textOf } from './lines.ts';

export const OCSF_VERSION = '1.9.0';

export interface OcsfOptions {
  /** Who makes the export: `authority_uid` of the fingerprint. Default: not said. */
  readonly authority?: string;
}

interface EventClass {
  readonly uid: number;
  readonly name: string;
  readonly category: readonly [uid: number, name: string];
  /** Besides record_integrity, which every class has. */
  readonly profiles: readonly ('ai_operation' | 'trace')[];
}
const IAM = [3, 'Identity & Access Management'] as const;
const APPLICATION = [6, 'Application Activity'] as const;
const BASE: EventClass = { uid: 0, name: 'Base Event', category: [0, 'Uncategorized'], profiles: [] };
const SESSION: EventClass = { uid: 3003, name: 'Authorize Session', category: IAM, profiles: ['ai_operation'] };
const ENTITY: EventClass = { uid: 3004, name: 'Entity Management', category: IAM, profiles: ['ai_operation'] };
const LIFECYCLE: EventClass = {
  uid: 6002,
  name: 'Application Lifecycle',
  category: APPLICATION,
  profiles: ['ai_operation'],
};
const API: EventClass = { uid: 6003, name: 'API Activity', category: APPLICATION, profiles: ['ai_operation', 'trace'] };

const OTHER = 99;
const SHA_256 = { algorithm_id: 3, algorithm: 'SHA-256', encoding_id: 1, encoding: 'Hex' } as const;
const FLAT = { serialization_id: 1, serialization: 'Flat' } as const;
const JCS = { serialization_id: 2, serialization: 'JCS' } as const;
const SUCCESS = { status_id: 1, status: 'Success' } as const;
const FAILURE = { status_id: 2, status: 'Failure' } as const;

const INFORMATIONAL = [1, 'Informational'] as const;
const SEVERITIES: { readonly [N in EntryTypeName]?: readonly [id: number, name: string] } = {
  'log.halted': [4, 'High'],
  'fork.proven': [4, 'High'],
  'handshake.refused': [2, 'Low'],
  'statement.rejected': [2, 'Low'],
};

/** What an entry is to OCSF; `mapped` are the members of its data that are wholly said by `attributes`. */
interface Mapping {
  readonly eventClass: EventClass;
  readonly activity: readonly [id: number, name: string];
  readonly attributes: JsonObject;
  readonly mapped: readonly string[];
}

/**
 * The event, without what OCSF leaves to the collector. It is canonical JSON once encoded, and the fingerprint is over
 * that: everything but `fingerprint` itself.
 */
export function toOcsf(parsed: ParsedEntry, leaf: Leaf, { authority }: OcsfOptions = {}): JsonObject {
  const { entry } = parsed;
  const { eventClass, activity, attributes, mapped } = mappingOf(entry);
  const [severityId, severity] = SEVERITIES[entryTypeOf(entry.type) ?? 'agent.action'] ?? INFORMATIONAL;
  const profiles = profilesOf(entry, eventClass);
  const attestation = {
    uid: uidOf(leaf),
    chain_uid: leaf.origin,
    ...(authority === undefined ? {} : { authority_uid: authority }),
  };
  const event = {
    category_uid: eventClass.category[0],
    category_name: eventClass.category[1],
    class_uid: eventClass.uid,
    class_name: eventClass.name,
    activity_id: activity[0],
    activity_name: activity[1],
    type_uid: eventClass.uid * 100 + activity[0],
    type_name: `${eventClass.name}: ${activity[1]}`,
    severity_id: severityId,
    severity,
    time: Date.parse(entry.time),
    message: entryRow(entry.type)?.summary ?? entry.type,
    metadata: metadataOf(entry, leaf, ['record_integrity', ...profiles.names]),
    ...statusOf(entry),
    ...profiles.attributes,
    ...attributes,
    raw_data: textOf(parsed),
    raw_data_size: parsed.bytes.length,
    raw_data_hash: { ...SHA_256, ...FLAT, value: toHex(digestOf(parsed.bytes)) },
    unmapped: unmappedOf(entry, leaf, [...profiles.mapped, ...mapped]),
  };
  const value = toHex(digestOf(encodeJcs({ ...event, attestation_list: [attestation] })));
  return { ...event, attestation_list: [{ ...attestation, fingerprint: { ...SHA_256, ...JCS, value } }] };
}

/** The event as one line, without its end. */
export const toOcsfLine = (parsed: ParsedEntry, leaf: Leaf, options: OcsfOptions = {}): string =>
  textOf({ bytes: encodeJcs(toOcsf(parsed, leaf, options)) });

const uidOf = ({ origin, index }: Leaf): string => `${origin}/${index}`;

function metadataOf(entry: Entry, leaf: Leaf, profiles: readonly string[]): JsonObject {
  return {
    version: OCSF_VERSION,
    product: { name: 'AgentMesh', vendor_name: 'AgentMesh' },
    profiles,
    uid: uidOf(leaf),
    original_event_uid: entry.id,
    original_time: entry.time,
    event_code: entry.type,
    log_name: leaf.origin,
    log_format: 'CloudEvents JSON',
    sequence: leaf.index,
    tenant_uid: entry.source,
  };
}

function statusOf({ data: { result } }: Entry): JsonObject {
  if (result === undefined) return {};
  const { code, message } = result;
  const detail = message === undefined ? {} : { status_detail: message };
  return { ...(code === 'ok' ? SUCCESS : FAILURE), status_code: code, ...detail };
}

function profilesOf(
  { source, data: { actor, principal, delegation, trace } }: Entry,
  { profiles }: EventClass,
): { readonly names: readonly string[]; readonly attributes: JsonObject; readonly mapped: readonly string[] } {
  const ai = {
    ...(actor === source ? {} : { ai_agent: { uid: actor } }),
    ...(delegation === undefined ? {} : { delegation: { uid: delegation.leaf } }),
  };
  const isAi = profiles.includes('ai_operation') && Object.keys(ai).length > 0;
  const isTraced = profiles.includes('trace') && trace !== undefined;
  // Who answers for an agent, or else its organisation, is the principal on whose behalf it acts.
  const user = profiles.length === 0 ? {} : { actor: { user: { uid: principal ?? source } } };
  return {
    names: [...(isAi ? ['ai_operation'] : []), ...(isTraced ? ['trace'] : [])],
    attributes: { ...user, ...(isAi ? ai : {}), ...(isTraced ? { trace: { uid: trace } } : {}) },
    mapped: [...(isTraced ? ['trace'] : []), ...(profiles.length === 0 ? [] : ['principal'])],
  };
}

function unmappedOf({ subject, data }: Entry, { index, leafHash }: Leaf, mapped: readonly string[]): JsonObject {
  const left = Object.entries(data).filter(([member]) => !mapped.includes(member) && member !== 'result');
  return {
    data: Object.fromEntries(left) as Record<string, Json>,
    ...(subject === undefined ? {} : { subject }),
    leaf: { index, hash: toHex(leafHash) },
  };
}

function mappingOf(entry: Entry): Mapping {
  const { data } = entry;
  if (isOfType(entry, 'sponsor.registered')) return entityOf(entry.data.did, 'person', [1, 'Create']);
  if (isOfType(entry, 'agent.registered')) return entityOf(entry.data.did, 'agent', [1, 'Create']);
  if (isOfType(entry, 'agent.changed')) return entityOf(entry.data.did, 'agent', AGENT_ACTIVITIES[entry.data.status]);
  if (isOfType(entry, 'did.operation')) return entityOf(entry.data.did, 'DID', DID_ACTIVITIES[entry.data.operation]);
  if (isOfType(entry, 'daemon.started')) return lifecycleOf(entry, [3, 'Start']);
  if (isOfType(entry, 'daemon.stopped')) return lifecycleOf(entry, [4, 'Stop']);
  if (isOfType(entry, 'handshake.accepted')) return sessionOf(entry, data.peer, entry.data) ?? baseOf(entry);
  if (isOfType(entry, 'session.opened')) return sessionOf(entry, entry.data.as, entry.data) ?? baseOf(entry);
  return isOfType(entry, 'agent.action') || entryTypeOf(entry.type) === undefined ? callOf(entry) : baseOf(entry);
}

const baseOf = ({ type }: Entry): Mapping => ({
  eventClass: BASE,
  activity: [OTHER, type],
  attributes: {},
  mapped: [],
});

type Activity = Mapping['activity'];
const AGENT_ACTIVITIES = {
  active: [13, 'Resume'],
  suspended: [12, 'Suspend'],
  revoked: [OTHER, 'Revoke'],
  unregistered: [OTHER, 'Unregister'],
} as const;
const DID_ACTIVITIES = {
  genesis: [1, 'Create'],
  update: [3, 'Update'],
  rotate: [3, 'Update'],
  recover: [3, 'Update'],
  deactivate: [OTHER, 'Deactivate for ever'],
} as const;

const entityOf = (uid: string, type: string, activity: Activity): Mapping => ({
  eventClass: ENTITY,
  activity,
  attributes: { entity: { uid, type } },
  mapped: ['did'],
});

function lifecycleOf({ source, data }: Entry, activity: Activity): Mapping {
  const version = 'version' in data ? { version: data.version as string } : {};
  const application = { name: 'agentmeshd', uid: source, ...version };
  return { eventClass: LIFECYCLE, activity, attributes: { application }, mapped: ['version'] };
}

/** The class wants a user and at least one privilege; a session without either is a base event. */
function sessionOf(
  { data: { session } }: Entry,
  user: string | undefined,
  { granted, until }: { readonly granted: readonly string[]; readonly until: string },
): Mapping | undefined {
  if (user === undefined || granted.length === 0) return undefined;
  const attributes = {
    user: { uid: user },
    privileges: granted,
    session: { ...(session === undefined ? {} : { uid: session }), expiration_time: Date.parse(until) },
  };
  return {
    eventClass: SESSION,
    activity: [1, 'Assign Privileges'],
    attributes,
    mapped: ['granted', 'until', 'session'],
  };
}

/** What an agent does, said by itself. */
function callOf({ type, data: { actor, peer, op, tool } }: Entry): Mapping {
  return {
    eventClass: API,
    activity: [OTHER, op ?? type],
    attributes: {
      api: { operation: op ?? type, ...(tool === undefined ? {} : { service: { name: tool } }) },
      src_endpoint: { uid: actor },
      ...(peer === undefined ? {} : { dst_endpoint: { uid: peer } }),
    },
    mapped: ['op', 'tool', 'peer'],
  };
}
