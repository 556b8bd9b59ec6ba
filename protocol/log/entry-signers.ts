/**
 * Whose keys sign the entries of a log, as far as the log itself shows them (SPEC "Audit entries"): `did.operation`
 * entries carry the operations that list keys, `credential.issued` entries the links that bind short-lived ones. Both
 * are signed by those whom they are about, so whoever keeps the log cannot make up keys for an agent that keeps its own.
 */
import { isCredential } from '../delegation/order.ts';
import { equalBytes, fromBase64url } from '../encoding/bytes.ts';
import { multikeyText, parseMultikeyText } from '../encoding/multikey.ts';
import { MeshError } from '../errors.ts';
import { didOfGenesis } from '../identity/did.ts';
import {
  controllerKeyOf,
  DidLog,
  genesisPath,
  type Operation,
  type PathState,
  successorPath,
} from '../identity/did-state.ts';
import type { Genesis } from '../identity/operations.ts';
import { LOG_CREDENTIALS_AN_AGENT_MAX, SKEW_SECONDS } from '../limits.ts';
import type { IsSignatureValid } from '../signature.ts';
import { parseStatementOf, verifySignatures } from '../statement/statement.ts';
import { type Entry, isOfType, type ParsedEntry } from './entry.ts';
import { type EntryDataOf, entryRow, type WireType } from './entry-types.ts';

interface Credential {
  readonly kid: string;
  readonly untilMs: number;
}

export class EntrySigners {
  readonly #isSignatureValid: IsSignatureValid;
  /** Of the first entry; all others must have the same. */
  #source: string | undefined;
  readonly #logs = new Map<string, DidLog>();
  /** By agent, the newest ones; older have expired. */
  readonly #credentials = new Map<string, readonly Credential[]>();
  /** Keys that signed for the organisation before its own operations, which follow leaf 0, could be read. */
  #unsettled: Set<string> | undefined = new Set();

  constructor(isSignatureValid: IsSignatureValid) {
    this.#isSignatureValid = isSignatureValid;
  }

