/** What people type, as values; what cannot be meant is a usage error before anything else happens. */
import { InvalidArgumentError } from 'commander';
import {
  type Capability,
  isAudienceDid,
  isMeshDid,
  isMeshError,
  isResource,
  limits,
  parseCapability,
} from '../protocol/index.ts';

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, min: 60, h: 3_600, d: 86_400 };

/** "60s", "15m", "1h", "7d", or a count of seconds. */
export function parseSeconds(text: string): number {
  const [, count, unit = 's'] = /^(\d{1,9})\s?(s|m|min|h|d)?$/.exec(text) ?? [];
  const size = SECONDS[unit];
  if (count === undefined || size === undefined) {
    throw new InvalidArgumentError('want a time like "60s", "15m", "1h" or "7d"');
  }
  return Number(count) * size;
}

/** A parser of times within bounds. */
export const secondsBetween =
  (min: number, max: number, shown: string) =>
  (text: string): number => {
    const seconds = parseSeconds(text);
    if (seconds < min || seconds > max) throw new InvalidArgumentError(`want ${shown}`);
    return seconds;
  };

export const integerBetween =
  (min: number, max: number) =>
  (text: string): number => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`want a number from ${min} to ${max}`);
    return value;
  };

export function parseCan(text: string): string {
  try {
    return parseCapability(text);
  } catch (error) {
    if (!isMeshError(error)) throw error;
    throw new InvalidArgumentError('want "domain:path" like "read:reports/q3" or "read:reports/*"');
  }
}

/** "mcp:files/*=100/1h": so often in so long. */
export function parseRate(text: string): { readonly can: string; readonly n: number; readonly per: number } {
  const [, can = '', count = '', time = ''] = /^(.*)=(\d{1,9})\/(\w+)$/.exec(text) ?? [];
  const n = Number(count);
  // "100/h" as "100/1h"
  const per = time === '' ? 0 : parseSeconds(/^\d/.test(time) ? time : `1${time}`);
  if (n < 1 || per < 1 || per > limits.RATE_SECONDS_MAX)
    throw new InvalidArgumentError('want a capability, "=" and how often, like "mcp:files/*=100/1h"');
  return { can: parseCan(can), n, per };
}

/** For options that may be repeated. */
export const collect =
  <T>(parse: (text: string) => T) =>
  (text: string, before: readonly T[] = []): readonly T[] => [...before, parse(text)];

export function parseResource(text: string): string {
  if (!isResource(text)) throw new InvalidArgumentError('want a resource without "..", empty segments, "\\" or "%"');
  return text;
}

/** Every resource belongs to every capability. */
export const capabilitiesOf = (cans: readonly string[], resources: readonly string[] = []): Capability[] =>
  [...new Set(cans)].map((can) => (resources.length === 0 ? { can } : { can, res: [...new Set(resources)] }));

export function parseDid(text: string): string {
  if (!isMeshDid(text)) throw new InvalidArgumentError('want a DID like "did:mesh:bafyrei…"');
  return text;
}

export function parseAudience(text: string): string {
  if (!isAudienceDid(text)) throw new InvalidArgumentError('want a DID like "did:mesh:bafyrei…" or "did:key:z6Mk…"');
  return text;
}

export function parseContact(text: string): string {
  if (text.length > limits.CONTACT_TEXT_MAX || !/^[^\s@\p{Cc}]+@[^\s@\p{Cc}]+$/u.test(text)) {
    throw new InvalidArgumentError('want an e-mail address like "alice@company.com"');
  }
  return text;
}

export function parsePurpose(text: string): string {
  if (text.length > limits.PURPOSE_TEXT_MAX || !/^[a-z0-9][a-z0-9._-]*$/.test(text)) {
    throw new InvalidArgumentError('want a purpose like "billing"');
  }
  return text;
}

/** As the registry of the daemon has it: local names of agents. */
export function parseName(text: string): string {
  if (text.length > limits.NAME_TEXT_MAX || !/^[A-Za-z0-9][A-Za-z0-9._ @-]*$/.test(text)) {
    throw new InvalidArgumentError(
      `want a name of at most ${limits.NAME_TEXT_MAX} letters, digits, ".", "_", "-", "@" and spaces`,
    );
  }
  return text;
}

export function parseDisplayName(text: string): string {
  if (text === '' || text.length > limits.NAME_TEXT_MAX || text.trim() !== text || /[\p{Cc}\p{Zl}\p{Zp}]/u.test(text)) {
    throw new InvalidArgumentError(`want 1 to ${limits.NAME_TEXT_MAX} printable characters`);
  }
  return text;
}

export function parseReason(text: string): string {
  if ([...text].length > limits.REASON_TEXT_MAX || /\p{Cc}/u.test(text)) {
    throw new InvalidArgumentError(`want at most ${limits.REASON_TEXT_MAX} characters on one line; it is published`);
  }
  return text;
}

/** RFC 3339 or what of it is needed ("2026-11-18", "2026-11-18T11:06Z"), as milliseconds. A time without zone is UTC. */
export function parseTime(text: string): number {
  const isKnown = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)?)?$/i.test(text);
  const hasZone = /(?:Z|[+-]\d\d:\d\d)$/i.test(text.slice(10));
  const nowMs = isKnown ? Date.parse(text.length === 10 || hasZone ? text : `${text}Z`) : Number.NaN;
  if (Number.isNaN(nowMs)) throw new InvalidArgumentError('want a time like "2026-11-18T11:06:40Z"');
  return nowMs;
}

/** What a table cut short ends in "…": the rest is looked up. */
export const withoutEllipsis = (text: string): string => text.replace(/(?:…|\.\.\.)$/, '');
