/** For every operation one input that its schemas accept. */
import { type InputOf, OPERATION_IDS, type OperationId, type Route, routeOf } from '../../../protocol/control/index.ts';
import { createAgent, createOrganisation, createPerson, keyOf } from '../../builders.ts';
import { receiptOf } from '../receipt/world.ts';

const organisation = createOrganisation('sample');
const agent = createAgent(organisation, 'sample agent');
const sponsor = createPerson(organisation, 'sample sponsor');
const { id } = organisation.genesis;
const base64url = (length: number, byte: number): string => Buffer.alloc(length, byte).toString('base64url');

/** DIDs and ids that the samples are about. */
export const SAMPLE = {
  did: agent.did,
  other: sponsor.did,
  organisation: organisation.did,
  id,
  sid: '0123456789abcdef0123456789abcdef',
};

const agentParams = { params: { did: agent.did } };
const leaf = { params: { leaf: id } };
const signatures = [base64url(64, 1)];
const commitments = { commitments: [base64url(32, 2)], threshold: 1 };
const key = keyOf('sample').text;

const request = {
  action: 'tool_call',
  tool: { name: 'write_file', server: 'filesystem', arguments: { path: '/tmp/a', ratio: 0.5 }, paths: ['/tmp/a'] },
  labels: ['pii.email'],
};
const digest = '5a'.repeat(32);
const files = [{ path: 'acme.yaml', text: 'version: "1.0"\n' }];
const approval = { id: '0123456789abcdef' };

const RECEIPT = receiptOf().id;

