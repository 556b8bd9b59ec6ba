/**
 * What two daemons, a server and a client say of the same calls, held against each other. Each may know nothing of what
 * came of a call; none may say what another one contradicts.
 */
import { toHex, verifySignatures } from '../../protocol/index.ts';
import {
  formatTilePath,
  isOfType,
  parseBundle,
  parseEntry,
  TILE_WIDTH,
  type TilePlace,
  tileLevels,
} from '../../protocol/log/index.ts';
import { type CallOutcome, type CallRole, type OrderStatement, OUTCOMES } from '../../protocol/receipt/index.ts';
import { fromBase64url, parseStatementOf } from '../../protocol/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { type AgentMesh, filesIn, readReceiptFile, verifyLogDirectory, verifyReceipt } from '../../sdk/index.ts';

export type ToolName = 'work' | 'fail' | 'never';

/** What one side signed of a call. */
export interface Signed {
  readonly receipt: string;
  readonly order: string;
  readonly half: boolean;
  readonly out: CallOutcome;
  readonly n: number;
  /** Hex; null: there was no answer. */
  readonly res: string | null;
}

/** An entry `receipt.kept`. */
export interface Kept extends Signed {
  readonly entry: string;
  /** The entry that allowed or refused it. */
  readonly intent: string | undefined;
  /** What the entry says beside the statement that it holds. */
  readonly told: Pick<Signed, 'receipt' | 'half' | 'out' | 'n'>;
}

/** A receipt that a daemon shows. */
export interface Stored extends Signed {
  readonly key: string;
  readonly entry: string;
}

export interface Intent {
  readonly id: string;
  readonly isAllowed: boolean;
  readonly tool: string | undefined;
}

export interface SideEvidence {
  /** Entries of the exported log. */
  readonly treeSize: number;
  readonly intents: readonly Intent[];
  /** `intent.settled`. */
  readonly settled: readonly { readonly intent: string; readonly code: string }[];
  readonly kept: readonly Kept[];
  readonly stored: readonly Stored[];
}

/** What the server put on disk before it answered. */
export interface Execution {
  readonly key: string;
  readonly nonce: string;
  readonly tool: string;
}

/** What came of one attempt, as the client was told. */
export interface Told {
  readonly key: string;
  readonly tool: ToolName;
  /** Of the caller's daemon. */
  readonly life: number;
  /** Undefined: no answer of the server. */
  readonly answer: { readonly nonce: string; readonly isError: boolean } | undefined;
  /** Why there is none. */
  readonly code: string | undefined;
  /** Beside an answer with what it says. */
  readonly receipt: { readonly id: string; readonly out?: string; readonly half?: boolean } | undefined;
}

export interface CallsEvidence {
  readonly caller: SideEvidence;
  readonly callee: SideEvidence;
  readonly executions: readonly Execution[];
  readonly told: readonly Told[];
  /** Lives of the caller's daemon that ended by kill -9. */
  readonly killedLives: readonly number[];
}

export interface MailEvidence {
  /** Whose agent they are for. */
  readonly to: string;
  /** In the order of sending, each acknowledged to the sender. */
  readonly sent: readonly number[];
  /** In the order in which they came, some more than once. */
  readonly received: readonly number[];
}

const READERS = 8; // receipts asked for at a time: each daemon asks the other one for its proof

// Reading

export interface SideFiles {
  readonly mesh: AgentMesh;
  /** Where its log is exported to. */
  readonly directory: string;
  /** Organisations that the reader knows. */
  readonly roots: readonly string[];
}

/** Log and receipts, each verified in this process. Errors: of what does not verify. */
export async function readSide({ mesh, directory, roots }: SideFiles): Promise<SideEvidence> {
  const views: { readonly id: string; readonly entry: string }[] = [];
  for await (const view of mesh.receipts.list()) views.push(view);
  const stored: Stored[] = [];
  const read = async (): Promise<void> => {
    for (let view = views.pop(); view !== undefined; view = views.pop()) {
      const { id, entry } = view;
      const file = await mesh.receipts.file(id);
      verifyReceipt(file, { roots });
      const { receipt, order } = readReceiptFile(file);
      if (receipt.id !== id) throw new Error(`the file of receipt "${id}" holds "${receipt.id}"`);
      stored.push({ ...signedIn(receipt), key: keyOf(order), entry });
    }
  };
  await Promise.all(Array.from({ length: READERS }, read));
  await mesh.log.export(directory);
  await verifyLogDirectory(directory);
  return { stored, ...(await readLog(directory)) };
}

