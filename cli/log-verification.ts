/** A log or a proof checked in this very process, from bytes: nothing is believed because a daemon says so. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogStatus } from '../protocol/control/index.ts';
import { isMeshError, limits, MeshError } from '../protocol/index.ts';
import {
  CHECKPOINT_PATH,
  formatNote,
  isQuorumMet,
  type LogFiles,
  parseCheckpoint,
  parseLogOrigin,
  parsePolicy,
  parseProofFile,
  type Policy,
  POLICY_PATH,
  parseWitnessName,
  type VerifiedCheckpoint,
  verifyNote,
} from '../protocol/log/index.ts';
import { filesIn, verifyLogFiles, verifyProof } from '../sdk/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { EXIT, exitOf } from './exit.ts';
import { isErrno, isFile, readBounded } from './files.ts';
import type { LogReportView, LogVerdict } from './views/log.ts';

/** The reader's own policy. */
export interface PolicySource {
  readonly file: string;
  readonly policy: Policy;
}

interface Asked {
  readonly policy: PolicySource | undefined;
  readonly nowMs: number;
  readonly ageSecondsMax?: number;
  readonly signal: AbortSignal;
}

/** Errors: not_found, malformed, key_type, too_large. */
export const readPolicy = async (file: string): Promise<PolicySource> => ({
  file,
  policy: inFile(file, 'a policy', parsePolicy, await readBounded(file, limits.POLICY_BYTES_MAX)),
});

/** What a person named for another purpose than to be checked. Errors: those of the work, naming the file. */
function inFile<T>(file: string, what: string, parse: (bytes: Uint8Array) => T, bytes: Uint8Array): T {
  try {
    return parse(bytes);
  } catch (error) {
    if (!isMeshError(error)) throw error;
    const data = { ...error.data, path: file, next: `name a file that holds ${what}` };
    throw new MeshError(error.code, `Cannot use "${file}" as ${what}: ${error.message}`, data, { cause: error });
  }
}

/** What a path leads to: the files of a log, or undefined for one file. Errors: not_found. */
export async function openTarget(path: string): Promise<LogFiles | undefined> {
  try {
    if (!(await stat(path)).isDirectory()) return undefined;
    if (isFile(join(path, CHECKPOINT_PATH))) return filesIn(path);
    const message = `Cannot verify "${path}": it holds no exported log, as it has no file "${CHECKPOINT_PATH}"`;
    throw new MeshError('not_found', message, { path });
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    if (isFile(`${path}${PROOF_SUFFIX}`)) return undefined;
    throw new MeshError('not_found', `Cannot verify "${path}": no such file or directory`, { path });
  }
}

export const PROOF_SUFFIX = '.tlog-proof';
export const ENTRY_SUFFIX = '.json';
export const withoutProofSuffix = (path: string): string =>
  path.endsWith(PROOF_SUFFIX) ? path.slice(0, -PROOF_SUFFIX.length) : path;

interface LogAsked extends Asked {
  /** Files of checkpoints that it must contain. */
  readonly since: readonly string[];
  /** Where a policy comes from that is not the reader's own. */
  readonly policyFrom: string;
  /** Whatever was released of it, as its own daemon has kept it: the log has to contain all of that. */
  readonly kept?: AsyncIterable<Uint8Array>;
  /** Why its own daemon halted it, which need not show in what it released; null or absent: it did not. */
  readonly problem?: LogStatus['problem'];
}

