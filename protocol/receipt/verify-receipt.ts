/**
 * A receipt file checked from its bytes alone (SPEC "Receipt files"). Each check has a line in the report: what was found
 * good, what is wrong, and what was not checked, which is never counted as good.
 *
 * Who was who is judged as of the order: what was learnt later (a revocation, a rotated key) does not unmake what was
 * signed before, and is told beside it.
 */
import { needOf } from '../call/needs.ts';
import { isCovered } from '../delegation/capability.ts';
import { freshnessOf } from '../delegation/freshness.ts';
import type { Delegation } from '../delegation/link.ts';
import type { Authority } from '../delegation/order.ts';
import { startProgress } from '../delegation/report.ts';
import { linksTo, verifyAuthKey, verifyHolder, verifyStructure } from '../delegation/verify.ts';
import { equalBytes, fromBase64url, fromHex, toHex } from '../encoding/bytes.ts';
import { multikeyText } from '../encoding/multikey.ts';
import { type ErrorCode, isMeshError, MeshError } from '../errors.ts';
import { parseHandshakeFrame } from '../iatp/frames.ts';
import { signatureShown, type Transcript, transcriptDigest, verifyShown } from '../iatp/transcript.ts';
import { SESSION_SECONDS_MAX, STALENESS_SECONDS_MAX } from '../limits.ts';
import { isOfType, parseEntry, verifyEntry } from '../log/entry.ts';
import { parseLogOrigin } from '../log/names.ts';
import { type Policy, verifyProofFile } from '../log/policy.ts';
import { parseProofFile, type ProofFile } from '../log/proof-file.ts';
import { leafHash } from '../log/tree.ts';
import type { GateRequest } from '../policy/gate.ts';
import type { IsSignatureValid } from '../signature.ts';
import { admitAll, MeshState } from '../state/mesh-state.ts';
import type { MeshView } from '../state/view.ts';
import {
  isOfKind,
  parseStatement,
  parseStatementOf,
  type Statement,
  verifySignatures,
} from '../statement/statement.ts';
import { parseReceiptFile, type ReceiptFile } from './receipt-file.ts';
import { callerKeyOf, type CallRole, halfRoleOf, requestCommitment, verifyOfOrder, verifyTakingOf } from './receipt.ts';
import type { CallOutcome } from './schema.ts';

/** Everything that is looked at, in this order. */
export const RECEIPT_CHECKS = [
  'receipt', // both signatures, or the one of a half receipt
  'order', // by the caller, and the receipt is of it
  'taking', // by the callee, and of the order
  'handshake', // both sides signed it, and it is the one that the order names
  'caller', // the key that signed was the caller's
  'callee', // and the callee's
  'authority', // the chain that the caller showed begins at a named organisation and was good then
  'need', // and it names what was called
  'callerLog', // an entry with this receipt is in the caller's log
  'calleeLog',
  'witnesses', // and its checkpoint was seen by others
  'request', // what was asked is what was committed to
  'result',
] as const;
export type ReceiptCheckName = (typeof RECEIPT_CHECKS)[number];

export interface ReceiptCheckLine {
  readonly check: ReceiptCheckName;
  /** Not checked is not good: the file or the verifier does not say enough. */
  readonly status: 'ok' | 'failed' | 'notChecked';
  readonly text: string;
  readonly code?: ErrorCode;
}

export interface ReceiptReport {
  readonly id: string;
  readonly order: string;
  /** Who signed alone; null: both signed. */
  readonly half: CallRole | null;
  readonly caller: string;
  readonly callee: string;
  /** 16 bytes, hex. */
  readonly sid: string;
  readonly n: number;
  readonly server: string;
  /** `shownBy` request: proven by what was asked; entry: said by who logged it; null where nothing tells. */
  readonly tool: { readonly name: string; readonly shownBy: 'request' | 'entry' } | null;
  readonly outcome: CallOutcome;
  readonly startedAt: string;
  readonly endedAt: string;
  /** As of when keys and chains were judged, RFC 3339. */
  readonly checkedAsOf: string;
  readonly checks: readonly ReceiptCheckLine[];
  /** Revocations of whose the file knows, as of when; null: of nobody's. */
  readonly knownThrough: readonly { readonly did: string; readonly asOf: string | null }[];
  /** What the file tells of keys and chains since then. */
  readonly since: readonly string[];
  readonly proven: readonly string[];
  readonly notProven: readonly string[];
}