async function readLog(directory: string): Promise<Omit<SideEvidence, 'stored'>> {
  const files = filesIn(directory);
  const read = async (path: string): Promise<Uint8Array> => {
    const bytes = await files.read(path);
    if (bytes === undefined) throw new Error(`the exported log has no "${path}"`);
    return bytes;
  };
  const treeSize = Number(
    Buffer.from(await read('checkpoint'))
      .toString()
      .split('\n')[1],
  );
  const { full = 0, partialWidth = 0 } = tileLevels(treeSize)[0] ?? {};
  const places = Array.from(
    { length: full },
    (_, index): TilePlace => ({ level: 'entries', index, width: TILE_WIDTH }),
  );
  if (partialWidth > 0) places.push({ level: 'entries', index: full, width: partialWidth });
  const intents: Intent[] = [];
  const settled: { intent: string; code: string }[] = [];
  const kept: Kept[] = [];
  for (const place of places)
    for (const bytes of parseBundle(await read(formatTilePath(place)), place.width)) {
      const { entry } = parseEntry(bytes);
      if (isOfType(entry, 'action.allowed') || isOfType(entry, 'action.refused'))
        intents.push({ id: entry.id, isAllowed: isOfType(entry, 'action.allowed'), tool: entry.data.tool });
      else if (isOfType(entry, 'intent.settled'))
        settled.push({ intent: entry.data.intent ?? '', code: entry.data.result?.code ?? '' });
      else if (isOfType(entry, 'receipt.kept')) {
        const { receipt, half, outcome: out, n, statement, intent } = entry.data;
        const parsed = parseStatementOf('receipt/v1', fromBase64url(statement) ?? new Uint8Array());
        verifySignatures(parsed, isSignatureValidSodium);
        kept.push({ ...signedIn(parsed), entry: entry.id, intent, told: { receipt, half, out: outcomeOf(out), n } });
      }
    }
  return { treeSize, intents, settled, kept };
}

function signedIn({ id, payload }: ReturnType<typeof parseStatementOf<'receipt/v1'>>): Signed {
  const { call, half = false, out, n, res } = payload;
  return { receipt: id, order: call?.text ?? '', half, out, n, res: res === null ? null : toHex(res) };
}

const keyOf = ({ payload: { key = new Uint8Array() } }: OrderStatement): string => Buffer.from(key).toString();

function outcomeOf(text: string): CallOutcome {
  const found = OUTCOMES.find((out) => out === text);
  if (found === undefined) throw new Error(`"${text}" is no outcome`);
  return found;
}

// Comparing

/** The server was asked, and answered. */
const DONE: readonly CallOutcome[] = ['ok', 'error'];
/** It never came to the server. */
const NOT_DONE: readonly CallOutcome[] = ['denied', 'refused'];

/** One line for each contradiction; none: nobody says what another one contradicts. */
export function contradictionsIn(evidence: CallsEvidence): string[] {
  const { caller, callee } = evidence;
  return [
    ...ofExecutions(evidence),
    ...evidence.told.flatMap((one) => ofTold(one, evidence)),
    ...ofSide('caller', caller),
    ...ofSide('callee', callee),
    ...ofOrders(caller, callee),
    ...ofKeys(evidence),
  ];
}

function ofExecutions({ executions, callee, told }: CallsEvidence): string[] {
  const found: string[] = [];
  for (const [key, runs] of groupedBy(executions, (one) => one.key)) {
    if (runs.length > 1) found.push(`key ${key}: it was done ${runs.length} times`);
    if (runs.some(({ tool }) => tool === 'never')) found.push(`key ${key}: it was done, and no policy allows it`);
    const heard = told.filter((one) => one.key === key);
    if (!heard.some(({ answer, code }) => answer !== undefined || code === 'outcome_unknown'))
      found.push(
        `key ${key}: it was done, and the client was told that it was not (${heard.map(({ code = '' }) => code).join(', ')})`,
      );
  }
  for (const tool of ['work', 'fail']) {
    const done = executions.filter((one) => one.tool === tool).length;
    const allowed = callee.intents.filter((one) => one.isAllowed && one.tool === tool).length;
    if (done > allowed)
      found.push(`tool ${tool}: ${done} times done, and ${allowed} times allowed in the callee's log`);
  }
  return found;
}