type Given = { readonly [K in OperationId]?: Partial<InputOf<K>> };
const given: Given = {
  messageSend: {
    body: { to: sponsor.did, contentType: 'text/plain; charset=utf-8', body: base64url(5, 7), expiresInSeconds: 60 },
  },
  receiptList: { query: { before: '3', limit: '1' } },
  receiptShow: { params: { id: RECEIPT } },
  receiptFile: { params: { id: RECEIPT } },
  inboxList: { query: { after: '0', wait: '0' } },
  inboxAck: { body: { ids: ['0123456789abcdef0123456789abcdef'] } },
  decide: { body: { policies: [digest], request } },
  decisionFilter: { body: { requests: [request] } },
  decisionExplain: { body: { request } },
  decisionSettle: {
    body: { outcomes: [{ id: '01980000-0000-7000-8000-000000000001', code: 'ok', labels: ['card'] }] },
  },
  approvalShow: { params: approval, query: { wait: '20' } },
  approvalDecide: {
    params: approval,
    body: { decision: 'approve', approver: sponsor.did, reason: 'as agreed', at: '2026-11-22T18:00:00.000Z' },
  },
  policyShow: { params: { digest } },
  policyLoad: { body: { name: 'acme', files } },
  policyReplay: { body: { name: 'acme', files, sinceSeconds: 604_800 } },
  toolCheck: { body: { server: 'filesystem', complete: true, tools: [{ name: 'read_file' }] } },
  peerDial: { body: { address: '/ip4/127.0.0.1/tcp/4001' } },
  agentCreate: {
    body: { name: 'data-analyst-agent', sponsor: 'alice@company.com', capabilities: [{ can: 'read:data' }] },
  },
  agentShow: agentParams,
  agentComplete: { ...agentParams, body: { signatures } },
  agentRegister: agentParams,
  agentSuspend: agentParams,
  agentResume: agentParams,
  agentRevoke: { ...agentParams, body: { reason: 'superseded' } },
  agentToken: agentParams,
  credentialShow: agentParams,
  credentialPrepare: { ...agentParams, body: { grant: id } },
  credentialComplete: { ...agentParams, body: { id, signatures } },
  sponsorCreate: { body: { contact: 'alice@company.com', name: 'Alice Ágnes' } },
  sponsorShow: { params: { did: sponsor.did } },
  didShow: agentParams,
  didResolve: agentParams,
  didLog: agentParams,
  organisationRotate: {
    body: {
      retire: [
        { key, graceSeconds: 3600 },
        { key: keyOf('sample 2').text, graceSeconds: null, keep: [id] },
      ],
      next: commitments,
    },
  },
  organisationRecover: { body: { recoveryKeys: [key], retire: [], recovery: commitments } },
  organisationDeactivate: { body: { confirm: organisation.did } },
  operationComplete: { params: { id }, body: { signatures } },
  delegationCreate: {
    body: {
      to: `did:key:${key}`,
      capabilities: [{ can: 'read:reports/*', res: ['https://example.com/q3/'] }],
      from: id,
      ttlSeconds: 3600,
      depth: 2,
      stalenessSeconds: 5,
      rates: [{ can: 'read:reports/*', n: 10, per: 60 }],
      purposes: ['billing'],
      at: [organisation.did],
      minScore: 300,
      private: true,
    },
  },
  delegationComplete: { params: { id }, body: { signatures } },
  chainList: { query: { root: organisation.did } },
  chainShow: leaf,
  chainBundle: leaf,
  chainVerify: {
    ...leaf,
    body: { roots: [organisation.did], capabilities: [{ can: 'read:reports/q3' }], time: '2026-11-22T12:00:00Z' },
  },
  revocationCreate: { body: { target: { link: id }, reason: 'superseded' } },
  revocationList: { query: { organisation: organisation.did } },
  handshakeCreate: { body: { did: agent.did, minScore: 300, capabilities: [{ can: 'read:data' }] } },
  sessionShow: { params: { sid: SAMPLE.sid } },
  sessionClose: { params: { sid: SAMPLE.sid } },
  logEntries: { query: { limit: '5', order: 'oldest', types: 'agentmesh.session', since: '2026-11-22T12:00:00Z' } },
  logEntry: { params: { at: '0' } },
  logAppend: { body: { op: 'execute_tool', tool: 'search', facts: { hits: 3 }, in: base64url(32, 5) } },
  logProof: { params: { at: '0' }, query: { witnessed: '2' } },
  logFile: { query: { path: 'tile/0/000.p/2' } },
  logRecover: { body: { how: 'new_generation', reason: 'restored from a backup' } },
  convictionShow: agentParams,
  convictionLift: { ...agentParams, body: { reason: 'talked to them' } },
  exposeAdd: {
    body: {
      name: 'files',
      command: ['npx', '-y', '@modelcontextprotocol/server-filesystem', '/srv/shared'],
      cwd: '/srv',
      env: { API_TOKEN: 'secret' },
      capability: 'read:files',
      needs: { write_file: 'write:files/*' },
      policy: 'strict',
      description: 'Reports of the last quarters',
      check: false,
    },
  },
  exposeCheck: { params: { name: 'files' } },
  exposeRemove: { params: { name: 'files' } },
  services: { query: { did: agent.did } },
  link: { query: { did: agent.did, server: 'files', policies: digest, wait: '20' } },
  loginChallenge: { body: { did: agent.did } },
  login: { body: { did: agent.did, nonce: base64url(32, 3), signature: base64url(64, 4) } },
};

export interface Sample {
  readonly operationId: OperationId;
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>> | undefined;
  /** With params and query in place. */
  readonly path: string;
}

export function sampleOf(operationId: OperationId): Sample {
  const route = routeOf(operationId);
  const { params = {}, query = {}, body } = (given[operationId] ?? {}) as Partial<Sample>;
  return { operationId, route, params, query, body, path: pathOf(route, params, query) };
}

export const SAMPLES: readonly Sample[] = OPERATION_IDS.map(sampleOf);

export function pathOf(
  route: Route,
  params: Readonly<Record<string, string>>,
  query: Readonly<Record<string, string>>,
): string {
  const path = route.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ''));
  const search = new URLSearchParams(query).toString();
  return search === '' ? path : `${path}?${search}`;
}
