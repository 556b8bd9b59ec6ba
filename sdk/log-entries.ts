/** Entries of the audit log as one sequence, whatever the size of the answers that it comes in. */
import type { LogEntryView, LogProofAnswer } from '../protocol/control/index.ts';
import { limits } from '../protocol/index.ts';
import { type Call, type CallOptions, isPassing, pause } from './calls.ts';

export interface EntryQuery {
  /** DID of who acted. */
  readonly actor?: string | undefined;
  /** Types, or what they begin with up to a dot: "agentmesh.session" for both of its types. */
  readonly types?: readonly string[] | undefined;
  /** By the time that the entry itself names. */
  readonly since?: Date | undefined;
  /** Up to and including this time. */
  readonly until?: Date | undefined;
  /** Only leaf indices above this one. */
  readonly after?: number | undefined;
  /** Only leaf indices below this one. */
  readonly before?: number | undefined;
  /** Default: newest; with `follow` oldest. */
  readonly order?: 'newest' | 'oldest' | undefined;
  /** Most entries to give; default: all. */
  readonly limit?: number | undefined;
  /** Go on with what is appended. */
  readonly follow?: boolean | undefined;
}

export interface ProveOptions extends CallOptions {
  /** So many witnesses of the policy must have cosigned; it is waited for. Default: what is released now. */
  readonly witnessed?: number | undefined;
}

/** An entry and what shows that it is in the log. */
export interface EntryProof extends Omit<LogProofAnswer, 'bytes' | 'proof'> {
  /** The entry: the leaf is the hash of exactly these. */
  readonly bytes: Uint8Array;
  /** A file of C2SP tlog-proof. */
  readonly proof: Uint8Array;
}

/** Errors: those of the route; cancelled. */
export async function* entriesOf(
  call: Call,
  query: EntryQuery,
  options: CallOptions = {},
): AsyncGenerator<LogEntryView, void, undefined> {
  const order = query.order ?? (query.follow === true ? 'oldest' : 'newest');
  let left = query.limit ?? Number.POSITIVE_INFINITY;
  if (left <= 0) return;
  const entries = query.follow === true ? following(call, query, options) : pages(call, query, order, options);
  for await (const entry of entries) {
    yield entry;
    left -= 1;
    if (left <= 0) return;
  }
}

/** All that there is when the last page is asked for; then `onEnd` is told the size of the tree. */
async function* pages(
  call: Call,
  query: EntryQuery,
  order: 'newest' | 'oldest',
  options: CallOptions,
  onEnd: (treeSize: number) => void = () => undefined,
): AsyncGenerator<LogEntryView, void, undefined> {
  const filter = filterOf(query);
  const limit = String(Math.min(query.limit ?? limits.LOG_ENTRIES_A_PAGE_MAX, limits.LOG_ENTRIES_A_PAGE_MAX));
  let { after, before } = query;
  for (;;) {
    const place = {
      ...(after !== undefined && { after: String(after) }),
      ...(before !== undefined && { before: String(before) }),
    };
    const page = await call('logEntries', { query: { ...filter, ...place, order, limit } }, options);
    yield* page.entries;
    if (page.next === null) return onEnd(page.treeSize);
    if (order === 'oldest') after = page.next;
    else before = page.next;
  }
}

/** What is there, then what comes. A daemon that restarts in between is waited for. */
async function* following(
  call: Call,
  query: EntryQuery,
  options: CallOptions,
): AsyncGenerator<LogEntryView, void, undefined> {
  let { after } = query;
  for (let started = false; ; ) {
    try {
      for await (const entry of pages(call, { ...query, after, limit: undefined }, 'oldest', options, (upTo) => {
        if (upTo > 0) after = Math.max(after ?? 0, upTo - 1);
      })) {
        after = entry.index;
        yield entry;
      }
      started = true;
    } catch (error) {
      if (!started || !isPassing(error)) throw error;
    }
    await pause(limits.LOG_FOLLOW_MS, options.signal);
  }
}

function filterOf({ actor, types, since, until }: EntryQuery): {
  actor?: string;
  types?: string;
  since?: string;
  until?: string;
} {
  return {
    ...(actor !== undefined && { actor }),
    ...(types !== undefined && types.length > 0 && { types: types.join(',') }),
    ...(since !== undefined && { since: since.toISOString() }),
    ...(until !== undefined && { until: until.toISOString() }),
  };
}
