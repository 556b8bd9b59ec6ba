/** Gamma's agent grace calls a server of Acme's agent desk. Every value follows from names and repeated bytes. */
import {
  createPresentation,
  encodeHandshakeFrame,
  type HandshakeChannel,
  protocolId,
  signFrame,
  startTranscript,
  type Statement,
  toBase64url,
  toHex,
  type Transcript,
  transcriptDigest,
  withMessage,
} from '../../../protocol/index.ts';
import {
  createEntry,
  createUuid7,
  formatProofFile,
  leafHash,
  parseCheckpoint,
  rootOfHashes,
} from '../../../protocol/log/index.ts';
import {
  assembleReceipt,
  type CallOutcome,
  type CallRole,
  createHalfReceipt,
  createOrder,
  createTaking,
  formatReceiptFile,
  type OrderStatement,
  type ReceiptFile,
  type ReceiptProof,
  receiptPayload,
  type ReceiptStatement,
  requestCommitment,
  signReceiptPayload,
} from '../../../protocol/receipt/index.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRootLink,
  type Identity,
  keyOf,
  NOW_MS,
  NOW_SECONDS,
  type TestKey,
} from '../../builders.ts';
import { createBinding, ownLog, ownWitness } from '../log/own-log.ts';
import { signedNote } from '../log/sample.ts';

export const acme: Identity = createOrganisation('acme');
export const alice: Identity = createPerson(acme, 'alice');
export const desk: Identity = createAgent(acme, 'desk');
export const gamma: Identity = createOrganisation('gamma');
export const gail: Identity = createPerson(gamma, 'gail');
export const grace: Identity = createAgent(gamma, 'grace');
export const callerKey: TestKey = keyOf('grace session');
export const calleeKey: TestKey = keyOf('desk session');

const everything = [{ can: 'mcp:*' }];
export const callerIdent = createRootLink(gamma, gail, { aud: grace.did, cap: everything });
export const callerCredential = createCredential(callerIdent, grace, callerKey);
export const calleeIdent = createRootLink(acme, alice, { aud: desk.did, cap: everything });
export const calleeCredential = createCredential(calleeIdent, desk, calleeKey);
export const granted = createRootLink(acme, alice, { aud: gamma.did, cap: [{ can: 'mcp:files/*' }] });
export const passedOn = createChildLink(granted, gamma, { aud: grace.did, cap: [{ can: 'mcp:files/read_file' }] });
export const callerGrant = createCredential(passedOn, grace, callerKey, { nonce: 'grant' });

export const SID: Uint8Array = new Uint8Array(16).fill(0x33);
const channel: HandshakeChannel = {
  protocolId: protocolId('agentmesh', 'iatp'),
  initiator: gamma.node.peerId,
  responder: acme.node.peerId,
  channelBinding: new Uint8Array(32).fill(0x0c),
};

interface Parties {
  readonly callee: Identity;
  readonly calleeKey: TestKey;
  readonly calleeIdent: string | undefined;
}
const AGENT: Parties = { callee: desk, calleeKey, calleeIdent: calleeCredential.id };
/** Acme answers by itself. */
export const ORGANISATION: Parties = { callee: acme, calleeKey: acme.keys.auth, calleeIdent: undefined };

export function handshakeOf({ callee, calleeKey: key, calleeIdent: ident }: Parties = AGENT): Transcript {
  const begun = withMessage(
    startTranscript(channel),
    encodeHandshakeFrame('hello', {
      v: 1,
      did: grace.did,
      to: callee.did,
      non: new Uint8Array(32).fill(0x11),
      want: [{ can: 'mcp:files/read_file' }],
      min: 300,
    }),
  );
  const offer = {
    did: callee.did,
    non: new Uint8Array(32).fill(0x22),
    pres: createPresentation(ident === undefined ? {} : { ident }, []),
    need: { min: 300 },
  };
  const offered = withMessage(begun, signFrame('offer', 'R', begun, offer, key));
  const pres = createPresentation({ ident: callerCredential.id, grant: callerGrant.id }, []);
  const proved = withMessage(offered, signFrame('proof', 'I', offered, { pres }, callerKey));
  const result = { sid: SID, caps: [{ can: 'mcp:files/read_file' }], exp: NOW_SECONDS + 900, rates: [] };
  return withMessage(proved, signFrame('result', 'R', proved, result, key));
}

const encoder = new TextEncoder();
export const REQUEST: Uint8Array = encoder.encode(
  '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"read_file","arguments":{"path":"/srv/q3.txt"}}}',
);
export const RESULT: Uint8Array = encoder.encode('{"jsonrpc":"2.0","id":7,"result":{"content":[]}}');
export const SALTS = { req: new Uint8Array(16).fill(0x44), res: new Uint8Array(16).fill(0x55) };

export const orderOf = (
  parties: Parties = AGENT,
  fields: Partial<OrderStatement['payload']> = {},
  key: TestKey = callerKey,
): OrderStatement =>
  createOrder(
    {
      iat: NOW_SECONDS + 10,
      iss: grace.did,
      aud: parties.callee.did,
      sid: SID,
      n: 3,
      hs: transcriptDigest(handshakeOf(parties)),
      srv: 'files',
      req: requestCommitment(SALTS.req, REQUEST),
      ...fields,
    },
    key,
  );