export interface VerifyReceiptOptions {
  readonly isSignatureValid: IsSignatureValid;
  /** Organisations that the verifier knows; every key must lead to one of them. */
  readonly roots: ReadonlySet<string>;
  /** Whose quorum must have cosigned; its logs are not needed. Default: nobody; then cosignatures are not checked. */
  readonly policy?: Policy;
  /** The JSON-RPC messages as they were on the wire. */
  readonly request?: Uint8Array;
  readonly result?: Uint8Array;
}

/** A revocation that was not known when the session was agreed could have come up to here before the call. */
const KNOWN_SECONDS = SESSION_SECONDS_MAX + STALENESS_SECONDS_MAX;

/**
 * Errors: those of parseReceiptFile; else the code of the first check that failed, with the report in `data.report`:
 * bad_signature, conflict, those of chains, not_signed, bad_proof, quorum, not_entitled.
 */
export function verifyReceiptFile(bytes: Uint8Array, options: VerifyReceiptOptions): ReceiptReport {
  const report = examineReceiptFile(parseReceiptFile(bytes), options);
  const failed = report.checks.find(({ status }) => status === 'failed');
  if (failed === undefined) return report;
  throw new MeshError(failed.code ?? 'bad_proof', `Cannot accept the receipt: ${failed.check}: ${failed.text}`, {
    field: failed.check,
    id: report.id,
    report,
  });
}

/** The same report, whatever it says: a line that failed is told, not thrown. Errors: those of statements. */
export const examineReceiptFile = (file: ReceiptFile, options: VerifyReceiptOptions): ReceiptReport =>
  new Verification(file, options).run();

interface NotChecked {
  readonly notChecked: string;
}
const notChecked = (why: string): NotChecked => ({ notChecked: why });

interface LogSeen {
  readonly role: CallRole;
  readonly proof: ProofFile;
  readonly entry: Uint8Array;
}

class Verification {
  readonly #file: ReceiptFile;
  readonly #options: VerifyReceiptOptions;
  readonly #lines: ReceiptCheckLine[] = [];
  readonly #links = new Map<string, Statement<'delegation/v1'>>();
  /** As of the order, and with everything in the file. */
  readonly #then = new MeshState();
  readonly #now = new MeshState();
  readonly #heartbeats: Statement<'heartbeat/v1'>[] = [];
  readonly #atMs: number;
  readonly #since = new Set<string>();
  readonly #known = new Map<string, string | null>();
  readonly #logs: LogSeen[] = [];
  #authority: Authority | null = null;
  #calleeKey: Uint8Array | undefined;
  #tool: ReceiptReport['tool'] = null;

  constructor(file: ReceiptFile, options: VerifyReceiptOptions) {
    this.#file = file;
    this.#options = options;
    const { receipt, order, taking } = file;
    this.#atMs = order.payload.iat * 1000;
    const { half, by } = receipt.payload;
    this.#calleeKey = half !== true ? by[1] : this.#half === 'callee' ? by[0] : taking?.payload.by[0];
  }

