/** Entries of one organisation with fixed keys, in the order in which a log would hold them. */
import { toBase64url } from '../../../protocol/encoding/bytes.ts';
import { digestOf } from '../../../protocol/encoding/cid.ts';
import {
  createEntry,
  createUuid7,
  type EntryFields,
  type EntryMembers,
  type EntryTypeName,
  type ParsedEntry,
  type WireType,
  wireTypeOf,
} from '../../../protocol/log/index.ts';
import type { Statement } from '../../../protocol/statement/statement.ts';
import {
  createAgent,
  createCredential,
  createOrganisation,
  createPerson,
  createRootLink,
  keyOf,
  NOW_MS,
  NOW_SECONDS,
  type Operation,
  type TestKey,
} from '../../builders.ts';

export const acme = createOrganisation('acme');
export const beta = createOrganisation('beta');
export const alice = createPerson(acme, 'alice');
export const agent = createAgent(acme, 'worker');
export const rootLink = createRootLink(acme, alice, { aud: agent.did });
export const ephemeral = keyOf('worker ephemeral');
export const credential = createCredential(rootLink, agent, ephemeral);

export const SESSION = 'ab'.repeat(16);
export const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
export const HASH = 'cd'.repeat(32);
export const time = (seconds: number): string => new Date(seconds * 1000).toISOString();
/** The n-th id: ids of different entries differ. */
export const idOf = (n: number): string =>
  createUuid7(NOW_MS + n, digestOf(new TextEncoder().encode(`id ${n}`)).slice(0, 16));

type Fields<N extends EntryTypeName> = EntryFields<WireType<N>>;
type Common<N extends EntryTypeName> = Partial<Omit<Fields<N>['data'], keyof EntryMembers<N>>>;
export interface EntryOptions {
  readonly n?: number;
  readonly source?: string;
  readonly timeMs?: number;
  readonly subject?: string;
  readonly key?: TestKey;
  readonly actor?: string;
}

/** An outcome by the organisation, signed by its `sign` key, unless said otherwise. */
export function entryOf<N extends EntryTypeName>(
  type: N,
  members: EntryMembers<N>,
  common: Common<N> = {},
  { n = 0, source = acme.did, timeMs = NOW_MS, subject, key = acme.keys.sign, actor = acme.did }: EntryOptions = {},
): ParsedEntry {
  const data = { actor, phase: 'outcome', ...common, ...members } as unknown as Fields<N>['data'];
  const fields = {
    id: idOf(n),
    source,
    timeMs,
    type: wireTypeOf(type),
    data,
    ...(subject !== undefined && { subject }),
  };
  return createEntry<WireType<N>>(fields, key);
}

const binding = toBase64url(new Uint8Array(500).fill(7)); // what it says is for who checks logs, not for entries
export const opened = (options: EntryOptions = {}): ParsedEntry => entryOf('log.opened', { binding }, {}, options);

export const operationEntry = (operation: Operation, did: string, options: EntryOptions = {}): ParsedEntry =>
  entryOf(
    'did.operation',
    {
      did,
      operation: operation.payload.op,
      seq: 'seq' in operation.payload ? operation.payload.seq : 0,
      statement: toBase64url(operation.envelope),
    },
    {},
    options,
  );

export const credentialEntry = (
  link: Statement<'delegation/v1'> = credential,
  change: Partial<EntryMembers<'credential.issued'>> = {},
  options: EntryOptions = {},
): ParsedEntry =>
  entryOf(
    'credential.issued',
    {
      did: agent.did,
      leaf: link.id,
      key: ephemeral.text,
      until: time(link.payload.exp),
      statement: toBase64url(link.envelope),
      ...change,
    },
    {},
    options,
  );

export const actionEntry = (options: EntryOptions = {}): ParsedEntry =>
  entryOf(
    'agent.action',
    { facts: { rows: 12, table: 'orders' } },
    { actor: agent.did, principal: alice.did, op: 'execute_tool', tool: 'sql.query', trace: TRACE },
    { key: agent.keys.sign, ...options },
  );

