/**
 * How often, in a sliding window (SPEC "Policies", limits). A window is cut into LIMIT_SLICES slices and uses are
 * counted a slice. A window that ends now touches the current slice and LIMIT_SLICES before it; their sum is what counts,
 * so that no window of that length ever holds more than the limit, and a use is free again at most one slice late.
 *
 *   encoded   01 ‖ varint seconds of the window ‖ number of slices with uses ‖ for each, oldest first:
 *             varint slice number less the one before it ‖ varint uses
 */
import { concatBytes, equalBytes } from '../encoding/bytes.ts';
import { decodeVarint, encodeVarint } from '../encoding/varint.ts';
import { MeshError } from '../errors.ts';
import { LIMIT_COUNT_MAX, LIMIT_SLICES } from '../limits.ts';
import type { LimitUse } from './decision.ts';

/** Of one counter: policy, rule and agent. Never changed in place. */
export interface LimitState {
  readonly windowMs: number;
  /** Slices that hold uses, oldest first: number since 1970, and uses. */
  readonly slices: readonly LimitSlice[];
}
export interface LimitSlice {
  readonly at: number;
  readonly uses: number;
}
type Limit = Pick<LimitUse, 'count' | 'windowMs'>;

const sliceAt = (ms: number, windowMs: number): number => Math.floor((ms * LIMIT_SLICES) / windowMs);

/** May it be used once more? `state` undefined: never used. */
export const isFree = (state: LimitState | undefined, nowMs: number, limit: Limit): boolean =>
  usesIn(liveSlices(state, nowMs, limit.windowMs)) < limit.count;

/** With one use more. Errors: limit_exceeded. */
export function take(state: LimitState | undefined, nowMs: number, limit: Limit): LimitState {
  const { windowMs, count } = limit;
  const slices = liveSlices(state, nowMs, windowMs);
  if (usesIn(slices) >= count)
    throw new MeshError('limit_exceeded', `Cannot go ahead: ${count} in ${windowMs / 1000} s are used up`, {
      want: count,
    });
  const newest = slices.at(-1);
  const at = Math.max(sliceAt(nowMs, windowMs), newest?.at ?? 0);
  return newest?.at === at
    ? { windowMs, slices: [...slices.slice(0, -1), { at, uses: newest.uses + 1 }] }
    : { windowMs, slices: [...slices, { at, uses: 1 }] };
}

/** Without the use that was taken at `takenMs`, for what did not go ahead after all. */
export function giveBack(state: LimitState, takenMs: number, limit: Limit): LimitState {
  const { windowMs, slices } = inWindow(state, takenMs, limit.windowMs);
  // Taken while the clock stood back, it was counted in a later slice.
  const index = slices.findIndex(({ at }) => at >= sliceAt(takenMs, windowMs));
  if (index < 0) return state;
  return {
    windowMs,
    slices: slices.flatMap((slice, i) =>
      i !== index ? [slice] : slice.uses > 1 ? [{ at: slice.at, uses: slice.uses - 1 }] : [],
    ),
  };
}

/** When the next use is free, if nothing else is used or given back; `nowMs` where it is now. */
export function freeAtMs(state: LimitState | undefined, nowMs: number, limit: Limit): number {
  const slices = liveSlices(state, nowMs, limit.windowMs);
  let excess = usesIn(slices) - limit.count + 1;
  if (excess <= 0) return nowMs;
  for (const { at, uses } of slices) {
    excess -= uses;
    if (excess <= 0) return Math.ceil(((at + LIMIT_SLICES + 1) * limit.windowMs) / LIMIT_SLICES);
  }
  return Number.POSITIVE_INFINITY; // a limit of none
}

const usesIn = (slices: readonly LimitSlice[]): number => {
  let sum = 0;
  for (const { uses } of slices) sum += uses;
  return sum;
};

/** Slices that a window ending now touches, and later ones: a clock that goes back frees nothing. */
function liveSlices(state: LimitState | undefined, nowMs: number, windowMs: number): readonly LimitSlice[] {
  if (state === undefined) return [];
  const { slices } = inWindow(state, nowMs, windowMs);
  const oldest = sliceAt(nowMs, windowMs) - LIMIT_SLICES;
  const first = slices.findIndex(({ at }) => at >= oldest);
  return first < 0 ? [] : first === 0 ? slices : slices.slice(first);
}

/**
 * The same uses in the slices of another window, after a policy changed it. Where in its slice a use was is not known:
 * it counts as late as it can have been.
 */
function inWindow(state: LimitState, nowMs: number, windowMs: number): LimitState {
  if (state.windowMs === windowMs) return state;
  const slices: LimitSlice[] = [];
  for (const { at, uses } of state.slices) {
    const startMs = (at * state.windowMs) / LIMIT_SLICES;
    const endMs = ((at + 1) * state.windowMs) / LIMIT_SLICES;
    const moved = sliceAt(Math.max(startMs, Math.min(endMs, nowMs)), windowMs);
    const last = slices.at(-1);
    if (last?.at === moved) slices[slices.length - 1] = { at: moved, uses: last.uses + uses };
    else slices.push({ at: moved, uses });
  }
  return { windowMs, slices };
}

const VERSION = 1;

export function encodeLimitState({ windowMs, slices }: LimitState): Uint8Array {
  const parts = [Uint8Array.of(VERSION), encodeVarint(windowMs / 1000), encodeVarint(slices.length)];
  let before = 0;
  for (const { at, uses } of slices) {
    // 5 bytes hold 2^32 - 1: a slice of a second's window has a number above it until one counts from the middle.
    const [high, low] = [Math.floor((at - before) / 2 ** 31), (at - before) % 2 ** 31];
    parts.push(encodeVarint(high), encodeVarint(low), encodeVarint(uses));
    before = at;
  }
  return concatBytes(...parts);
}

/** Errors: malformed, noncanonical. */
export function decodeLimitState(bytes: Uint8Array): LimitState {
  if (bytes[0] !== VERSION)
    throw new MeshError('malformed', `Cannot read the state of a limit: version is ${bytes[0]}, want ${VERSION}`);
  let at = 1;
  const next = (): number => {
    const read = decodeVarint(bytes, at);
    if (read === undefined) throw new MeshError('malformed', 'Cannot read the state of a limit: it is cut off');
    at = read.end;
    return read.value;
  };
  const windowMs = next() * 1000;
  const length = next();
  if (windowMs === 0 || length > LIMIT_SLICES + 1)
    throw new MeshError('malformed', `Cannot read the state of a limit: ${length} slices of ${windowMs} ms`);
  const slices: LimitSlice[] = [];
  let before = 0;
  for (let i = 0; i < length; i++) {
    const slice = { at: before + next() * 2 ** 31 + next(), uses: next() };
    if (slice.uses === 0 || slice.uses > LIMIT_COUNT_MAX || (i > 0 && slice.at === before))
      throw new MeshError('malformed', 'Cannot read the state of a limit: a slice is empty, too full or there twice');
    slices.push(slice);
    before = slice.at;
  }
  const state = { windowMs, slices };
  if (!equalBytes(encodeLimitState(state), bytes))
    throw new MeshError('noncanonical', 'Cannot read the state of a limit: it is not what would be written');
  return state;
}
