/**
 * Whom a relying party believes (C2SP tlog-policy): which logs, and which witnesses must have cosigned.
 *
 *   log <vkey> [<url>]
 *   witness <name> <vkey> [<url>]
 *   group <name> any|all|<k> <member>…
 *   quorum <name>|none             exactly once; everything is defined before it is used
 */
import { MeshError } from '../errors.ts';
import { POLICY_BYTES_MAX, POLICY_LINES_OF_A_KIND_MAX, SKEW_SECONDS } from '../limits.ts';
import type { IsSignatureValid } from '../signature.ts';
import { type Checkpoint, parseCheckpointText } from './checkpoint.ts';
import { type Note, verifyNote, type VerifiedSignature } from './note.ts';
import type { ProofFile } from './proof-file.ts';
import { malformed, utf8 } from './text.ts';
import { verifyInclusion } from './tree.ts';
import { formatVkey, isSameKey, LOG_KEY_TYPE, parseVkey, type Vkey, type VkeyType, WITNESS_KEY_TYPE } from './vkey.ts';

/** Octets, one character up to U+00FF each: to this format, names and URLs are not Unicode. */
export type Octets = string;
/** Means something within its policy only. */
export type PolicyName = Octets;

export interface PolicyLog {
  readonly vkey: Vkey;
  readonly url?: Octets;
}
export interface PolicyWitness extends PolicyLog {
  readonly name: PolicyName;
}
export interface PolicyGroup {
  readonly name: PolicyName;
  /** How many members must have witnessed. */
  readonly threshold: number;
  readonly members: readonly PolicyName[];
}
export interface Policy {
  readonly logs: readonly PolicyLog[];
  readonly witnesses: readonly PolicyWitness[];
  /** Members come before the groups that they are in. */
  readonly groups: readonly PolicyGroup[];
  /** Undefined for `quorum none`. */
  readonly quorum: PolicyName | undefined;
}

const WHAT = 'a witness policy';
const NONE = 'none';

/** Errors: too_large, malformed, key_type; data.line is the line, from 1. */
export function parsePolicy(bytes: Uint8Array): Policy {
  const lines = octetLines(bytes);
  const draft = new Draft();
  for (const [i, line] of lines.entries()) {
    const [keyword = '', ...items] = line.split(/[ \t]+/).filter((item) => item !== '');
    if (keyword === '' || keyword.startsWith('#')) continue;
    try {
      draft.add(keyword, items);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      throw new MeshError(error.code, `${error.message} (line ${i + 1})`, { line: i + 1 }, { cause: error });
    }
  }
  return draft.finished();
}

