/** The control API's answers about the audit log, its witnesses and convictions. */
import type {
  Caller,
  ControlBackend,
  ConvictionAnswer,
  ConvictionProofView,
  ConvictionView,
  CosignatureView,
  LogAppendBody,
  LogEntryView,
  LogStatus,
  LogSummary,
  OwnWitness,
} from '../../../protocol/control/index.ts';
import {
  concatBytes,
  fromBase64url,
  isMeshError,
  type IsSignatureValid,
  isMeshDid,
  type JsonObject,
  limits,
  MeshError,
  type MeshState,
  toBase64url,
} from '../../../protocol/index.ts';
import {
  createEntry,
  createUuid7,
  type Entry,
  formatNote,
  formatPolicy,
  formatProofFile,
  formatVkey,
  isQuorumMet,
  isUuid7,
  parseEntry,
  parseTilePath,
  type ParsedEntry,
  parseCheckpoint,
  parseUuid7,
  type Policy,
  type SignedCheckpoint,
  verifyEntry,
  verifyNote,
  type Vkey,
  wireTypeOf,
} from '../../../protocol/log/index.ts';
import type { Clock, Random, Signer } from '../../ports.ts';
import type { HeldCredential } from '../agents.ts';
import type { AuditLog } from './audit-log.ts';
import type { Conviction, Convictions } from './convictions.ts';
import type { Cosigning } from './cosigning.ts';
import type { Mirrors } from './mirrors.ts';
import type { Monitor } from './monitor.ts';
import type { EntryActors } from './recorder.ts';

export interface LogBackendComponents {
  /** The log as it is now: recovery begins another. */
  readonly auditLog: () => AuditLog;
  /** The leaf index, once the entry is durable; while a log is begun, after what it shows first. Errors: of AuditLog.append. */
  readonly append: (entry: ParsedEntry) => Promise<number>;
  /** Of that log. */
  readonly cosigning: () => Pick<Cosigning, 'policy' | 'status' | 'witnessed'>;
  readonly convictions: Pick<Convictions, 'list' | 'get' | 'lift'>;
  readonly monitor: Pick<Monitor, 'status'>;
  readonly mirrors: Pick<Mirrors, 'status'>;
  /** The own witness: its key, the notes that it cosigned last, where it listens for HTTP. */
  readonly witness: {
    readonly vkey: Vkey;
    readonly notes: () => AsyncIterable<Uint8Array>;
    readonly listening: () => string | null;
  };
  readonly actors: EntryActors;
  /** Of an own agent, while it is in force. */
  readonly credential: (did: string) => HeldCredential | undefined;
  /** The agent may act now. Errors: not_found, suspended, revoked. */
  readonly verifyMayAct: (did: string) => void;
  /** The agent's own key, which is not revoked. */
  readonly isKeyOf: (did: string, publicKey: string) => boolean;
  /** Errors: conflict (nothing is wrong), unreachable, not_found, bad_proof. */
  /** Resolves with how many entries are lost, where that is counted. */
  readonly recover: (
    how: 'new_generation' | 'mirrors',
    reason: string,
    signal: AbortSignal,
  ) => Promise<number | undefined>;
  readonly state: Pick<MeshState, 'bindingOfOrigin'>;
  readonly organisation: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly isSignatureValid: IsSignatureValid;
}

type LogOperation =
  | 'logStatus'
  | 'logEntries'
  | 'logEntry'
  | 'logAppend'
  | 'logProof'
  | 'logFile'
  | 'logPolicy'
  | 'logRecover'
  | 'witnessStatus'
  | 'convictionList'
  | 'convictionShow'
  | 'convictionLift';

export interface LogBackend {
  readonly operations: Pick<ControlBackend, LogOperation>;
  /** For the status of the daemon. */
  readonly summary: () => Promise<LogSummary>;
}

const PAGE = 256; // entries read at a time: a bundle
const utf8 = new TextEncoder();

