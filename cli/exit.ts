/** Exit codes: part of the interface, as scripts rely on them. */
import type { ErrorCode } from '../protocol/index.ts';

export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  /** Refused by the rules, or found invalid. */
  refused: 3,
  /** The daemon is not running, or what was named is not there. */
  absent: 4,
  /** Something waits for somebody's approval. */
  waiting: 5,
  interrupted: 130,
} as const;
export type ExitCode = number;

/** Every other code is a rule's verdict: refused. */
const OTHERS: Partial<Record<ErrorCode, keyof typeof EXIT>> = {
  bad_request: 'usage',
  approval_pending: 'waiting',
  not_running: 'absent',
  not_found: 'absent',
  did_unknown: 'absent',
  cancelled: 'interrupted',
  // What failed might work another time, or once something is mended.
  already_running: 'failure',
  busy: 'failure',
  closed: 'failure',
  failed: 'failure',
  config_invalid: 'failure',
  full: 'failure',
  internal: 'failure',
  key_damaged: 'failure',
  key_locked: 'failure',
  key_missing: 'failure',
  no_channel_binding: 'failure',
  no_route: 'failure',
  node_too_old: 'failure',
  outcome_unknown: 'failure',
  permissions: 'failure',
  log_halted: 'failure',
  read_only: 'failure',
  store_corrupt: 'failure',
  timeout: 'failure',
  unreachable: 'failure',
};

export const exitOf = (code: ErrorCode): ExitCode => EXIT[OTHERS[code] ?? 'refused'];
