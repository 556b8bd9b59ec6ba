/** MCP has two eras: with a handshake and sessions up to 2025-11-25, stateless requests from 2026-07-28 on. */
import { isObject, type Message } from './messages.ts';
import type { JsonObject } from '../encoding/jcs.ts';

export type Era = '2025-11-25' | '2026-07-28';

export const META_PROTOCOL_VERSION = 'io.modelcontextprotocol/protocolVersion';
export const META_CLIENT_INFO = 'io.modelcontextprotocol/clientInfo';
export const META_CLIENT_CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities';

const FIRST_STATELESS = '2026-07-28';

export const eraOfVersion = (version: string): Era => (version >= FIRST_STATELESS ? '2026-07-28' : '2025-11-25');

/** What a message of the client says about the era it is of; undefined: nothing. */
export function eraOf(message: Message): Era | undefined {
  if (message.kind !== 'request' && message.kind !== 'notification') return undefined;
  const version = metaOf(message)?.[META_PROTOCOL_VERSION];
  if (typeof version === 'string') return eraOfVersion(version);
  if (message.method === 'server/discover' || message.method === 'subscriptions/listen') return '2026-07-28';
  return message.method === 'initialize' || message.method === 'notifications/initialized' ? '2025-11-25' : undefined;
}

/** The `_meta` of a request or notification. */
export function metaOf(message: Message): JsonObject | undefined {
  const params = 'params' in message ? message.params : undefined;
  const meta = isObject(params) ? params['_meta'] : undefined;
  return isObject(meta) ? meta : undefined;
}

/** What the client can do, as `initialize` says it once or a stateless request each time. */
export function clientCapabilitiesOf(message: Message): JsonObject | undefined {
  if (message.kind !== 'request') return undefined;
  const params = message.method === 'initialize' && isObject(message.params) ? message.params : undefined;
  const capabilities = params?.['capabilities'] ?? metaOf(message)?.[META_CLIENT_CAPABILITIES];
  return isObject(capabilities) ? capabilities : undefined;
}
