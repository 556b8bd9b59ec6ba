/**
 * Before a key that is kept here signs what the daemon wrote, the bytes are decoded and compared with what was asked:
 * whoever holds the socket must not be able to have anything else signed.
 */
import type { DelegateBody, RecoverBody, RotateBody, ToSign } from '../protocol/control/index.ts';
import {
  assembleStatement,
  type Capability,
  type Delegation,
  didOfGenesis,
  equalBytes,
  isCapabilityWithin,
  isMeshError,
  isOfKind,
  limits,
  MeshError,
  multikeyText,
  parseMultikeyText,
  SIGNATURE_BYTES,
  type Statement,
  signingInput,
} from '../protocol/index.ts';
import { bytesOfText, publicKeyText, type Signer, textOfBytes } from './signer.ts';

/** Parses the payload, lets `verify` look at it, and only then signs. Errors: internal, where the daemon asked for another thing. */
export function signChecked(
  asked: ToSign,
  purpose: ToSign['purpose'],
  signer: Signer,
  verify: (statement: Statement) => void,
): string {
  const want = publicKeyText(signer);
  if (asked.purpose !== purpose) throw refused(`its purpose is "${asked.purpose}", want "${purpose}"`);
  if (asked.key !== want) throw refused(`it is for key "${asked.key}", want "${want}"`);
  const payloadBytes = bytesOfText(asked.payload);
  const statement = parsePayload(payloadBytes);
  verify(statement);
  return textOfBytes(signer.sign(signingInput(statement.t, payloadBytes)));
}

const refused = (why: string, cause?: unknown): MeshError =>
  new MeshError(
    'internal',
    `Cannot sign what the daemon asks to sign: ${why}`,
    {},
    cause === undefined ? undefined : { cause },
  );

/** As any receiver would parse it, with blanks for the signatures whose number is not known yet. */
function parsePayload(payloadBytes: Uint8Array): Statement {
  for (let count = 1; count <= limits.SIGNERS_MAX; count++) {
    try {
      return assembleStatement(
        payloadBytes,
        Array.from({ length: count }, () => new Uint8Array(SIGNATURE_BYTES)),
      );
    } catch (error) {
      if (!isMeshError(error)) throw error;
      if (error.code !== 'signers') throw refused(error.message, error);
    }
  }
  throw refused('it names too many signers');
}

function verifyThat(isSo: boolean, what: string): void {
  if (!isSo) throw refused(what);
}

export interface GenesisAsked {
  readonly did: string;
  readonly organisation: string;
  readonly publicKey: Uint8Array;
  readonly nowSeconds: number;
}

/** An agent's genesis: this key alone, for every use, under this organisation. Errors: internal. */
export function verifyGenesis(statement: Statement, { did, organisation, publicKey, nowSeconds }: GenesisAsked): void {
  if (!isOfKind(statement, 'didop/v1') || statement.payload.op !== 'genesis') throw refused('it is no genesis');
  const { kind, by, keys, nxt, rec, peer, svc = [], ctl, iat } = statement.payload;
  verifyThat(didOfGenesis(statement.id) === did, 'its DID is another than the answer names');
  verifyThat(kind === 'agent' && ctl === organisation, `it is not of an agent of "${organisation}"`);
  const [listed] = keys;
  verifyThat(
    keys.length === 1 && listed !== undefined && equalBytes(listed[0], publicKey),
    'it lists a key that is not the one given',
  );
  verifyThat(
    by.length === 2 && equalBytes(by[0] ?? new Uint8Array(), publicKey),
    'its first signer is not the key given',
  );
  verifyThat(
    [nxt, rec, peer, svc].every(({ length }) => length === 0),
    'it commits to keys, peers or services that nobody asked for',
  );
  verifyThat(Math.abs(iat - nowSeconds) <= limits.SKEW_SECONDS, 'it is not dated now');
}

export interface CredentialAsked {
  readonly id: string;
  readonly did: string;
  readonly publicKey: Uint8Array;
  /** z6Mk… of the key that the daemon says it holds. */
  readonly holderKey: string;
  /** It grants no more than these. */
  readonly capabilities?: readonly Capability[];
  /** It continues this link; then it can grant no more than that one does. */
  readonly grant?: string;
  readonly nowSeconds: number;
}

/** A link from the agent to itself, bound to one key, for at most 15 minutes. Errors: internal. */
export function verifyCredential(statement: Statement, asked: CredentialAsked): void {
  const { id, did, publicKey, holderKey, capabilities, grant, nowSeconds } = asked;
  const payload = delegationOf(statement, did, publicKey);
  verifyThat(statement.id === id, 'its id is another than the answer names');
  verifyThat(payload.aud === did, 'it is not from the agent to itself');
  verifyThat(
    payload.cnf !== undefined && multikeyText(payload.cnf) === holderKey,
    'it binds another key than the answer names',
  );
  verifyThat(payload.pri === true, 'it is not private');
  verifyThat(
    payload.exp <= nowSeconds + limits.CREDENTIAL_SECONDS_MAX + limits.SKEW_SECONDS,
    'it lives longer than a credential',
  );
  verifyThat(grant === undefined || payload.prf?.text === grant, 'it continues another link');
  const isWithin = (narrow: Capability): boolean =>
    capabilities?.some((wide) => isCapabilityWithin(narrow, wide)) ?? true;
  verifyThat(payload.cap.every(isWithin), 'it grants what the agent may not do');
}

