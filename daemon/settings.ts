/** Every setting of the daemon: what it accepts, its default, and what agentmesh.yaml says about it. */
import { isIPv4, isIPv6 } from 'node:net';
import { isAbsolute, resolve } from 'node:path';
import { exposureFault, type ExposureInput } from '../protocol/call/index.ts';
import {
  DEFAULT_NETWORK,
  isAudienceDid,
  isCapability,
  isMeshDid,
  isMeshError,
  isNetworkName,
  isPeerId,
  isSocketPathShort,
  limits,
} from '../protocol/index.ts';
import { isPresetName } from '../protocol/policy/presets.ts';
import { LOG_KEY_TYPE, parseVkey, type Vkey, type VkeyType, WITNESS_KEY_TYPE } from '../protocol/log/index.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface Config {
  /** Shown to people; null: none. */
  readonly organisation: string | null;
  readonly network: string;
  /** multiaddrs. At its default (origin `default`) the daemon takes a free port where this one is taken. */
  readonly listen: readonly string[];
  /** multiaddrs with /p2p/<PeerId>. */
  readonly bootstrap: readonly string[];
  /** multiaddrs with /p2p/<PeerId>. */
  readonly anchors: readonly string[];
  /** Absolute path of a swarm key file; null: the network is open. */
  readonly psk: string | null;
  readonly localNetwork: boolean;
  /** DIDs, beside the own organisation's. */
  readonly roots: readonly string[];
  readonly criticalDomains: readonly string[];
  readonly stalenessReadSeconds: number;
  readonly stalenessWriteSeconds: number;
  readonly sponsorAgentsMax: number;
  readonly heartbeatSeconds: number;
  readonly credentialSeconds: number;
  readonly syncSeconds: number;
  readonly targetDegree: number;
  readonly logLevel: LogLevel;
  /** Absolute path of the control socket; null: the home's own. */
  readonly socket: string | null;
  /** Port of the control API on 127.0.0.1, beside the socket; 0: a free one; null: none. */
  readonly apiPort: number | null;
  /** host:port of the witness over HTTP; null: none. */
  readonly witnessListen: string | null;
  /** Verifier keys of logs that are no daemon's. */
  readonly witnessLogs: readonly string[];
  /** DIDs; none: chosen from all that are known. */
  readonly witnesses: readonly string[];
  /** "<verifier key> <URL>" each. */
  readonly witnessUrls: readonly string[];
  /** null: by the number of operators. */
  readonly witnessQuorum: number | null;
  /** DIDs whose peers may read the entries of this log. */
  readonly logReaders: readonly string[];
  /** DIDs of whose logs copies are kept. */
  readonly logMirrors: readonly string[];
  /** Absolute paths. */
  readonly policies: readonly string[];
  /** Absolute paths of candidates that run beside them. */
  readonly shadowPolicies: readonly string[];
  /** "<group> <DID or contact of a sponsor>" each. */
  readonly approvers: readonly string[];
  /** What policies know as environment.name; null: it is missing to them. */
  readonly environment: string | null;
  readonly requestDays: number;
  /** Servers for other organisations, with absolute paths. */
  readonly expose: readonly ExposureInput[];
}
export type SettingName = keyof Config;

/** What a setting accepts. */
export interface Kind<T> {
  readonly want: string;
  isValid(value: unknown): value is T;
  /** From a flag or variable, to what YAML would have given. */
  fromText(text: string): unknown;
  /** Values of a list are checked and reported one by one. */
  readonly item?: Kind<string>;
  /** Relative paths belong to the folder of their file, or to the working directory. */
  readonly isPath?: true;
  /** What is wrong first, and where in the value. */
  fault?(value: unknown): KindFault | undefined;
  /** The value as the daemon uses it, from one that is valid; `directory` is that of its file. */
  resolved?(value: unknown, directory: string): unknown;
}

export interface KindFault {
  readonly path: readonly (string | number)[];
  readonly is: unknown;
  readonly want: string;
}

export interface Setting<T> {
  readonly kind: Kind<T>;
  readonly preset: T;
  /** Lines of the comment in agentmesh.yaml. */
  readonly about: readonly string[];
}

const kind = <T>(
  want: string,
  test: (value: unknown) => boolean,
  fromText: (text: string) => unknown = (text) => text,
): Kind<T> => ({
  want,
  isValid: (value): value is T => test(value),
  fromText,
});
const text = (want: string, test: (value: string) => boolean): Kind<string> =>
  kind(want, (value) => typeof value === 'string' && test(value));