/** Errors: those of reading; what is wrong with the log is in the verdict. */
export async function checkLog(
  files: LogFiles,
  { policy: own, since, policyFrom, kept, problem = null, nowMs, ageSecondsMax, signal }: LogAsked,
): Promise<LogVerdict> {
  const known = await Promise.all(since.map(checkpointIn));
  const verdict = await verdictOf(async () => {
    if (problem !== null && (await files.read(CHECKPOINT_PATH)) === undefined) throw haltedFor(problem);
    const theirs = own === undefined ? await files.read(POLICY_PATH) : undefined;
    const policy = own?.policy ?? (theirs === undefined ? undefined : parsePolicy(theirs));
    // What comes with the log is its maker's word: it says which lines to look at, and decides nothing.
    const asked = own === undefined && policy !== undefined ? { ...policy, quorum: undefined } : policy;
    const released = kept === undefined ? [] : await verifiedNotes(kept, policy);
    const found = await verifyLogFiles(files, {
      nowMs,
      signal,
      since: [...known, ...released],
      ...(asked !== undefined && { policy: asked }),
      ...(ageSecondsMax !== undefined && { ageSecondsMax }),
    });
    const { entries, signatures, tiles } = found;
    const sizes = known.map(sizeIn);
    return {
      ...reportOf(found, policy, own?.file ?? policyFrom, own !== undefined),
      entries,
      signatures,
      tiles,
      since: since.map((file, i) => ({ file, treeSize: sizes[i] ?? 0 })),
      entry: null,
    };
  });
  return problem === null || !verdict.ok ? verdict : verdictOf(() => Promise.reject(haltedFor(problem)));
}

const KEPT_MAX = 1_000_000; // checkpoints compared: twelve days of a log that grows every second, in some 500 MB

/** As a daemon gives them, page by page. */
export async function* keptCheckpoints(files: LogFiles): AsyncGenerator<Uint8Array, void, undefined> {
  for (let [from, count] = [0, 0]; count < KEPT_MAX; ) {
    const page = await files.read(`checkpoints/${from}`);
    if (page === undefined) return;
    // A note ends where a line that is no signature follows one that is.
    const notes = Buffer.from(page)
      .toString('utf8')
      .split(/(?<=\n\u2014 [^\n]*\n)(?!\u2014 )/)
      .filter(Boolean);
    for (const note of notes) yield Buffer.from(note, 'utf8');
    count += notes.length;
    from = sizeIn(Buffer.from(notes.at(-1) ?? '', 'utf8')) + 1;
  }
}

/** Those whose lines verify: the log's own, and those of witnesses, as far as they or the policy say by which key. */
async function verifiedNotes(kept: AsyncIterable<Uint8Array>, policy: Policy | undefined): Promise<Uint8Array[]> {
  const notes: Uint8Array[] = [];
  for await (const bytes of kept) {
    const place = `checkpoint ${sizeIn(bytes)}`;
    try {
      const { checkpoint, note } = parseCheckpoint(bytes);
      const vkeys = [
        parseLogOrigin(checkpoint.origin)?.vkey,
        ...note.signatures.map(({ name }) => parseWitnessName(name)),
      ];
      const others = policy?.witnesses
        .map(({ vkey }) => vkey)
        .filter(({ name }) => parseWitnessName(name) === undefined);
      verifyNote(
        note,
        [...vkeys, ...(others ?? [])].filter((vkey) => vkey !== undefined),
        isSignatureValidSodium,
      );
    } catch (error) {
      if (!isMeshError(error)) throw error;
      throw new MeshError(error.code, `${error.message} ("${place}")`, { ...error.data, place }, { cause: error });
    }
    notes.push(bytes);
  }
  return notes;
}

const haltedFor = ({ message, place }: NonNullable<LogStatus['problem']>): MeshError =>
  new MeshError('log_halted', message, place === null ? {} : { place });

/** A proof may be named by its entry too. */
function placeOf(named: string): { readonly stem: string; readonly proofFile: string } {
  const ofEntry = named.endsWith(ENTRY_SUFFIX) ? named.slice(0, -ENTRY_SUFFIX.length) : undefined;
  const isEntry = ofEntry !== undefined && isFile(`${ofEntry}${PROOF_SUFFIX}`);
  const stem = isEntry ? ofEntry : withoutProofSuffix(named);
  return { stem, proofFile: isFile(named) && !isEntry ? named : `${stem}${PROOF_SUFFIX}` };
}