export interface DelegationAsked {
  readonly id: string;
  readonly did: string;
  readonly publicKey: Uint8Array;
  readonly body: DelegateBody;
  readonly nowSeconds: number;
}

/** The link that was asked for and no other. Errors: internal. */
export function verifyDelegation(
  statement: Statement,
  { id, did, publicKey, body, nowSeconds }: DelegationAsked,
): void {
  const payload = delegationOf(statement, did, publicKey);
  verifyThat(statement.id === id, 'its id is another than the answer names');
  verifyThat(payload.aud === body.to, `it is for "${payload.aud}", want "${body.to}"`);
  verifyThat(body.from === undefined || payload.prf?.text === body.from, 'it continues another link');
  verifyThat(payload.cnf === undefined, 'it binds a key that nobody asked for');
  const ttlSeconds = body.ttlSeconds ?? limits.LINK_SECONDS_MAX;
  verifyThat(payload.exp <= nowSeconds + ttlSeconds + limits.SKEW_SECONDS, 'it lives longer than was asked');
  verifyThat(body.private !== true || payload.pri === true, 'it is not private');
  const { cap, dep, stl, rate, pur, at, mts } = payload;
  const { capabilities, depth, stalenessSeconds, rates, purposes, minScore } = body;
  for (const [name, is, want] of [
    ['capabilities', cap, capabilities],
    ['depth', dep, depth],
    ['staleness', stl, stalenessSeconds],
    ['rates', rate, rates],
    ['purposes', pur, purposes],
    ['places', at, body.at],
    ['score', mts, minScore],
  ] as const) {
    verifyThat(isSame(is, want), `its ${name} are not those asked for`);
  }
}

function delegationOf(statement: Statement, did: string, publicKey: Uint8Array): Delegation {
  if (!isOfKind(statement, 'delegation/v1')) throw refused('it is no delegation');
  const { iss, by } = statement.payload;
  verifyThat(iss === did, `it is issued by "${iss}", want "${did}"`);
  verifyThat(by.length === 1 && equalBytes(by[0] ?? new Uint8Array(), publicKey), 'it is to be signed by another key');
  return statement.payload;
}

/** Plain JSON values, whatever the order of their members. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  const [names, others] = [Object.keys(a), Object.keys(b)];
  return (
    names.length === others.length &&
    names.every((name) => isSame((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name]))
  );
}

export interface OperationAsked {
  readonly id: string;
  readonly did: string;
  readonly operation: 'rotate' | 'recover' | 'deactivate';
  readonly signers: readonly Signer[];
  readonly body: Partial<Pick<RotateBody & RecoverBody, 'retire' | 'next' | 'recovery'>>;
}

/** An operation on the organisation's DID, to be signed by keys that are kept elsewhere. Errors: internal. */
export function verifyOperation(statement: Statement, { id, did, operation, signers, body }: OperationAsked): void {
  if (!isOfKind(statement, 'didop/v1') || statement.payload.op !== operation) throw refused(`it is no "${operation}"`);
  const { payload } = statement;
  verifyThat(statement.id === id, 'its id is another than the answer names');
  verifyThat('iss' in payload && payload.iss === did, `it is not about "${did}"`);
  signers.forEach((signer, i) =>
    verifyThat(equalBytes(payload.by[i] ?? new Uint8Array(), signer.publicKey), 'its signers are not the keys given'),
  );
  if (payload.op !== 'rotate' && payload.op !== 'recover') return;
  const retire = body.retire ?? [];
  verifyThat(payload.ret.length === retire.length, 'it retires keys that nobody named');
  retire.forEach(({ key, graceSeconds, keep = [] }) => {
    const found = payload.ret.find(([retired]) => equalBytes(retired, parseMultikeyText(key)));
    verifyThat(
      found !== undefined && isGraceAsAsked(found[1], graceSeconds, payload.iat),
      `it does not retire "${key}" as asked`,
    );
    verifyThat(
      isSame(found?.[2].map((link) => link.text).toSorted(), keep.toSorted()),
      `it keeps other links of "${key}" than asked`,
    );
  });
  if (body.next !== undefined) verifyCommitments('rotation', payload.nxt, payload.nthr, body.next);
  if (payload.op === 'recover' && body.recovery !== undefined)
    verifyCommitments('recovery', payload.rec, payload.rthr, body.recovery);
}

const isGraceAsAsked = (until: number | null, graceSeconds: number | null, iat: number): boolean =>
  until === null || graceSeconds === null ? until === graceSeconds : until <= iat + graceSeconds;

function verifyCommitments(
  of: string,
  is: readonly Uint8Array[],
  threshold: number,
  want: NonNullable<RotateBody['next']>,
): void {
  verifyThat(
    isSame(is.map(textOfBytes), want.commitments) && threshold === want.threshold,
    `it commits to other ${of} keys than asked`,
  );
}