const oneOf = <const T extends string>(values: readonly T[]): Kind<T> =>
  kind(`one of ${values.join(', ')}`, (value) => values.some((known) => known === value));
const optional = <T>(inner: Kind<T>): Kind<T | null> => ({
  ...kind<T | null>(
    `${inner.want}, or null`,
    (value) => value === null || inner.isValid(value),
    (text) => inner.fromText(text),
  ),
  ...(inner.isPath === true ? { isPath: true } : {}),
});
const integer = (min: number, max: number): Kind<number> =>
  kind(
    `an integer from ${min} to ${max}`,
    (value) => typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max,
    (value) => (/^\d{1,9}$/.test(value) ? Number(value) : value),
  );
const boolean: Kind<boolean> = kind(
  'true or false',
  (value) => typeof value === 'boolean',
  (value) => (value === 'true' ? true : value === 'false' ? false : value),
);
const list = (item: Kind<string>, itemsMax: number = limits.CONFIG_LIST_MAX): Kind<readonly string[]> => ({
  ...kind(
    `a list of at most ${itemsMax}, each ${item.want}, none twice`,
    (value) =>
      Array.isArray(value) &&
      value.length <= itemsMax &&
      new Set(value).size === value.length &&
      value.every((each) => item.isValid(each)),
    (value) =>
      value
        .split(',')
        .map((each) => each.trim())
        .filter((each) => each !== ''),
  ),
  item,
});
const path: Kind<string> = { ...text('a path', (value) => value !== '' && !value.includes('\0')), isPath: true };
const paths = (itemsMax: number): Kind<readonly string[]> => ({ ...list(path, itemsMax), isPath: true });

/** Maps, as no other setting has them. From a variable or flag they come as JSON. */
const exposures: Kind<readonly ExposureInput[]> = {
  ...kind(
    `a list of at most ${limits.EXPOSED_MAX}, each with "name" and either "command" or "url", no name twice`,
    (value) => exposuresFault(value) === undefined,
    (value) => {
      try {
        return JSON.parse(value) as unknown;
      } catch {
        return value; // then it is no list, and the setting says what it wanted
      }
    },
  ),
  fault: exposuresFault,
  resolved: (value, directory) => (value as readonly ExposureInput[]).map((each) => resolvedExposure(each, directory)),
};

function exposuresFault(value: unknown): KindFault | undefined {
  if (!Array.isArray(value) || value.length > limits.EXPOSED_MAX)
    return { path: [], is: value, want: `a list of at most ${limits.EXPOSED_MAX}` };
  for (const [index, each] of value.entries()) {
    const fault = exposureFault(each);
    if (fault !== undefined) return { ...fault, path: [index, ...fault.path] };
  }
  const names = value.map(({ name }: ExposureInput) => name);
  const second = names.findIndex((name, index) => names.indexOf(name) !== index);
  return second < 0 ? undefined : { path: [second, 'name'], is: names[second], want: 'each once' };
}

/** A policy that comes along has a name, every other one is a file. */
export const isFilePolicy = (policy: string): boolean => !isPresetName(policy.replace(/^agentmesh:/, ''));

function resolvedExposure(exposure: ExposureInput, directory: string): ExposureInput {
  const { command, cwd = '.', policy } = exposure;
  return {
    ...exposure,
    ...(command !== undefined && { cwd: isAbsolute(cwd) ? cwd : resolve(directory, cwd) }),
    ...(policy !== undefined && isFilePolicy(policy) && { policy: resolve(directory, policy) }),
  };
}

const listenAddress = text(
  'a multiaddr like "/ip4/0.0.0.0/tcp/4801" or "/ip6/::/tcp/4801"',
  (value) => /^\/ip[46]\//.test(value) && isTcpAddress(value, 'without PeerId'),
);
const peerAddress = text('a multiaddr like "/dns4/mesh.example.org/tcp/4801/p2p/12D3KooW…"', (value) =>
  isTcpAddress(value, 'with PeerId'),
);