export function createLogBackend(components: LogBackendComponents): LogBackend {
  const { auditLog, cosigning, convictions, monitor, mirrors, witness, actors, organisation } = components;
  const { clock, random, isSignatureValid, state } = components;
  const ageOf = (atMs: number): number => Math.max(0, Math.round((clock.nowMs() - atMs) / 1000));

  /** Of the newest entry, by what it says itself; remembered, as it is asked for again and again. */
  let headAt: { readonly log: AuditLog; readonly treeSize: number; readonly at: string | null } | undefined;
  const headTime = async (log: AuditLog): Promise<string | null> => {
    const { treeSize } = log;
    if (headAt?.log !== log || headAt.treeSize !== treeSize) {
      headAt = { log, treeSize, at: treeSize === 0 ? null : await timeOf(log, treeSize - 1) };
    }
    return headAt.at;
  };

  const cosignaturesOf = (signed: SignedCheckpoint, policy: Policy): CosignatureView[] => {
    const vkeys = [...policy.logs, ...policy.witnesses].map(({ vkey }) => vkey);
    const operators = operatorsOf(policy);
    return verifyNote(signed.note, vkeys, isSignatureValid).flatMap(({ vkey, timeSeconds }) =>
      timeSeconds === undefined
        ? []
        : [
            {
              name: vkey.name,
              did: operators.get(vkey.name) ?? null,
              at: timeOfSeconds(timeSeconds),
              ageSeconds: ageOf(timeSeconds * 1000),
            },
          ],
    );
  };
  const isQuorumMetBy = (policy: Policy, cosignatures: readonly CosignatureView[]): boolean => {
    const cosigned = new Set(cosignatures.map(({ name }) => name));
    const names = policy.witnesses.filter(({ vkey }) => cosigned.has(vkey.name)).map(({ name }) => name);
    return isQuorumMet(policy, new Set(names));
  };
  const releasedView = (log: AuditLog, policy: Policy): LogStatus['released'] => {
    const signed = log.released();
    if (signed === undefined) return null;
    const cosignatures = cosignaturesOf(signed, policy);
    const { treeSize, root } = signed.checkpoint;
    return { treeSize, root: toBase64(root), cosignatures, quorumMet: isQuorumMetBy(policy, cosignatures) };
  };
  const problemView = ({ problem }: AuditLog): LogStatus['problem'] =>
    problem === undefined ? null : { code: problem.code, message: problem.message, place: problem.place ?? null };
  const monitorView = (): LogStatus['monitor'] => {
    const { logs, checkpoints, proven, withheld } = monitor.status();
    const views = withheld.map(({ sinceMs, lastMs, ...held }) => ({
      ...held,
      since: timeOfSeconds(sinceMs / 1000),
      last: timeOfSeconds(lastMs / 1000),
    }));
    return { logs, checkpoints, proven, withheld: views };
  };

  const status = async (): Promise<LogStatus> => {
    const log = auditLog();
    const policy = cosigning().policy();
    const at = await headTime(log);
    return {
      origin: log.origin,
      generation: log.generation,
      vkey: formatVkey(log.vkey),
      treeSize: log.treeSize,
      root: rootOf(log),
      headAt: at,
      headAgeSeconds: at === null ? null : ageOf(Date.parse(at)),
      released: releasedView(log, policy),
      policy: policyText(policy),
      watched: policy.witnesses.length > 0,
      witnesses: cosigning()
        .status()
        .witnesses.map(
          ({ did, name, treeSize, timeSeconds, isReachable, error }): OwnWitness => ({
            name,
            did,
            treeSize,
            cosignedAt: timeSeconds === null ? null : timeOfSeconds(timeSeconds),
            ageSeconds: timeSeconds === null ? null : ageOf(timeSeconds * 1000),
            reachable: isReachable,
            error,
          }),
        ),
      problem: problemView(log),
      monitor: monitorView(),
      mirrors: mirrors.status().map(({ organisation: did, ...copy }) => ({ did, ...copy })),
    };
  };

  /** An agent sees what it did itself. Errors: not_found. */
  const entryAt = async (at: string, caller: Caller): Promise<{ index: number; parsed: ParsedEntry }> => {
    const { files } = auditLog();
    const index = isUuid7(at) ? await files.indexOf(parseUuid7(at).bytes) : Number(at);
    const bytes = index === undefined ? undefined : await files.entry(index);
    const parsed = bytes === undefined ? undefined : parseEntry(bytes);
    if (index === undefined || parsed === undefined || !isVisible(parsed.entry, caller))
      throw new MeshError('not_found', `Cannot find entry "${at}": the log has none`, { id: at });
    if (isUuid7(at) && parsed.entry.id !== at) {
      const message = `Cannot find entry "${at}": the row of its id leads to entry ${index}, which is "${parsed.entry.id}"`;
      throw new MeshError('store_corrupt', message, { place: `id of entry ${index}` });
    }
    return { index, parsed };
  };

  /** What an agent that keeps its own key has signed, before it is believed. Errors: those of the route. */
  const verifyGiven = (parsed: ParsedEntry, actor: string): void => {
    const { source, data, type, time } = parsed.entry;
    const refuse = (field: string, is: string, want: string): MeshError =>
      new MeshError('schema', `Cannot accept an entry: ${field} is "${is}", want "${want}"`, { field, is, want });
    if (source !== organisation) throw refuse('source', source, organisation);
    if (data.actor !== actor) throw refuse('data.actor', data.actor, actor);
    verifyOwnType(type);
    if (!components.isKeyOf(actor, data.sig.kid)) {
      throw new MeshError('key_unknown', `Cannot accept an entry: "${data.sig.kid}" is no key of "${actor}"`, {
        key: data.sig.kid,
        did: actor,
      });
    }
    verifyEntry(parsed, isSignatureValid);
    verifyNow(time, clock.nowMs());
  };
  const entryOf = (body: LogAppendBody, actor: string): ParsedEntry => {
    if (body.entry === undefined) return createFor(body, actor);
    const extra = Object.keys(body).find((name) => !['as', 'entry', 'witnessed'].includes(name));
    if (extra !== undefined)
      throw new MeshError('bad_request', `Cannot accept "${extra}" beside "entry", which says it all`, {
        field: extra,
      });
    const parsed = parseEntry(fromBase64url(body.entry) as Uint8Array); // canonical by the schema
    verifyGiven(parsed, actor);
    return parsed;
  };
  const signerOf = (actor: string): Signer => {
    const signer = actor === organisation ? actors.signer(actor) : components.credential(actor)?.signer;
    if (signer !== undefined) return signer;
    throw new MeshError(
      'key_missing',
      `Cannot log for "${actor}": it has no credential now; it can sign the entry itself`,
      {
        did: actor,
      },
    );
  };
  const createFor = (body: LogAppendBody, actor: string): ParsedEntry => {
    const {
      type = wireTypeOf('agent.action'),
      phase = 'outcome',
      subject,
      facts,
      witnessed: _,
      as: __,
      ...members
    } = body;
    verifyOwnType(type);
    const principal = members.principal ?? actors.principal(actor);
    const timeMs = clock.nowMs();
    return createEntry(
      {
        id: createUuid7(timeMs, random.bytes(16)),
        source: organisation,
        timeMs,
        type,
        ...(subject !== undefined && { subject }),
        data: {
          ...members,
          actor,
          phase,
          ...(principal !== undefined && { principal }),
          ...(facts !== undefined && { facts: facts as JsonObject }), // the encoder refuses what JSON cannot hold
        },
      },
      signerOf(actor),
    );
  };

  /** Before anything is written: so many witnesses will never cosign. Errors: quorum. */
  const verifyKnown = (witnessed: number): void => {
    const { operators } = cosigning().status();
    if (witnessed <= operators) return;
    throw new MeshError(
      'quorum',
      `Cannot have an entry witnessed by ${witnessed}: operators of witnesses known are ${operators}`,
      { is: operators, want: witnessed },
    );
  };

  const fileOf = async (path: string): Promise<Uint8Array | undefined> => {
    const log = auditLog();
    if (path === 'checkpoint') {
      const signed = log.released();
      return signed === undefined ? undefined : formatNote(signed.note);
    }
    const from = /^checkpoints\/(0|[1-9][0-9]{0,14})$/.exec(path)?.[1];
    if (from !== undefined) {
      const kept = await log.files.checkpoints(Number(from), PAGE);
      return kept.length === 0 ? undefined : concatBytes(...kept.map(({ note }) => formatNote(note)));
    }
    if (path === 'log.v0.vkey') return utf8.encode(`${formatVkey(log.vkey)}\n`);
    if (path === 'policy') return formatPolicy(cosigning().policy());
    return log.files.tile(parseTilePath(path));
  };

  const summary = async (): Promise<LogSummary> => {
    const log = auditLog();
    const policy = cosigning().policy();
    const released = releasedView(log, policy);
    return {
      origin: log.origin,
      treeSize: log.treeSize,
      headAt: await headTime(log),
      releasedSize: released?.treeSize ?? null,
      cosigners: released?.cosignatures.length ?? 0,
      quorumMet: released?.quorumMet ?? false,
      watched: policy.witnesses.length > 0,
      problem: problemView(log),
    };
  };

  const operations: LogBackend['operations'] = {
    logStatus: status,
    logEntries: async ({ query }) => {
      const { files } = auditLog();
      const limit = query.limit === undefined ? limits.LOG_ENTRIES_A_PAGE_DEFAULT : Number(query.limit);
      if (limit < 1 || limit > limits.LOG_ENTRIES_A_PAGE_MAX) {
        const want = limits.LOG_ENTRIES_A_PAGE_MAX;
        throw new MeshError('bad_request', `Cannot accept "limit" in the query: want 1 to ${want}`, {
          field: 'limit',
          want,
        });
      }
      const { treeSize } = files;
      const from = query.after === undefined ? 0 : Number(query.after) + 1;
      const to = query.before === undefined ? treeSize : Math.min(Number(query.before), treeSize);
      const range = { from, to: Math.max(from, to), isOldestFirst: query.order === 'oldest', limit };
      return { ...(await scan(files, range, filterOf(query))), treeSize };
    },
    logEntry: async ({ params: { at } }, caller) => {
      const { index, parsed } = await entryAt(at, caller);
      const { entry, bytes } = parsed;
      return { index, id: entry.id, entry: { ...entry }, bytes: toBase64url(bytes) };
    },
    logAppend: async ({ body }, _caller, signal) => {
      const actor = body.as ?? organisation;
      if (actor !== organisation) components.verifyMayAct(actor);
      const { witnessed } = body;
      verifyKnown(witnessed ?? 0);
      const parsed = entryOf(body, actor);
      const { id } = parsed.entry;
      const index = await components.append(parsed);
      if (witnessed === undefined) return { index, id, cosigned: null };
      try {
        const signed = await cosigning().witnessed(index + 1, witnessed, { signal });
        const cosigners = cosignaturesOf(signed, cosigning().policy()).length;
        return { index, id, cosigned: { treeSize: signed.checkpoint.treeSize, cosigners } };
      } catch (error) {
        if (!isMeshError(error)) throw error;
        // It is in the log all the same: whoever tries again should not log it twice.
        const message = `${error.message}; entry ${index} is logged`;
        throw new MeshError(error.code, message, { ...error.data, index, id }, { cause: error });
      }
    },
    logProof: async ({ params: { at }, query }, caller, signal) => {
      const { index, parsed } = await entryAt(at, caller);
      const log = auditLog();
      const released = log.released();
      const count = query.witnessed === undefined ? 0 : Number(query.witnessed);
      const isEnough = count === 0 && released !== undefined && released.checkpoint.treeSize > index;
      const signed = isEnough ? released : await cosigning().witnessed(index + 1, count, { signal });
      const { treeSize } = signed.checkpoint;
      const hashes = await log.files.proveInclusion(index, treeSize);
      return {
        index,
        id: parsed.entry.id,
        bytes: toBase64url(parsed.bytes),
        proof: toBase64url(formatProofFile({ leafIndex: index, hashes, signed })),
        treeSize,
        cosignatures: cosignaturesOf(signed, cosigning().policy()),
      };
    },
    logFile: async ({ query: { path } }) => {
      const bytes = await fileOf(path);
      if (bytes === undefined)
        throw new MeshError('not_found', `Cannot read "${path}": the log has no such file`, { path });
      return { path, bytes: toBase64url(bytes) };
    },
    logPolicy: async () => ({ policy: policyText(cosigning().policy()) }),
    logRecover: async ({ body: { how, reason } }, _caller, signal) => {
      const lost = (await components.recover(how, reason, signal)) ?? null;
      return { ...(await status()), lost };
    },

    witnessStatus: async () => {
      const logs = [];
      for await (const bytes of witness.notes()) {
        const { checkpoint, note } = parseCheckpoint(bytes);
        const { origin, treeSize, root } = checkpoint;
        const [own] = verifyNote(note, [witness.vkey], isSignatureValid);
        logs.push({
          origin,
          did: state.bindingOfOrigin(origin)?.payload.iss ?? null,
          treeSize,
          root: toBase64(root),
          cosignedAt: own?.timeSeconds === undefined ? null : timeOfSeconds(own.timeSeconds),
        });
      }
      return { name: witness.vkey.name, vkey: formatVkey(witness.vkey), listening: witness.listening(), logs };
    },

    convictionList: async () => ({ convictions: convictions.list().map(convictionView) }),
    convictionShow: async ({ params: { did } }) => {
      const conviction = convictions.get(did);
      if (conviction === undefined)
        throw new MeshError('not_found', `Cannot show a conviction of "${did}": no proof against it is held`, { did });
      return convictionAnswer(conviction);
    },
    convictionLift: async ({ params: { did }, body: { reason } }) => {
      if (convictions.get(did)?.isInForce === false)
        throw new MeshError('conflict', `Cannot lift the conviction of "${did}": it is lifted`, { did });
      return convictionAnswer(await convictions.lift(did, reason));
    },
  };
  return { operations, summary };
}