/** What the client was told, against what was done and what was signed. */
function ofTold({ key, tool, life, answer, code, receipt }: Told, evidence: CallsEvidence): string[] {
  const { executions, caller, callee, killedLives } = evidence;
  const found: string[] = [];
  const say = (what: string): void => void found.push(`key ${key}: ${what}`);
  const runs = executions.filter((one) => one.key === key);
  if (answer !== undefined) {
    if (!runs.some(({ nonce }) => nonce === answer.nonce)) say(`the answer told "${answer.nonce}" is of no execution`);
    if (answer.isError !== (tool === 'fail')) say(`tool ${tool} answered with isError ${answer.isError}`);
    if (receipt?.half !== false) say('an answer was given without a receipt of both');
    else if (receipt.out !== (answer.isError ? 'error' : 'ok')) say(`its receipt says ${receipt.out}`);
  } else if (code !== 'outcome_unknown' && tool !== 'never' && runs.length > 0) {
    const others = evidence.told.filter((one) => one.key === key && one.code !== code);
    if (others.length === 0) say(`it was done, and all that the client was told is ${code}`);
  }
  if (receipt === undefined) return found;
  const held = [...caller.stored, ...caller.kept].find((one) => one.receipt === receipt.id);
  if (held === undefined && !killedLives.includes(life)) say(`receipt ${receipt.id} was told, and is not kept`);
  if (answer === undefined) {
    const mayBe = code === 'outcome_unknown' ? held?.out !== 'ok' : held === undefined || NOT_DONE.includes(held.out);
    if (!mayBe) say(`the client was told ${code}, and its receipt ${receipt.id} says ${held?.out}`);
    return found;
  }
  if (held !== undefined && (held.out !== receipt.out || held.half !== receipt.half))
    say(`receipt ${receipt.id} was told as ${receipt.out}, and says ${held.out}`);
  const signed = [...caller.stored, ...callee.stored].filter((one) => one.key === key && DONE.includes(one.out));
  for (const other of signed)
    if (!other.half && other.receipt !== receipt.id) say(`two receipts of both sides: ${receipt.id}, ${other.receipt}`);
  return found;
}

/** One side's log and store against each other. */
function ofSide(role: CallRole, { intents, settled, kept, stored }: SideEvidence): string[] {
  const found: string[] = [];
  const byId = new Map(intents.map((intent) => [intent.id, intent]));
  const inStore = new Map(stored.map((one) => [one.receipt, one]));
  const inLog = new Map(kept.map((one) => [one.receipt, one]));
  const settledBy = groupedBy(settled, (one) => one.intent);
  for (const [intent, codes] of settledBy)
    if (codes.length > 1) found.push(`${role}: intent ${intent} is settled ${codes.length} times`);
  for (const one of kept) {
    const { told, receipt, intent } = one;
    const say = (what: string): void => void found.push(`${role}: receipt ${receipt} (${one.out}) ${what}`);
    if (told.receipt !== receipt || told.half !== one.half || told.out !== one.out || told.n !== one.n)
      say(`is in an entry that says ${JSON.stringify(told)}`);
    if (!inStore.has(receipt)) say('is in the log, and not in the store');
    if (intent === undefined) {
      if (one.out !== 'cancelled') say('names no intent'); // the caller was gone before it was decided
      continue;
    }
    const about = byId.get(intent);
    if (about === undefined) say(`names intent ${intent}, which the log does not hold`);
    else if (role === 'callee' && !about.isAllowed && !NOT_DONE.includes(one.out)) say('is of a call that was refused');
    else if (role === 'callee' && about.isAllowed && NOT_DONE.includes(one.out)) say('is of a call that was allowed');
    const code = settledBy.get(intent)?.[0]?.code;
    if (code !== undefined && !MAY_BE_SETTLED[role][one.half ? 'half' : 'full'][one.out].includes(code))
      say(`is of an intent that is settled as ${code}`);
  }
  for (const { receipt, out, half, order } of stored) {
    const entry = inLog.get(receipt);
    if (entry !== undefined && (entry.out !== out || entry.half !== half || entry.order !== order))
      found.push(`${role}: receipt ${receipt} is one in the store and another in the log`);
  }
  return found;
}

/** What may be in one log as the code of the intent, where its receipt says how the call ended. */
const NO_ANSWER = ['outcome_unknown', 'closed', 'cancelled', 'timeout'];
const NEVER: readonly string[] = [];
const MAY_BE_SETTLED: Readonly<
  Record<CallRole, Readonly<Record<'full' | 'half', Readonly<Record<CallOutcome, readonly string[]>>>>>