function octetLines(bytes: Uint8Array): string[] {
  if (bytes.length > POLICY_BYTES_MAX)
    throw new MeshError(
      'too_large',
      `Cannot read ${WHAT}: it has ${bytes.length} bytes, want at most ${POLICY_BYTES_MAX}`,
    );
  let text = '';
  for (const byte of bytes) {
    if ((byte < 0x20 && byte !== 0x09 && byte !== 0x0a) || byte === 0x7f)
      throw malformed(WHAT, 'it holds a control character other than tab and newline');
    text += String.fromCharCode(byte);
  }
  const lines = text.split('\n');
  if (lines.pop() !== '') throw malformed(WHAT, 'the last line has no end');
  return lines;
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Names of keys are Unicode, those of the policy are not. */
function textOf(octets: string): string {
  try {
    return strictUtf8.decode(Uint8Array.from(octets, (octet) => octet.charCodeAt(0)));
  } catch (cause) {
    throw new MeshError('malformed', `Cannot read ${WHAT}: a key is not UTF-8`, {}, { cause });
  }
}

class Draft {
  readonly #logs: PolicyLog[] = [];
  readonly #witnesses: PolicyWitness[] = [];
  readonly #groups: PolicyGroup[] = [];
  readonly #names = new Set<PolicyName>();
  readonly #members = new Set<PolicyName>();
  #quorum: PolicyName | undefined;

  add(keyword: string, items: readonly string[]): void {
    if (keyword === 'log') this.#addLog(items);
    else if (keyword === 'witness') this.#addWitness(items);
    else if (keyword === 'group') this.#addGroup(items);
    else if (keyword === 'quorum') this.#setQuorum(items);
    else throw malformed(WHAT, `"${keyword}" is not "log", "witness", "group" or "quorum"`);
  }

  finished(): Policy {
    const [logs, witnesses, groups] = [this.#logs, this.#witnesses, this.#groups];
    if (this.#quorum === undefined) throw malformed(WHAT, 'it has no quorum line');
    return { logs, witnesses, groups, quorum: this.#quorum === NONE ? undefined : this.#quorum };
  }

  #addLog([key, url, ...rest]: readonly string[]): void {
    if (key === undefined || rest.length > 0) throw malformed(WHAT, 'want "log <vkey> [<url>]"');
    this.#logs.push(this.#keyed(key, url, LOG_KEY_TYPE, this.#logs));
  }

  #addWitness([name, key, url, ...rest]: readonly string[]): void {
    if (name === undefined || key === undefined || rest.length > 0)
      throw malformed(WHAT, 'want "witness <name> <vkey> [<url>]"');
    this.#define(name);
    this.#witnesses.push({ name, ...this.#keyed(key, url, WITNESS_KEY_TYPE, this.#witnesses) });
  }

  #keyed(key: string, url: Octets | undefined, type: VkeyType, known: readonly PolicyLog[]): PolicyLog {
    checkCount(known);
    const vkey = parseVkey(textOf(key));
    if (vkey.type !== type)
      throw new MeshError(
        'key_type',
        `Cannot read ${WHAT}: the signature type of "${key}" is ${vkey.type}, want ${type}`,
      );
    // One who counts twice under two names would be a quorum of his own.
    if (known.some((other) => isSameKey(other.vkey, vkey)))
      throw malformed(WHAT, `the key of "${key}" is listed already`);
    return { vkey, ...(url === undefined ? {} : { url }) };
  }

  #addGroup([name, rule, ...members]: readonly string[]): void {
    if (name === undefined || rule === undefined || members.length === 0)
      throw malformed(WHAT, 'want "group <name> any|all|<k> <member>…"');
    checkCount(this.#groups);
    for (const member of members) {
      if (!this.#names.has(member)) throw malformed(WHAT, `member "${member}" is not defined yet`);
      if (this.#members.has(member)) throw malformed(WHAT, `"${member}" is a member already`);
      this.#members.add(member);
    }
    this.#define(name);
    this.#groups.push({ name, threshold: thresholdOf(rule, members.length), members });
  }

  #setQuorum([name, ...rest]: readonly string[]): void {
    if (name === undefined || rest.length > 0) throw malformed(WHAT, 'want "quorum <name>" or "quorum none"');
    if (this.#quorum !== undefined) throw malformed(WHAT, 'it has a second quorum line');
    if (name !== NONE && !this.#names.has(name)) throw malformed(WHAT, `quorum "${name}" is not defined yet`);
    this.#quorum = name;
  }

  #define(name: PolicyName): void {
    if (name === NONE || this.#names.has(name)) throw malformed(WHAT, `the name "${name}" is taken`);
    this.#names.add(name);
  }
}

function checkCount(known: readonly unknown[]): void {
  if (known.length >= POLICY_LINES_OF_A_KIND_MAX)
    throw new MeshError('too_large', `Cannot read ${WHAT}: it has over ${POLICY_LINES_OF_A_KIND_MAX} lines of a kind`);
}

function thresholdOf(rule: string, members: number): number {
  if (rule === 'any') return 1;
  if (rule === 'all') return members;
  const threshold = /^[1-9][0-9]{0,3}$/.test(rule) ? Number(rule) : 0;
  if (threshold < 1 || threshold > members)
    throw malformed(WHAT, `"${rule}" is not "any", "all" or a number from 1 to ${members}`);
  return threshold;
}

/** Errors: too_large, malformed, key_type, for what would not be read again as this policy. */
export function formatPolicy(policy: Policy): Uint8Array {
  const { logs, witnesses, groups, quorum = NONE } = policy;
  const lines = [
    ...logs.map(({ vkey, url }) => ['log', keyOctets(vkey), url]),
    ...witnesses.map(({ name, vkey, url }) => ['witness', name, keyOctets(vkey), url]),
    ...groups.map(({ name, threshold, members }) => ['group', name, ruleOf(threshold, members.length), ...members]),
    ['quorum', quorum],
  ];
  const text = lines.map((items) => `${items.filter((item) => item !== undefined).join(' ')}\n`).join('');
  const bytes = Uint8Array.from(text, (octet) => octetOf(octet));
  if (!isSamePolicy(parsePolicy(bytes), policy))
    throw new MeshError('malformed', 'Cannot write a witness policy: a name or URL would be read as something else');
  return bytes;
}

const keyOctets = (vkey: Vkey): Octets => String.fromCharCode(...utf8(formatVkey(vkey)));
const ruleOf = (threshold: number, members: number): string =>
  threshold === 1 ? 'any' : threshold === members ? 'all' : String(threshold);

function octetOf(letter: string): number {
  const octet = letter.codePointAt(0) ?? 0;
  if (octet > 0xff) throw new MeshError('malformed', `Cannot write a witness policy: "${letter}" is not an octet`);
  return octet;
}

/** Of a policy that was read and one that was not: it may hold an empty name, a space in one, or a quorum called "none". */
function isSamePolicy(a: Policy, b: Policy): boolean {
  const itemsOf = ({ logs, witnesses, groups, quorum }: Policy): unknown => [
    logs.map(({ vkey, url }) => [formatVkey(vkey), url]),
    witnesses.map(({ name, vkey, url }) => [name, formatVkey(vkey), url]),
    groups.map(({ name, threshold, members }) => [name, threshold, members]),
    quorum,
  ];
  return JSON.stringify(itemsOf(a)) === JSON.stringify(itemsOf(b));
}

/** Whether the quorum is met if exactly these witnesses cosigned. */
export function isQuorumMet(policy: Policy, cosigners: ReadonlySet<PolicyName>): boolean {
  if (policy.quorum === undefined) return true;
  const witnessed = new Set(policy.witnesses.map(({ name }) => name).filter((name) => cosigners.has(name)));
  for (const { name, threshold, members } of policy.groups)
    if (members.filter((member) => witnessed.has(member)).length >= threshold) witnessed.add(name);
  return witnessed.has(policy.quorum);
}

export interface Freshness {
  readonly nowMs: number;
  /** Cosignatures that are older do not count. */
  readonly ageSecondsMax: number;
}

export interface VerifiedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly log: Vkey;
  /** Every one by a witness of the policy, fresh or not, in the order of the note. */
  readonly cosignatures: readonly VerifiedSignature[];
}

/**
 * Signed by a log of the policy whose name is the origin, and cosigned by the quorum, where freshness is given lately.
 * Errors: malformed, bad_signature, not_signed, quorum.
 */
export function verifyCheckpoint(
  note: Note,
  policy: Policy,
  isSignatureValid: IsSignatureValid,
  freshness?: Freshness,
): VerifiedCheckpoint {
  const checkpoint = parseCheckpointText(note.text);
  const logs = policy.logs.map(({ vkey }) => vkey).filter(({ name }) => name === checkpoint.origin);
  const witnesses = policy.witnesses.map(({ vkey }) => vkey);
  const verified = verifyNote(note, [...logs, ...witnesses], isSignatureValid);
  const log = verified.find(({ vkey }) => vkey.type === LOG_KEY_TYPE)?.vkey;
  if (log === undefined)
    throw new MeshError(
      'not_signed',
      `Cannot accept checkpoint "${checkpoint.origin}": no log of the policy signed it`,
    );
  const cosignatures = verified.filter(({ vkey }) => vkey.type === WITNESS_KEY_TYPE);
  const fresh = new Set(cosignatures.filter((each) => isFresh(each, freshness)).map(({ vkey }) => vkey));
  const counted = policy.witnesses.filter(({ vkey }) => fresh.has(vkey)).map(({ name }) => name);
  if (!isQuorumMet(policy, new Set(counted)))
    throw new MeshError(
      'quorum',
      `Cannot accept checkpoint "${checkpoint.origin}": the ${counted.length} cosignatures that count are no quorum`,
      { is: counted.length },
    );
  return { checkpoint, log, cosignatures };
}

/** Clocks of honest witnesses may be ahead, by SKEW_SECONDS; what is dated later is no sign of life. */
function isFresh({ timeSeconds = 0 }: VerifiedSignature, freshness: Freshness | undefined): boolean {
  if (freshness === undefined) return true;
  const ageSeconds = freshness.nowMs / 1000 - timeSeconds;
  return ageSeconds <= freshness.ageSecondsMax && ageSeconds >= -SKEW_SECONDS;
}

/** That the entry with this leaf hash is in a log of the policy. Errors: bad_proof, and those of verifyCheckpoint. */
export function verifyProofFile(
  { leafIndex, hashes, signed }: ProofFile,
  hash: Uint8Array,
  policy: Policy,
  isSignatureValid: IsSignatureValid,
  freshness?: Freshness,
): VerifiedCheckpoint {
  const verified = verifyCheckpoint(signed.note, policy, isSignatureValid, freshness);
  const { treeSize, root } = verified.checkpoint;
  verifyInclusion(leafIndex, treeSize, hash, hashes, root);
  return verified;
}