/** Of all multiaddrs those that this daemon can listen on or dial: TCP over IP or DNS. */
function isTcpAddress(value: string, peer: 'with PeerId' | 'without PeerId'): boolean {
  if (value.length > limits.MULTIADDR_TEXT_MAX) return false;
  const [empty, protocol, host = '', tcp, port = '', ...rest] = value.split('/');
  const isHost =
    protocol === 'ip4'
      ? isIPv4(host)
      : protocol === 'ip6'
        ? isIPv6(host) && !host.includes('%')
        : /^dns[46]?$/.test(protocol ?? '') && isDnsName(host);
  const isPort = /^(?:0|[1-9]\d{0,4})$/.test(port) && Number(port) <= 65_535;
  const isPeer =
    peer === 'with PeerId'
      ? rest.length === 2 && rest[0] === 'p2p' && isPeerId(rest[1] ?? '') && port !== '0'
      : rest.length === 0;
  return empty === '' && isHost && tcp === 'tcp' && isPort && isPeer;
}

const isDnsName = (name: string): boolean =>
  name.length <= 253 &&
  /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.?$/i.test(name);

const did = text('a DID like "did:mesh:bafyrei…"', isMeshDid);

const isVkey = (value: string, type: VkeyType): boolean => {
  try {
    return parseVkey(value).type === type;
  } catch (error) {
    if (isMeshError(error)) return false; // the setting says what it wanted
    throw error;
  }
};

/** "[::1]:4804" and "0.0.0.0:4804" alike. Undefined: neither. */
export function hostPortOf(value: string): { readonly host: string; readonly port: number } | undefined {
  const [, v6, v4, port = ''] = /^(?:\[([^\]]+)\]|([^:[\]]+)):(0|[1-9]\d{0,4})$/.exec(value) ?? [];
  const isHost = v6 === undefined ? isIPv4(v4 ?? '') : isIPv6(v6) && !v6.includes('%');
  return isHost && Number(port) <= 65_535 ? { host: v6 ?? v4 ?? '', port: Number(port) } : undefined;
}

/** Undefined: not of this form. */
export function approverOf(value: string): { readonly group: string; readonly who: string } | undefined {
  const [, group, who = ''] = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63}) (\S+)$/.exec(value) ?? [];
  const isWho = isAudienceDid(who) || (who.length <= limits.CONTACT_TEXT_MAX && /^[^\s@]+@[^\s@]+$/.test(who));
  return group !== undefined && isWho ? { group, who } : undefined;
}

/** Undefined: not of this form. */
export function witnessUrlOf(value: string): { readonly vkey: Vkey; readonly url: string } | undefined {
  const [vkey = '', url = '', ...rest] = value.split(' ');
  const isUrl = /^https?:\/\/[!-~]+$/.test(url) && url.length <= limits.WITNESS_URL_TEXT_MAX && URL.canParse(url);
  return rest.length === 0 && isUrl && isVkey(vkey, WITNESS_KEY_TYPE) ? { vkey: parseVkey(vkey), url } : undefined;
}