export const happened = (out: CallOutcome = 'ok') => ({
  res: requestCommitment(SALTS.res, RESULT),
  out,
  startMs: NOW_MS + 10_050,
  endMs: NOW_MS + 10_250,
  iat: NOW_SECONDS + 10,
});

export function receiptOf(order: OrderStatement = orderOf(), { calleeKey: key }: Parties = AGENT): ReceiptStatement {
  const payload = receiptPayload(order, { ...happened(), calleeKey: key.publicKey });
  return assembleReceipt(payload, [signReceiptPayload(payload, callerKey), signReceiptPayload(payload, key)]);
}

/** Everybody's genesis, heartbeats of both organisations, their bindings, and the links. */
export const STATEMENTS: readonly Statement[] = [
  ...[acme, gamma, alice, desk, gail, grace].map(({ genesis }) => genesis),
  createHeartbeat(acme),
  createHeartbeat(gamma),
  createBinding(acme),
  createBinding(gamma),
  callerIdent,
  callerCredential,
  calleeIdent,
  calleeCredential,
  granted,
  passedOn,
  callerGrant,
];

interface Logged {
  readonly role: CallRole;
  readonly actor: Identity;
  readonly organisation: Identity;
  readonly key: TestKey;
}
const LOGGED: Readonly<Record<CallRole, Logged>> = {
  caller: { role: 'caller', actor: grace, organisation: gamma, key: callerKey },
  callee: { role: 'callee', actor: desk, organisation: acme, key: calleeKey },
};

/** The entry as leaf 1 of a log of three, cosigned by beta and delta. */
export function proofOf(
  role: CallRole,
  receipt: ReceiptStatement,
  {
    log = ownLog(LOGGED[role].organisation.name),
    tool = 'read_file',
    ...change
  }: {
    readonly log?: ReturnType<typeof ownLog>;
    readonly tool?: string | undefined;
    readonly actor?: Identity;
    readonly organisation?: Identity;
    readonly key?: TestKey;
  } = {},
): ReceiptProof {
  const { actor, organisation, key } = { ...LOGGED[role], ...change };
  const { bytes: entry } = createEntry(
    {
      id: createUuid7(NOW_MS + 10_300, new Uint8Array(16).fill(0x66)),
      source: organisation.did,
      timeMs: NOW_MS + 10_300,
      type: 'agentmesh.receipt.kept.v1',
      data: {
        actor: actor.did,
        phase: 'outcome',
        session: toHex(SID),
        ...(tool !== undefined && { tool }),
        receipt: receipt.id,
        role,
        n: receipt.payload.n,
        half: receipt.payload.half === true,
        outcome: receipt.payload.out,
        server: 'files',
        statement: toBase64url(receipt.envelope),
      },
    },
    key,
  );
  const [before, after] = [leafHash(encoder.encode('before')), leafHash(encoder.encode('after'))];
  const root = rootOfHashes([before, leafHash(entry), after]);
  const checkpoint = { origin: log.vkey.name, treeSize: 3, root };
  const note = signedNote(checkpoint, log, [ownWitness('beta'), ownWitness('delta')], NOW_SECONDS + 20);
  const proof = formatProofFile({ leafIndex: 1, hashes: [before, after], signed: parseCheckpoint(note) });
  return { role, entry, proof };
}

export function fileOf(change: Partial<ReceiptFile> = {}, parties: Parties = AGENT): ReceiptFile {
  const order = change.order ?? orderOf(parties);
  const receipt = change.receipt ?? receiptOf(order, parties);
  const { callee, calleeIdent: ident } = parties;
  return {
    order,
    receipt,
    taking: createTaking(order, { iat: NOW_SECONDS + 10 }, parties.calleeKey),
    salts: SALTS,
    parties: {
      caller: { ident: callerCredential.id, grant: callerGrant.id },
      callee: ident === undefined ? {} : { ident },
    },
    statements: STATEMENTS.map(({ envelope }) => envelope),
    proofs: [
      proofOf('caller', receipt),
      proofOf('callee', receipt, callee === acme ? { actor: acme, key: parties.calleeKey } : {}),
    ],
    ...change,
  };
}

export const bytesOf = (change: Partial<ReceiptFile> = {}, parties: Parties = AGENT): Uint8Array =>
  formatReceiptFile(fileOf(change, parties));

export function halfFileOf(role: CallRole, change: Partial<ReceiptFile> = {}): ReceiptFile {
  const order = orderOf();
  const key = role === 'caller' ? callerKey : calleeKey;
  const outcome = role === 'caller' ? { ...happened('timeout'), res: null } : happened();
  const receipt = createHalfReceipt(order, outcome, role, key);
  return fileOf({ order, receipt, handshake: handshakeOf(), proofs: [proofOf(role, receipt)], ...change });
}
