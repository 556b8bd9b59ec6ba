import { describe, expect, test } from 'vitest';
import type {
  Agent,
  DidView,
  LinkView,
  MeshEvent,
  Peer,
  SessionView,
  Status,
} from '../../../protocol/control/index.ts';
import { createPaint } from '../../../cli/text/style.ts';
import type { View } from '../../../cli/text/table.ts';
import { formatAgent, formatAgents } from '../../../cli/views/agents.ts';
import { formatDidView, formatOperation, formatResolved } from '../../../cli/views/dids.ts';
import { formatEvent } from '../../../cli/views/events.ts';
import { formatPeers, protocolsOf } from '../../../cli/views/peers.ts';
import { formatRevocation } from '../../../cli/views/revocations.ts';
import { formatSession, formatSessionInFull, formatSessions } from '../../../cli/views/sessions.ts';
import { formatStatus } from '../../../cli/views/status.ts';
import { createAgent, createOrganisation, createPerson, NOW_MS } from '../../builders.ts';

const view: View = { nowMs: NOW_MS, paint: createPaint(false), columns: undefined };
const at = (seconds: number): string => new Date(NOW_MS + seconds * 1000).toISOString();
const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const scout = createAgent(acme, 'scout');
const { peerId } = acme.node;
const id = acme.genesis.id;

const status: Status = {
  version: '0.1.0',
  network: 'agentmesh',
  organisation: { did: acme.did, name: 'Acme', status: 'active' },
  peerId,
  addresses: ['/ip4/127.0.0.1/tcp/4801', '/ip6/::1/tcp/4801'],
  listening: 'loopback',
  socket: '/h/agentmeshd.sock',
  home: '/h',
  startedAt: at(-7200),
  uptimeSeconds: 7200,
  statements: { count: 1, bytes: 1536, setRoot: 'ab'.repeat(32) },
  peers: { connected: 2, bound: 1 },
  agents: 1,
  sponsors: 2,
  sessions: 0,
  exposed: 1,
  keysEncrypted: false,
  log: {
    origin: 'agentmesh/v1/log/z6Mk/0',
    treeSize: 12,
    headAt: at(-60),
    releasedSize: 11,
    cosigners: 2,
    quorumMet: true,
    watched: true,
    problem: null,
  },
  warnings: [{ code: 'keys_unencrypted', message: 'The keys are not encrypted' }],
};

test('status', () => {
  expect(formatStatus(status, view)).toBe(`Organisation    Acme
                ${acme.did}
State           active
PeerId          ${peerId}
Network         agentmesh
Reachable from  this machine only
Addresses       /ip4/127.0.0.1/tcp/4801
                /ip6/::1/tcp/4801
Peers           2 connected, 1 of them bound to an organisation
Agents          1 agent, 2 sponsors
Sessions        0 open sessions
Exposed         1 MCP server
Statements      1 statement, 1.5 KiB
Set             abababababababab… (equal on daemons that hold the same)
Audit log       12 entries, 11 cosigned by 2 witnesses
Keys            not encrypted
Home            /h
Socket          /h/agentmeshd.sock
Daemon          0.1.0, up 2 h
Started         2 h ago (2026-11-18T09:06:40Z)

warning The keys are not encrypted
`);
  const quiet = {
    ...status,
    warnings: [],
    peers: { connected: 0, bound: 0 },
    organisation: { ...status.organisation, name: null },
  };
  expect(formatStatus(quiet, view)).toMatch(
    /^Organisation {4}without a name\n[^]*\nPeers {11}none connected\n[^]*Z\)\n$/,
  );
});