/** What says that a log is halted must not fail for what halted it. */
async function timeOf(log: AuditLog, index: number): Promise<string | null> {
  try {
    const bytes = await log.files.entry(index);
    return bytes === undefined ? null : parseEntry(bytes).entry.time;
  } catch (error) {
    if (log.problem === undefined || !isMeshError(error)) throw error;
    return null;
  }
}

/** Null: no head can be read. */
function rootOf(log: AuditLog): string | null {
  try {
    return toBase64(log.root);
  } catch (error) {
    if (log.problem === undefined || !isMeshError(error)) throw error;
    return null;
  }
}

const isVisible = ({ data }: Entry, caller: Caller): boolean => caller.kind === 'operator' || data.actor === caller.did;

/** An agent says what it does; what the daemon decides, the daemon says. Errors: forbidden. */
function verifyOwnType(type: string): void {
  if (!type.startsWith('agentmesh.') || type === wireTypeOf('agent.action')) return;
  const want = wireTypeOf('agent.action');
  throw new MeshError(
    'forbidden',
    `Cannot log "${type}": the daemon alone does; want "${want}" or a type of your own`,
    {
      field: 'type',
      want,
    },
  );
}

/** Errors: too_early, expired. */
function verifyNow(time: string, nowMs: number): void {
  const aheadSeconds = (Date.parse(time) - nowMs) / 1000;
  if (Math.abs(aheadSeconds) <= limits.SKEW_SECONDS) return;
  const code = aheadSeconds > 0 ? 'too_early' : 'expired';
  throw new MeshError(code, `Cannot accept an entry of "${time}": want a time within ${limits.SKEW_SECONDS} s of now`, {
    field: 'time',
    want: limits.SKEW_SECONDS,
  });
}