/** The entry is beside the proof unless it is named. Errors: those of reading; what is wrong is in the verdict. */
export async function checkProof(
  named: string,
  entryFile: string | undefined,
  { policy: own, nowMs, ageSecondsMax }: Asked,
): Promise<LogVerdict> {
  const { stem, proofFile } = placeOf(named);
  const proof = await readBounded(proofFile, limits.PROOF_FILE_BYTES_MAX);
  const beside = `${stem}${ENTRY_SUFFIX}`;
  if (entryFile === undefined && !isFile(beside))
    throw new MeshError('not_found', `Cannot verify "${named}": its entry is not beside it, in "${beside}"`, {
      path: beside,
      next: 'name the file of the entry with --entry',
    });
  const entry = await readBounded(entryFile ?? beside, limits.LOG_ENTRY_BYTES_MAX);
  return verdictOf(async () => {
    const found = verifyProof(proof, entry, own?.policy ?? policyOfOrigin(proof), {
      nowMs,
      ...(ageSecondsMax !== undefined && { ageSecondsMax }),
    });
    const { leafIndex } = found;
    const { id } = found.entry.entry;
    return {
      ...reportOf(found, own?.policy, own?.file ?? '', true),
      entries: null,
      signatures: null,
      tiles: null,
      since: [],
      entry: { index: leafIndex, id, entry: { ...found.entry.entry } },
    };
  });
}

/**
 * Without a policy of the reader's own: the origin of an AgentMesh log holds the key that must have signed, and whose
 * log that is remains to be known. Errors: malformed, not_signed.
 */
export function policyOfOrigin(proof: Uint8Array): Policy {
  const { origin } = parseProofFile(proof).signed.checkpoint;
  const vkey = parseLogOrigin(origin)?.vkey;
  if (vkey === undefined)
    throw new MeshError('not_signed', `Cannot check a proof of "${origin}" without a policy: its key is not known`);
  return { logs: [{ vkey }], witnesses: [], groups: [], quorum: undefined };
}

function reportOf(
  { checkpoint, cosignatures }: VerifiedCheckpoint,
  policy: Policy | undefined,
  from: string,
  enforced: boolean,
): Pick<LogReportView, 'origin' | 'treeSize' | 'root' | 'cosignatures' | 'policy'> {
  const { origin, treeSize, root } = checkpoint;
  const signed = new Set(cosignatures.map(({ vkey }) => vkey.name));
  const names = policy?.witnesses.filter(({ vkey }) => signed.has(vkey.name)).map(({ name }) => name) ?? [];
  return {
    origin,
    treeSize,
    root: Buffer.from(root).toString('base64'),
    cosignatures: cosignatures.map(({ vkey, timeSeconds = 0 }) => ({
      name: vkey.name,
      at: `${new Date(timeSeconds * 1000).toISOString().slice(0, 19)}Z`,
    })),
    policy:
      policy === undefined
        ? null
        : { from, enforced, quorumMet: isQuorumMet(policy, new Set(names)), hasQuorum: policy.quorum !== undefined },
  };
}

async function verdictOf(check: () => Promise<LogReportView>): Promise<LogVerdict> {
  try {
    return { ok: true, code: null, message: null, data: {}, report: await check() };
  } catch (error) {
    if (!isMeshError(error) || !isVerdict(error)) throw error;
    return { ok: false, code: error.code, message: error.message, data: error.data, report: null };
  }
}

/** A log that lacks a file, or whose daemon cannot read a row of it, is wrong; a directory without a checkpoint is no log. */
const isVerdict = ({ code, data }: MeshError): boolean =>
  code === 'not_found'
    ? data['path'] !== CHECKPOINT_PATH
    : code === 'log_halted' || code === 'store_corrupt' || exitOf(code) === EXIT.refused;

/** As it was signed; of a proof the one in it. Errors: not_found, malformed. */
async function checkpointIn(file: string): Promise<Uint8Array> {
  const bytes = await readBounded(file, limits.PROOF_FILE_BYTES_MAX);
  const isProof = bytes.subarray(0, 12).toString('latin1') === 'c2sp.org/tlo';
  return inFile(
    file,
    'a checkpoint',
    (held) => {
      if (isProof) return formatNote(parseProofFile(held).signed.note);
      parseCheckpoint(held);
      return held;
    },
    bytes,
  );
}

const sizeIn = (note: Uint8Array): number => Number(Buffer.from(note).toString('utf8').split('\n')[1] ?? 0);