describe('peers', () => {
  const peer: Peer = {
    did: acme.did,
    peerId,
    addresses: [`/ip4/192.0.2.7/tcp/4801/p2p/${peerId}`],
    direction: 'outbound',
    bound: true,
    latencyMs: 0.44,
    protocols: [
      '/agentmesh/agentmesh/sync/1.0.0',
      '/agentmesh/agentmesh/iatp/1.0.0',
      '/ipfs/ping/1.0.0',
      '/meshsub/1.2.0',
    ],
    lastHeartbeatAt: at(-12),
    lastHeartbeatAgeSeconds: 12,
    agents: 3,
    connectedSince: at(-300),
  };
  const stranger: Peer = {
    ...peer,
    did: null,
    bound: false,
    latencyMs: null,
    lastHeartbeatAt: null,
    lastHeartbeatAgeSeconds: null,
    direction: 'inbound',
    protocols: [],
    addresses: [],
  };

  test('are rows of what is known, and dashes for what is not', () => {
    const [head, first, second] = formatPeers([peer, stranger], view).split('\n');
    expect(head?.split(/ {2,}/)).toEqual([
      'DID',
      'PEERID',
      'ADDRESS',
      'DIR',
      'LATENCY',
      'HEARTBEAT',
      'AGENTS',
      'SINCE',
      'PROTOCOLS',
    ]);
    expect(first?.split(/ {2,}/)).toEqual([
      acme.did,
      peerId,
      '/ip4/192.0.2.7/tcp/4801',
      'out',
      '0.4 ms',
      '12 s ago',
      '3',
      '5 min ago',
      'iatp meshsub ping sync',
    ]);
    expect(second?.split(/ {2,}/)).toEqual(['not bound', peerId, '-', 'in', '-', '-', '3', '5 min ago', '']);
    expect(formatPeers([], view)).toBe('No peers are connected.\n');
  });

  test('speak protocols that are named shortly, each once', () => {
    expect(
      protocolsOf(['/meshsub/1.0.0', '/meshsub/1.2.0', '/ipfs/id/push/1.0.0', '/', '/agentmesh/test/kad/1.0.0']),
    ).toEqual(['id/push', 'kad', 'meshsub']);
  });
});

describe('agents', () => {
  const agent: Agent = {
    did: scout.did,
    name: 'scout',
    sponsor: { did: alice.did },
    parent: null,
    status: 'active',
    capabilities: [{ can: 'read:a', res: ['x/', 'y'] }, { can: 'read:b' }, { can: 'read:c' }],
    rootLink: id,
    keyHeldBy: 'daemon',
    credential: { id, expiresAt: at(840) },
    createdAt: at(-120),
  };

  test('have sponsors by their address, and the first of many capabilities', () => {
    const [, row] = formatAgents([agent], view, new Map([[alice.did, 'alice@company.com']])).split('\n');
    expect(row?.split(/ {2,}/)).toEqual([
      'scout',
      'active',
      scout.did,
      'read:a (2), read:b +1',
      'alice@company.com',
      'ends in 14 min',
      '2 min ago',
    ]);
    expect(formatAgents([], view)).toBe('This organisation has no agents.\n');
    expect(formatAgents([agent, { ...agent, did: alice.did, parent: scout.did }], view)).toMatch(/ PARENT /);
  });

  test('in full', () => {
    const credential = {
      id,
      did: scout.did,
      parent: id,
      capabilities: [],
      holderKey: 'z6MkKey',
      issuedAt: at(0),
      expiresAt: at(840),
    };
    expect(formatAgent(agent, view, new Map(), credential)).toBe(`Name          scout
DID           ${scout.did}
Status        active
Capabilities  read:a on x/, y
              read:b
              read:c
Sponsor       ${alice.did}
Root link     ${id}
Key held by   this daemon
Credential    ${id}
              ends in 14 min (2026-11-18T11:20:40Z)
              bound to key z6MkKey
Created       2 min ago (2026-11-18T11:04:40Z)
`);
  });
});