> = {
  caller: {
    full: {
      ok: ['ok'],
      error: ['failed'],
      denied: ['failed'],
      refused: ['failed'],
      timeout: ['failed'],
      cancelled: ['failed'],
    },
    half: {
      ok: NEVER, // alone it cannot know
      error: NEVER,
      denied: NEVER,
      refused: NEVER,
      timeout: NO_ANSWER,
      cancelled: NO_ANSWER,
    },
  },
  callee: {
    full: {
      ok: ['ok'],
      error: ['failed', 'outcome_unknown'],
      denied: NEVER,
      refused: NEVER,
      timeout: NO_ANSWER,
      cancelled: NO_ANSWER,
    },
    half: {
      ok: ['ok'],
      error: ['failed', 'outcome_unknown'],
      denied: NEVER,
      refused: NEVER,
      timeout: NO_ANSWER,
      cancelled: NO_ANSWER,
    },
  },
};

/** What both sides signed of one order. */
function ofOrders(caller: SideEvidence, callee: SideEvidence): string[] {
  const found: string[] = [];
  const all = (side: SideEvidence): readonly Signed[] => [...side.stored, ...side.kept];
  const others = groupedBy(all(callee), (one) => one.order);
  for (const [order, own] of groupedBy(all(caller), (one) => one.order)) {
    const say = (what: string): void => void found.push(`order ${order}: ${what}`);
    const signed = [...own, ...(others.get(order) ?? [])];
    const full = new Set(signed.flatMap(({ half, receipt }) => (half ? [] : [receipt])));
    if (full.size > 1) say(`${full.size} receipts of both sides: ${[...full].join(', ')}`);
    for (const one of own)
      for (const other of others.get(order) ?? [])
        if (!isTogether(one, other)) say(`the caller says ${textOf(one)}, the callee ${textOf(other)}`);
    for (const one of own)
      if (one.half && one.res === null && NOT_DONE.includes(one.out)) say(`who said ${textOf(one)}?`);
  }
  for (const [order, ofOne] of others) {
    const said = new Set(ofOne.map(({ out, res }) => `${out} ${res}`));
    if (said.size > 1) found.push(`order ${order}: the callee says ${[...said].join(' and ')}`);
  }
  return found;
}

/** A caller without an answer says nothing of what the callee did; anything else has to be the same. */
function isTogether(caller: Signed, callee: Signed): boolean {
  const hasNoAnswer =
    caller.half && caller.res === null && !DONE.includes(caller.out) && !NOT_DONE.includes(caller.out);
  return hasNoAnswer || (caller.out === callee.out && caller.res === callee.res && caller.n === callee.n);
}

const textOf = ({ out, res, half }: Signed): string => `${half ? 'alone ' : ''}${out} ${res ?? 'without an answer'}`;

/** All that was signed under one key: it is one call. */
function ofKeys({ caller, callee, executions, told }: CallsEvidence): string[] {
  const found: string[] = [];
  const done = new Set(executions.map(({ key }) => key));
  for (const [key, signed] of groupedBy([...caller.stored, ...callee.stored], (one) => one.key)) {
    const ends = signed.filter(({ out }) => DONE.includes(out));
    const orders = new Set(ends.map(({ order }) => order));
    if (orders.size > 1) found.push(`key ${key}: ${orders.size} orders were done`);
    if (ends.length > 0 && !done.has(key)) found.push(`key ${key}: signed as ${ends[0]?.out}, and never done`);
  }
  for (const [key, heard] of groupedBy(told, (one) => one.key)) {
    const answers = new Set(heard.flatMap(({ answer }) => (answer === undefined ? [] : [JSON.stringify(answer)])));
    if (answers.size > 1) found.push(`key ${key}: ${answers.size} different answers: ${[...answers].join(', ')}`);
  }
  return found;
}

/** What was acknowledged to its sender came at least once, and in order. */
export function mailProblemsIn({ to, sent, received }: MailEvidence): string[] {
  const first = [...new Set(received)];
  const lost = sent.filter((number) => !received.includes(number));
  const late = first.filter((number, i) => number < (first[i - 1] ?? 0));
  return [
    ...lost.map((number) => `mail for ${to}: ${number} was sent, and never came`),
    ...late.map((number) => `mail for ${to}: ${number} came after one that was sent later`),
  ];
}

function groupedBy<T>(all: readonly T[], keyOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return groups;
}