  get #half(): CallRole | null {
    const { receipt, order } = this.#file;
    return receipt.payload.half === true ? halfRoleOf(receipt.payload, order) : null;
  }

  run(): ReceiptReport {
    this.#readStatements();
    this.#check('receipt', () => this.#verifyReceipt());
    this.#check('order', () => this.#verifyOrder());
    this.#check('taking', () => this.#verifyTaking());
    this.#check('handshake', () => this.#verifyHandshake());
    this.#check('caller', () => this.#verifyParty('caller'));
    this.#check('callee', () => this.#verifyParty('callee'));
    this.#check('callerLog', () => this.#verifyLog('caller'));
    this.#check('calleeLog', () => this.#verifyLog('callee'));
    this.#check('witnesses', () => this.#verifyWitnesses());
    this.#check('request', () => this.#verifyContent('request'));
    this.#check('result', () => this.#verifyContent('result'));
    this.#check('authority', () => this.#verifyAuthority());
    this.#check('need', () => this.#verifyNeed());
    return this.#report();
  }

  #check(check: ReceiptCheckName, run: () => string | NotChecked): void {
    try {
      const found = run();
      this.#lines.push(
        typeof found === 'string'
          ? { check, status: 'ok', text: found }
          : { check, status: 'notChecked', text: found.notChecked },
      );
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#lines.push({ check, status: 'failed', text: error.message, code: error.code });
    }
  }

  /** Errors: those of statements, for the first that is not one. */
  #readStatements(): void {
    const { isSignatureValid } = this.#options;
    const others: Statement[] = [];
    for (const envelope of this.#file.statements) {
      const statement = parseKnown(envelope);
      if (statement === undefined) continue;
      verifySignatures(statement, isSignatureValid);
      if (isOfKind(statement, 'delegation/v1')) this.#links.set(statement.id, statement);
      else if (isOfKind(statement, 'heartbeat/v1')) this.#heartbeats.push(statement);
      else others.push(statement);
    }
    const newest = Math.max(0, ...others.map(({ payload }) => payload.iat));
    // Of two in one second none is known to be the first, and a callee that knew of a revocation would not have taken the order.
    const isThen = ({ payload }: Statement): boolean =>
      payload.t === 'revocation/v1'
        ? payload.iat * 1000 < this.#atMs
        : payload.iat * 1000 <= this.#atMs || (payload.t === 'didop/v1' && payload.op === 'genesis');
    admitAll(this.#then, others.filter(isThen), Math.max(this.#atMs, newest * 1000));
    admitAll(this.#now, others, Math.max(this.#atMs, newest * 1000));
    // Each as of its own time, the newest last: a heartbeat outlives none that is newer.
    for (const heartbeat of this.#heartbeats.toSorted((a, b) => a.payload.iat - b.payload.iat))
      this.#now.admit(heartbeat, heartbeat.payload.iat * 1000);
  }

  // What the two signed

  #verifyReceipt(): string {
    const { receipt } = this.#file;
    verifySignatures(receipt, this.#options.isSignatureValid);
    const keys = receipt.payload.by.map(multikeyText).join('" and "');
    return this.#half === null ? `signed by both sides, "${keys}"` : `signed by the ${this.#half} alone, "${keys}"`;
  }

  #verifyOrder(): string {
    const { receipt, order } = this.#file;
    verifySignatures(order, this.#options.isSignatureValid);
    verifyOfOrder(receipt.payload, order);
    if (this.#half === null) verifySameKey('by', receipt.payload.by[0], callerKeyOf(order));
    return `signed by the caller, and the receipt is of it: call ${order.payload.n} to "${order.payload.srv}"`;
  }

  #verifyTaking(): string | NotChecked {
    const { taking, order } = this.#file;
    if (taking === undefined) return notChecked('the file holds none');
    verifySignatures(taking, this.#options.isSignatureValid);
    verifyTakingOf(taking, order);
    verifySameKey('by', taking.payload.by[0], this.#calleeKey);
    return 'signed by the callee: it had the order in its log before it did anything';
  }

  #verifyHandshake(): string | NotChecked {
    const { handshake, order, receipt } = this.#file;
    if (handshake === undefined)
      return notChecked(
        receipt.payload.half === true ? 'the file holds none' : 'both signed the receipt, which names it',
      );
    const { sid, hs, iss, aud } = order.payload;
    verifySame('hs', toHex(transcriptDigest(handshake)), toHex(hs));
    const [hello, offer, proof, result] = handshake.messages as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    const begun = parseHandshakeFrame('hello', hello);
    const offered = parseHandshakeFrame('offer', offer);
    const proved = parseHandshakeFrame('proof', proof);
    const granted = parseHandshakeFrame('result', result);
    verifySame('did', begun.did, iss);
    verifySame('to', begun.to, aud);
    verifySame('did', offered.did, aud);
    verifySame('sid', toHex(granted.sid), toHex(sid));
    const { isSignatureValid } = this.#options;
    const callerKeys = [callerKeyOf(this.#file.order)];
    const after = (count: number): Transcript => ({ ...handshake, messages: handshake.messages.slice(0, count) });
    const calleeKey = verifyShown(signatureShown('R', after(1), offered), this.#calleeKeys(), isSignatureValid, aud);
    verifyShown(signatureShown('I', after(2), proved), callerKeys, isSignatureValid, iss);
    verifyShown(signatureShown('R', after(3), granted), [calleeKey], isSignatureValid, aud);
    this.#calleeKey ??= calleeKey;
    return 'signed by both sides: they agreed on this session';
  }

  /** Out of which the callee's may be, where nothing in the receipt tells. */
  #calleeKeys(): Uint8Array[] {
    if (this.#calleeKey !== undefined) return [this.#calleeKey];
    const { ident, grant } = this.#file.parties.callee;
    const bound = [ident, grant].flatMap((id) => (id === undefined ? [] : (this.#links.get(id)?.payload.cnf ?? [])));
    const { keys = [] } = this.#then.didState(this.#file.order.payload.aud) ?? {};
    return [...bound, ...keys.filter(([, uses]) => uses.includes('auth')).map(([key]) => key)];
  }

  // Whose keys they were

  #verifyParty(role: CallRole): string | NotChecked {
    const { order, parties } = this.#file;
    const did = role === 'caller' ? order.payload.iss : order.payload.aud;
    const key = role === 'caller' ? callerKeyOf(order) : this.#calleeKey;
    if (key === undefined) return notChecked(`nothing in the file is signed by "${did}"`);
    const text = multikeyText(key);
    const leaves = [parties[role].ident, parties[role].grant].filter((id) => id !== undefined);
    if (leaves.length === 0) return this.#verifyOwnKey(did, key, text);
    const found = leaves.map((leaf) => this.#leadsTo(leaf, { did, key }));
    const root = found.find((one) => typeof one === 'string');
    if (root === undefined) throw found.find((one) => isMeshError(one)) ?? unknownRoot(did, this.#options.roots);
    return `"${text}" was the key of "${did}", as a chain from "${root}" shows`;
  }

  /**
   * The organisation at which a chain begins, or why it is none that was named: of two chains one is enough. Anything
   * else that is wrong with either counts. Errors: those of chains.
   */
  #leadsTo(leaf: string, holder: { readonly did: string; readonly key: Uint8Array }): string | MeshError {
    try {
      return this.#verifyLinks(leaf, holder).root;
    } catch (error) {
      if (isMeshError(error) && error.code === 'unknown_root') return error;
      throw error;
    }
  }

  #verifyOwnKey(did: string, key: Uint8Array, text: string): string {
    const { roots } = this.#options;
    if (!roots.has(did)) throw unknownRoot(did, roots);
    verifyAuthKey(this.#then, this.#atMs, did, key);
    this.#tellSince(() => verifyAuthKey(this.#now, this.#atMs, did, key));
    this.#verifyKnown([did]);
    return `"${text}" was a key of "${did}", one of the named organisations`;
  }

  /** A chain as it was then. */
  #verifyLinks(
    leaf: string,
    holder: { readonly did: string; readonly key: Uint8Array },
  ): { root: string; authority: Authority } {
    const { roots, isSignatureValid } = this.#options;
    const links = linksTo({ link: (id) => this.#links.get(id) }, leaf);
    for (const { id, payload } of links) this.#verifyBinding(id, payload, holder.did);
    const verifyBy = (view: MeshView): ReturnType<typeof startProgress> => {
      const progress = startProgress(this.#atMs);
      progress.links = links;
      // Each was verified when it was read.
      const check = { view, roots, nowMs: this.#atMs, isSignatureValid, isVerified: () => true };
      verifyStructure(progress, check);
      verifyHolder(view, this.#atMs, (links.at(-1) as Statement<'delegation/v1'>).payload, holder);
      return progress;
    };
    const { authority, organisations } = verifyBy(this.#then);
    this.#tellSince(() => verifyBy(this.#now));
    this.#verifyKnown(organisations);
    if (authority === null) throw new MeshError('internal', 'Cannot say what a chain grants: it was not walked');
    return { root: (links[0] as Statement<'delegation/v1'>).payload.sub, authority };
  }

  /**
   * Whoever may grant may grant to anybody, and bind any key: that it is the key of a party is for the party to say, or its
   * organisation. Errors: holder_mismatch.
   */
  #verifyBinding(id: string, { iss, aud, cnf }: Delegation, did: string): void {
    if (cnf === undefined || aud !== did || this.#maySpeakFor(did, iss)) return;
    throw new MeshError(
      'holder_mismatch',
      `Cannot take a key for that of "${did}": link "${id}" by "${iss}" binds it`,
      {
        id,
        is: iss,
        want: did,
      },
    );
  }

  #maySpeakFor(did: string, issuer: string): boolean {
    return issuer === did || issuer === this.#now.didState(did)?.organisation;
  }

  #tellSince(run: () => unknown): void {
    try {
      run();
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#since.add(error.message);
    }
  }

  /** That revocations of these are known up to shortly before the order at least. Errors: status_stale. */
  #verifyKnown(organisations: readonly string[]): void {
    for (const did of organisations) {
      const known = {
        heartbeatsOf: (organisation: string, nowMs: number) =>
          this.#now.heartbeatsOf(organisation, nowMs).map(({ statement }) => ({
            statement,
            // One that was made later knows more, not less.
            askedMs: Math.min(statement.payload.iat * 1000, this.#atMs),
          })),
        holdsOperation: (of: string, seq: number, id: string) => this.#now.holdsOperation(of, seq, id),
        holdsRevocations: (of: string, seq: number, head: string | null) => this.#now.holdsRevocations(of, seq, head),
      };
      const { stale } = freshnessOf(known, did, this.#atMs, { staleAfterSeconds: KNOWN_SECONDS });
      if (stale !== undefined)
        throw new MeshError('status_stale', `Cannot tell what "${did}" had revoked by then: ${STALE[stale]}`, { did });
      const newest = this.#now.heartbeatsOf(did, this.#atMs).map(({ statement }) => statement.payload.iat);
      this.#known.set(did, new Date(Math.max(...newest) * 1000).toISOString());
    }
  }

  // What was granted

  #verifyAuthority(): string | NotChecked {
    const { parties, order } = this.#file;
    const { grant } = parties.caller;
    if (grant === undefined) return notChecked('the caller showed no chain');
    const { root, authority } = this.#verifyLinks(grant, { did: order.payload.iss, key: callerKeyOf(order) });
    this.#authority = authority;
    const names = authority.capabilities.map(({ can }) => `"${can}"`).join(', ');
    return `granted by "${root}", good then: ${names}`;
  }

  /** The exposure may ask for another capability than the usual one: then the file cannot tell. */
  #verifyNeed(): string | NotChecked {
    if (this.#authority === null) return notChecked('no chain was found good');
    if (this.#tool === null) return notChecked('the file does not show which tool it was; the request would');
    const { name } = this.#tool;
    const { srv } = this.#file.order.payload;
    const request: GateRequest = { action: 'tool_call', tool: { server: srv, name } };
    const can = needOf(request, { name: srv, capability: null, needs: {} })?.can ?? '';
    const covering = this.#authority.capabilities.find((granted) => isCovered(can, granted.can));
    if (covering === undefined)
      return notChecked(
        `the chain does not name "${can}"; whether the callee asks for another capability is not shown`,
      );
    const said = this.#tool.shownBy === 'entry' ? ', by the entry that says which tool it was' : '';
    return `"${covering.can}" covers "${can}"${said}`;
  }

  // What the logs hold

  #verifyLog(role: CallRole): string | NotChecked {
    const { proofs, order } = this.#file;
    const shown = proofs.find((proof) => proof.role === role);
    if (shown === undefined) return notChecked('the file holds no proof of it');
    const entry = parseEntry(shown.entry);
    verifyEntry(entry, this.#options.isSignatureValid);
    const { source, data } = entry.entry;
    if (!isOfType(entry.entry, 'receipt.kept')) throw differs('type', entry.entry.type, 'agentmesh.receipt.kept.v1');
    const did = role === 'caller' ? order.payload.iss : order.payload.aud;
    verifySame('actor', data.actor, did);
    verifySame('role', entry.entry.data.role, role);
    const organisation = this.#now.didState(did)?.organisation ?? '';
    verifySame('source', source, organisation);
    this.#verifyLogger(did, organisation, data.sig.kid, role);
    const said = this.#verifyLogged(entry.entry.data.statement, role);
    const { tool } = data;
    if (tool !== undefined && this.#tool === null) this.#tool = { name: tool, shownBy: 'entry' };
    const proof = parseProofFile(shown.proof);
    this.#verifyInclusion(proof, shown.entry, organisation, undefined);
    this.#logs.push({ role, proof, entry: shown.entry });
    const { origin, treeSize } = proof.signed.checkpoint;
    return `entry ${proof.leafIndex} of "${origin}" (${treeSize} entries) holds ${said}`;
  }

  /** An entry is signed by the key of the session, or one of whoever keeps the log. */
  #verifyLogger(did: string, organisation: string, kid: string, role: CallRole): void {
    const key = role === 'caller' ? callerKeyOf(this.#file.order) : this.#calleeKey;
    if (key !== undefined && multikeyText(key) === kid) return;
    const bound = [...this.#links.values()].some(
      ({ payload: { iss, aud, cnf } }) =>
        aud === did && cnf !== undefined && multikeyText(cnf) === kid && this.#maySpeakFor(did, iss),
    );
    if (bound || this.#isListed(did, kid) || this.#isListed(organisation, kid)) return;
    throw new MeshError('key_unknown', `Cannot accept an entry: "${kid}" is no key of "${did}" that the file shows`, {
      did,
      key: kid,
    });
  }

  #isListed(did: string, kid: string): boolean {
    const state = this.#now.didState(did);
    return [...(state?.listed.keys() ?? [])].some((listed) => multikeyText(keyOfHex(listed)) === kid);
  }

  /** The other side of a half receipt may have logged another one, of the same order. */
  #verifyLogged(statement: string, role: CallRole): string {
    const { receipt, order } = this.#file;
    const logged = parseStatementOf('receipt/v1', bytesOfText(statement));
    if (equalBytes(logged.envelope, receipt.envelope)) return 'this receipt';
    const isOther = this.#half !== null && this.#half !== role;
    if (!isOther) throw differs('statement', logged.id, receipt.id);
    verifySignatures(logged, this.#options.isSignatureValid);
    verifyOfOrder(logged.payload, order);
    return `a receipt of its own, which says "${logged.payload.out}"`;
  }

  /** Errors: not_entitled, for a log that the organisation did not bind to itself. */
  #verifyInclusion(proof: ProofFile, entry: Uint8Array, organisation: string, policy: Policy | undefined): string[] {
    const { origin } = proof.signed.checkpoint;
    const vkey = parseLogOrigin(origin)?.vkey;
    const isBound = this.#now.bindingsOfOrigin(origin).some(({ payload }) => payload.iss === organisation);
    if (vkey === undefined || !isBound)
      throw new MeshError(
        'not_entitled',
        `Cannot count "${origin}" as a log of "${organisation}": it is not bound to it`,
        {
          did: organisation,
          id: origin,
        },
      );
    const { witnesses = [], groups = [], quorum } = policy ?? {};
    const verified = verifyProofFile(
      proof,
      leafHash(entry),
      { logs: [{ vkey }], witnesses, groups, quorum },
      this.#options.isSignatureValid,
    );
    return verified.cosignatures.map(({ vkey: { name } }) => name);
  }

  #verifyWitnesses(): string | NotChecked {
    const { policy } = this.#options;
    if (this.#logs.length === 0) return notChecked('no log holds the receipt, as far as is shown');
    const lines = this.#logs.map(({ role, proof, entry }) => {
      const { order } = this.#file;
      const did = role === 'caller' ? order.payload.iss : order.payload.aud;
      const organisation = this.#now.didState(did)?.organisation ?? '';
      if (policy === undefined) return `${proof.signed.note.signatures.length - 1} of the ${role}'s`;
      return `${this.#verifyInclusion(proof, entry, organisation, policy).length} of the ${role}'s`;
    });
    const counts = lines.join(', ');
    return policy === undefined
      ? notChecked(`no witness was named; lines beside the log's own: ${counts}`)
      : `cosigned by a quorum: ${counts}`;
  }

  // What was said

  #verifyContent(what: 'request' | 'result'): string | NotChecked {
    const { receipt, salts } = this.#file;
    const { req, res } = receipt.payload;
    const [committed, salt] = what === 'request' ? [req, salts.req] : [res, salts.res];
    const message = this.#options[what];
    if (committed === null) {
      if (message === undefined) return notChecked(`the receipt commits to no ${what}`);
      throw differs(what, 'given', 'none: the receipt commits to none');
    }
    if (message === undefined) return notChecked(`no ${what} was given`);
    if (salt === undefined) return notChecked('the file does not hold the salt of its commitment');
    const found = [message, withoutLineEnd(message)].find((bytes) =>
      equalBytes(requestCommitment(salt, bytes), committed),
    );
    if (found === undefined) throw differs(what, 'another', 'the one that was committed to');
    if (what === 'request') this.#tool = toolIn(found) ?? this.#tool;
    return `it is what the receipt commits to, byte for byte`;
  }

  // Telling

  #report(): ReceiptReport {
    const { receipt, order } = this.#file;
    const { iss, aud, sid, n, out, start, end } = receipt.payload;
    const checks = RECEIPT_CHECKS.flatMap((name) => this.#lines.filter(({ check }) => check === name));
    const isGood = (name: ReceiptCheckName): boolean =>
      checks.some(({ check, status }) => check === name && status === 'ok');
    const told = tellOf(this.#file, this.#half, isGood);
    return {
      id: receipt.id,
      order: order.id,
      half: this.#half,
      caller: iss,
      callee: aud,
      sid: toHex(sid),
      n,
      server: order.payload.srv,
      tool: this.#tool,
      outcome: out,
      startedAt: new Date(start).toISOString(),
      endedAt: new Date(end).toISOString(),
      checkedAsOf: new Date(this.#atMs).toISOString(),
      checks,
      knownThrough: [...this.#known].map(([did, asOf]) => ({ did, asOf })),
      since: [...this.#since],
      ...told,
    };
  }
}

/** In words, what follows against whom: nothing that rests on a check that was not found good. */
function tellOf(
  { receipt, taking, order }: ReceiptFile,
  half: CallRole | null,
  isGood: (check: ReceiptCheckName) => boolean,
): Pick<ReceiptReport, 'proven' | 'notProven'> {
  const proven: string[] = [];
  const notProven: string[] = [];
  const tell = (is: boolean, what: string): void => {
    (is ? proven : notProven).push(what);
  };
  const { out } = receipt.payload;
  const { srv, n } = order.payload;
  const isCaller = isGood('caller') && isGood('order');
  const isCallee = isGood('callee');
  tell(isCaller, `against the caller: it ordered call ${n} to "${srv}"`);
  if (taking !== undefined) tell(isCallee && isGood('taking'), 'against the callee: it took the order');
  if (half === null) {
    tell(isCallee && isGood('receipt'), `against the callee: it says that the call ended "${out}"`);
    tell(isCaller && isGood('receipt'), `against the caller: it accepted that the call ended "${out}"`);
  } else if (half === 'caller') {
    tell(isCallee && isGood('handshake'), 'against the callee: it agreed to the session in which that was ordered');
    if (taking === undefined) notProven.push('against the callee: that the order reached it');
    notProven.push(`against the callee: that the call ended "${out}"; that is the word of the caller alone`);
  } else {
    notProven.push(
      `against the caller: that the call ended "${out}", or that it got an answer; that is the word of the callee alone`,
    );
  }
  tell(isGood('request'), 'what was asked');
  tell(isGood('result'), 'what was answered');
  return { proven, notProven };
}

const STALE = {
  no_heartbeat: 'the file holds no heartbeat of it',
  incomplete: 'its heartbeat names what the file does not hold',
  too_old: 'its newest heartbeat is from long before',
  not_asked: 'its newest heartbeat is from long before',
} as const;

const unknownRoot = (did: string, roots: ReadonlySet<string>): MeshError =>
  new MeshError('unknown_root', `Cannot trust "${did}": want one of ${roots.size} organisations named`, { did });

function parseKnown(envelope: Uint8Array): Statement | undefined {
  try {
    return parseStatement(envelope);
  } catch (error) {
    if (isMeshError(error) && error.code === 'unknown_kind') return undefined; // what it says is for later versions
    throw error;
  }
}

function verifySameKey(field: string, is: Uint8Array | undefined, want: Uint8Array | undefined): void {
  verifySame(field, is === undefined ? 'none' : multikeyText(is), want === undefined ? 'none' : multikeyText(want));
}

function verifySame(field: string, is: string, want: string): void {
  if (is !== want) throw differs(field, is, want);
}

const differs = (field: string, is: string, want: string): MeshError =>
  new MeshError('conflict', `Cannot accept it: "${field}" is "${is}", want "${want}"`, { field, is, want });

const bytesOfText = (text: string): Uint8Array => fromBase64url(text) ?? new Uint8Array(); // by the schema of entries
const keyOfHex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array(); // as the state writes it

/** Files end a line where the wire had none. */
const withoutLineEnd = (message: Uint8Array): Uint8Array =>
  message.at(-1) === 0x0a ? message.subarray(0, message.at(-2) === 0x0d ? -2 : -1) : message;

function toolIn(request: Uint8Array): ReceiptReport['tool'] {
  const message = jsonOf(request);
  if (!isObject(message) || message.method !== 'tools/call' || !isObject(message.params)) return null;
  const { name } = message.params;
  return typeof name === 'string' ? { name, shownBy: 'request' } : null;
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined; // it was committed to all the same; only its tool is not known
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