describe('DIDs', () => {
  const key = acme.keys.auth.text;
  const did: DidView = {
    did: acme.did,
    kind: 'org',
    organisation: acme.did,
    status: 'frozen',
    revoked: null,
    seq: 1,
    head: id,
    contested: true,
    keys: [
      { key, uses: ['auth', 'sign'], standing: 'current', until: null },
      { key, uses: ['delegate'], standing: 'grace', until: at(3600) },
      { key, uses: ['delegate'], standing: 'dead', until: null },
    ],
    peers: [peerId],
    services: [{ type: 'Mesh\u001b[31m', endpoint: 'https://acme.example' }],
    rotation: { threshold: 1, commitments: 1 },
    recovery: { threshold: 2, commitments: 3 },
    createdAt: at(-60),
    updatedAt: at(-60),
    freshness: { heartbeatAt: null, ageSeconds: null, revocations: 0 },
    document: {
      '@context': [],
      id: acme.did,
      verificationMethod: [],
      authentication: [],
      assertionMethod: [],
      capabilityDelegation: [],
      service: [],
    },
    documentMetadata: { versionId: '1', deactivated: false, created: at(-60), updated: at(-60) },
  };

  test('with their keys, and where the answer is from', () => {
    const text = formatResolved({ resolved: did, source: 'peer', from: peerId }, view);
    expect(text).toBe(`DID          ${acme.did}
Kind         organisation
State        frozen
             updates competed; the lowest id was followed
Log          2 operations, head ${id}
Peers        ${peerId}
Services     Mesh�[31m  https://acme.example
Rotation     1 of 1 committed key must sign
Recovery     2 of 3 committed keys must sign
Created      1 min ago (2026-11-18T11:05:40Z)
Updated      1 min ago (2026-11-18T11:05:40Z)
Known as of  no heartbeat of its organisation is held
Source       learnt from a connected peer: ${peerId}

KEY                                               USES        STANDING
${key}  auth, sign  current
${key}  delegate    retired, counts until in 1 h
${key}  delegate    dead
`);
  });

  test('of agents that are revoked', () => {
    const revoked = { by: acme.did, at: at(-5), reason: 'gone' };
    const agent: DidView = {
      ...did,
      kind: 'agent',
      did: scout.did,
      revoked,
      keys: [],
      freshness: { heartbeatAt: at(-9), ageSeconds: 9, revocations: 1 },
    };
    const text = formatDidView(agent, view);
    expect(text).toContain(`Organisation  ${acme.did}\n`);
    expect(text).toContain(
      `5 s ago (2026-11-18T11:06:35Z)\n              by ${acme.did}\n              because "gone"\n`,
    );
    expect(text).toContain('Known as of   9 s ago, by a heartbeat; 1 revocation of its organisation\n');
    expect(text).toMatch(/\nIt lists no keys\.\n$/);
  });

  test('after an operation, with the files to take away', () => {
    const text = formatOperation(
      {
        id,
        did: acme.did,
        operation: 'recover',
        seq: 2,
        applied: true,
        toSign: [],
        keys: [{ key, uses: ['auth'] }],
        files: [],
      },
      ['/h/recovery/a.key'],
      view,
    );
    expect(text).toBe(`recovered ${acme.did}

Operation      ${id} (number 2)
Keys now       ${key}  auth
New key files  /h/recovery/a.key

Take the new key files offline: whoever has them can take the organisation over.
`);
  });
});

test('a revocation names what fell with it', () => {
  const revocation = {
    id,
    number: 3,
    organisation: acme.did,
    issuer: acme.did,
    target: { link: id },
    reason: '',
    at: at(0),
  };
  const names = new Map([[acme.did, 'Acme']]);
  expect(
    formatRevocation({ revocation, cascade: [id], sessionsEnded: 0 }, view, names),
  ).toBe(`revoked link ${id}, for ever

Revocation      ${id} (number 3 of ${acme.did} (Acme))
By              ${acme.did} (Acme)
Reason          -
At              now (2026-11-18T11:06:40Z)
Sessions ended  0

No other link falls with it.
`);
  const key = { ...revocation, target: { did: scout.did, key: 'z6MkKey' } };
  const text = formatRevocation({ revocation: key, cascade: ['bafyreia', 'bafyreib'], sessionsEnded: 2 }, view);
  expect(text).toMatch(/^revoked key z6MkKey of did:mesh:\w+, for ever\n/);
  expect(text).toMatch(/\n2 further links fall with it:\n {2}bafyreia\n {2}bafyreib\n$/);
});