  /**
   * Takes the next entry, in the order of the log, and returns the DID whose key it was signed with: the actor's, or
   * the organisation's where the type allows it. The entry's own signature is for verifyEntry.
   * Errors: key_unknown; for what shows keys: those of parseStatement, bad_signature, schema, not_entitled, pending.
   */
  read({ entry }: Pick<ParsedEntry, 'entry'>): string {
    this.#source ??= entry.source;
    if (entry.source !== this.#source)
      throw new MeshError(
        'not_entitled',
        `Cannot accept an entry: its source is "${entry.source}", want "${this.#source}"`,
        {
          did: entry.source,
          want: this.#source,
        },
      );
    if (isOfType(entry, 'did.operation')) this.#addOperation(entry.data);
    else if (isOfType(entry, 'credential.issued')) this.#addCredential(entry.data);
    return this.#signerOf(entry);
  }

  /** After the last entry: a log of nothing but its opening still has to show the organisation's key. Errors: key_unknown. */
  end(): void {
    this.#settle();
  }

  /** That the organisation's operations, as far as they were read, list this multikey for `sign`. Errors: key_unknown. */
  verifyOrganisationKey(multikey: Uint8Array): void {
    const [source, kid] = [this.#source ?? '', multikeyText(multikey)];
    if (!this.#isListed(source, kid)) throw keyUnknown(kid, `"${source}"`, source);
  }

  #signerOf(entry: Entry): string {
    const { actor, sig } = entry.data;
    if (this.#unsettled !== undefined) {
      if (actor === entry.source && (isOfType(entry, 'log.opened') || isOfType(entry, 'did.operation'))) {
        this.#unsettled.add(sig.kid);
        return actor;
      }
      this.#settle();
    }
    if (this.#isKeyOf(actor, sig.kid, Date.parse(entry.time))) return actor;
    const isForAny = entryRow(entry.type)?.signedBy === 'any';
    if (isForAny && this.#isListed(entry.source, sig.kid)) return entry.source;
    throw keyUnknown(sig.kid, isForAny ? `"${actor}" or its organisation` : `"${actor}"`, actor);
  }

  #settle(): void {
    const source = this.#source;
    for (const kid of this.#unsettled ?? []) {
      if (source !== undefined && !this.#isListed(source, kid)) throw keyUnknown(kid, `"${source}"`, source);
    }
    this.#unsettled = undefined;
  }

  #isKeyOf(did: string, kid: string, atMs: number): boolean {
    if (this.#isListed(did, kid)) return true;
    const held = this.#credentials.get(did)?.find((credential) => credential.kid === kid);
    return held !== undefined && atMs <= held.untilMs + SKEW_SECONDS * 1000;
  }

  /** Ever: what became of the key since, entries before it show. */
  #isListed(did: string, kid: string): boolean {
    return this.#logs.get(did)?.isListed(parseMultikeyText(kid), 'sign') ?? false;
  }

  #addOperation(data: EntryDataOf<WireType<'did.operation'>>): void {
    const operation = parseStatementOf('didop/v1', bytesOf(data.statement));
    verifySignatures(operation, this.#isSignatureValid);
    const did = operation.payload.op === 'genesis' ? didOfGenesis(operation.id) : operation.payload.iss;
    const path = operation.payload.op === 'genesis' ? this.#genesis(operation) : this.#successor(operation, did);
    verifySame('did', data.did, did);
    verifySame('operation', data.operation, operation.payload.op);
    verifySame('seq', data.seq, path.seq);
    const log = this.#logs.get(did);
    if (log === undefined) this.#logs.set(did, new DidLog(operation));
    else if (log.operation(operation.id) === undefined) log.add(operation, path);
  }

  #genesis(operation: Operation): PathState {
    const path = genesisPath(operation);
    const organisation = path.ctl ?? path.did;
    if (organisation !== this.#source)
      throw new MeshError(
        'not_entitled',
        `Cannot accept an operation of "${path.did}": it is none of this log's organisation`,
        {
          did: path.did,
        },
      );
    if (path.ctl !== undefined) {
      const key = multikeyText(controllerKeyOf(operation.payload as Genesis));
      if (!this.#isListed(path.ctl, key)) throw keyUnknown(key, `"${path.ctl}"`, path.ctl);
    }
    return path;
  }

  #successor(operation: Operation, did: string): PathState {
    const prv = 'prv' in operation.payload ? operation.payload.prv.text : '';
    const before = this.#logs.get(did)?.path(prv);
    if (before === undefined)
      throw new MeshError(
        'pending',
        `Cannot accept an operation of "${did}": the one that it follows is not in the log`,
        {
          did,
          waitsFor: prv,
        },
      );
    return successorPath(operation, before);
  }

  #addCredential(data: EntryDataOf<WireType<'credential.issued'>>): void {
    const link = parseStatementOf('delegation/v1', bytesOf(data.statement));
    verifySignatures(link, this.#isSignatureValid);
    const { payload } = link;
    verifySame('did', data.did, payload.iss);
    verifySame('leaf', data.leaf, link.id);
    verifySame('until', Date.parse(data.until), payload.exp * 1000);
    if (!isCredential(payload) || payload.cnf === undefined || !equalBytes(payload.cnf, parseMultikeyText(data.key)))
      throw new MeshError(
        'schema',
        'Cannot accept field "data.statement": want a credential of the key in "data.key"',
        {
          field: 'data.statement',
        },
      );
    const [key] = payload.by;
    if (key === undefined || !(this.#logs.get(payload.iss)?.isListed(key, 'delegate') ?? false))
      throw keyUnknown(key === undefined ? '' : multikeyText(key), `"${payload.iss}"`, payload.iss);
    const held = this.#credentials.get(data.did) ?? [];
    const credential = { kid: data.key, untilMs: Date.parse(data.until) };
    this.#credentials.set(data.did, [credential, ...held].slice(0, LOG_CREDENTIALS_AN_AGENT_MAX));
  }
}

const bytesOf = (base64url: string): Uint8Array => fromBase64url(base64url) ?? new Uint8Array(); // parsed: never undefined

const keyUnknown = (kid: string, of: string, did: string): MeshError =>
  new MeshError('key_unknown', `Cannot accept an entry: key "${kid}" is none that the log has shown to be of ${of}`, {
    key: kid,
    did,
  });

function verifySame(member: string, is: number | string, want: number | string): void {
  if (is !== want)
    throw new MeshError('schema', `Cannot accept field "data.${member}": it is "${is}", the statement says "${want}"`, {
      field: `data.${member}`,
      is,
      want,
    });
}
