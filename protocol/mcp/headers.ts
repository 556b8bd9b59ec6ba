/**
 * Headers of MCP over HTTP that repeat what the body says (2026-07-28, "Streamable HTTP"): whoever routes by them must
 * not be told something else than whoever acts on the body.
 */
import { fromBase64url } from '../encoding/bytes.ts';
import { MeshError } from '../errors.ts';
import { type Era, eraOfVersion, META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION, metaOf } from './era.ts';
import {
  isObject,
  type Message,
  type NotificationMessage,
  type RequestMessage,
  type Refusal,
  RPC_CODES,
} from './messages.ts';

/** Which member of `params` the header `Mcp-Name` repeats. */
const NAMED_BY: ReadonlyMap<string, string> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
  ['tasks/get', 'taskId'],
  ['tasks/update', 'taskId'],
  ['tasks/cancel', 'taskId'],
]);

/** `header`: by its name in lower case. Errors: malformed, with a Refusal of -32020 (or -32602 without `_meta`). */
export function verifyHeaders(message: Message, header: (name: string) => string | undefined): void {
  if (message.kind === 'result' || message.kind === 'error') return;
  const version = trimmed(header('mcp-protocol-version'));
  const method = trimmed(header('mcp-method'));
  const name = trimmed(header('mcp-name'));
  const claimed = claimOf(message);
  const isStateless = eraClaimed(message, version, claimed) === STATELESS;
  if (method !== undefined && method !== message.method)
    throw mismatch(message, `the header "Mcp-Method" is "${shown(method)}", the method is "${shown(message.method)}"`);
  verifyName(message, name);
  if (!isStateless || message.kind !== 'request') return; // older clients send none of these
  if (version === undefined) throw mismatch(message, 'the header "MCP-Protocol-Version" is missing');
  if (method === undefined) throw mismatch(message, 'the header "Mcp-Method" is missing');
  if (name === undefined && nameOf(message) !== undefined) throw mismatch(message, 'the header "Mcp-Name" is missing');
}

const STATELESS: Era = '2026-07-28';
type Call = RequestMessage | NotificationMessage;

/** The era that header and body agree on; undefined: neither says one. Errors: malformed, where they differ. */
function eraClaimed(message: Call, version: string | undefined, claimed: string | undefined): Era | undefined {
  const ofHeader = version === undefined ? undefined : eraOfVersion(version);
  if (claimed !== undefined) {
    if (version !== undefined && version !== claimed)
      throw mismatch(
        message,
        `the header "MCP-Protocol-Version" is "${shown(version)}", the body says "${shown(claimed)}"`,
      );
    return eraOfVersion(claimed);
  }
  if (ofHeader !== STATELESS || message.kind !== 'request') return ofHeader;
  if (message.method === 'initialize')
    throw mismatch(message, `the header "MCP-Protocol-Version" is "${shown(version)}", which has no "initialize"`);
  throw new MeshError(
    'malformed',
    `Invalid _meta envelope: want "${META_PROTOCOL_VERSION}" and "${META_CLIENT_CAPABILITIES}" in "params._meta"`,
    { ...refusalOf(message, RPC_CODES.invalidParams) },
  );
}

function verifyName(message: Call, name: string | undefined): void {
  const wanted = nameOf(message);
  if (name === undefined || wanted === undefined) return;
  if (plainText(name) !== wanted)
    throw mismatch(message, `the header "Mcp-Name" is "${shown(name)}", the body names "${shown(wanted)}"`);
}

function claimOf(message: Call): string | undefined {
  const claimed = metaOf(message)?.[META_PROTOCOL_VERSION];
  if (claimed === undefined) return undefined;
  if (typeof claimed === 'string') return claimed;
  throw new MeshError('malformed', `Invalid _meta envelope: "${META_PROTOCOL_VERSION}" is no text`, {
    ...refusalOf(message, RPC_CODES.invalidParams),
  });
}

function nameOf({ method, params }: Call): string | undefined {
  const member = NAMED_BY.get(method);
  const value = member !== undefined && isObject(params) ? params[member] : undefined;
  return typeof value === 'string' ? value : undefined;
}

/** Optional white space of RFC 9110. */
const trimmed = (value: string | undefined): string | undefined => value?.replace(/^[ \t]+/, '').replace(/[ \t]+$/, '');

/** `=?base64?…?=` where a header cannot hold the text. Undefined: not what it says it is. */
function plainText(value: string): string | undefined {
  const encoded = /^=\?base64\?(.*)\?=$/s.exec(value)?.[1];
  if (encoded === undefined) return value;
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(encoded) || encoded.length % 4 !== 0) return undefined;
  const bytes = fromBase64url(encoded.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, ''));
  if (bytes === undefined) return undefined;
  try {
    return utf8Decoder.decode(bytes);
  } catch {
    return undefined; // not UTF-8
  }
}

const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const shown = (text = ''): string => text.slice(0, 128);

const refusalOf = (message: Call, rpcCode: number): Refusal => ({
  rpcCode,
  rpcId: message.kind === 'request' ? message.id : null,
  kind: message.kind,
});

const mismatch = (message: Call, why: string): MeshError =>
  new MeshError('malformed', `Headers and body of the request differ: ${why}`, {
    ...refusalOf(message, RPC_CODES.headerMismatch),
  });
