/** Who may talk to the proxy over HTTP: decided from the head of a request, before any of its body is read. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { isIPv6 } from 'node:net';
import { MeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import { UsageError } from '../problem.ts';

const LOOPBACK_NAMES = ['127.0.0.1', 'localhost', '[::1]'];
const OTHERS_MAY = 0o077;
const SHOWN_LETTERS = 100;

export interface HttpAddress {
  /** A name or an address; IPv6 without brackets. */
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

/** "127.0.0.1:8080", "[::1]:8080", "localhost:0". Errors: UsageError. */
export function parseListen(text: string): HttpAddress {
  const [, v6, name, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const host = v6 ?? name;
  if (host === undefined || Number(port) > 65_535 || (v6 !== undefined && !isIPv6(v6)))
    throw new UsageError(`Cannot listen on "${text}": want HOST:PORT, as "127.0.0.1:8080" or "[::1]:8080"`);
  return { host, port: Number(port) };
}

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);

/** Errors: not_found, permissions (others may read it), config_invalid (no token, too short, too long). */
export async function readTokenFile(path: string): Promise<string> {
  await using file = await open(path).catch((cause: unknown) => {
    throw new MeshError(
      'not_found',
      `Cannot read the token file "${path}": ${(cause as NodeJS.ErrnoException).code ?? String(cause)}`,
      {},
      { cause },
    );
  });
  const { mode, size } = await file.stat();
  if ((mode & OTHERS_MAY) !== 0)
    throw new MeshError('permissions', `Cannot use the token file "${path}": others may read it, want mode 600`, {
      next: `close it: chmod 600 ${path}`,
    });
  if (size > limits.PROXY_TOKEN_FILE_BYTES_MAX)
    throw new MeshError('config_invalid', `Cannot use the token file "${path}": it has ${size} bytes`, {
      want: limits.PROXY_TOKEN_FILE_BYTES_MAX,
    });
  const token = (await file.readFile('utf8')).trim();
  // RFC 6750, section 2.1: what a header can carry.
  if (token.length < limits.PROXY_TOKEN_TEXT_MIN || !/^[A-Za-z0-9._~+/-]+=*$/.test(token))
    throw new MeshError(
      'config_invalid',
      `Cannot use the token file "${path}": want one token of at least ${limits.PROXY_TOKEN_TEXT_MIN} letters, digits and -._~+/`,
      { next: `make one: openssl rand -base64 32 > ${path}` },
    );
  return token;
}

export interface GuardOptions {
  /** As it is after the socket was opened. */
  readonly address: HttpAddress;
  /** Names that clients may use beside those of the address: of a reverse proxy, of the machine. Without a port: with ours too. */
  readonly allowedHosts: readonly string[];
  /** Without it everybody who reaches the port may ask. */
  readonly token?: string | undefined;
}

export interface Guard {
  /** Errors: forbidden (Host or Origin), unauthorized. */
  verify(headers: IncomingHttpHeaders): void;
}

/**
 * A page of another site can make a browser send requests to 127.0.0.1 (DNS rebinding): the name it used, in Host, and
 * the page it comes from, in Origin, give it away. MCP "Streamable HTTP", section "Security".
 */
export function createGuard({ address, allowedHosts, token }: GuardOptions): Guard {
  const own = isLoopback(address.host) ? LOOPBACK_NAMES : [isIPv6(address.host) ? `[${address.host}]` : address.host];
  const withPort = (name: string): string => `${name}:${address.port}`;
  const names = new Set([
    ...own.map(withPort),
    ...(address.port === 80 ? own : []), // browsers leave out the port that http has anyway
    ...allowedHosts
      .flatMap((name) => (/:\d+$/.test(name) ? [name] : [name, withPort(name)]))
      .map((name) => name.toLowerCase()),
  ]);
  const digest = token === undefined ? undefined : digestOf(token);
  return {
    verify({ host = '', origin, authorization }) {
      const said = host.toLowerCase();
      if (!names.has(said))
        throw new MeshError('forbidden', `Cannot answer a request for host "${shown(host)}": want ${listed(names)}`, {
          field: 'host',
        });
      if (origin !== undefined && !isAllowedOrigin(origin, names))
        throw new MeshError('forbidden', `Cannot answer a page of "${shown(origin)}": want one of ${listed(names)}`, {
          field: 'origin',
        });
      if (digest === undefined) return;
      const given = /^Bearer +([^\s]+) *$/i.exec(authorization ?? '')?.[1];
      if (given === undefined || !timingSafeEqual(digestOf(given), digest))
        throw new MeshError(
          'unauthorized',
          'Cannot answer without the token of this proxy: want "Authorization: Bearer …"',
        );
    },
  };
}

/** Equal in length, whatever was given: the comparison tells nothing of it. */
const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest();

const listed = (names: ReadonlySet<string>): string => [...names].map((name) => `"${name}"`).join(', ');
const shown = (text: string): string => text.slice(0, SHOWN_LETTERS);

function isAllowedOrigin(origin: string, names: ReadonlySet<string>): boolean {
  const host = /^https?:\/\/([^/?#]+)$/.exec(origin.toLowerCase())?.[1];
  return host !== undefined && names.has(host);
}