/** Every setting, in the order of agentmesh.yaml. */
export const SETTINGS: { readonly [Name in SettingName]: Setting<Config[Name]> } = {
  organisation: {
    kind: optional(
      text(
        `1 to ${limits.NAME_TEXT_MAX} printable characters`,
        (value) =>
          value.length >= 1 &&
          value.length <= limits.NAME_TEXT_MAX &&
          !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(value) &&
          value.trim() === value,
      ),
    ),
    preset: null,
    about: ['Name of the organisation, for people. Others know it by its DID.'],
  },
  network: {
    kind: text('1 to 32 of a-z, 0-9 and "-", not beginning with "-"', isNetworkName),
    preset: DEFAULT_NETWORK,
    about: ['Daemons meet only within the network of this name.'],
  },
  listen: {
    kind: list(listenAddress),
    preset: ['/ip4/0.0.0.0/tcp/4801'],
    about: [
      'Where other daemons reach this one. As long as this is not set, a free port is taken where 4801 is taken',
      '(a second daemon on one machine); an address that is set must be free. Strangers get no further than',
      'identity, sync and handshake. 127.0.0.1 keeps the daemon to this machine; an empty list only dials out.',
    ],
  },
  bootstrap: {
    kind: list(peerAddress),
    preset: [],
    about: ['Daemons to contact first; more are learnt from them. Without any, others have to contact this one.'],
  },
  anchors: {
    kind: list(peerAddress),
    preset: [],
    about: ['Daemons to stay connected to whatever happens: those of partners who would not lie to you together.'],
  },
  psk: {
    kind: optional(path),
    preset: null,
    about: [
      'File with the swarm key of a private network (/key/swarm/psk/1.0.0/). Without that key nobody can connect.',
    ],
  },
  localNetwork: {
    kind: boolean,
    preset: false,
    about: [
      'Many daemons of this network share one IP address (one machine, one NAT): do not count that against them.',
      'Elsewhere it helps whoever runs many daemons to crowd out others.',
    ],
  },
  roots: {
    kind: list(did, limits.ROOTS_MAX),
    preset: [],
    about: ['Organisations whose delegations are honoured here. The own one always is.'],
  },
  criticalDomains: {
    kind: list(
      text('the domain of a capability, like "pay" in "pay:invoices/*"', (value) => isCapability(`${value}:*`)),
    ),
    preset: ['admin', 'pay', 'secrets'],
    about: ['For capabilities of these domains the issuer is asked anew at every decision.'],
  },
  stalenessReadSeconds: {
    kind: integer(0, limits.STALENESS_SECONDS_MAX),
    preset: limits.STALENESS_READ_SECONDS,
    about: ['How old the knowledge about revocations may be when a capability of the domain "read" is used.'],
  },
  stalenessWriteSeconds: {
    kind: integer(0, limits.STALENESS_SECONDS_MAX),
    preset: limits.STALENESS_WRITE_SECONDS,
    about: ['The same for all other capabilities but the critical ones.'],
  },
  sponsorAgentsMax: {
    kind: integer(1, limits.SPONSOR_AGENTS_MAX),
    preset: limits.SPONSOR_AGENTS_DEFAULT,
    about: ['Agents that one person may sponsor.'],
  },
  heartbeatSeconds: {
    kind: integer(1, limits.STALENESS_SECONDS_MAX),
    preset: limits.HEARTBEAT_SECONDS_DEFAULT,
    about: ['How often this organisation states where its DID log and its revocations end.'],
  },
  credentialSeconds: {
    kind: integer(2, limits.CREDENTIAL_SECONDS_MAX),
    preset: limits.CREDENTIAL_SECONDS_MAX,
    about: ['Life of the credentials of agents; new ones are issued at half of it.'],
  },
  syncSeconds: {
    kind: integer(1, limits.SYNC_SECONDS_MAX),
    preset: limits.SYNC_SECONDS_DEFAULT,
    about: ['How often the statements held here are compared with those of a random neighbour.'],
  },
  targetDegree: {
    kind: integer(1, limits.DEGREE_MAX),
    preset: limits.DEGREE_DEFAULT,
    about: ['How many neighbours to stay connected to.'],
  },
  logLevel: {
    kind: oneOf(LOG_LEVELS),
    preset: 'info',
    about: [`What to log: ${LOG_LEVELS.join(', ')}.`],
  },
  socket: {
    kind: optional({
      ...text(
        `a path of at most ${limits.SOCKET_PATH_BYTES_MAX} bytes`,
        (value) => path.isValid(value) && isSocketPathShort(value),
      ),
      isPath: true,
    }),
    preset: null,
    about: ['Control socket; null: in the home directory. Whoever can open it owns the daemon.'],
  },
  apiPort: {
    kind: optional(integer(0, 65_535)),
    preset: null,
    about: [
      'Port of the control API on 127.0.0.1 too, for agents of other users and browsers; 0: a free one; null: none.',
      "Every request there needs an agent's token; the operator uses the socket.",
    ],
  },
  witnessListen: {
    kind: optional(
      text('an address and port like "127.0.0.1:4804" or "[::]:4804"', (value) => hostPortOf(value) !== undefined),
    ),
    preset: null,
    about: [
      'Address and port where logs that are no daemons have their checkpoints cosigned over HTTP (C2SP tlog-witness);',
      'null: nowhere. It answers everybody who reaches it, and nothing but that. Peers use the address above.',
    ],
  },
  witnessLogs: {
    kind: list(
      text('a verifier key of type 1 like "example.org/log+5202289b+Af…"', (value) => isVkey(value, LOG_KEY_TYPE)),
      limits.ROOTS_MAX,
    ),
    preset: [],
    about: ['Verifier keys of logs to cosign beside those of the daemons known, which need no mention.'],
  },
  witnesses: {
    kind: list(did),
    preset: [],
    about: [
      'Organisations whose witnesses shall watch the audit log. As long as none is named, up to 7 of those known are',
      'chosen by lot, and change with them.',
    ],
  },
  witnessUrls: {
    kind: list(
      text(
        'a verifier key of type 4, a space and a URL, like "witness.example/w+0b6a1c3e+BP… https://witness.example/"',
        (value) => witnessUrlOf(value) !== undefined,
      ),
    ),
    preset: [],
    about: ['Further witnesses, which are no daemons (C2SP tlog-witness), each with its key and its URL.'],
  },
  witnessQuorum: {
    kind: optional(integer(0, 2 * limits.CONFIG_LIST_MAX)),
    preset: null,
    about: [
      'How many organisations must have cosigned a checkpoint; null: more than half of those known, with room for a',
      'third of them being bad (3 of 4, 5 of 7).',
    ],
  },
  logReaders: {
    kind: list(did),
    preset: [],
    about: [
      'Organisations whose daemons may read the entries of the audit log. Checkpoints and proofs are for all peers.',
    ],
  },
  logMirrors: {
    kind: list(did),
    preset: [],
    about: [
      'Organisations of whose audit logs this daemon keeps copies, each of which must name this one in its log_readers.',
      'An organisation gets its own log back from such a copy with: agentmesh log recover --from-mirrors',
    ],
  },
  policies: {
    kind: paths(limits.POLICY_LAYERS_MAX / 2),
    preset: [],
    about: [
      'Policy files that hold for all agents of this daemon, or for those that they name; the strictest wins. Whoever',
      'brings a policy of its own (agentmesh proxy --policy) can only narrow them. Without any nothing is allowed that',
      'brings none. Read again when they change; files with a mistake are not taken, the last good ones stay in force.',
    ],
  },
  shadowPolicies: {
    kind: paths(limits.POLICY_LAYERS_MAX / 2),
    preset: [],
    about: [
      'Candidates: what they would have decided otherwise is counted (agentmesh policy shadow), and has no effect.',
    ],
  },
  approvers: {
    kind: list(
      text(
        'a group, a space and a DID or the contact of a sponsor, like "security-team alice@company.com"',
        (value) => approverOf(value) !== undefined,
      ),
    ),
    preset: [],
    about: [
      'Whom the names of groups in policies stand for, one member each. A did:key approves with a key of its own',
      '(agentmesh approvals approve --key FILE); for sponsors registered here the daemon holds the key.',
    ],
  },
  environment: {
    kind: optional(text('a word like "production"', (value) => /^[a-z][a-z0-9._-]{0,63}$/.test(value))),
    preset: null,
    about: ['What policies know as environment.name.'],
  },
  requestDays: {
    kind: integer(0, limits.REQUEST_DAYS_MAX),
    preset: limits.REQUEST_DAYS_DEFAULT,
    about: [
      'For how many days the arguments behind decisions are kept beside the log, which holds commitments alone: for',
      'people who look a decision up, and for trying a policy on what happened (agentmesh policy shadow --since).',
    ],
  },
  expose: {
    kind: exposures,
    preset: [],
    about: [
      'MCP servers that agents of other organisations may call, as far as a delegation of this one lets them: a program,',
      'started once for each of their links, or a server by its URL. Others name it "name", and need mcp:NAME/TOOL for a',
      'tool, or what "needs" has for it, or "capability". "policy" decides their calls beside those above: strict,',
      'moderate (as long as none is named), permissive or a file, read again when it changes. A program gets PATH, HOME,',
      'LANG and the like, and "env". Values of "env" and "headers" are secrets: let nobody else read this file. As in',
      '  expose: # as many as there are',
      '    - name: files',
      '      command: [npx, -y, "@modelcontextprotocol/server-filesystem", /srv/shared]',
      '      description: Reports of the last quarters',
      '      policy: strict',
      '    - name: search',
      '      url: https://search.example.com/mcp',
      '      headers: { Authorization: "Bearer …" }',
      '      capability: read:search',
      '      needs: { reindex: "admin:search" }',
      'Or for a while, without this file: agentmesh expose --mcp NAME -- PROGRAM ARGUMENTS',
    ],
  },
};

export const SETTING_NAMES = Object.keys(SETTINGS) as readonly SettingName[];
export const DEFAULT_CONFIG: Config = configOf((name) => SETTINGS[name].preset);

const snakeOf = (name: SettingName): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
export const keyOf: (name: SettingName) => string = snakeOf;
export const variableOf = (name: SettingName): string => `AGENTMESH_${snakeOf(name).toUpperCase()}`;
export const flagOf = (name: SettingName): string => `--${snakeOf(name).replaceAll('_', '-')}`;

export function configOf(valueOf: (name: SettingName) => unknown): Config {
  // Every value has passed its setting's kind, which the table ties to the type.
  return Object.fromEntries(SETTING_NAMES.map((name) => [name, valueOf(name)])) as unknown as Config;
}