test('sessions', () => {
  const session: SessionView = {
    sid: '0f'.repeat(16),
    as: scout.did,
    did: acme.did,
    organisation: acme.did,
    peerId,
    direction: 'outbound',
    granted: [],
    rates: [{ can: 'read:a', n: 10, per: 60 }],
    sponsor: null,
    score: 300,
    scoreBasis: 'neutral default',
    minScore: 300,
    checked: ['channel', 'peer'],
    links: [],
    use: { calls: 7, refused: 2, running: 1, bytesIn: 2_048, bytesOut: 300 },
    servers: [{ server: 'filesystem', openedAt: at(-20) }],
    openedAt: at(-30),
    expiresAt: at(870),
    durationMs: 12.3,
  };
  const names = new Map([[scout.did, 'scout']]);
  const [, row] = formatSessions([session], view, names).split('\n');
  expect(row?.split(/ {2,}/)).toEqual([
    session.sid,
    'scout',
    acme.did,
    'out',
    '-',
    '7',
    '300',
    '30 s ago',
    'in 14 min',
  ]);
  expect(formatSession(session, view, names)).toBe(`verified ${acme.did} in 12 ms

Session       ${session.sid}
As            ${scout.did} (scout)
Organisation  ${acme.did}
PeerId        ${peerId}
Sponsor       -
Score         300, wanted 300 (neutral default)
Granted       nothing: no grant was presented
Rates         read:a: 10 uses in 1 min
Checked       channel, peer
Ends          in 14 min (2026-11-18T11:21:10Z)
`);
  const link: LinkView = {
    id,
    parent: null,
    issuer: acme.did,
    audience: scout.did,
    organisation: acme.did,
    sponsor: alice.did,
    capabilities: [{ can: 'mcp:filesystem/*' }],
    issuedAt: at(-60),
    notBefore: at(-60),
    expiresAt: at(900),
    depth: null,
    rates: [{ can: 'mcp:filesystem/*', n: 5, per: 3_600 }],
    purposes: [],
    at: [],
    minScore: null,
    stalenessSeconds: null,
    private: false,
    holderKey: null,
    signedBy: [],
  };
  const full = formatSessionInFull({ session, chain: [link] }, view, names);
  expect(full.slice(full.indexOf('Since'))).toBe(`Since         30 s ago (2026-11-18T11:06:10Z)
Until         in 14 min (2026-11-18T11:21:10Z)
Calls         7, of which 2 refused; 1 running
Bytes         2.0 KiB in, 300 B out
Servers       filesystem, since 20 s ago
Chain         1 link

1. ${id}
  From   ${acme.did}
  To     ${scout.did} (scout)
  May    mcp:filesystem/*
  Rates  mcp:filesystem/*: 5 uses in 1 h
  Ends   in 15 min (2026-11-18T11:21:40Z)
`);
  expect(formatSessionInFull({ session: { ...session, servers: [] }, chain: [] }, view)).toMatch(
    /\nServers +none in use\nChain +none: an organisation acts by itself\n$/,
  );
});

test('an event is one line, whatever is in it', () => {
  const event: MeshEvent = {
    id: 'a-1',
    at: at(0),
    type: 'link.revoked',
    data: { revocation: id, issuer: acme.did, target: { link: id }, links: ['a', 'b'], total: 2 },
  };
  expect(formatEvent(event, view)).toBe(
    `11:06:40  link.revoked         revocation=${id} issuer=${acme.did} link=${id} links=a,b total=2\n`,
  );
  const lost: MeshEvent = { id: 'a-2', at: at(0), type: 'peer.lost', data: { peerId: 'x\ny z', did: null } };
  expect(formatEvent(lost, view)).toBe('11:06:40  peer.lost            peerId="x�y z"\n');
});