const capabilities = ['read:reports/*'];
const until = time(NOW_SECONDS + 900);
const { peerId } = beta.node;
const APPROVAL = '0123456789abcdef';
const DIGEST = '5a'.repeat(32);
const MESSAGE = 'ef'.repeat(16);
const COMMITMENT = toBase64url(new Uint8Array(32).fill(9));
const inSession = { session: SESSION, peer: beta.did };

/** Each type of ours once, with everything that its row names. */
export const SAMPLES: { readonly [N in EntryTypeName]: ParsedEntry } = {
  'log.opened': entryOf('log.opened', {
    binding,
    previous: { origin: 'agentmesh/v1/log/z6Mk…/0', checkpoint: null, reason: 'restored from a backup' },
  }),
  'log.halted': entryOf('log.halted', { code: 'internal', message: 'the anchor names a larger tree', place: 'anchor' }),
  'log.recovered': entryOf('log.recovered', {
    how: 'mirror',
    reason: 'entries 120 to 140 came from a mirror',
    lost: 1,
  }),
  'daemon.started': entryOf('daemon.started', { version: '0.1.0' }),
  'daemon.stopped': entryOf('daemon.stopped', { reason: 'SIGTERM', omitted: 0 }),
  'intent.settled': entryOf('intent.settled', { labels: ['pii.email'] }, { intent: idOf(1), result: { code: 'ok' } }),
  'did.operation': operationEntry(acme.genesis, acme.did),
  'sponsor.registered': entryOf('sponsor.registered', { did: alice.did }),
  'agent.registered': entryOf('agent.registered', {
    did: agent.did,
    sponsor: alice.did,
    parent: null,
    keyHeldBy: 'daemon',
    rootLink: rootLink.id,
    capabilities,
  }),
  'agent.changed': entryOf('agent.changed', { did: agent.did, status: 'suspended' }),
  'agent.action': actionEntry(),
  'credential.issued': credentialEntry(),
  'token.issued': entryOf('token.issued', { did: agent.did, until: null }),
  'credential.lapsed': entryOf('credential.lapsed', { did: agent.did, leaf: credential.id }),
  'delegation.issued': entryOf('delegation.issued', {
    link: rootLink.id,
    issuer: acme.did,
    audience: agent.did,
    parent: null,
    capabilities,
    until,
    private: false,
  }),
  'revocation.issued': entryOf('revocation.issued', {
    id: rootLink.id,
    issuer: acme.did,
    target: { did: agent.did, key: agent.keys.sign.text },
    reason: '',
  }),
  'handshake.accepted': entryOf(
    'handshake.accepted',
    {
      as: acme.did,
      organisation: beta.did,
      peerId,
      granted: capabilities,
      minScore: 300,
      score: 420,
      basis: 'network',
      links: [rootLink.id],
      until,
      purpose: 'quarterly figures',
    },
    { ...inSession, phase: 'intent', delegation: { chain: DIGEST, leaf: credential.id }, trace: TRACE },
  ),
  'handshake.refused': entryOf(
    'handshake.refused',
    { direction: 'inbound', code: 'chain', peerId, as: acme.did, reason: 'expired', omitted: 2 },
    { peer: beta.did },
  ),
  'session.opened': entryOf(
    'session.opened',
    { as: acme.did, organisation: beta.did, peerId, granted: capabilities, score: 420, until, purpose: 'figures' },
    inSession,
  ),
  'session.ended': entryOf(
    'session.ended',
    {
      as: acme.did,
      direction: 'outbound',
      code: 'expired',
      calls: 12,
      refused: 2,
      bytesIn: 4_096,
      bytesOut: 1_024,
      omitted: 1,
    },
    inSession,
  ),
  'action.allowed': entryOf(
    'action.allowed',
    { action: 'tool_call', server: 'filesystem', labels: ['pii.email'], approval: APPROVAL },
    { actor: agent.did, principal: alice.did, op: 'execute_tool', tool: 'delete_file' },
    { key: agent.keys.sign },
  ),
  'action.refused': entryOf(
    'action.refused',
    { action: 'tool_call', code: 'policy_denied', server: 'filesystem', labels: [], approval: APPROVAL },
    { actor: agent.did, tool: 'write_file' },
    { key: agent.keys.sign },
  ),
  'approval.requested': entryOf('approval.requested', {
    id: APPROVAL,
    kind: 'action',
    digest: DIGEST,
    approvers: ['security-team'],
    quorum: 1,
    until,
    action: 'tool_call',
    server: 'filesystem',
  }),
  'approval.decided': entryOf('approval.decided', {
    id: APPROVAL,
    digest: DIGEST,
    decision: 'approve',
    approver: alice.did,
    reason: 'agreed with the owner of the data',
    at: until,
    signature: toBase64url(new Uint8Array(64).fill(7)),
  }),
  'policy.loaded': entryOf('policy.loaded', { name: 'acme-baseline', digest: DIGEST, source: 'configuration' }),
  'policy.diverged': entryOf('policy.diverged', {
    candidate: DIGEST,
    action: 'tool_call',
    live: 'allow',
    other: 'deny',
    omitted: 3,
  }),
  'tool.pinned': entryOf('tool.pinned', { server: 'filesystem', count: 14, digest: DIGEST }),
  'tool.changed': entryOf('tool.changed', { server: 'filesystem', state: 'changed', approval: APPROVAL }),
  'server.exposed': entryOf(
    'server.exposed',
    {
      server: 'files',
      origin: 'command',
      start: DIGEST,
      mapping: DIGEST,
      needs: 2,
      decidedBy: { name: 'agentmesh:moderate', digest: DIGEST },
      url: 'https://mcp.example.com',
    },
    { phase: 'intent' },
    { subject: 'files' },
  ),
  'server.withdrawn': entryOf(
    'server.withdrawn',
    { server: 'files', origin: 'command' },
    { phase: 'intent' },
    { subject: 'files' },
  ),
  'receipt.kept': entryOf(
    'receipt.kept',
    {
      receipt: credential.id,
      role: 'callee',
      n: 3,
      half: false,
      outcome: 'ok',
      server: 'files',
      statement: toBase64url(new Uint8Array(620).fill(7)),
    },
    { ...inSession, actor: agent.did, tool: 'read_file' },
  ),
  'message.sent': entryOf(
    'message.sent',
    { id: MESSAGE, seq: 1_795_000_000_000, bytes: 12, contentType: 'text/plain; charset=utf-8', until },
    { actor: agent.did, phase: 'intent', peer: beta.did, in: COMMITMENT },
  ),
  'message.received': entryOf(
    'message.received',
    { id: MESSAGE, seq: 1_795_000_000_000, bytes: 12, contentType: 'application/json', until },
    { ...inSession, actor: agent.did, phase: 'intent', in: COMMITMENT },
  ),
  'message.refused': entryOf(
    'message.refused',
    { organisation: beta.did, code: 'full', id: MESSAGE, omitted: 3 },
    { ...inSession, actor: agent.did },
  ),
  'message.expired': entryOf('message.expired', { id: MESSAGE, seq: 4 }, { actor: agent.did, peer: beta.did }),
  'statement.rejected': entryOf('statement.rejected', {
    code: 'bad_signature',
    source: 'gossip',
    id: credential.id,
    peerId,
    omitted: 7,
  }),
  'peer.bound': entryOf('peer.bound', { peerId, address: '/ip4/192.0.2.1/tcp/4001', omitted: 0 }, { peer: beta.did }),
  'peer.lost': entryOf('peer.lost', { peerId, omitted: 3 }),
  'fork.proven': entryOf('fork.proven', { proof: credential.id, who: beta.did, of: 'log' }),
  'conviction.lifted': entryOf('conviction.lifted', { who: beta.did, reason: 'their disk died, and they said so' }),
};
