/**
 * Capabilities and their order (SPEC "Capabilities").
 *
 *   can = domain ":" path      read:reports/q3   mcp:filesystem/*
 *   domain  [a-z][a-z0-9._-]{0,31}
 *   path    segments joined by "/", each [A-Za-z0-9._~@-]{1,128}, not "." or ".."; the last may be "*"
 *
 * Authority is compared by whole segments, never by prefixes of text.
 */
import {
  CAPABILITIES_MAX,
  CAPABILITY_TEXT_MAX,
  DOMAIN_TEXT_MAX,
  RESOURCES_MAX,
  RESOURCE_TEXT_MAX,
  SEGMENT_TEXT_MAX,
} from '../limits.ts';
import { type Checked, isTextOfAtMost, list, map, textWhere } from '../encoding/schema.ts';
import { MeshError } from '../errors.ts';

const DOMAIN = new RegExp(`^[a-z][a-z0-9._-]{0,${DOMAIN_TEXT_MAX - 1}}$`);
const SEGMENT = new RegExp(`^[A-Za-z0-9._~@-]{1,${SEGMENT_TEXT_MAX}}$`);

const isSegment = (segment: string): boolean => SEGMENT.test(segment) && segment !== '.' && segment !== '..';

export function isCapability(can: string): boolean {
  if (can.length > CAPABILITY_TEXT_MAX) return false;
  const colon = can.indexOf(':');
  if (colon < 0 || !DOMAIN.test(can.slice(0, colon))) return false;
  const segments = can.slice(colon + 1).split('/');
  return segments.every((segment, i) => isSegment(segment) || (segment === '*' && i === segments.length - 1));
}

/** A resource: exact, or a subtree if it ends in "/". */
export function isResource(resource: string): boolean {
  if (resource.length === 0 || !isTextOfAtMost(resource, RESOURCE_TEXT_MAX) || /[\\%\p{Cc}]/u.test(resource))
    return false;
  const segments = (resource.endsWith('/') ? resource.slice(0, -1) : resource)
    .replace(/^[a-z][a-z0-9+.-]*:\/\//, '')
    .replace(/^\//, '')
    .split('/');
  return segments.every((segment) => segment !== '' && segment !== '.' && segment !== '..');
}

export const capability = map(
  { can: textWhere(isCapability, 'a capability like "read:reports/q3" or "read:reports/*"') },
  {
    res: list(
      textWhere(isResource, 'a resource without "..", empty segments, backslash or percent sign'),
      1,
      RESOURCES_MAX,
    ),
  },
);
export const capabilities = list(capability, 1, CAPABILITIES_MAX);
export type Capability = Checked<typeof capability>;

export const domainOf = (can: string): string => can.slice(0, can.indexOf(':'));

/** Whether `parent` covers `child`: equal, or parent is D:P/* and child is D:P/… with at least one more segment. */
export function isCovered(child: string, parent: string): boolean {
  if (child === parent) return true;
  if (!parent.endsWith('*')) return false;
  const stem = parent.slice(0, -1); // "read:data/" or "read:": ends on a segment boundary by the grammar
  return child.startsWith(stem) && child.length > stem.length;
}

/** Whether a resource lies within another: equal, or below a subtree. */
export const isResourceWithin = (child: string, parent: string): boolean =>
  child === parent || (parent.endsWith('/') && child.startsWith(parent));

/** e <= f: e.can within f.can, and f has no resources, or e none (inherits f's), or each of e's within one of f's. */
export function isCapabilityWithin(child: Capability, parent: Capability): boolean {
  if (!isCovered(child.can, parent.can)) return false;
  const { res: wide } = parent;
  const { res: narrow } = child;
  return wide === undefined || narrow === undefined || narrow.every((n) => wide.some((w) => isResourceWithin(n, w)));
}

/**
 * What people type, as the wire has it: further colons of the older `execute:tools:calculator` spelling become
 * slashes. Errors: malformed.
 */
export function parseCapability(input: string): string {
  const colon = input.indexOf(':');
  const can = colon < 0 ? input : input.slice(0, colon + 1) + input.slice(colon + 1).replaceAll(':', '/');
  if (!isCapability(can)) {
    throw new MeshError(
      'malformed',
      `Cannot read capability "${input}": want "domain:path" like "read:reports/q3" or "read:reports/*"`,
      {
        field: 'can',
        is: input,
      },
    );
  }
  return can;
}