/** The entry, if it is asked for. */
type Filter = (bytes: Uint8Array) => ParsedEntry | undefined;

/** Canonical JSON ends in the members whose names sort last: so most entries are told apart without being parsed. */
const TAIL = /"time":"([^"]+)","type":"([^"]+)"\}$/;
const TAIL_BYTES = limits.LOG_TYPE_TEXT_MAX + 64;

function filterOf({
  actor,
  types,
  since,
  until,
}: {
  readonly actor?: string;
  readonly types?: string;
  readonly since?: string;
  readonly until?: string;
}): Filter {
  const wanted = types?.split(',') ?? [];
  const sinceMs = since === undefined ? Number.NEGATIVE_INFINITY : Date.parse(since);
  const untilMs = until === undefined ? Number.POSITIVE_INFINITY : Date.parse(until);
  const isOfWanted = (type: string): boolean =>
    wanted.length === 0 || wanted.some((each) => type === each || type.startsWith(`${each}.`));
  const isWithin = (time: string): boolean => Date.parse(time) >= sinceMs && Date.parse(time) <= untilMs;
  return (bytes) => {
    const raw = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (actor !== undefined && !raw.includes(actor)) return undefined;
    const [, time = '', type = ''] = TAIL.exec(raw.toString('latin1', Math.max(0, raw.length - TAIL_BYTES))) ?? [];
    if (time !== '' && !(isOfWanted(type) && isWithin(time))) return undefined;
    const parsed = parseEntry(bytes);
    const { entry } = parsed;
    const fits = (actor === undefined || entry.data.actor === actor) && isOfWanted(entry.type) && isWithin(entry.time);
    return fits ? parsed : undefined;
  };
}

interface ScanRange {
  readonly from: number;
  readonly to: number;
  readonly isOldestFirst: boolean;
  readonly limit: number;
}

/** As far as one answer goes: `limit` entries found, or LOG_ENTRIES_SCANNED_MAX looked at. */
async function scan(
  files: Pick<AuditLog['files'], 'entries'>,
  { from, to, isOldestFirst, limit }: ScanRange,
  filter: Filter,
): Promise<{ entries: LogEntryView[]; next: number | null; scanned: number }> {
  const entries: LogEntryView[] = [];
  let scanned = 0;
  let [low, high] = [from, to]; // what is left
  while (low < high && entries.length < limit && scanned < limits.LOG_ENTRIES_SCANNED_MAX) {
    const start = isOldestFirst ? low : Math.max(low, high - PAGE);
    const page = await pageOf(files, start, isOldestFirst ? Math.min(high, low + PAGE) : high);
    for (const { index, bytes } of isOldestFirst ? page : page.toReversed()) {
      if (entries.length === limit) break;
      const found = filter(bytes);
      if (found !== undefined) entries.push({ index, id: found.entry.id, entry: { ...found.entry } });
      scanned += 1;
      if (isOldestFirst) low = index + 1;
      else high = index;
    }
    if (page.length === 0) break;
  }
  return { entries, next: low < high ? (isOldestFirst ? low - 1 : high) : null, scanned };
}

async function pageOf(
  files: Pick<AuditLog['files'], 'entries'>,
  from: number,
  to: number,
): Promise<{ index: number; bytes: Uint8Array }[]> {
  const page: { index: number; bytes: Uint8Array }[] = [];
  for await (const bytes of files.entries(from, to)) page.push({ index: from + page.length, bytes });
  return page;
}

/** The organisation behind each witness key of a policy: groups are operators. */
function operatorsOf({ groups, witnesses }: Policy): Map<string, string> {
  const byWitness = new Map(
    groups.flatMap(({ name, members }) => (isMeshDid(name) ? members.map((member) => [member, name] as const) : [])),
  );
  return new Map(
    witnesses.flatMap(({ name, vkey }) => {
      const did = byWitness.get(name);
      return did === undefined ? [] : [[vkey.name, did] as const];
    }),
  );
}

const convictionView = ({ organisation, isInForce, proofs, lift }: Conviction): ConvictionView => ({
  did: organisation,
  inForce: isInForce,
  of: proofs.map(({ payload }) => payload.of),
  proofs: proofs.map(({ id }) => id),
  lifted: lift === undefined ? null : { at: new Date(lift.liftedMs).toISOString(), reason: lift.reason },
});

const convictionAnswer = (conviction: Conviction): ConvictionAnswer => ({
  conviction: convictionView(conviction),
  proofs: conviction.proofs.map(proofView),
});

function proofView({ id, payload }: Conviction['proofs'][number]): ConvictionProofView {
  const { of, who, a, b, rootOfAOnB, proof, binding, log, witness } = payload;
  return {
    id,
    of,
    who,
    ...(log !== undefined && { log }),
    ...(witness !== undefined && { witness }),
    a: toBase64url(a),
    b: toBase64url(b),
    rootOfAOnB: toBase64url(rootOfAOnB),
    proof: proof.map(toBase64url),
    binding: toBase64url(binding),
  };
}

const policyText = (policy: Policy): string => new TextDecoder().decode(formatPolicy(policy));
const timeOfSeconds = (seconds: number): string => `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
